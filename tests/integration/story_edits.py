"""Where a person would correct: found in any labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


def two_neighbours(labels: np.ndarray) -> np.ndarray:
    """Return a line from the middle of an object to that of its nearest neighbour."""
    ids = np.unique(labels)[1:]
    middles = np.array(ndimage.center_of_mass(labels > 0, labels, ids))
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=-1)
    apart[np.diag_indices(len(ids))] = np.inf
    one, other = np.unravel_index(np.argmin(apart), apart.shape)
    return np.array([middles[one], middles[other]])


@dataclass(frozen=True)
class Rough:
    """A dab of the brush."""

    centre: tuple[int, int]
    size: int


def rough_disc(labels: np.ndarray) -> tuple[int, Rough]:
    """Return the loneliest object and a dab that is too large for it."""
    ids, sizes = np.unique(labels[labels > 0], return_counts=True)
    ids, sizes = ids[sizes > np.median(sizes)], sizes[sizes > np.median(sizes)]
    best = int(np.argmax([room_around(labels, each) for each in ids]))
    row, column = np.argwhere(labels == ids[best]).mean(axis=0).round().astype(int)
    diameter = 2 * np.sqrt(sizes[best] / np.pi)
    return int(ids[best]), Rough((int(row), int(column)), int(diameter) + 6)


def room_around(labels: np.ndarray, label: int) -> float:
    """Return the distance in pixels to the next object, or to the edge."""
    own = labels == label
    fenced = np.pad((labels == 0) | own, 1)
    return float(ndimage.distance_transform_edt(fenced)[1:-1, 1:-1][own].min())
