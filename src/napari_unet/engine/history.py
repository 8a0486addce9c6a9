"""Steps that can be undone and redone, within a limit of memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LIMIT = 2**29  # bytes


@dataclass
class Step:
    """One change, holding the other side: what undo (later redo) puts in place.

    Attributes
    ----------
    title : what it was
    window : slices over the layer that hold all of it
    index : flat positions in the layer
    labels, states : their values on the other side of this step
    """

    title: str
    window: tuple[slice, ...]
    index: NDArray[np.int64]
    labels: NDArray[np.int32]
    states: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """Bytes held."""
        return self.index.nbytes + self.labels.nbytes + self.states.nbytes


class History:
    """A line of steps and a place in it."""

    def __init__(self) -> None:
        self._done: list[Step] = []
        self._undone: list[Step] = []

    def add(self, step: Step) -> None:
        """Append a step; what was undone is forgotten, the oldest when too much."""
        self._undone.clear()
        self._done.append(step)
        total = sum(each.size for each in self._done)
        while total > LIMIT and len(self._done) > 1:
            total -= self._done.pop(0).size

    def back(self) -> Step | None:
        """Move before the last step and return it."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1]

    def forth(self) -> Step | None:
        """Move behind the last undone step and return it."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]

    @property
    def last(self) -> str | None:
        """The title of the step that undo would take back."""
        return self._done[-1].title if self._done else None

    @property
    def next(self) -> str | None:
        """The title of the step that redo would do again."""
        return self._undone[-1].title if self._undone else None
