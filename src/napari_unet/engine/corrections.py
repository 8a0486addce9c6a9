"""The ledger: what the user edited or accepted, what is protected, and the history.

The user's tools write into ``Corrections.labels`` directly. That array sees every write
and marks blocks as written; ``commit`` compares just those with the last committed
labels and turns the difference into one step of the history. A prediction, an accepted
view and a stroke are steps of the same kind, so undo returns to the exact earlier state
across all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fastremap
import numpy as np

from napari_unet.engine.history import History, Step
from napari_unet.engine.protect import UNTOUCHED, Snapshot, members, near, rim
from napari_unet.engine.writes import TrackedLabels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_unet.engine.protect import Merged, Region

EDITED, ACCEPTED = 1, 2
PREDICTION = "prediction"


@dataclass(frozen=True)
class Tally:
    """How much of a layer is corrected; objects and pixels."""

    edited_objects: int
    edited_pixels: int
    accepted_objects: int
    accepted_pixels: int

    def __bool__(self) -> bool:
        """Tell whether there is anything to learn from."""
        return self.edited_pixels + self.accepted_pixels > 0


class Corrections:
    """Labels under correction.

    Parameters
    ----------
    labels : (..., [Z,] Y, X) integers, copied
    dims : 2 when objects are flat, so that each slice stands alone; 3 for volumes
    instances : whether values are objects (each corrected as a whole) or classes

    Attributes
    ----------
    labels : int32; to be written by the user's tools, see the module's text
    state : uint8, like labels: UNTOUCHED, EDITED or ACCEPTED
    """

    def __init__(
        self, labels: NDArray[Any], *, dims: int = 2, instances: bool = True
    ) -> None:
        self.labels = TrackedLabels(labels)
        self.labels.on_write_done = self.commit
        self.state = np.zeros(labels.shape, np.uint8)
        self.dims = dims
        self.instances = instances
        self.history = History()
        self.revision = 0
        self._committed = np.array(self.labels, np.int32)
        self._next = int(labels.max(initial=0)) + 1
        self._tally: tuple[int, Tally] | None = None

    @property
    def next_label(self) -> int:
        """The lowest id above every id ever used in this layer."""
        return self._next

    # -- the user's strokes

    def stroke_ends(self) -> None:
        """Close a step of the history; called by the layer's ``paint`` event.

        napari reports a dragged stroke after its writes, but a fill before its only
        write: that one is closed when it comes.
        """
        if not self.commit():
            self.labels.close_after_write = True

    def commit(self, *, everywhere: bool = False) -> bool:
        """Turn writes since the last commit into one step; tell whether there were any.

        Parameters
        ----------
        everywhere : compare all pixels, also those written around the array's own
            ``__setitem__`` (by another plugin, through a view)
        """
        self.labels.close_after_write = False
        window = self._everything() if everywhere else self.labels.written()
        self.labels.forget_writes()
        if window is None:
            return False
        changed = self._plain[window] != self._committed[window]
        if not changed.any():
            return False
        self._record_edit(window, changed)
        return True

    def _everything(self) -> Region:
        return tuple(slice(0, n) for n in self.labels.shape)

    @property
    def _plain(self) -> NDArray[np.int32]:
        """The live labels as an ordinary array; writes through it are not tracked."""
        return self.labels.view(np.ndarray)

    def _record_edit(self, window: Region, changed: NDArray[np.bool_]) -> None:
        """Add a step for changed pixels; with objects, also for their surroundings.

        What remains of an erased object, and the background around the edit, are marked
        too: an object is corrected as a whole, with its rim.
        """
        touched, window = changed, window
        if self.instances:
            window, touched = self._with_surroundings(window, changed)
        index = self._flat(window, touched)
        before = self._committed.reshape(-1)[index].copy()
        after = self._plain.reshape(-1)[index].copy()
        self._add(Step("edit", window, index, before, self._states[index].copy()))
        self._committed.reshape(-1)[index] = after
        self._states[index] = EDITED
        self._next = max(self._next, int(after.max(initial=0)) + 1)

    def _with_surroundings(
        self, window: Region, changed: NDArray[np.bool_]
    ) -> tuple[Region, NDArray[np.bool_]]:
        """Return a wider window, and the changed pixels with their neighbours in it.

        Neighbours count when they are background or belong to an object of which
        pixels were changed.
        """
        wide, inner = near(window, self.labels.shape, self.dims)
        grown = np.zeros([s.stop - s.start for s in wide], bool)
        grown[inner] = changed
        objects = np.unique(
            np.concatenate(
                [self._plain[window][changed], self._committed[window][changed]]
            )
        )
        around = rim(grown, self.dims)
        around &= members(self._plain[wide], objects) | (self._plain[wide] == 0)
        return wide, grown | around

    # -- the history

    @property
    def _states(self) -> NDArray[np.uint8]:
        return self.state.reshape(-1)

    def _flat(self, window: Region, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return flat indices into the layer of the true pixels of a window."""
        inside = np.flatnonzero(mask)  # np.nonzero takes ten times as long
        if mask.shape == self.labels.shape:
            return inside
        places = np.unravel_index(inside, mask.shape)
        offset = [where + s.start for where, s in zip(places, window, strict=True)]
        return np.asarray(np.ravel_multi_index(offset, self.labels.shape), np.int64)

    def _add(self, step: Step) -> None:
        self.history.add(step)
        self.revision += 1

    def undo(self) -> Region | None:
        """Return to the state before the last step; return the window that changed."""
        self.commit()
        return self._swap(self.history.back())

    def redo(self) -> Region | None:
        """Do the last undone step again; return the window that changed."""
        self.commit()
        return self._swap(self.history.forth())

    def _swap(self, step: Step | None) -> Region | None:
        """Exchange a step's content with the layer's."""
        if step is None:
            return None
        labels = self._committed.reshape(-1)[step.index].copy()
        states = self._states[step.index].copy()
        self._write(step.index, step.labels)
        self._states[step.index] = step.states
        step.labels, step.states = labels, states
        self.revision += 1
        return step.window

    def _write(self, index: NDArray[np.int64], values: NDArray[np.int32]) -> None:
        self._plain.reshape(-1)[index] = values
        self._committed.reshape(-1)[index] = values

    # -- accepting

    def accept(self, region: Region) -> bool:
        """Mark what lies in a region as right; tell whether that was new."""
        self.commit()
        fresh = self.state[region] == UNTOUCHED
        return self._set_state("accept", region, fresh, ACCEPTED)

    def unaccept(self, region: Region) -> bool:
        """Take back what was accepted in a region; edits stay."""
        self.commit()
        accepted = self.state[region] == ACCEPTED
        return self._set_state("un-accept", region, accepted, UNTOUCHED)

    def accept_object(self, label: int, region: Region) -> bool:
        """Mark one object, as far as it lies in a region, as right."""
        self.commit()
        its = (self._plain[region] == label) & (self.state[region] == UNTOUCHED)
        return self._set_state("accept object", region, its, ACCEPTED)

    def accept_existing(self) -> None:
        """Mark every object that is there as right: labels that the user brought."""
        everywhere = self._everything()
        self._set_state("accept", everywhere, self._plain > 0, ACCEPTED)

    def _set_state(
        self, title: str, region: Region, where: NDArray[np.bool_], state: int
    ) -> bool:
        region = self._bounded(region)
        index = self._flat(region, where)
        if not index.size:
            return False
        labels = self._committed.reshape(-1)[index].copy()
        self._add(Step(title, region, index, labels, self._states[index].copy()))
        self._states[index] = state
        return True

    def _bounded(self, region: Region) -> Region:
        bounds = zip(region, self.labels.shape, strict=True)
        return tuple(slice(*s.indices(n)) for s, n in bounds)

    # -- predictions

    def protected(self) -> NDArray[np.bool_]:
        """Return what no prediction may change and what training learns from."""
        self.commit(everywhere=True)
        return self._look(self._everything(), copied=False).protected()

    def snapshot(self, window: Region | None = None) -> Snapshot:
        """Return a copy of the whole planes in which a window lies."""
        self.commit(everywhere=True)
        window = self._bounded(window or self._everything())
        full = self._everything()
        return self._look((*window[: -self.dims], *full[-self.dims :]), copied=True)

    def _look(self, plane: Region, *, copied: bool) -> Snapshot:
        labels, state = self._plain[plane], self.state[plane]
        if copied:
            labels, state = labels.copy(), state.copy()
        return Snapshot(
            plane, labels, state,
            self.dims, self.instances, self._next, self.revision,
        )  # fmt: skip

    def merge(
        self, predicted: NDArray[np.int32], window: Region, region: Region | None = None
    ) -> Region | None:
        """Put a prediction under what is protected; see ``Snapshot.merge``."""
        window = self._bounded(window)
        region = None if region is None else self._bounded(region)
        merged = self.snapshot(window).merge(predicted, window, region)
        return self.put(merged)

    def put(self, merged: Merged, *, again: bool = False) -> Region | None:
        """Write merged labels as one step of the history.

        Parameters
        ----------
        merged : made from a snapshot of this revision
        again : the step replaces the last one if that was a prediction too

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
        undone = None
        if again and self.history.last == PREDICTION:
            undone = self._swap(self.history.back())
        plane, labels = merged.plane, merged.labels
        index = self._flat(plane, labels != self._plain[plane])
        if not index.size:
            return undone
        before = self._committed.reshape(-1)[index].copy()
        self._add(Step(PREDICTION, plane, index, before, self._states[index].copy()))
        self._plain[plane] = labels
        self._committed[plane] = labels
        self._next = max(self._next, int(labels.max(initial=0)) + 1)
        return plane

    def is_stale(self, merged: Merged) -> bool:
        """Tell whether the layer changed since the snapshot was taken."""
        self.commit(everywhere=True)
        return merged.revision != self.revision

    # -- reports

    def tally(self) -> Tally:
        """Count what is corrected; once per revision."""
        self.commit()
        if self._tally is None or self._tally[0] != self.revision:
            self._tally = self.revision, self._count()
        return self._tally[1]

    def _count(self) -> Tally:
        edited, accepted = self.state == EDITED, self.state == ACCEPTED
        return Tally(
            _objects(self._plain[edited]), int(edited.sum()),
            _objects(self._plain[accepted]), int(accepted.sum()),
        )  # fmt: skip


def _objects(values: Iterable[int]) -> int:
    return int(np.count_nonzero(fastremap.unique(np.asarray(values))))
