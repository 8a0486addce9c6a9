"""Which corrections are of another kind of image than the loaded model knows.

A network that learns a new kind keeps the loaded one beside it, which goes on with
images of its own kind (``kinds.py``). What is corrected in these would teach the new
network what it is never asked, and how right the loaded one is there would speak for it
where it knows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.kinds import describe, gate_between
from napari_unet.engine.lessons import around
from napari_unet.engine.sampling import planes
from napari_unet.engine.scoring import sight, trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.kinds import Gate
    from napari_unet.engine.model import Model
    from napari_unet.engine.networks import AnyNetwork
    from napari_unet.engine.sampling import Example, Plane
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.engine.teaching import Memory

# sight from which a model knows a kind, alone and where it was right, too. nuclei-2d:
# fluorescence 0.7 to 1 (mostly right to 0.6 to 1 where corrected), phase contrast 0.5
# to 0.8 (right to 0.2), tissue 0
CLEAR, SEES, RIGHT = 0.9, 0.5, 0.4
MOST = 0.5  # of the slices of a stack, by which it is told of which kind it is
PIECES = 2  # of an image, and slices of a stack, by which that is told


@dataclass(frozen=True)
class OwnKind:
    """Leaves out what is corrected in images that stay with the loaded network.

    Attributes
    ----------
    knowing : the model as it was loaded, as it takes images of its kind
    model : that is to learn
    margin : pixels around corrections that are looked at
    gate : tells the kinds apart; None: all images are of one
    seen : images, and whether the loaded model sees what there is; grows
    """

    knowing: Model
    model: Model
    margin: int
    gate: Gate | None = None
    seen: list[tuple[NDArray[Any], bool]] = field(default_factory=list)

    def of(self, examples: Sequence[Example]) -> tuple[list[Example], int]:
        """Return examples with nothing supervised in those that are left out.

        Returns
        -------
        examples : as many, in the same order
        left_out : how many were left out that were supervised before
        """
        found, many = [], 0
        for example in examples:
            if self._stays(example):
                example, many = _unsupervised(example), many + 1
            found.append(example)
        return found, many

    def keeper(self, examples: Sequence[Example]) -> AnyNetwork:
        """Return the network that goes on with images of the loaded model's kind.

        That is the loaded one, unless the model in use has learnt more of that kind.

        Parameters
        ----------
        examples : all that is corrected
        """
        model, knowing = self.model, self.knowing
        if model.elder is not None:
            return model.elder.network
        if model.spec.normalization != knowing.spec.normalization:
            return knowing.network
        stay = [example for example in examples if self._stays(example)]
        seen = [p for each in stay for p in _pieces(each, model.spec, self.margin)]
        better = bool(seen) and trust(model, seen) > trust(knowing, seen)
        return model.network if better else knowing.network

    def sees(self, example: Example) -> bool | None:
        """Tell whether the loaded model sees what there is.

        None: nothing is supervised. Once it was told of an image, it stays so.
        """
        for image, known in self.seen:
            if image is example.image:
                return known
        pieces = _pieces(example, self.knowing.spec, self.margin)[:PIECES]
        if not pieces:
            return None
        seen = sight(self.knowing, pieces)
        right = seen >= CLEAR or (seen >= SEES and trust(self.knowing, pieces) >= RIGHT)
        self.seen.append((example.image, right))
        return right

    def _stays(self, example: Example) -> bool:
        """Tell whether an image stays with the loaded network, which sees it well."""
        if self.gate is None or not self.sees(example):
            return False
        some = _some(example, self.model.spec)
        seen = [describe(plane.image) for plane in planes(some, self.model.spec)]
        return bool(np.mean(self.gate.is_old(np.array(seen))) > MOST)


def own_kind(
    examples: Sequence[Example], knowing: Model, model: Model, memory: Memory | None,
    margin: int,
) -> OwnKind:  # fmt: skip
    """Find out whether only a part of what is corrected is of the loaded model's kind.

    Nothing is left out where all the rest is held out: that alone teaches nothing.

    Parameters
    ----------
    examples : all that is corrected
    knowing : the model as it was loaded, as it takes images of its kind
    model : that is to learn
    memory : images of its kind; None: there are none, and nothing is left out
    margin : pixels around corrections that are looked at

    Raises
    ------
    ImageError, LabelsError
        If an image or its labels cannot be used.
    """
    all_of_it = OwnKind(knowing, model, margin)
    if memory is None or knowing.spec.architecture != model.spec.architecture:
        return all_of_it  # it cannot be kept beside
    sees = [all_of_it.sees(example) for example in examples]
    unlike = [e for e, known in zip(examples, sees, strict=True) if known is False]
    pieces = [p.image for e in unlike for p in _pieces(e, model.spec, margin)]
    if True not in sees or not pieces:
        return all_of_it
    old = [plane.image for plane in memory.learnt(model.spec)]
    gate = gate_between(knowing.spec.name, old, pieces)
    part = replace(all_of_it, gate=gate)
    return part if any(map(_teaches, part.of(examples)[0])) else all_of_it


def _pieces(example: Example, spec: ModelSpec, margin: int) -> list[Plane]:
    some = planes(_some(example, spec), spec)
    return [p for plane in some for p in around(plane, margin)]


def _some(example: Example, spec: ModelSpec) -> Example:
    """Return an example of which only a few planes or volumes are supervised."""
    if example.supervised is None:
        return example
    dims = spec.architecture.dims
    stack = example.supervised.shape[:-dims]
    there = np.argwhere(example.supervised.any(axis=tuple(range(-dims, 0))))
    if len(there) <= PIECES or not stack:
        return example
    chosen = np.zeros(stack, bool)
    evenly = np.linspace(0, len(there) - 1, PIECES).round().astype(int)
    chosen[tuple(there[evenly].T)] = True
    kept = example.supervised & chosen[(..., *(np.newaxis,) * dims)]
    return replace(example, supervised=kept)


def _teaches(example: Example) -> bool:
    """Tell whether something is supervised that is not held out."""
    learnt = np.ones((), bool) if example.supervised is None else example.supervised
    held_out = example.held_out
    return bool((learnt if held_out is None else learnt & ~held_out).any())


def _unsupervised(example: Example) -> Example:
    nowhere = np.zeros(example.labels.shape, bool)
    held_out = None if example.held_out is None else nowhere
    return replace(example, supervised=nowhere, held_out=held_out)
