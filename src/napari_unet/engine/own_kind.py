"""Which corrections are of another kind of image than the loaded model knows.

A network that learns a new kind keeps the loaded one beside it, which goes on with
images of its own kind (``kinds.py``). What is corrected in these would teach the new
network what it is never asked, and how right the loaded one is there would speak for it
where it knows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_unet.engine.kinds import crops, describe, gate_between
from napari_unet.engine.lessons import around
from napari_unet.engine.sampling import planes
from napari_unet.engine.scoring import sight, trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.kinds import Gate
    from napari_unet.engine.model import Model
    from napari_unet.engine.networks import AnyNetwork
    from napari_unet.engine.sampling import Example, Plane
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.engine.teaching import Memory

    Looked = tuple[Example, "Seen"]

# A model knows the kind of an image if it was mostly right where that was corrected and
# sees something, or sees clearly what there is; it does not if it was mostly wrong.
# Right, and sight: of nuclei-2d on fluorescence 0 to 1, 0.8 to 1; on phase contrast to
# 0.2, to 0.8; on tissue 0, 0. Of two published networks on fluorescence 0 to 1, 0 to 1
RIGHT, SEES, CLEAR, WRONG = 0.5, 0.15, 0.9, 0.3
CONTRAST = 0.3  # of sight between the kinds, where no memory tells them apart
MOST = 0.5  # of the slices of a stack, by which it is told of which kind it is
LEAST = 0.25  # of what is edited; less of an unknown kind is an odd image or two
PIECES = 2  # of an image, and slices of a stack, by which that is told


class Seen(NamedTuple):
    """How a model is on an image, 0 to 1."""

    sight: float
    right: float

    @property
    def known(self) -> bool:
        """Whether the image is of a kind that the model knows."""
        right = self.right >= RIGHT and self.sight >= SEES
        return right or self.sight >= CLEAR

    @property
    def unknown(self) -> bool:
        """Whether it is of another; between the two, its looks decide."""
        return not self.known and self.right < WRONG


@dataclass(frozen=True)
class OwnKind:
    """Leaves out what is corrected in images that stay with the loaded network.

    Attributes
    ----------
    knowing : the model as it was loaded, as it takes images of its kind
    model : that is to learn
    margin : pixels around corrections that are looked at
    gate : tells the kinds apart; None: all images are of one
    seen : how the loaded model is on images; grows
    """

    knowing: Model
    model: Model
    margin: int
    gate: Gate | None = None
    seen: list[tuple[NDArray[Any], Seen]] = field(default_factory=list)

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

    def look(self, example: Example) -> Seen | None:
        """Tell how the loaded model is on an image; once it was told, it stays so.

        None: nothing is supervised.
        """
        for image, seen in self.seen:
            if image is example.image:
                return seen
        pieces = _pieces(example, self.knowing.spec, self.margin)[:PIECES]
        if not pieces:
            return None
        found = Seen(sight(self.knowing, pieces), trust(self.knowing, pieces))
        self.seen.append((example.image, found))
        return found

    def _stays(self, example: Example) -> bool:
        """Tell whether an image stays with the loaded network."""
        seen = None if self.gate is None else self.look(example)
        if self.gate is None or seen is None or seen.unknown:
            return False
        some = _some(example, self.model.spec)
        looks = [describe(plane.image) for plane in planes(some, self.model.spec)]
        return bool(np.mean(self.gate.is_old(np.array(looks))) > MOST)


def own_kind(
    examples: Sequence[Example], knowing: Model, model: Model, memory: Memory | None,
    config: FinetuneConfig,
) -> OwnKind:  # fmt: skip
    """Find out whether only a part of what is corrected is of the loaded model's kind.

    The rest must be a good part of all, and be told apart from images of that kind:
    from the memory's, without one from the corrected ones. Nothing is left out where
    all the rest is held out: that alone teaches nothing.

    Parameters
    ----------
    examples : all that is corrected
    knowing : the model as it was loaded, as it takes images of its kind
    model : that is to learn
    memory : images of its kind; None: there are none
    config : see FinetuneConfig

    Raises
    ------
    ImageError, LabelsError
        If an image or its labels cannot be used.
    """
    margin = config.crop
    all_of_it = OwnKind(knowing, model, margin)
    alike = knowing.spec.architecture == model.spec.architecture
    if config.remember <= 0 or not alike:
        return all_of_it  # nobody is kept beside
    looks = [(example, all_of_it.look(example)) for example in examples]
    known = [(e, seen) for e, seen in looks if seen is not None and seen.known]
    unlike = [(e, seen) for e, seen in looks if seen is not None and seen.unknown]
    if not known or not unlike or (not memory and _contrast(known, unlike) < CONTRAST):
        return all_of_it
    gate = gate_between(
        knowing.spec.name,
        [plane.image for plane in memory.learnt(model.spec)] if memory
        else [c for i in _images(known, model.spec, margin) for c in crops(i)],
        _images(unlike, model.spec, margin),
    )  # fmt: skip
    part = replace(all_of_it, gate=gate)
    rest, left_out = part.of(examples)
    much = sum(map(_edited, rest)) >= LEAST * sum(map(_edited, examples))
    return part if left_out and much and any(map(_teaches, rest)) else all_of_it


def _contrast(known: Sequence[Looked], unlike: Sequence[Looked]) -> float:
    """Return how much better a model sees one kind than the other."""
    kinds = ([seen.sight for _, seen in kind] for kind in (known, unlike))
    first, second = (float(np.mean(sights)) for sights in kinds)
    return first - second


def _images(
    some: Sequence[Looked], spec: ModelSpec, margin: int
) -> list[NDArray[np.float32]]:
    """Return what is around the corrections, (C, [Z,] Y, X), normalised."""
    return [p.image for each, _ in some for p in _pieces(each, spec, margin)]


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


def _edited(example: Example) -> int:
    """Return of how many pixels a user has said more than that they are right."""
    supervised, accepted = example.supervised, example.accepted
    if supervised is None:
        return example.labels.size
    return int((supervised if accepted is None else supervised & ~accepted).sum())


def _unsupervised(example: Example) -> Example:
    nowhere = np.zeros(example.labels.shape, bool)
    held_out = None if example.held_out is None else nowhere
    return replace(example, supervised=nowhere, held_out=held_out)
