"""What a fine-tuning learns from, what it follows, and what only scores it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.blocks import everything
from napari_unet.engine.holdout import BLOCK, Roles, blocks_with, reach_of, role_masks
from napari_unet.engine.metrics import mostly
from napari_unet.engine.sampling import all_planes
from napari_unet.engine.sites import Fresh, give_roles
from napari_unet.engine.zoom import zoom_for
from napari_unet.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.model import Model
    from napari_unet.engine.sampling import Example, Plane
    from napari_unet.engine.spec import ModelSpec

FEWEST_PIXELS = 30  # supervised; fewer teach nothing
ENOUGH = 10  # objects to tell from how small they are
SMALL = 5  # percentile of areas; below it lie those cut at an edge, and slips
GRID = 64  # pixels; corrections further apart than the margin are pieces of their own


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

    @property
    def only_background(self) -> bool:
        """Whether no pixel of an object, or of a class, is corrected or accepted."""
        every = (*self.training, *self.checking)
        return not any((p.labels[p.supervised[0] > 0] > 0).any() for p in every)

    def evidence(self, spec: ModelSpec) -> int:
        """Return of how many objects scores are, or of blocks, where there are none."""
        if not spec.gives_objects:
            return int(sum(p.supervised[0].sum() for p in self.checking) // BLOCK**2)
        return len(_areas(self.checking))

    def smallest(self, spec: ModelSpec) -> int | None:
        """Return how many pixels an object has at least, by those that are learnt.

        Half of what the smallest twentieth of them have; None: too few are known.
        """
        areas = _areas(self.training) if spec.gives_objects else []
        if len(areas) < ENOUGH:
            return None
        return max(round(0.5 * float(np.percentile(areas, SMALL))), 1)


def _areas(planes: Sequence[Plane]) -> list[int]:
    """Return the pixels of each object that lies mostly where planes are supervised."""
    found: list[int] = []
    for plane in planes:
        trusted = mostly(plane.labels, plane.supervised[0] > 0)
        areas = np.unique(trusted[trusted > 0], return_counts=True)[1]
        found += areas.tolist()
    return found


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
    dims = model.spec.architecture.dims
    zooms = [zoom_for(model.spec, example.pixel_size) for example in examples]
    reach = max(reach_of(model.network, zoom) for zoom in zooms)
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
