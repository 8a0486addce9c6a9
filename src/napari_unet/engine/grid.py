"""Half-overlapping windows that cover a plane or volume. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region

PLACE = 96  # pixels, side of a window in its plane
DEPTH = 8  # slices of a volume


@dataclass(frozen=True)
class Grid:
    """Half-overlapping windows that cover a plane or volume evenly.

    Each axis is cut into cells of half a window; a window is two cells long on each
    axis that has two.

    Attributes
    ----------
    edges : for each axis where its cells begin, and the end of the last
    """

    edges: tuple[NDArray[np.intp], ...]

    @property
    def windows(self) -> list[Region]:
        """The windows, in reading order."""
        spans = []
        for edge in self.edges:
            pair = _pair(edge)
            spans.append([
                slice(int(a), int(b))
                for a, b in zip(edge[:-pair], edge[pair:], strict=True)
            ])  # fmt: skip
        return list(product(*spans))

    def means(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the mean of a map in each window, in their order."""
        return self._sums(pixels) / self._areas()

    def _areas(self) -> NDArray[np.float64]:
        lengths = [edge[_pair(edge) :] - edge[: -_pair(edge)] for edge in self.edges]
        return np.asarray(reduce(np.multiply.outer, lengths).ravel(), np.float64)

    def _sums(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.asarray(pixels, np.float32)
        for axis in reversed(range(sums.ndim)):
            cells = np.add.reduceat(
                sums, self.edges[axis][:-1], axis=axis, dtype=np.float64
            )
            count = cells.shape[axis]
            if count > 1:
                first = cells.take(range(count - 1), axis)
                cells = first + cells.take(range(1, count), axis)
            sums = cells
        return np.asarray(sums.ravel(), np.float64)


def _pair(edge: NDArray[np.intp]) -> int:
    """Return how many cells of an axis make a window."""
    return min(2, len(edge) - 1)


def grid_over(shape: tuple[int, ...]) -> Grid:
    """Return the windows of a plane (Y, X) or volume (Z, Y, X)."""
    sides = ((DEPTH,) * (len(shape) - 2) + (PLACE, PLACE))[-len(shape) :]
    edges = []
    for length, side in zip(shape, sides, strict=True):
        cells = max(round(2 * length / side), 1)
        edges.append(np.linspace(0, length, min(cells, length) + 1).astype(np.intp))
    return Grid(tuple(edges))
