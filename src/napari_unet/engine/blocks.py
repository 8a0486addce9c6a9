"""The grid of blocks that the ledger counts in, and arrays that hold only some of it.

A block is 256 x 256 pixels of one plane; along all other axes it is one deep. What
the user does touches few blocks, so what is kept of it costs as much as was touched,
however large the labels are.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

BLOCK = 256  # pixels; side of a block
Region = tuple[slice, ...]
Key = tuple[int, ...]  # a block's place in the grid


def sides(ndim: int) -> tuple[int, ...]:
    """Return a block's length along each axis."""
    return (1,) * (ndim - 2) + (BLOCK, BLOCK)


def grid(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the number of blocks along each axis."""
    pairs = zip(shape, sides(len(shape)), strict=True)
    return tuple(-(-length // side) for length, side in pairs)


def window_of(key: Key, shape: tuple[int, ...]) -> Region:
    """Return the pixels of a block."""
    parts = zip(key, sides(len(shape)), shape, strict=True)
    return tuple(slice(k * s, min((k + 1) * s, n)) for k, s, n in parts)


def keys_in(window: Region) -> Iterator[Key]:
    """Yield the blocks that a window reaches into."""
    ranges = [
        range(s.start // side, -(-s.stop // side))
        for s, side in zip(window, sides(len(window)), strict=True)
    ]
    yield from product(*ranges)


def pieces_of(window: Region, shape: tuple[int, ...]) -> Iterator[Region]:
    """Yield the pieces into which the grid cuts a window."""
    for key in keys_in(window):
        yield common(window, window_of(key, shape))


def common(one: Region, other: Region) -> Region:
    """Return what two windows that overlap have in common."""
    pairs = zip(one, other, strict=True)
    return tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in pairs)


def overlap(one: Region, other: Region) -> bool:
    """Tell whether two windows have a pixel in common."""
    pairs = zip(one, other, strict=True)
    return all(a.start < b.stop and b.start < a.stop for a, b in pairs)


def relative(window: Region, origin: Region) -> Region:
    """Return a window's slices counted from the start of another."""
    pairs = zip(window, origin, strict=True)
    return tuple(slice(w.start - o.start, w.stop - o.start) for w, o in pairs)


def bounded(region: Region, shape: tuple[int, ...]) -> Region:
    """Return a region with its starts and stops in numbers."""
    bounds = (s.indices(n) for s, n in zip(region, shape, strict=True))
    return tuple(slice(start, max(start, stop)) for start, stop, _ in bounds)


def everything(shape: tuple[int, ...]) -> Region:
    """Return the window that holds all."""
    return tuple(slice(0, n) for n in shape)


def union(windows: list[Region]) -> Region | None:
    """Return the smallest window that holds all of these; None for none."""
    if not windows:
        return None
    return tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis))
        for axis in zip(*windows, strict=True)
    )


def shape_of(window: Region) -> tuple[int, ...]:
    """Return the lengths of a window."""
    return tuple(s.stop - s.start for s in window)


class SparseArray:
    """An array that is 0 except for the blocks that were written.

    Slices and numbers index it; what is read is an ordinary array. napari shows it as
    the data of a layer.

    Parameters
    ----------
    shape : (..., Y, X)
    dtype : of its values
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.ndim = len(shape)
        self._blocks: dict[Key, NDArray[Any]] = {}

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(block.nbytes for block in self._blocks.values())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        del copy  # always a new array
        return np.asarray(self[()], dtype)

    def __getitem__(self, key: Any) -> Any:
        region, squeezed = self._region(key)
        found = np.zeros(shape_of(region), self.dtype)
        for place in self.written_in(region):
            block = window_of(place, self.shape)
            piece = common(region, block)
            found[relative(piece, region)] = self._blocks[place][relative(piece, block)]
        return found[squeezed]

    def __setitem__(self, key: Any, values: Any) -> None:
        region, squeezed = self._region(key)
        steps = any(isinstance(k, slice) and k.step not in (None, 1) for k in squeezed)
        # what lies between the steps stays
        whole = self[region] if steps else np.empty(shape_of(region), self.dtype)
        whole[squeezed] = values
        for place in keys_in(region):
            block = window_of(place, self.shape)
            piece = common(region, block)
            content = whole[relative(piece, region)]
            if place not in self._blocks:
                if not content.any():
                    continue
                self._blocks[place] = np.zeros(shape_of(block), self.dtype)
            self._blocks[place][relative(piece, block)] = content

    def _region(self, key: Any) -> tuple[Region, tuple[Any, ...]]:
        """Return slices for all axes, and the key that drops those given as numbers."""
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (self.ndim - len(keys))
        region: list[slice] = []
        squeezed: list[Any] = []
        for each, length in zip(keys, self.shape, strict=True):
            if isinstance(each, slice):
                places = range(length)[each]
                first, last = sorted((places[0], places[-1])) if places else (0, -1)
                region.append(slice(first, last + 1))
                squeezed.append(slice(None, None, places.step))
            else:
                place = range(length)[int(each)]
                region.append(slice(place, place + 1))
                squeezed.append(0)
        return tuple(region), tuple(squeezed)

    def written_in(self, region: Region) -> list[Key]:
        """Return the blocks that hold something and that a region reaches into."""
        count = np.prod([max(n, 1) for n in shape_of(region)], dtype=np.int64)
        if count < len(self._blocks) * BLOCK * BLOCK:
            return [key for key in keys_in(region) if key in self._blocks]
        reach = [
            range(s.start // side, -(-s.stop // side))
            for s, side in zip(region, sides(self.ndim), strict=True)
        ]
        return [
            key for key in self._blocks
            if all(k in places for k, places in zip(key, reach, strict=True))
        ]  # fmt: skip

    def written(self) -> list[Key]:
        """Return the blocks that hold something."""
        return list(self._blocks)
