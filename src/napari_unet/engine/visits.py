"""The places of a layer that were corrected for the first time.

A visit keeps what was predicted in its place. It stays open, and is scored anew as the
place is corrected, until the model learns or predicts there again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_unet.engine.blocks import (
    bounded,
    common,
    overlap,
    relative,
    shape_of,
    union,
)
from napari_unet.engine.compare import Truth
from napari_unet.engine.history import PREDICTION
from napari_unet.engine.objects import wider
from napari_unet.engine.patches import by_block, fill_common, reaching
from napari_unet.engine.progress import Visit, judge
from napari_unet.engine.protect import ACCEPTED, EDITED, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Key, Region
    from napari_unet.engine.corrections import Corrections
    from napari_unet.engine.history import Step
    from napari_unet.engine.patches import Patch
    from napari_unet.engine.progress import By

T = TypeVar("T")
SIDE = 96  # pixels; side of a place that the user chose
DEPTH = 16  # planes of such a place in a volume
CONTEXT = 64  # pixels around a place in which objects are seen whole
OPEN_PIXELS = 200 * SIDE**2  # of all visits that are open
MOST_VISITS = 1000  # of one layer; the oldest are forgotten
MOST_PREDICTED = 64
MOST_CELLS = 64  # in which one step can begin a visit; of more, every other or so
VISITED = 0.25  # share that was visited before from which a place is not new
MARKED = 0.1  # share that was corrected before, from beside, from which it is not
GRAZED = 0.03  # share below which a place was only touched from beside
SLIVER = 0.25  # of a cell, below which its predicted part is no place
MARKS_NOTHING = ("ignore", "un-accept")


@dataclass(frozen=True)
class Predicted:
    """Where a version of the model predicted.

    Attributes
    ----------
    window : slices over the axes of the labels
    version : its number
    """

    window: Region
    version: int


@dataclass(eq=False)
class _Open:
    """A visit that goes on.

    Attributes
    ----------
    visit : as it was scored last
    predicted : int32, of its window
    fixed : bool, what was corrected there before
    cell : of the grid; None: its window is another
    stale : it is to be scored anew
    """

    visit: Visit
    predicted: NDArray[np.int32]
    fixed: NDArray[np.bool_]
    cell: Key | None = None
    stale: bool = True


class Visits:
    """The visits of a layer; kept by its ledger, told of every step.

    Parameters
    ----------
    ledger : of the layer

    Attributes
    ----------
    closed : visits whose score is final
    predicted : where a version predicted, the last one last
    """

    def __init__(self, ledger: Corrections) -> None:
        self._ledger = ledger
        self.closed: tuple[Visit, ...] = ()
        self.predicted: tuple[Predicted, ...] = ()
        self._undone: list[Predicted] = []
        self._open: list[_Open] = []
        self._known: set[Key] = set()  # cells that need no second look
        self._changed: list[Region] = []  # since visits were scored

    def recall(self, visits: Sequence[Visit], predicted: Sequence[Predicted]) -> None:
        """Take what a project kept."""
        self.closed, self.predicted = tuple(visits), tuple(predicted)

    # -- what is known

    def scored(self, most: int | None = None) -> tuple[Visit, ...]:
        """Return all visits of places in which something is corrected, oldest first.

        Parameters
        ----------
        most : of those that changed so many are scored anew, the newest; None: all
        """
        for each in self._open:
            each.stale = each.stale or self._is_near_change(each)
        self._changed.clear()
        stale = [each for each in self._open if each.stale]
        self._score_changed(stale if most is None else stale[-most:])
        shown = [each.visit for each in self._open if each.visit.known]
        found = sorted((*self.closed, *shown), key=lambda visit: visit.made)
        return tuple(found[-MOST_VISITS:])

    def _score_changed(self, some: Iterable[_Open]) -> None:
        """Score visits anew in whose place, or near it, something changed."""
        for each in some:
            if each.stale or self._is_near_change(each):
                each.visit = self._score(each)
                each.stale = False

    def _is_near_change(self, its: _Open) -> bool:
        wide = self._wide(its.visit.window)
        return any(overlap(wide, window) for window in self._changed)

    def _score(self, its: _Open) -> Visit:
        """Score what was predicted by what stands there now."""
        window, ledger = its.visit.window, self._ledger
        states = ledger.state[window]
        if not states.any():
            return replace(its.visit, score=0.0, known=0.0)
        trusted = self._supervised(window, states) & ~its.fixed
        truth = Truth(ledger.labels.before(window), trusted)
        score, known = judge(its.predicted, truth, objects=ledger.instances)
        return replace(its.visit, score=score, known=known)

    def _supervised(
        self, window: Region, states: NDArray[np.uint8]
    ) -> NDArray[np.bool_]:
        """Return what is corrected or accepted; see ``Snapshot.supervised``."""
        marked = np.asarray((states == EDITED) | (states == ACCEPTED))
        if marked.all():
            return marked
        wide = self._wide(window)
        labels, states = self._ledger.labels.before(wide), self._ledger.state[wide]
        whole = self._snapshot(wide, labels, states).supervised()
        return whole[relative(window, wide)]

    def _snapshot(
        self, window: Region, labels: NDArray[np.int32], states: NDArray[np.uint8]
    ) -> Snapshot:
        ledger = self._ledger
        return Snapshot(window, labels, states, ledger.dims, ledger.instances, 0, 0)

    def _wide(self, window: Region) -> Region:
        """Return a window with what is around it in its plane or volume."""
        flat = len(window) - self._ledger.dims
        around = wider(window[flat:], CONTEXT, self._ledger.shape[flat:])
        return (*window[:flat], *around)

    # -- beginning

    def begin(self, window: Region, by: By, version: int = 0) -> bool:
        """Begin a visit of a place as it is; tell whether it is new.

        Parameters
        ----------
        window : slices over the axes of the labels
        by : who chose it
        version : that predicted it, where no prediction is known; 0: none
        """
        window = bounded(window, self._ledger.shape)
        source = self._source(window)
        number = source.version if source else version
        if not number or not prod(shape_of(window)):
            return False
        there = [each for each in self._open if overlap(each.visit.window, window)]
        self._score_changed(there)
        self._close([each for each in there if each.visit.known < GRAZED])
        return self._begin(window, by, number, {})

    def _begin(
        self, window: Region, by: By, version: int, step: dict[Key, list[Patch]],
        cell: Key | None = None,
    ) -> bool:  # fmt: skip
        """Begin a visit with what stood there before a step."""
        wide = self._wide(window)
        states = self._ledger.state[wide]
        for patch in reaching(wide, step):
            fill_common(states, wide, patch, patch.before.states)
        marked = float((states[relative(window, wide)] > 0).mean())
        if marked > MARKED or self._was_visited(window):
            return False
        predicted = np.array(self._ledger.labels.before(window))
        for patch in reaching(window, step):
            fill_common(predicted, window, patch, patch.before.labels)
        visit = Visit(window, by, self._ledger.clock(), version)
        fixed = self._fixed(window, step, states)
        self._open.append(_Open(visit, predicted, fixed, cell))
        self._make_room()
        return True

    def _fixed(
        self, window: Region, step: dict[Key, list[Patch]], states: NDArray[np.uint8]
    ) -> NDArray[np.bool_]:
        """Return what was corrected, accepted or ignored before a step.

        Parameters
        ----------
        window : slices over the axes of the labels
        step : its patches by block
        states : uint8, before the step, of the window and what is around it
        """
        if not states.any():
            return np.zeros(shape_of(window), bool)
        wide = self._wide(window)
        labels = np.array(self._ledger.labels.before(wide))
        for patch in reaching(wide, step):
            fill_common(labels, wide, patch, patch.before.labels)
        return self._snapshot(wide, labels, states).protected()[relative(window, wide)]

    def _was_visited(self, window: Region) -> bool:
        limit, across = VISITED * prod(shape_of(window)), window[-1]
        windows = [each.window for each in self.closed]
        windows += [each.visit.window for each in self._open]
        beside = [  # one axis tells most of a thousand apart, in little time
            each for each in windows
            if each[-1].start < across.stop and across.start < each[-1].stop
        ]  # fmt: skip
        shared = (
            prod(shape_of(common(each, window)))
            for each in beside if overlap(each, window)
        )  # fmt: skip
        return any(pixels > limit for pixels in shared)

    def _source(self, window: Region) -> Predicted | None:
        """Return the last prediction that reaches into a window."""
        last = reversed(self.predicted)
        return next((each for each in last if overlap(each.window, window)), None)

    def _make_room(self) -> None:
        """Close the oldest visits when all hold too much."""
        sizes = [each.predicted.size for each in self._open]
        while sum(sizes) > OPEN_PIXELS and len(sizes) > 1:
            self._close(self._open[:1])
            del sizes[0]

    # -- what the ledger tells

    def note(self, step: Step) -> None:
        """Take a step that was done by hand; it may begin visits."""
        self._note_change(step.patches)
        self._undone.clear()
        if self.predicted and step.title not in MARKS_NOTHING:
            cells = self._fresh_cells(step)
            blocks = by_block(step.patches) if cells else {}
            for cell in cells:
                self._look_at(cell, blocks)

    def _note_change(self, patches: Iterable[Patch]) -> None:
        window = union([patch.window for patch in patches])
        if self._open and window is not None:
            self._changed.append(window)
            if len(self._changed) > MOST_VISITS:
                self._changed = [union(self._changed) or window]

    def _fresh_cells(self, step: Step) -> list[Key]:
        """Return the cells that a step reaches and nobody looked at, a few of many."""
        sides = self._sides
        found = {
            cell
            for patch in _spread(step.patches, MOST_CELLS)
            for cell in _cells_in(patch.window, sides)
        }
        return _spread(sorted(found - self._known), MOST_CELLS)

    @property
    def _sides(self) -> tuple[int, ...]:
        """The length of a cell along each axis."""
        side = {2: (SIDE, SIDE), 3: (DEPTH, SIDE, SIDE)}[self._ledger.dims]
        return (1,) * (len(self._ledger.shape) - len(side)) + side

    def _look_at(self, cell: Key, step: dict[Key, list[Patch]]) -> None:
        """Begin a visit of a cell if the step is the first in it."""
        pairs = zip(cell, self._sides, strict=True)
        here = bounded(
            tuple(slice(k * n, (k + 1) * n) for k, n in pairs), self._ledger.shape
        )
        source = self._source(here)
        if source is None:
            return
        window = common(here, source.window)
        small = prod(shape_of(window)) < SLIVER * prod(shape_of(here))
        if small or self._is_elsewhere(window, step):
            return
        self._known.add(cell)
        self._begin(window, "user", source.version, step, cell)

    def _is_elsewhere(self, window: Region, step: dict[Key, list[Patch]]) -> bool:
        """Tell whether a step only grazes a window, or is in one that Next chose."""
        touched = np.zeros(shape_of(window), bool)
        for patch in reaching(window, step):
            fill_common(touched, window, patch, np.ones(1, bool))
        for each in self._open:
            its = each.visit.window
            if each.visit.by == "next" and overlap(its, window):
                piece = relative(common(its, window), window)
                if touched[piece].any():
                    return True
        all_of_it = sum(patch.size for each in step.values() for patch in each)
        return bool(touched.sum() < min(GRAZED * touched.size, all_of_it / 2))

    def travelled(self, steps: Sequence[Step], *, back: bool) -> None:
        """Take steps that were undone or done again; they begin no visit."""
        patches = [patch for step in steps for patch in step.patches]
        self._note_change(patches)
        window = union([patch.window for patch in patches])
        if window is None or all(step.title != PREDICTION for step in steps):
            return
        self.close(window)
        if not back and self._undone:
            made = (*self.predicted, self._undone.pop())
            self.predicted = made[-MOST_PREDICTED:]
        elif back and (source := self._source(window)) is not None:
            self.predicted = tuple(each for each in self.predicted
                                   if each is not source)  # fmt: skip
            self._undone.append(source)

    def note_prediction(self, window: Region, version: int) -> None:
        """Take note that a prediction was put in; visits there are over.

        Parameters
        ----------
        window : slices over the axes of the labels
        version : that predicted; 0: the same as before, read in another way
        """
        window = bounded(window, self._ledger.shape)
        dropped = self.close(window)
        if version:
            self._undone.clear()
            made = (*self.predicted, Predicted(window, version))
            self.predicted = made[-MOST_PREDICTED:]
        for visit in dropped:
            if visit.by == "next":  # nothing was done there yet
                self.begin(visit.window, "next", visit.version)

    # -- closing

    def close(self, within: Region | None = None) -> list[Visit]:
        """Make scores final; return visits of which nothing is known, now forgotten.

        Parameters
        ----------
        within : only visits that reach into this window; None: all
        """
        return self._close(
            [each for each in self._open
             if within is None or overlap(each.visit.window, within)]
        )  # fmt: skip

    def _close(self, some: list[_Open]) -> list[Visit]:
        self._score_changed(some)
        self._open = [each for each in self._open if each not in some]
        kept = [each.visit for each in some if each.visit.known >= GRAZED]
        self.closed = (*self.closed, *kept)[-MOST_VISITS:]
        dropped = [each for each in some if each.visit.known < GRAZED]
        self._known.difference_update(each.cell for each in dropped if each.cell)
        return [each.visit for each in dropped]


def _spread(items: Sequence[T], most: int) -> list[T]:
    """Return some of many items, evenly."""
    return list(items[:: -(-len(items) // most) or 1])


def _cells_in(window: Region, sides: tuple[int, ...]) -> Iterator[Key]:
    pairs = zip(window, sides, strict=True)
    yield from product(*(range(s.start // n, -(-s.stop // n)) for s, n in pairs))
