"""How much is corrected, counted block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fastremap
import numpy as np

from napari_unet.engine.blocks import keys_in, window_of
from napari_unet.engine.protect import ACCEPTED, EDITED, IGNORED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Key, Region, SparseArray
    from napari_unet.engine.writes import Tracked


@dataclass(frozen=True)
class Tally:
    """How much of a layer is corrected; objects and pixels."""

    edited_objects: int
    edited_pixels: int
    accepted_objects: int
    accepted_pixels: int
    ignored_pixels: int = 0

    def __bool__(self) -> bool:
        """Tell whether there is anything to learn from."""
        return self.edited_pixels + self.accepted_pixels > 0


@dataclass(frozen=True)
class _Count:
    """Of one block, for one state: how many pixels, and which objects."""

    pixels: int
    objects: NDArray[Any]


class Tallies:
    """Counts of all blocks that the user touched; each is counted once per change.

    Parameters
    ----------
    labels, state : of the ledger
    """

    def __init__(self, labels: Tracked, state: SparseArray) -> None:
        self._labels = labels
        self._state = state
        self._counts: dict[Key, dict[int, _Count]] = {}

    def forget(self, window: Region) -> None:
        """Count the blocks of a window anew, next time."""
        for key in keys_in(window):
            self._counts.pop(key, None)

    def total(self) -> Tally:
        """Return the sum of all blocks; an object in several counts once."""
        for key in self._state.written():
            self._count_of(key)
        edited, accepted = self._sum(EDITED), self._sum(ACCEPTED)
        return Tally(*edited, *accepted, self._sum(IGNORED)[1])

    def marked_in(self, region: Region) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return which objects have a marked pixel in a region's blocks.

        First those of edited, accepted or ignored ones, then those of edited or
        accepted ones only; 0 may be among them.
        """
        keys = self._state.written_in(region)
        learnt = self._objects_in(keys, (EDITED, ACCEPTED))
        ignored = self._objects_in(keys, (IGNORED,))
        return np.union1d(learnt, ignored), learnt

    def _objects_in(
        self, keys: list[Key], states: tuple[int, ...]
    ) -> NDArray[np.int32]:
        found = [self._count_of(key)[state].objects for key in keys for state in states]
        return np.unique(np.concatenate([np.zeros(0, np.int32), *found]))

    def _count_of(self, key: Key) -> dict[int, _Count]:
        """Return the counts of a block, counted anew where it changed."""
        if key not in self._counts:
            self._counts[key] = self._count(key)
        return self._counts[key]

    def _count(self, key: Key) -> dict[int, _Count]:
        window = window_of(key, self._labels.shape)
        states, labels = self._state[window], self._labels.now(window)
        found = {}
        states = np.minimum(states, IGNORED)
        for state in (EDITED, ACCEPTED, IGNORED):
            inside = labels[states == state]
            found[state] = _Count(inside.size, fastremap.unique(inside))
        return found

    def _sum(self, state: int) -> tuple[int, int]:
        counts = [each[state] for each in self._counts.values()]
        objects = [count.objects for count in counts if count.objects.size]
        ids = np.unique(np.concatenate(objects)) if objects else np.zeros(0, int)
        return int(np.count_nonzero(ids)), sum(count.pixels for count in counts)
