"""Which corrections are of another kind of image than the loaded model knows.

A network that learns a new kind keeps the loaded one beside it, which goes on with
images of its own kind (``kinds.py``). What is corrected in these would teach the new
network what it is never asked, and how right the loaded one is there would speak for it
where it knows nothing. It is the loaded one that learns from it (``elders.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_unet.engine.config import KindDone
from napari_unet.engine.kinds import (
    crops,
    describe,
    features,
    gate_of,
)
from napari_unet.engine.lessons import around
from napari_unet.engine.sampling import planes
from napari_unet.engine.scoring import sight_and_trust, trust

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

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
    """How a model is on an image, 0 to 1.

    ``stray``: it was wrong there, but the image looks like those that it knows: of few
    corrections, which are of the worst objects, all may be.
    """

    sight: float
    right: float
    stray: bool = False

    @property
    def known(self) -> bool:
        """Whether the image is of a kind that the model knows."""
        right = self.right >= RIGHT and self.sight >= SEES
        return right or self.sight >= CLEAR

    @property
    def unknown(self) -> bool:
        """Whether it is of another; between the two, its looks decide."""
        return not self.known and self.right < WRONG and not self.stray


@dataclass(frozen=True)
class OwnKind:
    """Tells which network is to learn what is corrected in an image.

    Attributes
    ----------
    knowing : the model as it was loaded, as it takes images of its kind
    model : that is to learn
    margin : pixels around corrections that are looked at
    gate : tells the kinds apart; None: all images are of one
    stays_by_gate : whether the gate alone does, that of an elder that is there
    seen : how the loaded model is on images; grows
    stays : whether images stay with the loaded network; grows
    """

    knowing: Model
    model: Model
    margin: int
    gate: Gate | None = None
    stays_by_gate: bool = False
    seen: list[tuple[NDArray[Any], Seen]] = field(default_factory=list)
    stays: list[tuple[NDArray[Any], bool]] = field(default_factory=list)

    def of(self, examples: Sequence[Example]) -> list[Example]:
        """Return examples with nothing supervised in what stays with the loaded one."""
        return [_unsupervised(e) if self._stays(e) else e for e in examples]

    def rest(self, examples: Sequence[Example]) -> list[Example]:
        """Return examples with nothing supervised in what does not."""
        return [e if self._stays(e) else _unsupervised(e) for e in examples]

    def staying(self, examples: Sequence[Example]) -> tuple[int, ...]:
        """Return which corrected images stay with the loaded network."""
        return tuple(n for n, each in enumerate(examples) if self._stays(each))

    def teaches(self, examples: Sequence[Example]) -> bool:
        """Tell whether there is something to learn in the other images.

        Where all images are of one kind, they are to be learnt, whatever is in them.
        """
        return self.gate is None or any(map(_teaches, self.of(examples)))

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
        found = Seen(*sight_and_trust(self.knowing, pieces))
        self.seen.append((example.image, found))
        return found

    def _stays(self, example: Example) -> bool:
        """Tell whether an image stays with the loaded network; once told, it is so."""
        if self.gate is None or not _supervised(example):
            return False
        for image, stays in self.stays:
            if image is example.image:
                return stays
        found = self._is_old(example, self.gate)
        self.stays.append((example.image, found))
        return found

    def _is_old(self, example: Example, gate: Gate) -> bool:
        if not self.stays_by_gate:
            seen = self.look(example)
            if seen is None or seen.unknown:
                return False
        some = _some(example, self.model.spec)
        looks = [describe(plane.image) for plane in planes(some, self.model.spec)]
        return bool(np.mean(gate.is_old(np.array(looks))) > MOST)


def own_kind_steps(
    examples: Sequence[Example], knowing: Model, model: Model, memory: Memory | None,
    config: FinetuneConfig,
) -> Generator[KindDone, Any, OwnKind]:  # fmt: skip
    """Find out whether only a part of what is corrected is of the loaded model's kind.

    The rest must be a good part of all, and be told apart from images of that kind:
    from the memory's, without one from the corrected ones. All are of one kind where
    all the rest is held out: that alone teaches nothing. An elder that stays all the
    same, or that the model was loaded with, has its images told by its gate.

    Parameters
    ----------
    examples : all that is corrected
    knowing : the model as it was loaded, as it takes images of its kind
    model : that is to learn
    memory : images of its kind; None: there are none
    config : see FinetuneConfig

    Yields
    ------
    KindDone

    Raises
    ------
    ImageError, LabelsError
        If an image or its labels cannot be used.
    """
    margin = config.crop
    all_of_it = OwnKind(knowing, model, margin)
    if model.elder is not None and not memory:  # it stays, whatever is found out here
        all_of_it = replace(all_of_it, gate=model.elder.gate, stays_by_gate=True)
    if knowing.elder is not None:
        return all_of_it
    alike = knowing.spec.architecture == model.spec.architecture
    corrected = [each for each in examples if _supervised(each)]
    if config.remember <= 0 or not alike or len(corrected) < 2:
        return all_of_it  # nobody is kept beside, or there is nothing to tell apart
    known, unlike = [], []
    for number, example in enumerate(corrected, start=1):
        seen = all_of_it.look(example)
        if seen is not None and seen.known:
            known.append((example, seen))
        elif seen is not None and seen.unknown:
            unlike.append((example, seen))
        yield KindDone(number, len(corrected))
    if not known or not unlike:
        return all_of_it
    looks = partial(_looks, spec=model.spec, margin=margin)
    first = np.concatenate([looks(example) for example, _ in known])
    apart = _without_strays(first, [(one, looks(one[0])) for one in unlike], all_of_it)
    if not memory and _contrast(known, [one for one, _ in apart]) < CONTRAST:
        return all_of_it
    if memory:
        first = features(plane.image for plane in memory.learnt(model.spec))
    second = np.concatenate([its for _, its in apart])
    return _divided(all_of_it, gate_of(knowing.spec.name, first, second), examples)


def _divided(
    all_of_it: OwnKind, gate: Gate | None, examples: Sequence[Example]
) -> OwnKind:
    """Return what divides the examples by a gate, if there is much on its new side."""
    part = replace(all_of_it, gate=gate, stays_by_gate=False, stays=[])
    rest = part.of(examples)
    much = sum(map(_edited, rest)) >= LEAST * sum(map(_edited, examples))
    divided = part.staying(examples) and much and part.teaches(examples)
    return part if divided else all_of_it


def _without_strays(
    first: NDArray[np.float64], unlike: Sequence[tuple[Looked, NDArray[np.float64]]],
    own: OwnKind,
) -> list[tuple[Looked, NDArray[np.float64]]]:  # fmt: skip
    """Leave out images that look more like those that are known than like the others.

    One after another, as long as what is left is clearly of another kind; the looks of
    those that are left out decide, as ``own.seen`` says from then on.

    Parameters
    ----------
    first : features of the images that are known
    unlike : images that seem to be of another kind, with their features
    own : grows
    """
    left = list(unlike)
    while len(left) > 1:
        shares = []
        for number, (_, its) in enumerate(left):
            rest = [others for n, (_, others) in enumerate(left) if n != number]
            gate = gate_of("", first, np.concatenate(rest))
            shares.append(0.0 if gate is None else float(np.mean(gate.is_old(its))))
        worst = int(np.argmax(shares))
        if shares[worst] <= MOST:
            break
        (example, seen), _ = left.pop(worst)
        at = [image is example.image for image, _ in own.seen].index(True)
        own.seen[at] = example.image, seen._replace(stray=True)
    return left


def _contrast(known: Sequence[Looked], unlike: Sequence[Looked]) -> float:
    """Return how much better a model sees one kind than the other."""
    kinds = ([seen.sight for _, seen in kind] for kind in (known, unlike))
    first, second = (float(np.mean(sights)) for sights in kinds)
    return first - second


def _looks(example: Example, spec: ModelSpec, margin: int) -> NDArray[np.float64]:
    """Return the features of what is around an image's corrections, and of crops."""
    pieces = _pieces(example, spec, margin)
    return features(crop for piece in pieces for crop in crops(piece.image))


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


def _supervised(example: Example) -> bool:
    return example.supervised is None or bool(example.supervised.any())


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
