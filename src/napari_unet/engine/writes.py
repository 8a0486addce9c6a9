"""A labels array that knows where it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BLOCK = 256  # pixels; side of the blocks that are marked


class TrackedLabels(np.ndarray[Any, np.dtype[np.int32]]):
    """An int32 array that marks the blocks written through ``__setitem__``.

    napari's tools write into the array that the layer was given, each through one
    ``__setitem__`` (fact B2). Views and copies do not track.

    Attributes
    ----------
    marked : which blocks were written; None in views and copies
    close_after_write : call ``on_write_done`` after the next write
    on_write_done : set by the owner
    """

    marked: NDArray[np.bool_] | None = None
    close_after_write = False
    on_write_done: Callable[[], object] | None = None

    def __new__(cls, labels: NDArray[Any]) -> TrackedLabels:
        """Copy labels into a tracking array."""
        array = np.array(labels, np.int32, order="C").view(cls)
        blocks = [-(-n // BLOCK) for n in labels.shape[-2:]]
        array.marked = np.zeros((*labels.shape[:-2], *blocks), bool)
        return array

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if self.marked is None:
            return
        self._mark(key)
        if self.close_after_write and self.on_write_done is not None:
            self.on_write_done()

    def _mark(self, key: Any) -> None:
        """Mark the blocks that a key reaches; all of them for unusual keys."""
        assert self.marked is not None  # noqa: S101 - narrows the type
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) != self.ndim or not all(map(_is_plain, keys)):
            self.marked[...] = True
            return
        scaled = (
            _blocks(k, n, a >= self.ndim - 2)
            for a, (k, n) in enumerate(zip(keys, self.shape, strict=True))
        )
        self.marked[tuple(scaled)] = True

    def written(self) -> tuple[slice, ...] | None:
        """Return the smallest window of blocks with all writes; None without any."""
        if self.marked is None or not self.marked.any():
            return None
        window = []
        for axis, places in enumerate(np.nonzero(self.marked)):
            size = BLOCK if axis >= self.ndim - 2 else 1
            stop = min((int(places.max()) + 1) * size, self.shape[axis])
            window.append(slice(int(places.min()) * size, stop))
        return tuple(window)

    def forget_writes(self) -> None:
        """Start anew."""
        if self.marked is not None:
            self.marked[...] = False


def _is_plain(key: Any) -> bool:
    """Tell whether a key is a slice of step 1, a number, or an array of numbers."""
    if isinstance(key, slice):
        return key.step in (None, 1)
    return isinstance(key, (int, np.integer)) or (
        isinstance(key, np.ndarray) and key.dtype.kind in "iu"
    )


def _blocks(key: Any, length: int, spatial: bool) -> Any:
    """Return the key that selects the blocks in which ``key`` selects pixels."""
    size = BLOCK if spatial else 1
    if isinstance(key, slice):
        start, stop, _ = key.indices(length)
        return slice(start // size, -(-stop // size))
    return np.where(np.asarray(key) < 0, np.asarray(key) + length, key) // size
