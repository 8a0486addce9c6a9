"""The ledger: what the user edited, accepted, ignores; what is protected; the history.

The user's tools write into ``Corrections.labels`` directly. Those labels see every
write and mark blocks as written; ``commit`` compares just these with what was there
before and turns the difference into one step of the history. A prediction, an accepted
view, a tool and a stroke are steps of the same kind, so undo returns to the exact
earlier state across all of them. Every step is also told as a record, from which a
project is written.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_unet.engine import protect
from napari_unet.engine.blocks import SparseArray, bounded, everything, keys_in, union
from napari_unet.engine.edits import changed_windows, edit_patches
from napari_unet.engine.history import PREDICTION, HandWork, History, Record, Step
from napari_unet.engine.patches import fill, marking, reach
from napari_unet.engine.protect import EDITED, IGNORED, Snapshot, accepted
from napari_unet.engine.tally import Tallies
from napari_unet.engine.visits import Visits
from napari_unet.engine.writes import tracked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Key, Region
    from napari_unet.engine.patches import Patch, Side
    from napari_unet.engine.protect import Merged
    from napari_unet.engine.tally import Tally

MARKS = ("accept", "un-accept", "accept object", "ignore")  # steps that draw nothing
PAUSE = 20.0  # seconds without a step after which it was no work


class Corrections:
    """Labels under correction.

    Parameters
    ----------
    labels : (..., [Z,] Y, X) integers; an array is copied, a store (such as a zarr
        array of int32) is written in place
    dims : 2 when objects are flat, so that each slice stands alone; 3 for volumes
    instances : whether values are objects (each corrected as a whole) or classes
    highest : label in a store, so that it need not be read; None: look

    Attributes
    ----------
    labels : int32; to be written by the user's tools, see the module's text
    state : uint8, like labels: UNTOUCHED, EDITED or ACCEPTED, and IGNORED added to it
    work : done by hand so far
    visits : places that were corrected for the first time
    clock : tells the seconds since the epoch
    """

    def __init__(
        self, labels: Any, *, dims: int = 2, instances: bool = True,
        highest: int | None = None,
    ) -> None:  # fmt: skip
        self.labels = tracked(labels)
        self.labels.on_write_done = self.commit
        self.state = SparseArray(self.labels.shape, np.uint8)
        self.dims = dims
        self.instances = instances
        self.history = History()
        self.revision = 0
        self.work = HandWork()
        self.clock: Callable[[], float] = time.time
        if highest is None:
            highest = int(np.asarray(labels).max(initial=0))
        self._next = highest + 1
        self._tallies = Tallies(self.labels, self.state)
        self.visits = Visits(self)
        self._records: list[Record] = []
        self._marked: set[Key] | None = None  # blocks with new states; None: all
        self._open = False  # a stroke of which a part is recorded goes on
        self._last_hand = 0.0

    @property
    def next_label(self) -> int:
        """The lowest id above every id ever used in this layer."""
        return self._next

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels."""
        return self.labels.shape

    # -- the user's strokes

    def stroke_ends(self) -> None:
        """Close a step of the history; called by the layer's ``paint`` event.

        napari reports a dragged stroke after its writes, but a fill before its only
        write: that one is closed when it comes.
        """
        half_recorded = self._open
        if not self.commit() and not half_recorded:
            self.labels.close_after_write = True

    def checkpoint(self) -> bool:
        """Record what an unfinished stroke painted so far; the rest will join it."""
        goes_on = self._open
        found = self._commit("edit", self.labels.written(), joins=goes_on)
        self._open = goes_on or found
        return found

    def commit(self, *, within: Region | None = None) -> bool:
        """Turn writes since the last commit into one step; tell whether there were any.

        Parameters
        ----------
        within : compare all pixels of this region too, also those written around the
            labels' own ``__setitem__`` (by another plugin, through a view)
        """
        windows = self.labels.written()
        if within is not None:
            windows += self.labels.suspects(bounded(within, self.shape))
        joins, self._open = self._open, False
        return self._commit("edit", windows, joins=joins)

    def edit(self, title: str, window: Region, labels: NDArray[np.int32]) -> bool:
        """Write new content into a window, as an edit; tell whether that changed it.

        Parameters
        ----------
        title : what is done, such as "split"
        window : slices over the labels' axes
        labels : int32, the window's new content
        """
        self.commit()
        self.labels[bounded(window, self.shape)] = labels
        return self._commit(title, self.labels.written(), vouched=True)

    def _commit(
        self, title: str, windows: list[Region], *, joins: bool = False,
        vouched: bool = False,
    ) -> bool:  # fmt: skip
        self.labels.close_after_write = False
        changed = changed_windows(self.labels, windows)
        if changed:
            patches, highest = edit_patches(
                self.labels, self.state, changed, self.dims,
                instances=self.instances, vouched=vouched,
            )  # fmt: skip
            self._next = max(self._next, highest + 1)
            self._mark(patches)
            self._add(title, patches, joins=joins)
        self.labels.settle()
        return bool(changed)

    # -- the history

    def _add(
        self, title: str, patches: tuple[Patch, ...], *, joins: bool = False
    ) -> None:
        step = Step(title, patches, joins, self.clock())
        self._count_work(title, joins)
        self.history.add(step)
        if title != PREDICTION:
            self.visits.note(step)
        self._tell(Record("step", step, self.work))

    def _tell(self, record: Record) -> None:
        self._records.append(record)
        self.revision += 1

    def _count_work(self, title: str, joins: bool) -> None:
        """Count the time since the last thing done by hand, unless it was a pause."""
        if title == PREDICTION:
            return
        now = self.clock()
        passed = now - self._last_hand
        self._last_hand = now
        seconds = self.work.seconds + (passed if 0 < passed < PAUSE else 0)
        fresh = not joins and title not in MARKS
        self.work = HandWork(seconds, self.work.strokes + fresh)

    def take_records(self) -> list[Record]:
        """Return what happened since this was last asked, in order."""
        records, self._records = self._records, []
        return records

    def take_marked(self) -> list[Key]:
        """Return the blocks whose states changed since this was last asked."""
        found = self.state.written() if self._marked is None else list(self._marked)
        self._marked = set()
        return found

    def undo(self) -> Region | None:
        """Return to the state before the last step; return the window that changed."""
        return self._travel("undo")

    def redo(self) -> Region | None:
        """Do the last undone step again; return the window that changed."""
        return self._travel("redo")

    def _travel(self, way: Literal["undo", "redo"]) -> Region | None:
        self.commit()
        ahead = self.history.to_undo() if way == "undo" else self.history.to_redo()
        self.commit(within=reach(patch for step in ahead for patch in step.patches))
        steps = self._go(way)
        if steps:
            self.visits.travelled(steps, back=way == "undo")
            self._count_work("accept", joins=False)
            self._tell(Record(way, None, self.work))
        return union([patch.window for step in steps for patch in step.patches])

    def _go(self, way: Literal["undo", "redo"]) -> list[Step]:
        """Take a step back or do it again, with those that join it."""
        history, back = self.history, way == "undo"
        steps = history.to_undo() if back else history.to_redo()
        for step in steps:
            self._apply(step.patches, back=back)
            if back:
                history.back()
            else:
                history.forth()
        return steps

    def _apply(self, patches: Iterable[Patch], *, back: bool = False) -> None:
        """Write one side of patches into labels and states."""
        for patch in patches:
            side = patch.before if back else patch.after
            if side.labels is not None:
                content = np.array(self.labels.now(patch.window), order="C")
                fill(content, patch, side.labels)
                self.labels.write(patch.window, content)
            self._set_states(patch, side)

    def _mark(self, patches: Iterable[Patch]) -> None:
        for patch in patches:
            self._set_states(patch, patch.after)

    def _set_states(self, patch: Patch, side: Side) -> None:
        if side.states is not None:
            content = self.state[patch.window]
            fill(content, patch, side.states)
            self.state[patch.window] = content
            if self._marked is not None:
                self._marked.update(keys_in(patch.window))
        self._tallies.forget(patch.window)

    def replay(self, records: Iterable[Record]) -> None:
        """Do again what records tell, of labels as they were when the telling began."""
        for record in records:
            step = record.step
            if record.kind in ("past", "future"):
                self.history.recall([record])
            elif record.kind == "step" and step is not None:
                self.history.add(step)
                self._apply(step.patches)
            elif record.kind == "undo" or record.kind == "redo":
                self._go(record.kind)
            self.work = record.work
            self._next = max(self._next, (step.highest if step else 0) + 1)
            self.revision += 1

    # -- accepting and ignoring

    def accept(self, region: Region) -> bool:
        """Mark what lies in a region as right; tell whether that was new."""
        return self._set("accept", region, accepted)

    def unaccept(self, region: Region) -> bool:
        """Take back what was accepted or ignored in a region; edits stay."""
        return self._set("un-accept", region, lambda state: state & np.uint8(EDITED))

    def accept_object(self, label: int, region: Region) -> bool:
        """Mark one object, as far as it lies in a region, as right."""
        region = bounded(region, self.shape)
        self.commit()
        its = self.labels.now(region) == label
        return self._set("accept object", region, lambda state: accepted(state, its))

    def ignore(self, region: Region, where: NDArray[np.bool_] | None = None) -> bool:
        """Mark pixels as neither to be learnt from nor to be counted.

        Parameters
        ----------
        region : slices over the labels' axes
        where : bool, like the region; None: all of it
        """
        inside = True if where is None else where
        return self._set(
            "ignore", region, lambda state: np.where(inside, state | IGNORED, state)
        )

    def accept_existing(self) -> None:
        """Mark every object that is there as right: labels that the user brought."""
        everywhere = everything(self.shape)
        its = self.labels.now(everywhere) > 0
        self._set("accept", everywhere, lambda state: accepted(state, its))

    def _set(
        self, title: str, region: Region,
        after: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    ) -> bool:  # fmt: skip
        """Give the pixels of a region other states, as one step."""
        self.commit()
        region = bounded(region, self.shape)
        before = self.state[region]
        patches = marking(region, before, after(before))
        if patches:
            self._mark(patches)
            self._add(title, patches)
        return bool(patches)

    # -- predictions

    def protected(self) -> NDArray[np.bool_]:
        """Return what no prediction may change."""
        return self.snapshot().protected()

    def whole_objects(self, window: Region) -> Region:
        """Return a window widened until the objects in it lie in it whole."""
        if not self.instances:
            return window
        return protect.whole_objects(self.labels, window, self.dims)

    def snapshot(self, window: Region | None = None) -> Snapshot:
        """Return a copy of a window, and of the whole of the objects in it.

        It costs as much as the window, however large the labels are.

        Parameters
        ----------
        window : slices over the labels' axes; None: everything
        """
        window = bounded(window or everything(self.shape), self.shape)
        part = self.whole_objects(window)
        self.commit(within=part)
        flat = len(self.shape) - self.dims
        planes = (*part[:flat], *everything(self.shape)[flat:])
        return Snapshot(
            part, np.array(self.labels.now(part)), self.state[part],
            self.dims, self.instances, self._next, self.revision,
            *self._tallies.marked_in(planes),
        )  # fmt: skip

    @property
    def drawing(self) -> bool:
        """Whether a stroke is begun and not ended."""
        return self._open or bool(self.labels.written())

    def merge(
        self, predicted: NDArray[np.int32], window: Region, region: Region | None = None
    ) -> Region | None:
        """Put a prediction under what is protected; see ``Snapshot.merge``."""
        window = bounded(window, self.shape)
        region = None if region is None else bounded(region, self.shape)
        merged = self.snapshot(window).merge(predicted, window, region)
        return self.put(merged)

    def put(self, merged: Merged, *, since: float = inf) -> Region | None:
        """Write a merged prediction as one step of the history.

        Parameters
        ----------
        merged : made from a snapshot of this revision
        since : seconds since the epoch; if the last step is a prediction that was made
            after that, both are undone together

        Returns
        -------
        changed : the window that changed, None if nothing did

        Raises
        ------
        ValueError
            If the layer changed since the snapshot: take a new one.
        """
        if self.is_stale(merged):
            raise ValueError("the layer changed since the snapshot was taken")
        if merged.patches:
            joins = self.history.last_since(PREDICTION, since)
            self._apply(merged.patches)
            self._next = max(self._next, merged.highest + 1)
            self._add(PREDICTION, merged.patches, joins=joins)
        return union([patch.window for patch in merged.patches])

    def is_stale(self, merged: Merged) -> bool:
        """Tell whether the layer changed since the snapshot was taken."""
        self.commit(within=reach(merged.patches))
        return merged.revision != self.revision

    # -- reports

    def tally(self) -> Tally:
        """Count what is corrected; only blocks that changed are counted anew."""
        self.commit()
        return self._tallies.total()
