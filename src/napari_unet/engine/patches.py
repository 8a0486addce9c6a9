"""What a step changed: pixels of blocks, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.blocks import (
    common,
    keys_in,
    overlap,
    pieces_of,
    relative,
    shape_of,
    union,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Key, Region


@dataclass(frozen=True)
class Side:
    """What some pixels held before, or after, a step.

    Attributes
    ----------
    labels : int32, one for each pixel, or a single one for all; None: not changed
    states : uint8, in the same way
    """

    labels: NDArray[np.int32] | None
    states: NDArray[np.uint8] | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(x.nbytes for x in (self.labels, self.states) if x is not None)


@dataclass(frozen=True)
class Patch:
    """The pixels of one block that a step changed.

    Attributes
    ----------
    window : slices over the layer's axes, inside one block
    places : uint16, positions in the window, counted in C order; None: all of it
    before, after : what they hold
    """

    window: Region
    places: NDArray[np.uint16] | None
    before: Side
    after: Side

    @property
    def size(self) -> int:
        """Number of pixels."""
        return prod(shape_of(self.window)) if self.places is None else self.places.size

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        places = 0 if self.places is None else self.places.nbytes
        return places + self.before.nbytes + self.after.nbytes


def short(values: NDArray[Any]) -> NDArray[Any]:
    """Return a single value for all where they are equal, in one dimension."""
    values = values.reshape(-1)
    return values[:1].copy() if (values == values[0]).all() else values


def patches_between(
    window: Region, before: NDArray[np.int32], after: NDArray[np.int32]
) -> tuple[Patch, ...]:
    """Return where two contents of a window differ.

    Parameters
    ----------
    window : slices over the layer's axes
    before, after : int32, content of the window
    """
    return _differing(window, before, after, lambda labels: Side(labels, None))


def marking(
    window: Region, before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> tuple[Patch, ...]:
    """Return patches that give pixels of a window other states, labels unchanged.

    Parameters
    ----------
    window : slices over the layer's axes
    before, after : uint8, states of the window
    """
    return _differing(window, before, after, lambda states: Side(None, states))


def _differing(
    window: Region, before: NDArray[Any], after: NDArray[Any],
    side: Callable[[NDArray[Any]], Side],
) -> tuple[Patch, ...]:  # fmt: skip
    """Return patches for the pixels in which two contents of a window differ."""
    found = []
    for piece in _pieces(window):
        inside = relative(piece, window)
        one, other = before[inside], after[inside]
        places = _chosen(one != other)
        if places is not None:
            sides = (side(_picked(each, places)) for each in (one, other))
            found.append(Patch(piece, _kept(places), *sides))
    return tuple(found)


def edited(
    window: Region, where: NDArray[np.bool_],
    labels: tuple[NDArray[np.int32], NDArray[np.int32]],
    states: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> tuple[Patch, ...]:  # fmt: skip
    """Return patches for pixels that were edited, and those marked with them.

    Parameters
    ----------
    window : slices over the layer's axes
    where : bool, the pixels
    labels, states : before and after
    """
    found = []
    for piece in _pieces(window):
        inside = relative(piece, window)
        places = _chosen(where[inside])
        if places is not None:
            old, new = (
                Side(*(_picked(each[inside], places) for each in both))
                for both in zip(labels, states, strict=True)
            )
            found.append(Patch(piece, _kept(places), old, new))
    return tuple(found)


def _pieces(window: Region) -> list[Region]:
    shape = tuple(s.stop for s in window)  # blocks behind the window do not matter
    return list(pieces_of(window, shape))


def _chosen(where: NDArray[np.bool_]) -> NDArray[np.intp] | slice | None:
    """Return the places of true pixels in C order; a slice for all, None for none."""
    count = np.count_nonzero(where)
    if count in (0, where.size):
        return slice(None) if count else None
    return np.flatnonzero(where)


def _picked(values: NDArray[Any], places: NDArray[np.intp] | slice) -> NDArray[Any]:
    """Return a copy of the values at some places."""
    return short(values.flatten()[places])


def _kept(places: NDArray[np.intp] | slice) -> NDArray[np.uint16] | None:
    return None if isinstance(places, slice) else places.astype(np.uint16)


def fill(content: NDArray[Any], patch: Patch, values: NDArray[Any] | None) -> None:
    """Write a patch's values into the content of its window."""
    if values is None:
        return
    if patch.places is None:
        content[...] = values if values.size == 1 else values.reshape(content.shape)
        return
    flat = content.reshape(-1)  # a view: the content of a window is contiguous
    flat[patch.places] = values


