"""Steps that can be undone and redone, within a limit of memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from napari_unet.engine.patches import joined

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_unet.engine.patches import Patch

LIMIT = 2**29  # bytes
PREDICTION = "prediction"  # title of the steps that are not done by hand


@dataclass(frozen=True)
class Step:
    """One change of labels and states. Nobody writes into its arrays.

    Attributes
    ----------
    title : what it was
    patches : what it changed
    joins : whether it goes on where the step before it ended, so that both are undone
        together
    made : seconds since the epoch
    """

    title: str
    patches: tuple[Patch, ...]
    joins: bool = False
    made: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(patch.nbytes for patch in self.patches)

    @property
    def highest(self) -> int:
        """The highest label that it wrote; 0: none."""
        written = (patch.after.labels for patch in self.patches)
        return max((int(each.max()) for each in written if each is not None), default=0)


@dataclass(frozen=True)
class HandWork:
    """How much was done by hand.

    Attributes
    ----------
    seconds : of work, pauses left out
    strokes : strokes and uses of tools, acceptances left out
    """

    seconds: float = 0.0
    strokes: int = 0


@dataclass(frozen=True)
class Record:
    """What happened to the history, so that it can be told again.

    Attributes
    ----------
    kind : "step": a step was done; "undo" and "redo": one was taken back or done again,
        with those that join it; "past" and "future": a step that was there before the
        telling began
    step : None for undo and redo
    work : done by hand until then
    """

    kind: Literal["step", "undo", "redo", "past", "future"]
    step: Step | None = None
    work: HandWork = field(default_factory=HandWork)


class History:
    """A line of steps and a place in it."""

    def __init__(self) -> None:
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._held = 0  # bytes of what is done; adding them up anew takes long

    def add(self, step: Step) -> None:
        """Append a step; what was undone is forgotten, the oldest when too much.

        Steps that are undone together become one, or are forgotten together.
        """
        self._undone.clear()
        self._done.append(step)
        self._held += step.nbytes
        if self._held > LIMIT:
            self._join_last()
        self._forget_first()

    def _forget_first(self) -> None:
        """Forget the oldest steps when all hold too much."""
        while self._held > LIMIT and (first := self._second_start()):
            self._held -= sum(each.nbytes for each in self._done[:first])
            del self._done[:first]

    def _join_last(self) -> None:
        """Turn the last steps into one, if they are undone together."""
        steps = self.to_undo()[::-1]
        if len(steps) > 1:
            patches = joined(patch for step in steps for patch in step.patches)
            one = replace(steps[0], patches=patches, made=steps[-1].made)
            self._done[-len(steps) :] = [one]
            self._held += one.nbytes - sum(step.nbytes for step in steps)

    def _second_start(self) -> int:
        """Return where those steps begin that undo would take back last but one."""
        starts = (i for i, step in enumerate(self._done) if i and not step.joins)
        return next(starts, 0)

    def back(self) -> Step | None:
        """Move before the last step and return it."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        self._held -= self._undone[-1].nbytes
        return self._undone[-1]

    def forth(self) -> Step | None:
        """Move behind the last undone step and return it."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        self._held += self._done[-1].nbytes
        return self._done[-1]

    @property
    def last(self) -> str | None:
        """The title of the step that undo would take back."""
        return self._done[-1].title if self._done else None

    def last_since(self, title: str, moment: float) -> bool:
        """Tell whether the last step has a title and was made after a moment."""
        return (
            bool(self._done)
            and self._done[-1].title == title
            and self._done[-1].made > moment
        )

    @property
    def next(self) -> str | None:
        """The title of the step that redo would do again."""
        return self._undone[-1].title if self._undone else None

    def to_undo(self) -> list[Step]:
        """Return the steps that undo would take back, the last one first."""
        found: list[Step] = []
        for step in reversed(self._done):
            found.append(step)
            if not step.joins:
                break
        return found

    def to_redo(self) -> list[Step]:
        """Return the steps that redo would do again, the next one first."""
        found: list[Step] = []
        for step in reversed(self._undone):
            if found and not step.joins:
                break
            found.append(step)
        return found

    def told(self) -> list[Record]:
        """Return all steps as records, so that the history can be made again."""
        past = [Record("past", step) for step in self._done]
        return past + [Record("future", step) for step in self._undone]

    def recall(self, records: Iterable[Record]) -> None:
        """Take steps that ``told`` gave, behind those that are there."""
        for record in records:
            if record.step is not None:
                place = self._done if record.kind == "past" else self._undone
                place.append(record.step)
                self._held += record.step.nbytes * (record.kind == "past")
                self._forget_first()
