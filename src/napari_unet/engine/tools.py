"""The correction tools: what each would write, as pure functions on labels.

``labels`` is always one plane (Y, X) or one volume (Z, Y, X), int32, in which objects
stand; it is only read. All work happens in a crop around the objects, and each tool
returns the new content of that crop. A line is an array (N, ndim) of points in pixels,
at least two, which may lie outside of the labels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.blocks import union
from napari_unet.engine.objects import (
    Change,
    existing,
    objects_on,
    wider,
    window_of,
)
from napari_unet.engine.protect import members
from napari_unet.engine.shaping import components, path_of, smoothed, snapped
from napari_unet.engine.splitting import split, split_by_line, split_by_seeds
from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region

__all__ = [
    "Change",
    "copy_object",
    "delete",
    "fill_holes",
    "merge_along",
    "smooth",
    "snap",
    "split",
    "split_by_line",
    "split_by_seeds",
    "window_of",
]

# -- joining and removing


def merge_along(labels: NDArray[np.int32], line: NDArray[Any]) -> Change:
    """Join all objects that a line touches under the id of the first.

    Background under the line joins too, 3 pixels wide, where it separates them.

    Raises
    ------
    LabelsError
        If the line touches fewer than two objects.
    """
    path = path_of(line, labels.shape)
    wanted = objects_on(labels, path)
    _check_several(wanted)
    _, tight = existing(labels, wanted)
    along = tuple(
        slice(int(a), int(b) + 1)
        for a, b in np.stack([path.min(axis=0), path.max(axis=0)], axis=1)
    )
    window = union([tight, wider(along, 1, labels.shape)]) or tight
    content = np.array(labels[window], np.int32)
    mask = members(content, np.array(wanted))
    bridge = _bridge(mask, path - [s.start for s in window])
    content[mask | (bridge & (content == 0))] = wanted[0]
    return Change(window, content, wanted[:1])


def _check_several(ids: tuple[int, ...]) -> None:
    if len(ids) < 2:
        raise LabelsError(
            f"Found {len(ids) or 'no'} object, expected at least two to merge: draw a "
            "line from one object into the next."
        )


def _bridge(mask: NDArray[np.bool_], path: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the pixels around a path where it leads from one piece to another."""
    pieces = components(mask)[tuple(path.T)]
    bridge = np.zeros(mask.shape, bool)
    for here, there in pairwise(np.flatnonzero(pieces).tolist()):
        if pieces[here] != pieces[there]:
            bridge[tuple(path[here + 1 : there].T)] = True
    if not bridge.any():
        return bridge
    width = [3] * mask.ndim
    flat = np.flatnonzero((path == path[0]).all(axis=0))
    if mask.ndim == 3 and flat.size:  # a line in a slice joins in that slice
        width[int(flat[0])] = 1
    return np.asarray(ndimage.binary_dilation(bridge, np.ones(width, bool)))


def delete(labels: NDArray[np.int32], ids: Iterable[int]) -> Change:
    """Turn objects into background.

    Raises
    ------
    LabelsError
        If one of them is absent.
    """
    wanted, window = existing(labels, ids)
    content = np.array(labels[window], np.int32)
    content[members(content, np.array(wanted))] = 0
    return Change(window, content, ())


# -- reshaping


def fill_holes(labels: NDArray[np.int32], label: int) -> Change:
    """Fill the background that an object encloses; other objects in there stay.

    Enclosed means in the plane for (Y, X), from all sides for (Z, Y, X).

    Raises
    ------
    LabelsError
        If the object is absent.
    """
    _, window = existing(labels, (label,))
    content = np.array(labels[window], np.int32)
    filled = np.asarray(ndimage.binary_fill_holes(content == label))
    content[filled & (content == 0)] = label
    return Change(window, content, (int(label),))


def smooth(labels: NDArray[np.int32], label: int, sigma: float = 2.0) -> Change:
    """Smooth an object's outline; it takes background only, and stays one piece.

    Parameters
    ----------
    labels : ([Z,] Y, X) int32
    label : the object
    sigma : pixels, of the Gaussian that the mask is blurred with

    Raises
    ------
    LabelsError
        If the object is absent, or too small to be smoothed so much.
    """
    if sigma <= 0:
        raise ValueError(f"sigma above 0 expected: {sigma}")
    window, content, mask = _room(labels, label, 1)
    new = smoothed(mask, mask | (content == 0), sigma)
    if not new.any():
        raise LabelsError(
            f"Object {label} would vanish, expected one wider than about "
            f"{2 * sigma:.0f} pixels: smooth less, or leave it as it is."
        )
    return _reshaped(window, content, mask, new)


