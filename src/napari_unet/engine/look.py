"""A quick look at an image: whether guesses about a model are likely, or others do.

A wrong scaling or channel order gives no error, only nonsense. Nonsense shows: scores
that are the same everywhere, or a network whose batch norms see other intensities than
those that it was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.axes import (
    arrange,
    check_axes,
    guess_axes,
    in_channel_order,
)
from napari_unet.engine.config import LookDone
from napari_unet.engine.device import is_out_of_memory
from napari_unet.engine.evidence import has_statistics, statistics_mismatch
from napari_unet.engine.model import activate
from napari_unet.engine.normalize import normalize, statistics
from napari_unet.engine.zoom import Zoomed, zoom_for
from napari_unet.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.alternatives import Alternative
    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import ModelSpec

CROP = {2: (256, 256), 3: (32, 128, 128)}  # pixels around the middle
LEAST_SPREAD = 0.1  # between the lowest and the highest score
ALL, NOTHING = 0.99, 0.0005  # share of foreground that is suspicious
DOUBTFUL, STRANGE = 0.8, 1.5  # mismatch of batch norms, 0 to 3: try others, warn
CLEARLY = 1.25  # how much better an alternative must be to be offered ...
BY_SCORES_ALONE = 2.0  # ... and where no batch norm bears it out
UNTOLD = 0.05  # worth of a reading whose scores say nothing


@dataclass(frozen=True)
class Finding:
    """What a way of understanding a file gives on the image.

    Attributes
    ----------
    name, changes : of the alternative; both empty for the model as it is
    problem : what is suspicious, "" if nothing is
    worth : 0 to 1: decided, coherent scores from intensities as in training
    foreground : share of pixels, 0 to 1
    mismatch : of batch-norm statistics, 0 to 3; None without such
    """

    name: str
    changes: Mapping[str, Any]
    problem: str
    worth: float
    foreground: float = 0.0
    mismatch: float | None = None

    @property
    def doubtful(self) -> bool:
        """Tell whether other settings are worth a try."""
        return bool(self.problem) or (self.mismatch or 0.0) > DOUBTFUL


@dataclass(frozen=True)
class Look:
    """What a quick look found.

    Attributes
    ----------
    findings : the first is the model as it is; none where it could not look
    reason : why it could not
    """

    findings: tuple[Finding, ...] = ()
    reason: str = ""

    @property
    def suspicious(self) -> bool:
        """Tell whether something is wrong with the model as it is."""
        return any(finding.problem for finding in self.findings[:1])

    @property
    def best(self) -> Finding | None:
        """The alternative to offer; None where none is clearly better."""
        if not self.findings:
            return None
        now, *others = self.findings
        good = [each for each in others if not each.problem]
        best = max(good, key=lambda each: each.worth, default=None)
        alone = now.mismatch is None and not now.problem
        enough = now.worth * (BY_SCORES_ALONE if alone else CLEARLY)
        return None if best is None or best.worth < enough else best

    @property
    def sentence(self) -> str:
        """What to tell the user."""
        if not self.findings:
            return self.reason
        now, best = self.findings[0], self.best
        share = f"{now.foreground:.0%} foreground in the middle of the image"
        if now.problem:
            tried = len(self.findings) - 1
            found = f"Suspicious: {now.problem}."
            if best is not None:
                return f"{found} It looks better with: {best.name}."
            if tried:
                return f"{found} None of {tried} other settings does clearly better."
            return f"{found} Is the model meant for such images?"
        if best is not None:
            return f"Plausible ({share}), but it looks better with: {best.name}."
        return f"Looks plausible: {share}."


def look_steps(
    model: Model,
    image: Any,
    axes: str | None,
    alternatives: Sequence[Alternative],
    channel: int | None = None,
    pixel_size: tuple[float, ...] | None = None,
) -> Generator[LookDone, None, Look]:
    """Predict the middle of an image; try alternatives where that is suspicious.

    Parameters
    ----------
    model : as it was opened; not changed
    image : array with one axis per letter of ``axes``, raw intensity; of a stack the
        plane (volume) in the middle is read
    axes, channel, pixel_size : as for ``predict``
    alternatives : what was guessed and could be otherwise; readings are always tried

    Yields
    ------
    LookDone

    Returns
    -------
    Look

    Raises
    ------
    ImageError
        If the model cannot take the image.
    """
    total = len(alternatives) + 1
    plane, letters = middle(image, axes, model)
    yield LookDone(0, total)
    apart = model.clone() if model.trainable else model  # others may predict meanwhile
    seen = _Seen(plane, letters, channel, pixel_size)
    findings = [_finding(apart, seen)]
    yield LookDone(1, total)
    for step, other in enumerate(alternatives, start=2):
        if findings[0].doubtful or _says_itself(other, findings[0]):
            made = other.make()
            if made.network is model.network:
                made = replace(made, network=apart.network)
            found = _finding(made, seen, other)
            findings.append(found)
        yield LookDone(step, total)
    return Look(tuple(findings))


def _says_itself(other: Alternative, now: Finding) -> bool:
    """Tell whether an alternative is to be tried though nothing is in doubt.

    Bright objects on dark, taken for what is between dark ones, look decided too; the
    batch norms tell them apart.
    """
    turned = "negative" in other.changes.get("normalization", {})
    return "reading" in other.changes or (turned and now.mismatch is not None)


# -- one look


def middle(image: Any, axes: str | None, model: Model) -> tuple[NDArray[Any], str]:
    """Return the plane (volume) in the middle of a stack, and its axes."""
    dims = model.spec.architecture.dims
    shape = tuple(image.shape)
    letters = (
        check_axes(axes, len(shape))
        if axes
        else guess_axes(shape, model.spec.architecture)
    )
    spatial = letters.replace("C", "")[-dims:]
    kept = [letter in spatial or letter == "C" for letter in letters]
    place = tuple(
        slice(None) if keep else length // 2
        for keep, length in zip(kept, shape, strict=True)
    )
    left = "".join(c for c, keep in zip(letters, kept, strict=True) if keep)
    return np.asarray(image[place]), left


@dataclass(frozen=True)
class _Seen:
    """What is looked at: a plane, and how it is to be taken; see ``predict``."""

    plane: NDArray[Any]
    axes: str
    channel: int | None
    pixel_size: tuple[float, ...] | None


def _finding(model: Model, seen: _Seen, other: Alternative | None = None) -> Finding:
    """Return what a model says of the middle of a plane."""
    spec = model.spec
    arranged = arrange(seen.plane, seen.axes, spec.architecture, seen.channel).image
    arranged = in_channel_order(arranged, spec.channel_order)
    stats = statistics(arranged, spec.normalization)
    zoom = zoom_for(spec, seen.pixel_size)
    if zoom is not None:
        arranged = Zoomed(arranged, zoom)
    crop = arranged[_middle_of(arranged.shape[1:], spec.architecture.dims)]
    x = torch.from_numpy(normalize(np.ascontiguousarray(crop), stats))[np.newaxis].to(
        model.device
    )
    logits, mismatch = _computed(model, x)
    scores = activate(logits, spec.likely_activation)[0].float().cpu().numpy()
    name, changes = (other.name, other.changes) if other else ("", {})
    problem, worth, share = judge(scores, spec)
    if mismatch is not None:
        worth /= 1 + mismatch**2
        if mismatch > STRANGE and not problem:
            problem = "the intensities are unlike those that it was trained with"
    return Finding(name, changes, problem, worth, share, mismatch)


def _middle_of(shape: tuple[int, ...], dims: int) -> tuple[slice, ...]:
    starts = [max(n - side, 0) // 2 for n, side in zip(shape, CROP[dims], strict=True)]
    sides = zip(starts, CROP[dims], strict=True)
    return (slice(None), *(slice(start, start + side) for start, side in sides))


@torch.inference_mode()
def _computed(model: Model, x: torch.Tensor) -> tuple[torch.Tensor, float | None]:
    """Return logits (1, K, [Z,] Y, X) and how far batch norms are from their own."""
    network = model.network
    try:
        logits = network(x)
        if not has_statistics(network):
            return logits, None
        return logits, statistics_mismatch(network, x)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    raise DeviceError(
        f"Out of memory on {model.device} for a look at a small part of the image: "
        "close other programs, or choose another device."
    )


def judge(scores: NDArray[np.float32], spec: ModelSpec) -> tuple[str, float, float]:
    """Return what is suspicious in scores, their worth, and the share of foreground.

    Parameters
    ----------
    scores : (K, [Z,] Y, X) float32, what the activation gives
    spec : of the model that gave them

    Returns
    -------
    problem : a sentence's part, "" if nothing is suspicious
    worth : 0 to 1; decided and coherent scores are worth most
    foreground : share of pixels, 0 to 1
    """
    if not np.isfinite(scores).all():
        return "the network gives NaN or infinity", 0.0, 0.0
    low, high = np.percentile(scores, (0.1, 99.9))
    if low < -0.01 or high > 1.01:
        return f"its scores go from {low:.3g} to {high:.3g}, expected 0 to 1", 0.0, 0.0
    likely = _foreground(scores, spec)
    mask = likely > 0.5
    share = float(mask.mean())
    spread = float(np.ptp(np.percentile(likely, (0.1, 99.9))))
    decided = float(np.abs(2 * likely - 1).mean())
    worth = decided * _coherence(mask)
    if spread < LEAST_SPREAD:
        return (
            f"the scores are nearly the same everywhere ({likely.mean():.2f})",
            UNTOLD * worth,
            share,
        )
    if share > ALL:
        return "everything is foreground", UNTOLD * worth, share
    if share < NOTHING:
        return "nothing is foreground", UNTOLD * worth, share
    return "", worth, share


def _foreground(scores: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """Return how likely each pixel is no background, ([Z,] Y, X)."""
    if spec.output == "classes":
        return np.asarray(1 - scores[0], np.float32)
    if spec.output == "multilabel":
        return np.asarray(scores.max(axis=0), np.float32)
    if spec.output == "foreground":
        return np.asarray(scores[-1], np.float32)  # of two, the first is background
    return np.asarray(scores[0], np.float32)


def _coherence(mask: NDArray[np.bool_]) -> float:
    """Return 1 for large even areas, 0 for salt and pepper."""
    changes = [
        float(np.diff(mask, axis=axis).mean())
        for axis in range(mask.ndim)
        if mask.shape[axis] > 1
    ]
    return max(0.0, 1 - 4 * sum(changes) / max(len(changes), 1))
