"""Labels that know where they were written, and what was there before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_unet.engine.blocks import (
    BLOCK,
    common,
    grid,
    keys_in,
    relative,
    window_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import (
        Key,
        Region,
    )


class Tracked(Protocol):
    """Labels for a layer: napari's tools write, the ledger hears where.

    Attributes
    ----------
    close_after_write : call ``on_write_done`` after the next write
    on_write_done : set by the ledger
    """

    close_after_write: bool
    on_write_done: Callable[[], object] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the labels."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def size(self) -> int:
        """Number of pixels."""

    def __getitem__(self, key: Any) -> Any: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def now(self, window: Region) -> NDArray[np.int32]:
        """Return what a window holds; not to be written."""

    def before(self, window: Region) -> NDArray[np.int32]:
        """Return what a window held when it was last settled; not to be written."""

    def write(self, window: Region, values: NDArray[np.int32]) -> None:
        """Write, as settled."""

    def written(self) -> list[Region]:
        """Return the blocks that were written since they were settled."""

    def suspects(self, window: Region) -> list[Region]:
        """Return the pieces of a window that may differ from what was settled."""

    def settle(self) -> None:
        """Take what is there as settled."""


class TrackedLabels(np.ndarray[Any, np.dtype[np.int32]]):
    """Labels in memory: an int32 array that marks the blocks written to.

    napari's tools write into the array that the layer was given, each through one
    ``__setitem__`` (fact B2). Views and copies do not track; so a copy of what was
    settled is held, which also finds writes that went around this array.
    """

    marked: NDArray[np.bool_] | None = None
    settled: NDArray[np.int32]
    close_after_write = False
    on_write_done: Callable[[], object] | None = None

    def __new__(cls, labels: NDArray[Any]) -> TrackedLabels:
        """Copy labels into a tracking array."""
        array = np.array(labels, np.int32, order="C").view(cls)
        array.marked = np.zeros(grid(labels.shape), bool)
        array.settled = np.array(labels, np.int32, order="C")
        return array

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if self.marked is None:
            return
        self.marked[blocks_of(key, self.shape)] = True
        if self.close_after_write and self.on_write_done is not None:
            self.on_write_done()

    def now(self, window: Region) -> NDArray[np.int32]:
        """Return a view of a window; what is written through it is not tracked."""
        return self.view(np.ndarray)[window]

    def before(self, window: Region) -> NDArray[np.int32]:
        """Return what a window held when it was last settled."""
        return self.settled[window]

    def write(self, window: Region, values: NDArray[np.int32]) -> None:
        """Write, as settled."""
        self.now(window)[...] = values
        self.settled[window] = values

    def written(self) -> list[Region]:
        """Return the blocks that were written since they were settled."""
        if self.marked is None or not self.marked.any():
            return []
        keys = np.argwhere(self.marked).tolist()
        return [window_of(tuple(key), self.shape) for key in keys]

    def suspects(self, window: Region) -> list[Region]:
        """Return all of a window, plane by plane: anybody may have written to it."""
        return [
            window_of(key, self.shape)[:-2] + window[-2:]
            for key in keys_in((*window[:-2], slice(0, 1), slice(0, 1)))
        ]

    def settle(self) -> None:
        """Take what is in the written blocks as settled."""
        for window in self.written():
            self.settled[window] = self.now(window)
        if self.marked is not None:
            self.marked[...] = False


class TrackedStore:
    """Labels on disk: a thin wrapper that keeps a block as it was at its first write.

    Parameters
    ----------
    store : (..., Y, X) int32, indexed by slices, such as a zarr array; whoever writes
        into it writes through this object
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self.shape: tuple[int, ...] = tuple(store.shape)
        self.ndim = len(self.shape)
        self.dtype = np.dtype(np.int32)
        self.close_after_write = False
        self.on_write_done: Callable[[], object] | None = None
        self._kept: dict[Key, NDArray[np.int32]] = {}

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self.store[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        del copy  # always a new array
        return np.asarray(self.store[...], dtype)

    def __setitem__(self, key: Any, value: Any) -> None:
        touched = np.zeros(grid(self.shape), bool)
        touched[blocks_of(key, self.shape)] = True
        for each in map(tuple, np.argwhere(touched).tolist()):
            if each not in self._kept:
                self._kept[each] = self.now(window_of(each, self.shape))
        _write(self.store, key, value)
        if self.close_after_write and self.on_write_done is not None:
            self.on_write_done()

    def now(self, window: Region) -> NDArray[np.int32]:
        """Return a copy of a window."""
        return np.asarray(self.store[window], np.int32)

    def before(self, window: Region) -> NDArray[np.int32]:
        """Return what a window held when it was last settled."""
        found = self.now(window)
        for key in keys_in(window):
            if key in self._kept:
                block = window_of(key, self.shape)
                piece = common(window, block)
                found[relative(piece, window)] = self._kept[key][relative(piece, block)]
        return found

    def write(self, window: Region, values: NDArray[np.int32]) -> None:
        """Write, as settled."""
        self.store[window] = values

    def written(self) -> list[Region]:
        """Return the blocks that were written since they were settled."""
        return [window_of(key, self.shape) for key in self._kept]

    def suspects(self, window: Region) -> list[Region]:
        """Return what was written: nothing can go around this object."""
        del window
        return self.written()

    def settle(self) -> None:
        """Take what is there as settled."""
        self._kept.clear()


def tracked(labels: Any) -> Tracked:
    """Return labels that track: a copy of an array, a wrapper of a store."""
    if isinstance(labels, np.ndarray):
        return TrackedLabels(labels)
    return TrackedStore(labels)


def blocks_of(key: Any, shape: tuple[int, ...]) -> Any:
    """Return the key that selects the blocks a key reaches; all for unusual keys."""
    keys = key if isinstance(key, tuple) else (key,)
    if len(keys) != len(shape) or not all(map(_is_plain, keys)):
        return ...
    return tuple(
        _scaled(k, n, BLOCK if a >= len(shape) - 2 else 1)
        for a, (k, n) in enumerate(zip(keys, shape, strict=True))
    )


def _is_plain(key: Any) -> bool:
    """Tell whether a key is a slice of step 1, a number, or an array of numbers."""
    if isinstance(key, slice):
        return key.step in (None, 1)
    return isinstance(key, (int, np.integer)) or (
        isinstance(key, np.ndarray) and key.dtype.kind in "iu"
    )


def _scaled(key: Any, length: int, size: int) -> Any:
    """Return the key that selects the blocks in which ``key`` selects pixels."""
    if isinstance(key, slice):
        start, stop, _ = key.indices(length)
        return slice(start // size, -(-stop // size))
    return np.where(np.asarray(key) < 0, np.asarray(key) + length, key) // size


def _write(store: Any, key: Any, value: Any) -> None:
    """Write into a store; a zarr array takes arrays of numbers through ``vindex``."""
    keys = key if isinstance(key, tuple) else (key,)
    if any(isinstance(each, np.ndarray) for each in keys) and hasattr(store, "vindex"):
        store.vindex[key] = value
    else:
        store[key] = value
