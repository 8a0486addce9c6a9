"""Overlapping tiles to one result, for networks whose tiles differ at their borders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.tiles import Slices

SIGMA = 0.125  # of a tile's side
LEAST = 1e-3  # of the weight in the middle


class Blend:
    """The mean of overlapping tiles, weighted by a Gaussian around each one's middle.

    Parameters
    ----------
    shape : of the result, (K, [Z,] Y, X)

    References
    ----------
    Isensee et al.: nnU-Net, Nature Methods 2021, 18:203-211.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sum = np.zeros(shape, np.float32)
        self._weight = np.zeros(shape[1:], np.float32)

    def add(self, scores: NDArray[np.float32], keep: Slices, place: Slices) -> None:
        """Add a part of a tile.

        Parameters
        ----------
        scores : (K, [Z,] Y, X), of the whole tile
        keep : the part of it
        place : where that lies in the result
        """
        weight = gaussian(scores.shape[1:])[keep]
        self._sum[(slice(None), *place)] += scores[(slice(None), *keep)] * weight
        self._weight[place] += weight

    def mean(self) -> NDArray[np.float32]:
        """Return the result, (K, [Z,] Y, X) float32."""
        return self._sum / self._weight


def gaussian(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return weights of a tile's pixels, 1 in its middle."""
    weight = np.ones(shape, np.float32)
    for axis, length in enumerate(shape):
        away = (np.arange(length) - (length - 1) / 2) / (SIGMA * length)
        column = np.exp(-0.5 * away**2).astype(np.float32)
        weight *= column.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.maximum(weight, LEAST)
