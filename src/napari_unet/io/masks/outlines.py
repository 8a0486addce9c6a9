"""The objects of a plane and their outlines, exact to the pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import fastremap
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Object:
    """What one number marks in a plane.

    Attributes
    ----------
    label : the number
    mask : (Y, X) bool, the smallest window around it
    top, left : where the window begins, in pixels
    """

    label: int
    mask: NDArray[np.bool_]
    top: int
    left: int

    def outlines(self) -> list[NDArray[np.int64]]:
        """Return closed outlines along the edges of pixels, outer ones and holes.

        Pixels that touch at a corner belong together, and holes turn the other way
        round, so that both the even-odd and the nonzero rule fill the mask exactly.

        Returns
        -------
        outlines : each (N, 2), x and y of corners of pixels; (0, 0) is the upper left
            corner of the plane's first pixel, the last corner joins the first
        """
        from skimage.measure import find_contours

        padded = np.pad(self.mask, 1).astype(np.float64)
        found = find_contours(padded, 0.5, fully_connected="high")
        start = np.array([self.left, self.top]) - 1
        return [_corners(contour) + start for contour in found]

    def borders(self, height: int) -> list[int]:
        """Return where runs of the object's pixels start and end, down the columns.

        Parameters
        ----------
        height : of the plane, in pixels

        Returns
        -------
        borders : start, end, start, ... ; places in the plane read column by column
        """
        x, y = np.nonzero(self.mask.T)
        places = (x + self.left) * height + y + self.top
        breaks = np.flatnonzero(np.diff(places) > 1) + 1
        starts = places[np.concatenate([[0], breaks])]
        ends = places[np.concatenate([breaks - 1, [-1]])] + 1
        return np.stack([starts, ends], axis=1).ravel().tolist()


def _corners(contour: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn a contour through the middles of pixels' edges into corners of pixels.

    Where two edges in a row lie across each other they share a corner; of the one
    that runs along x it has the y, of the other the x.
    """
    along_x = contour[:, 0] % 1 != 0
    turns = np.flatnonzero(along_x[1:] != along_x[:-1])
    flat = np.where(along_x[turns], turns, turns + 1)
    upright = np.where(along_x[turns], turns + 1, turns)
    middles = np.stack([contour[upright, 1], contour[flat, 0]], axis=1)
    return np.rint(middles + 0.5).astype(np.int64)


def objects_in(plane: NDArray[np.int32]) -> Iterator[Object]:
    """Yield the objects of a plane, lowest number first."""
    # find_objects makes a list as long as the highest number
    compact, numbers = fastremap.renumber(plane, in_place=False)
    labels = {small: int(label) for label, small in numbers.items() if small}
    windows = ndimage.find_objects(compact)
    for small in sorted(labels, key=lambda small: labels[small]):
        rows, columns = window = windows[small - 1]
        mask = compact[window] == small
        yield Object(labels[small], mask, rows.start, columns.start)
