"""A package's steps after the network: which activation makes scores of its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_unet.formats.bioimageio.document import number, numbers, words
from napari_unet.formats.bioimageio.preprocessing import FLOATS, Unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.spec import Activation
    from napari_unet.formats.bioimageio.tensors import Step, Tensor


@dataclass(frozen=True)
class Finish:
    """What a package does to the network's output.

    Attributes
    ----------
    activation : that makes scores; None where the steps name none
    last : steps after it, which this program leaves to the user
    """

    activation: Activation | None = None
    last: tuple[Step, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on what is left out."""
        return tuple(
            f"its own results are cut at a score of {cut:g}: here that is the threshold"
            for step in self.last
            if step.id == "binarize"
            for cut in numbers(step.settings.get("threshold"), "threshold")[:1]
        )

    def finished(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Do the last steps to scores (K, ...), for comparing with a test output."""
        for step in self.last:
            if step.id == "clip":
                low, high = _limits(step)
                scores = np.clip(scores, low, high)
            elif step.id == "binarize":
                cuts = np.array(numbers(step.settings.get("threshold"), "threshold"))
                column = cuts.reshape((-1,) + (1,) * (scores.ndim - 1))
                scores = (scores > column).astype(np.float32)
        return scores


def finish(tensor: Tensor) -> Finish:
    """Return what an output tensor's steps do.

    Raises
    ------
    Unsupported
        If the output becomes something else than scores.
    Malformed
        If a step lacks its numbers.
    """
    activation: Activation | None = None
    last: list[Step] = []
    for step in tensor.steps:
        if step.id in ("sigmoid", "softmax"):
            if activation is not None or last:
                raise Unsupported(f"the step {step.id!r} after others")
            activation = "sigmoid" if step.id == "sigmoid" else _softmax(step, tensor)
        elif step.id in ("clip", "binarize"):
            _check_numbers(step)
            last.append(step)
        elif step.id != "ensure_dtype":
            raise Unsupported(f"the step {step.id!r} after the network")
        elif words(step.settings.get("dtype"), 20) not in FLOATS and not _cut(last):
            raise Unsupported("rounding after the network")
    return Finish(activation, tuple(last))


def _softmax(step: Step, tensor: Tensor) -> Activation:
    channel = tensor.axis("channel")
    along = words(step.settings.get("axis"), 20) or "channel"
    if channel is None or along != channel.id:
        raise Unsupported(f"a softmax along the axis {along!r}")
    return "softmax"


def _check_numbers(step: Step) -> None:
    if step.id == "clip":
        _limits(step)
    elif not numbers(step.settings.get("threshold"), "threshold"):
        raise Unsupported("a threshold without its value")


def _limits(step: Step) -> tuple[float | None, float | None]:
    if "min_percentile" in step.settings or "max_percentile" in step.settings:
        raise Unsupported("percentile limits after the network")
    low, high = (
        None if step.settings.get(name) is None else number(step.settings[name], name)
        for name in ("min", "max")
    )
    if low is None and high is None:
        raise Unsupported("limits without their values")
    return low, high


def _cut(last: list[Step]) -> bool:
    return any(step.id == "binarize" for step in last)
