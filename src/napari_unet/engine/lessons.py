"""What a fine-tuning learns from, what it follows, and what only scores it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.blocks import everything
from napari_unet.engine.config import PredictConfig, RecallDone
from napari_unet.engine.holdout import Roles, blocks_with, reach_of, role_masks
from napari_unet.engine.instances import labels_from_scores
from napari_unet.engine.metrics import measures
from napari_unet.engine.sampling import all_planes
from napari_unet.engine.sites import Fresh, give_roles
from napari_unet.engine.training import Lesson, count_planes, headline, plane_scores
from napari_unet.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.model import Model
    from napari_unet.engine.sampling import Example, Plane
    from napari_unet.engine.spec import ModelSpec

FEWEST_PIXELS = 30  # supervised; fewer teach nothing
GRID = 64  # pixels; corrections further apart than the margin are pieces of their own
LARGEST = 2**22  # pixels in all whose errors are looked at again after each check
EVERY = 5  # one of so many remembered images only measures what was forgotten
SIZE = 15  # pixels over which an error makes its surroundings hard


@dataclass(frozen=True)
class Course:
    """Corrections, ready to be learnt from.

    Attributes
    ----------
    training : planes to learn from
    checking : planes that score what was learnt; those of ``training`` where nothing
        is held out
    honest : whether ``checking`` is kept out of training
    """

    training: list[Plane]
    checking: list[Plane]
    honest: bool


def course_of(
    examples: Sequence[Example], model: Model, config: FinetuneConfig
) -> Course:
    """Return what can be learnt from examples.

    Parameters
    ----------
    examples : if none of them says what is held out, it is chosen
    model : that is to learn
    config : see FinetuneConfig

    Raises
    ------
    TrainingError
        If nothing, or next to nothing, is supervised.
    """
    if all(example.held_out is None for example in examples):
        examples = with_held_out(examples, model, config.held_out)
    planes = all_planes(examples, model.spec)
    check_supervision(planes)
    pieces = [piece for plane in planes for piece in around(plane, config.crop)]
    learnt = [without(piece, piece.held) for piece in pieces]
    held = [only(piece, piece.held) for piece in pieces if piece.held is not None]
    training = [with_spread_targets(p) for p in learnt if p.supervised.any()]
    checking = [p for p in held if p.supervised.any()]
    if not training:
        raise TrainingError(
            "All that is corrected is held out to score the result: correct a place "
            "somewhere else too."
        )
    return Course(training, checking or training, bool(checking))


def with_held_out(
    examples: Sequence[Example], model: Model, share: float
) -> list[Example]:
    """Return examples with a share of their supervised places held out.

    Places are held out further from the others than the network's receptive field.
    """
    dims, reach = model.spec.architecture.dims, reach_of(model.network)
    masks = [
        np.ones(e.labels.shape, bool) if e.supervised is None else e.supervised
        for e in examples
    ]
    if any(m.shape != e.labels.shape for m, e in zip(masks, examples, strict=True)):
        return list(examples)  # refused with a sentence where they are read
    wholes = [everything(mask.shape) for mask in masks]
    fresh = [
        Fresh(Roles(), np.argwhere(blocks_with(mask, whole)), mask.shape, dims)
        for mask, whole in zip(masks, wholes, strict=True)
    ]
    found = []
    for example, mask, whole, roles in zip(
        examples, masks, wholes, give_roles(fresh, reach, share=share), strict=True
    ):
        learnt, held = role_masks(roles, mask, whole, dims, reach)
        found.append(replace(example, supervised=learnt | held, held_out=held))
    return found


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


def around(plane: Plane, margin: int) -> list[Plane]:
    """Return the parts of a plane within ``margin`` pixels of its corrections.

    Corrections that are far apart are parts of their own, so that a few of them in a
    large plane cost little.
    """
    places = np.argwhere(plane.supervised[0]) // GRID
    cells = np.zeros(places.max(axis=0) + 1, bool)
    cells[tuple(places.T)] = True
    reach = 2 * (margin // GRID + 1) + 1
    near = ndimage.binary_dilation(cells, np.ones((reach,) * cells.ndim, bool))
    clusters = ndimage.label(near, np.ones((3,) * cells.ndim, bool))[0]
    cluster = clusters[tuple(places.T)]
    parts = []
    for number in range(1, int(clusters.max()) + 1):
        its = places[cluster == number]
        window = tuple(
            slice(max(int(low) * GRID - margin, 0), (int(high) + 1) * GRID + margin)
            for low, high in zip(its.min(axis=0), its.max(axis=0), strict=True)
        )
        window = tuple(
            slice(s.start, min(s.stop, n))
            for s, n in zip(window, plane.labels.shape, strict=True)
        )
        part = plane.part(window)
        its_own = _cells_of(part, window, clusters, number)
        parts.append(replace(part, supervised=part.supervised * its_own))
    return parts


def _cells_of(
    part: Plane,
    window: tuple[slice, ...],
    clusters: NDArray[np.integer[Any]],
    number: int,
) -> NDArray[np.bool_]:
    """Return where a part's pixels belong to its own cluster of cells."""
    index = [
        np.minimum(np.arange(s.start, s.stop) // GRID, n - 1)
        for s, n in zip(window, clusters.shape, strict=True)
    ]
    return np.asarray(clusters[np.ix_(*index)] == number)


def only(plane: Plane, mask: NDArray[np.float32] | None) -> Plane:
    """Return a plane supervised in the mask only."""
    if mask is None:
        return plane
    return replace(plane, supervised=plane.supervised * mask)


def without(plane: Plane, mask: NDArray[np.float32] | None) -> Plane:
    """Return a plane supervised outside of the mask only."""
    return plane if mask is None else only(plane, 1 - mask)


def with_spread_targets(plane: Plane) -> Plane:
    """Return a plane whose unsupervised targets are those of the nearest supervised.

    Augmentation interpolates targets, so that those next to a supervised pixel matter.
    """
    nearest = ndimage.distance_transform_edt(
        plane.supervised[0] == 0, return_distances=False, return_indices=True
    )
    return replace(plane, targets=plane.targets[(slice(None), *nearest)])


# -- teachers


def taught(plane: Plane, teacher: Model, where: NDArray[np.float32]) -> Plane:
    """Return a plane with the scores of a teacher.

    Parameters
    ----------
    plane : any
    teacher : the model that is followed
    where : (1, [Z,] Y, X) float32, 1 where it is followed
    """
    return replace(plane, teacher=plane_scores(teacher, plane.image), follow=where)


def taught_elsewhere(planes: Sequence[Plane], teacher: Model) -> list[Plane]:
    """Return planes in which the teacher is followed where nothing was corrected."""
    found = []
    for plane in planes:
        corrected = plane.supervised
        if plane.held is not None:
            corrected = np.maximum(corrected, plane.held)
        found.append(taught(plane, teacher, 1 - corrected))
    return found


class Memory:
    """Images of the kind that a model was trained on, so that it stays good at them.

    Parameters
    ----------
    examples : with the truth, which only measures what was forgotten
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples
        self._spec: ModelSpec | None = None
        self._every: list[Plane] = []  # of a model of this spec
        self._teacher: Model | None = None
        self._recalled: list[Plane] = []  # with the scores of the teacher

    def planes(self, spec: ModelSpec) -> tuple[list[Plane], list[Plane]]:
        """Return what is learnt, without a teacher's scores, and what only measures."""
        if self._spec != spec:
            self._spec, self._every = spec, all_planes(self.examples, spec)
        learnt = [p for number, p in enumerate(self._every) if number % EVERY]
        return learnt, self._every[::EVERY]

    def steps(self, teacher: Model) -> Generator[RecallDone, Any, list[Plane]]:
        """Return what is learnt, with a teacher's scores.

        Of a teacher they are computed once, also if that is broken off.

        Yields
        ------
        RecallDone
        """
        learnt, _ = self.planes(teacher.spec)
        if self._teacher is not teacher:
            self._teacher, self._recalled = teacher, []
        for plane in learnt[len(self._recalled) :]:
            self._recalled.append(_recalled(plane, teacher))
            yield RecallDone(len(self._recalled), len(learnt))
        return self._recalled


def _recalled(plane: Plane, teacher: Model) -> Plane:
    """Return a plane of which only the teacher's scores are learnt."""
    everywhere = np.ones_like(plane.supervised)
    found = taught(plane, teacher, everywhere)
    return replace(found, supervised=np.zeros_like(everywhere))


def trust(model: Model, planes: Sequence[Plane]) -> float:
    """Return how right a model is where the user looked, 0 to 1."""
    return overall(measures(count_planes(model, planes)), model.spec)


def overall(measured: dict[str, float], spec: ModelSpec) -> float:
    """Return the one number that fine-tuning follows, 0 to 1.

    Half of it is the overlap: of few objects it tells more than how many are found.
    """
    return 0.5 * (headline(measured, spec.output) + measured["dice"])


# -- hard places


def with_hard_places(planes: Sequence[Plane], model: Model) -> list[Plane]:
    """Return planes that know how wrong a model is on their supervised pixels.

    Beyond LARGEST pixels in all, planes are left as they are.
    """
    found, room = [], LARGEST
    for plane in planes:
        room -= plane.labels.size
        found.append(plane if room < 0 else _with_errors(plane, model))
    return found


def _with_errors(plane: Plane, model: Model) -> Plane:
    scores = plane_scores(model, plane.image)
    predicted = labels_from_scores(scores, model.spec.output, PredictConfig())
    if model.spec.gives_objects:
        wrong = (predicted > 0) != (plane.labels > 0)
    else:
        wrong = predicted != plane.labels
    errors = wrong * plane.supervised[0]
    spread = ndimage.uniform_filter(errors.astype(np.float32), SIZE, mode="constant")
    return replace(plane, hard=np.minimum(3 * spread, 1)[np.newaxis])


def lesson_of(
    planes: Sequence[Plane], memory: Sequence[Plane], config: FinetuneConfig,
    trusted: float,
) -> Lesson:  # fmt: skip
    """Return a lesson; the teacher counts as much as it can be trusted."""
    return Lesson(planes, memory, config.teacher * trusted, config.remember)
