"""Splitting an object, by a line across or by two places in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.objects import (
    Change,
    existing,
    label_at,
    objects_on,
    window_of,
)
from napari_unet.engine.shaping import (
    longer,
    parts_beside,
    path_of,
    split_at_neck,
    spread_from_slice,
)
from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OVERSHOOT = 2.0  # pixels; a cut that ends so close to the outline is meant to reach it
BESIDE = (
    "The line separates nothing, expected one right across an object: start and end it "
    "outside of the object, or draw it from inside one part into the other."
)


def split(labels: NDArray[np.int32], line: NDArray[Any], first: int) -> Change:
    """Split an object, or several, by what the user drew.

    With both ends in one object they are seeds, see ``split_by_seeds``; else the line
    is a cut across, see ``split_by_line``.

    Parameters
    ----------
    labels : ([Z,] Y, X) int32
    line : (N, ndim) points in pixels
    first : lowest id that may be given

    Raises
    ------
    LabelsError
        If nothing is separated.
    """
    start, stop = np.asarray(line, float)[[0, -1]]
    if 0 != label_at(labels, start) == label_at(labels, stop):
        return split_by_seeds(labels, start, stop, first)
    return split_by_line(labels, line, first)


def split_by_line(labels: NDArray[np.int32], line: NDArray[Any], first: int) -> Change:
    """Split all objects that a line separates; the largest part keeps the id.

    In a volume, the line separates an object in the slice in which it was drawn; from
    there the cut goes straight through the other slices, or along a neck beside that.

    Parameters
    ----------
    labels : ([Z,] Y, X) int32
    line : (N, ndim) points in pixels, in a volume all in one slice along some axis;
        made a little longer at both ends
    first : lowest id that may be given

    Raises
    ------
    LabelsError
        If the line separates nothing, for example because it ends inside an object.
    """
    points = np.asarray(line, float)
    if labels.ndim == 3:
        return _split_volume(labels, points, first)
    change = _split_volume(labels[np.newaxis], np.insert(points, 0, 0, axis=1), first)
    return Change(change.window[1:], change.labels[0], change.ids)


def _split_volume(
    labels: NDArray[np.int32], line: NDArray[np.float64], first: int
) -> Change:
    axis, level = _slice_of(line, labels.shape)
    plane = labels[(slice(None),) * axis + (level,)]
    path = path_of(longer(np.delete(line, axis, axis=1), OVERSHOOT), plane.shape)
    touched = objects_on(plane, path)
    window = window_of(labels, touched) if touched else None
    if window is None:
        raise LabelsError(BESIDE)
    cut = np.zeros(plane.shape, bool)
    cut[tuple(path.T)] = True
    cut = cut[window[:axis] + window[axis + 1 :]]
    content = np.array(labels[window], np.int32)
    turned = np.moveaxis(content, axis, 0)  # a view, slices like the line's come first
    ids: list[int] = []
    for label in touched:
        made = _cut_object(turned, label, (level - window[axis].start, cut), first)
        first += max(len(made) - 1, 0)
        ids += made
    if not ids:
        raise LabelsError(BESIDE)
    return Change(window, content, tuple(ids))


def _slice_of(line: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return along which axis of a volume a line is flat, and in which slice it is."""
    pixels = np.rint(line)
    for axis in range(3):
        if (pixels[:, axis] == pixels[0, axis]).all():
            if not 0 <= pixels[0, axis] < shape[axis]:
                break
            return axis, int(pixels[0, axis])
    raise LabelsError(
        "The line does not lie in a slice of the labels, expected one drawn in a "
        "single slice: draw it without changing the slice."
    )


def _cut_object(
    content: NDArray[np.int32], label: int,
    drawn: tuple[int, NDArray[np.bool_]], first: int,
) -> tuple[int, ...]:  # fmt: skip
    """Write the numbers of an object's parts; return none if it is not separated.

    Parameters
    ----------
    content : (Z, Y, X), written
    label : the object
    drawn : slice of the line, and its pixels there, (Y, X)
    first : lowest id that may be given
    """
    inner = window_of(content, (label,)) or ()
    level, cut = drawn[0] - inner[0].start, drawn[1][inner[1:]]
    mask = content[inner] == label
    seeds = np.zeros(mask.shape, np.int32)
    seeds[level] = parts_beside(mask[level], cut)
    if not seeds[level].any():
        return ()
    return _number(content[inner], spread_from_slice(seeds, mask), label, first)


def _number(
    content: NDArray[np.int32], sides: NDArray[np.int32], label: int, first: int
) -> tuple[int, ...]:
    """Write the sides 1 to n of an object in place; the largest keeps its id."""
    areas = np.bincount(sides[sides > 0])
    areas[0] = -1
    largest = int(areas.argmax())
    others = [side for side in range(1, len(areas)) if side != largest]
    numbers = np.full(len(areas), label, np.int32)
    numbers[others] = np.arange(first, first + len(others))
    content[...] = np.where(sides > 0, numbers[sides], content)
    return (label, *numbers[others].tolist())


def split_by_seeds(
    labels: NDArray[np.int32], one: NDArray[Any], other: NDArray[Any], first: int
) -> Change:
    """Split an object between two places, where it is narrowest.

    Parameters
    ----------
    labels : ([Z,] Y, X) int32
    one, other : (ndim,) points in pixels, inside the object
    first : the id of the smaller side

    Raises
    ------
    LabelsError
        If the places do not lie in one object.
    """
    ends = np.asarray(one, float), np.asarray(other, float)
    label = _seeded(labels, *ends)
    window = existing(labels, (label,))[1]
    content = np.array(labels[window], np.int32)
    corner = [s.start for s in window]
    start, stop = (tuple((np.rint(end).astype(int) - corner).tolist()) for end in ends)
    sides = split_at_neck(content == label, start, stop)
    return Change(window, content, _number(content, sides, label, first))


def _seeded(
    labels: NDArray[np.int32], one: NDArray[np.float64], other: NDArray[np.float64]
) -> int:
    """Return the object in which two different pixels lie."""
    found, there = label_at(labels, one), label_at(labels, other)
    if not (found and there):
        raise LabelsError(
            "A seed lies on the background, expected both inside one object: click "
            "twice inside the object."
        )
    if found != there:
        raise LabelsError(
            f"The seeds lie in the objects {found} and {there}, expected both in one: "
            "click twice inside the object to be split."
        )
    if (np.rint(one) == np.rint(other)).all():
        raise LabelsError(
            "Both seeds lie on the same pixel, expected two places: click once in "
            "each of the two parts."
        )
    return found
