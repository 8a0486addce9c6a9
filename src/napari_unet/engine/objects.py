"""Objects in labels: where they stand, and what a tool would write there.

``labels`` is one plane (Y, X) or one volume (Z, Y, X), int32; it is only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fastremap
import numpy as np

from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region

CHUNK = 2**18  # pixels looked at together; what is known of them stays in the cache


@dataclass(frozen=True)
class Change:
    """What a tool would write.

    Attributes
    ----------
    window : where, with numeric start and stop
    labels : int32, the new content of the window
    ids : the objects that resulted, to be selected
    """

    window: Region
    labels: NDArray[np.int32]
    ids: tuple[int, ...]


def window_of(labels: NDArray[np.int32], ids: Iterable[int]) -> Region | None:
    """Return the smallest window that holds all pixels of objects; None without any.

    Parameters
    ----------
    labels : (..., Y, X) int32
    ids : of the objects
    """
    wanted = [int(label) for label in ids]
    if not wanted:
        return None
    low, high = np.array(labels.shape), np.zeros(labels.ndim, int)
    for corner, chunk in _chunks(labels):
        found = np.zeros(chunk.shape, bool)
        for label in wanted:
            found |= chunk == label
        if found.any():
            rows = np.flatnonzero(found.any(axis=1)) + corner[-2]
            columns = np.flatnonzero(found.any(axis=0))
            low = np.minimum(low, (*corner[:-2], rows[0], columns[0]))
            high = np.maximum(high, (*corner[:-2], rows[-1], columns[-1]))
    if (low > high).any():
        return None
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))


def _chunks(
    labels: NDArray[np.int32],
) -> Iterator[tuple[tuple[int, ...], NDArray[np.int32]]]:
    """Yield some rows of a plane at a time, and where they start."""
    rows = max(CHUNK // max(labels.shape[-1], 1), 1)
    for at in np.ndindex(labels.shape[:-2]):
        plane = np.asarray(labels[at])
        for top in range(0, len(plane), rows):
            yield (*at, top, 0), plane[top : top + rows]


def objects_on(labels: NDArray[np.int32], path: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the objects under the pixels (M, ndim) of a path, in its order."""
    touched = np.asarray(labels[tuple(path.T)]).tolist()
    return tuple(label for label in dict.fromkeys(touched) if label)


def existing(
    labels: NDArray[np.int32], ids: Iterable[int]
) -> tuple[tuple[int, ...], Region]:
    """Return ids without repetition, and their window; refuse those that are absent."""
    wanted = tuple(dict.fromkeys(int(label) for label in ids))
    if not wanted or 0 in wanted:
        raise LabelsError("Found background, expected an object: click on an object.")
    window = window_of(labels, wanted)
    present = [] if window is None else fastremap.unique(np.asarray(labels[window]))
    absent = [label for label in wanted if label not in present]
    if absent or window is None:
        raise LabelsError(
            f"There is no object {absent[0]} here, expected one of those that the "
            "layer shows: click on an object."
        )
    return wanted, window


def label_at(labels: NDArray[np.int32], place: NDArray[Any]) -> int:
    """Return the label under a point, 0 outside of the labels."""
    pixel = np.rint(place)
    inside = ((pixel >= 0) & (pixel < labels.shape)).all()
    return int(labels[tuple(pixel.astype(int))]) if inside else 0


def wider(window: Region, margin: int, shape: tuple[int, ...]) -> Region:
    """Return a window made wider on all sides, inside an array of this shape."""
    pairs = zip(window, shape, strict=True)
    return tuple(
        slice(max(s.start - margin, 0), min(s.stop + margin, n)) for s, n in pairs
    )