def joined(patches: Iterable[Patch]) -> tuple[Patch, ...]:
    """Return patches that do at once what these do one after the other.

    Parameters
    ----------
    patches : of steps of one kind, in the order of the steps
    """
    return tuple(
        each[0] if len(each) == 1 else _joined_block(each)
        for each in by_block(patches).values()
    )


def _joined_block(patches: list[Patch]) -> Patch:
    window = union([patch.window for patch in patches]) or ()
    back = patches[::-1]  # what was there first is written last
    before = [(patch, patch.before) for patch in back]
    after = [(patch, patch.after) for patch in patches]
    touched = np.zeros(shape_of(window), bool)
    for patch in patches:
        _fill_part(touched, window, patch, np.ones(1, bool))
    places = slice(None) if touched.all() else np.flatnonzero(touched)
    sides = (_joined_side(each, window, places) for each in (before, after))
    return Patch(window, _kept(places), *sides)


def _joined_side(
    parts: list[tuple[Patch, Side]], window: Region,
    places: NDArray[np.intp] | slice,
) -> Side:  # fmt: skip
    labels = np.zeros(shape_of(window), np.int32)
    states = np.zeros(shape_of(window), np.uint8)
    for patch, side in parts:
        _fill_part(labels, window, patch, side.labels)
        _fill_part(states, window, patch, side.states)
    side = parts[0][1]
    return Side(
        None if side.labels is None else _picked(labels, places),
        None if side.states is None else _picked(states, places),
    )


def _fill_part(
    content: NDArray[Any], window: Region, patch: Patch, values: NDArray[Any] | None
) -> None:
    """Write a patch's values into a window that holds the patch's window."""
    inside = relative(patch.window, window)
    part = content[inside].copy()
    fill(part, patch, values)
    content[inside] = part


def by_block(patches: Iterable[Patch]) -> dict[Key, list[Patch]]:
    """Return patches by the block in which they lie."""
    found: dict[Key, list[Patch]] = {}
    for patch in patches:
        found.setdefault(next(keys_in(patch.window)), []).append(patch)
    return found


def reaching(window: Region, blocks: dict[Key, list[Patch]]) -> list[Patch]:
    """Return the patches, as ``by_block`` gives them, that reach into a window."""
    if not blocks:
        return []
    return [
        patch for key in keys_in(window) for patch in blocks.get(key, ())
        if overlap(patch.window, window)
    ]  # fmt: skip


def fill_common(
    content: NDArray[Any], window: Region, patch: Patch, values: NDArray[Any] | None
) -> None:
    """Write a patch's values into the content of a window that it reaches into."""
    if values is None:
        return
    shape = shape_of(patch.window)
    whole, chosen = np.zeros(shape, content.dtype), np.zeros(shape, bool)
    fill(whole, patch, values)
    fill(chosen, patch, np.ones(1, bool))
    piece = common(window, patch.window)
    part = relative(piece, patch.window)
    np.copyto(content[relative(piece, window)], whole[part], where=chosen[part])


def reach(patches: Iterable[Patch]) -> Region | None:
    """Return the smallest window of all labels that patches change."""
    return union([each.window for each in patches if each.after.labels is not None])
