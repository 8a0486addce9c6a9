"""Teaching a trained network what was corrected, and measuring whether it helped."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.config import EpochDone, FinetuneConfig, StepDone
from napari_unet.engine.drain import drain
from napari_unet.engine.metrics import measures
from napari_unet.engine.model import FROZEN
from napari_unet.engine.sampling import Plane, all_planes
from napari_unet.engine.spec import OBJECTS
from napari_unet.engine.training import (
    Command,
    count_planes,
    fit_steps,
    headline,
)
from napari_unet.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.metrics import Counts
    from napari_unet.engine.model import Model
    from napari_unet.engine.sampling import Example

FEWEST_PIXELS = 30  # supervised; fewer teach nothing
FEWEST_OBJECTS = 3  # fewer cannot be split into training and held-out


@dataclass(frozen=True)
class FinetuneResult:
    """A finished fine-tuning.

    Attributes
    ----------
    model : the new model; the old one is unchanged
    history : every event, for the curve
    before, after : measures on the held-out corrections, old and new model
    held_out : objects that the measures are of
    honest : whether those were kept out of training; too few corrections cannot be
    remark : why it ended early, or ""
    summary : all of it in words
    """

    model: Model
    history: tuple[StepDone | EpochDone, ...]
    before: dict[str, float]
    after: dict[str, float]
    held_out: int
    honest: bool
    remark: str
    summary: str


FinetuneSteps = Generator[StepDone | EpochDone, Command | None, FinetuneResult]


def finetune(
    model: Model,
    examples: Sequence[Example],
    *,
    config: FinetuneConfig | None = None,
    on_step: Callable[[StepDone | EpochDone], Any] | None = None,
) -> FinetuneResult:
    """Fine-tune a clone of a model on corrected examples.

    Parameters
    ----------
    model : where learning starts; never changed
    examples : images, labels, and where the labels can be trusted
    config : see FinetuneConfig
    on_step : called with every StepDone and EpochDone

    Raises
    ------
    TrainingError
        If nothing, or too little, is supervised, or the model is a program.
    """
    steps = finetune_steps(model, examples, config or FinetuneConfig())
    return drain(steps, on_step)


def finetune_steps(
    model: Model, examples: Sequence[Example], config: FinetuneConfig
) -> FinetuneSteps:
    """Fine-tune, one weight update a step; ``send(Command.STOP)`` keeps the best.

    Yields
    ------
    StepDone, EpochDone

    Returns
    -------
    FinetuneResult

    Raises
    ------
    TrainingError
        If nothing, or too little, is supervised, or the model is a program.
    """
    if not model.trainable:
        raise TrainingError(FROZEN.format(name=model.spec.name))
    if model.spec.likely_activation == "none":
        raise TrainingError(
            f"{model.spec.name} gives raw values, expected scores to learn: choose a "
            "sigmoid or softmax as its final activation in the Model panel."
        )
    supervised = all_planes(examples, model.spec)
    check_supervision(supervised)
    whole_objects = model.spec.gives_objects
    split = [
        split_plane(
            around_supervision(plane, config.crop), config.held_out, whole_objects
        )
        for plane in supervised
    ]
    training = [with_spread_targets(part) for part, _ in split]
    checking = [part for _, part in split if part is not None]
    honest = bool(checking)
    checking = checking or training

    before = count_planes(model, checking)

    def score(current: Model) -> float:
        measured = measures(count_planes(current, checking))
        found = headline(measured, model.spec.output)
        return 0.5 * (found + measured["dice"])  # few objects: overlap tells more

    fitted = yield from fit_steps(
        model, training, config, score, norm_learns=config.norm_learns
    )
    after = count_planes(fitted.model, checking)
    return FinetuneResult(
        fitted.model, fitted.history, measures(before), measures(after),
        after["true"], honest, fitted.remark,
        in_words(before, after, model.spec.output, honest=honest, remark=fitted.remark),
    )  # fmt: skip


def check_supervision(supervised: Sequence[Plane]) -> None:
    """Refuse to learn from nothing, or from next to nothing.

    Raises
    ------
    TrainingError
        Saying how much more is needed.
    """
    pixels = int(sum(plane.supervised.sum() for plane in supervised))
    if not pixels:
        raise TrainingError(
            "Nothing is corrected yet; fine-tuning learns from edited and accepted "
            "places only: paint or erase some objects, or accept a view that is right."
        )
    if pixels < FEWEST_PIXELS:
        found = "1 pixel is" if pixels == 1 else f"{pixels} pixels are"
        raise TrainingError(
            f"Only {found} corrected, expected at least {FEWEST_PIXELS}: "
            "correct a whole object, better five."
        )


def around_supervision(plane: Plane, margin: int) -> Plane:
    """Return the part of a plane that lies within ``margin`` pixels of corrections."""
    places = np.nonzero(plane.supervised[0])
    window = tuple(
        slice(max(int(p.min()) - margin, 0), int(p.max()) + margin + 1) for p in places
    )
    channels = (slice(None), *window)
    return Plane(
        plane.image[channels],
        plane.labels[window],
        plane.targets[channels],
        plane.supervised[channels],
    )


def split_plane(
    plane: Plane, share: float, whole_objects: bool
) -> tuple[Plane, Plane | None]:
    """Keep a share of the corrected objects aside, at one end of the corrections.

    A supervised pixel goes with the nearest object, so that no object is on both sides.
    None is kept aside when there are too few objects.
    """
    trusted = plane.supervised[0] > 0
    labels = np.where(trusted, plane.labels, 0)
    if not whole_objects:
        labels = ndimage.label(labels)[0]
    ids = np.unique(labels[labels != 0])
    if share <= 0 or len(ids) < FEWEST_OBJECTS:
        return plane, None
    held = _at_one_end(labels, ids, max(round(share * len(ids)), 1))
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    aside = np.isin(labels[tuple(nearest)], held)
    return (
        replace(plane, supervised=plane.supervised * ~aside),
        replace(plane, supervised=plane.supervised * aside),
    )


def with_spread_targets(plane: Plane) -> Plane:
    """Return a plane whose unsupervised targets are those of the nearest supervised.

    Augmentation interpolates targets, so that those next to a supervised pixel matter.
    """
    nearest = ndimage.distance_transform_edt(
        plane.supervised[0] == 0, return_distances=False, return_indices=True
    )
    return replace(plane, targets=plane.targets[(slice(None), *nearest)])


def _at_one_end(labels: NDArray[Any], ids: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the ``count`` objects that come last along the longest axis."""
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, ids))
    longest = int(np.ptp(centres, axis=0).argmax())
    return np.asarray(ids[np.argsort(centres[:, longest])[-count:]])


def in_words(
    before: Counts, after: Counts, output: str, *, honest: bool, remark: str
) -> str:
    """Return what changed, for the user."""
    where = "held-out" if honest else "corrected (too few to hold some out)"
    objects = after["true"]
    if output in OBJECTS and objects:
        text = (
            f"finds {after['matched50']} of {objects} {where} objects, "
            f"before {before['matched50']}"
        )
        extra = after["predicted"] - after["matched50"]
        if extra:
            text += f"; {extra} found that are none"
    else:
        old, new = measures(before)["dice"], measures(after)["dice"]
        text = f"Dice {new:.2f} on {where} corrections, before {old:.2f}"
    if not objects:
        spurious = f"{after['predicted']}, before {before['predicted']}"
        text = f"only background was corrected; objects wrongly found there: {spurious}"
    return f"{text}; {remark}" if remark else text