def snap(
    labels: NDArray[np.int32], label: int, scores: NDArray[np.float32], reach: int = 8
) -> Change:
    """Move an object's outline to the nearest edge of the network's scores.

    Parameters
    ----------
    labels : ([Z,] Y, X) int32
    label : the object, drawn roughly
    scores : like labels, float32, foreground 0 to 1 or logits; nan where unknown
    reach : pixels, how far the outline may move

    Raises
    ------
    LabelsError
        If the object is absent, or the scores have no edge within reach.
    """
    if scores.shape != labels.shape or reach < 1:
        raise ValueError(
            f"scores like {labels.shape} expected: {scores.shape}, {reach}"
        )
    window, content, mask = _room(labels, label, reach + 4)
    new = snapped(mask, mask | (content == 0), np.asarray(scores[window]), reach)
    if new is None:
        raise LabelsError(
            f"The scores have no edge within {reach} pixels of object {label}, "
            "expected one: predict here first, or draw the outline closer to the edge."
        )
    return _reshaped(window, content, mask, new)


def _room(
    labels: NDArray[np.int32], label: int, margin: int
) -> tuple[Region, NDArray[np.int32], NDArray[np.bool_]]:
    """Return a window around an object, a copy of its labels, and the object's mask."""
    _, tight = existing(labels, (label,))
    window = wider(tight, margin, labels.shape)
    content = np.array(labels[window], np.int32)
    return window, content, content == label


def _reshaped(
    window: Region, content: NDArray[np.int32],
    mask: NDArray[np.bool_], new: NDArray[np.bool_],
) -> Change:  # fmt: skip
    label = content[mask][0]
    content[mask] = 0
    content[new] = label
    return Change(window, content, (int(label),))


# -- copying


def copy_object(
    labels: NDArray[np.int32],
    target: NDArray[np.int32],
    label: int,
    new: int,
    kept: NDArray[np.bool_] | None = None,
) -> Change:
    """Place an object into another plane or volume, such as the next slice or frame.

    Parameters
    ----------
    labels : ([Z,] Y, X) int32, where the object is
    target : like labels, where it shall be; objects there of which it covers more than
        half are replaced as a whole, the others stay
    label : the object
    new : its id in the target
    kept : like target, bool; pixels that must not change. Objects with such a pixel
        are not replaced

    Returns
    -------
    change : of the target

    Raises
    ------
    LabelsError
        If the object is absent, or nothing of it can be placed.
    """
    if labels.shape != target.shape or (
        kept is not None and kept.shape != target.shape
    ):
        raise ValueError(f"arrays like {labels.shape} expected: {target.shape}")
    _, window = existing(labels, (label,))
    mask = np.asarray(labels[window]) == label
    replaced, extent = _replaced(target, window, mask, kept)
    window = union([window, extent]) or window
    content = np.array(target[window], np.int32)
    content[members(content, np.array(replaced))] = 0
    placed = (np.asarray(labels[window]) == label) & (content == 0)
    if kept is not None:
        placed &= ~kept[window]
    if not placed.any():
        raise LabelsError(
            f"There is no room for object {label}, expected background or an object "
            "that it covers by more than half: delete what is in its place first."
        )
    content[placed] = new
    return Change(window, content, (int(new),))


def _replaced(
    target: NDArray[np.int32], window: Region,
    mask: NDArray[np.bool_], kept: NDArray[np.bool_] | None,
) -> tuple[list[int], Region]:  # fmt: skip
    """Return the objects that a mask covers by more than half, and their window."""
    values, covered = np.unique(np.asarray(target[window])[mask], return_counts=True)
    shares = dict(zip(values.tolist(), covered.tolist(), strict=True))
    beneath = [value for value in shares if value]
    extent = window_of(target, beneath) or window
    near = np.asarray(target[extent])
    fixed = set() if kept is None else set(near[kept[extent]].tolist())
    replaced = [
        value
        for value in beneath
        if value not in fixed and 2 * shares[value] > np.count_nonzero(near == value)
    ]
    inner = window_of(near, replaced)
    if inner is None:
        return [], window
    pairs = zip(inner, extent, strict=True)
    return replaced, tuple(slice(e.start + i.start, e.start + i.stop) for i, e in pairs)
