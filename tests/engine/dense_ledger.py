"""The ledger done again in the plainest way, to compare the real one with.

Whole arrays, whole copies of every state, one object after another: slow, and so short
that it can be seen to be right.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.protect import ACCEPTED, EDITED, IGNORED, UNTOUCHED
from napari_unet.engine.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Labels = NDArray[np.int32]
    Mask = NDArray[np.bool_]
    Window = tuple[slice, ...]


class DenseLedger:
    """What the labels, the states and the history of a layer must be."""

    def __init__(self, labels: Labels, dims: int, *, instances: bool) -> None:
        self.labels = labels.copy()
        self.settled = labels.copy()
        self.state = np.zeros(labels.shape, np.uint8)
        self.dims, self.instances = dims, instances
        self.next_label = int(labels.max(initial=0)) + 1
        self.past = [self._packed()]
        self.titles: list[str] = []
        self.future: list[tuple[str, bytes]] = []
        self.strokes = 0

    # -- steps

    def commit(self, title: str = "edit", *, joins: bool = False) -> bool:
        """Take what was written since the last time as an edit."""
        changed = self.labels != self.settled
        if not changed.any():
            return False
        self.state[changed] = EDITED
        if self.instances:
            was, now = self.settled[changed], self.labels[changed]
            meant = {0, *now.tolist(), *was[now == 0].tolist()}
            if title != "edit":  # a tool leaves no rest that nobody meant
                meant |= set(was.tolist())
            edge = self._grown(changed)
            theirs = np.isin(self.labels, list(meant))
            self.state[edge & theirs] = EDITED
            self.state[edge & ~theirs & np.isin(self.labels, was)] |= IGNORED
        self.next_label = max(self.next_label, int(self.labels.max()) + 1)
        self.settled = self.labels.copy()
        self._remember(title, joins=joins)
        self.strokes += not joins
        return True

    def mark(self, title: str, where: Mask, state: Any) -> bool:
        """Give pixels a state."""
        if where.any():
            self.state[where] = state
            self._remember(title)
        return bool(where.any())

    def accept(self, window: Window, label: int | None = None) -> bool:
        where = self._inside(window) & (self.state == UNTOUCHED)
        if label is None:
            return self.mark("accept", where, ACCEPTED)
        return self.mark("accept object", where & (self.labels == label), ACCEPTED)

    def unaccept(self, window: Window) -> bool:
        inside, edits = self._inside(window), self.state == EDITED + IGNORED
        held = (self.state == ACCEPTED) | (self.state >= IGNORED)
        return self.mark("un-accept", inside & held, EDITED * edits[inside & held])

    def ignore(self, window: Window, where: Mask | None) -> bool:
        chosen = self._inside(window)
        if where is not None:
            chosen[window] = where
        chosen &= self.state < IGNORED
        return self.mark("ignore", chosen, self.state[chosen] + IGNORED)

    def undo(self) -> bool:
        if not self.titles:
            return False
        self.future.append((self.titles.pop(), self.past.pop()))
        self._unpack(self.past[-1])
        return True

    def redo(self) -> bool:
        if not self.future:
            return False
        title, packed = self.future.pop()
        self.titles.append(title)
        self.past.append(packed)
        self._unpack(packed)
        return True

    def _remember(self, title: str, *, joins: bool = False) -> None:
        self.future.clear()
        if joins:
            self.past.pop()
            self.titles.pop()
        self.past.append(self._packed())
        self.titles.append(title)

    def _packed(self) -> bytes:
        return zlib.compress(self.labels.tobytes() + self.state.tobytes(), 1)

    def unpacked(self, packed: bytes) -> tuple[Labels, NDArray[np.uint8]]:
        """Return the labels and states that the past holds."""
        raw, shape = zlib.decompress(packed), self.labels.shape
        cut = self.labels.nbytes
        labels = np.frombuffer(raw[:cut], np.int32).reshape(shape)
        return labels.copy(), np.frombuffer(raw[cut:], np.uint8).reshape(shape).copy()

    def _unpack(self, packed: bytes) -> None:
        self.labels, self.state = self.unpacked(packed)
        self.settled = self.labels.copy()

    # -- predictions

    def planes(self, window: Window) -> Window:
        """Return the whole planes (volumes) in which a window lies."""
        flat = self.labels.ndim - self.dims
        whole = tuple(slice(0, n) for n in self.labels.shape)
        return (*window[:flat], *whole[flat:])

    def protected(self, planes: Window) -> Mask:
        return self._whole(planes, self.state[planes] != UNTOUCHED)

    def supervised(self, planes: Window, seen: Window) -> Mask:
        """Return what is learnt; objects are judged by what is ``seen`` of them."""
        state = self.state[planes]
        marked = (state == EDITED) | (state == ACCEPTED)
        barely = []
        for label in np.unique(self.labels[seen]):
            its = self.state[seen][self.labels[seen] == label]
            share = (its == ACCEPTED).mean()
            if 0 < share < 0.5 and not (its == EDITED).any():
                barely.append(label)
        return self._whole(planes, marked, barely) & (state < IGNORED)

    def _whole(self, planes: Window, marked: Mask, but: Any = ()) -> Mask:
        if not self.instances:
            return marked
        labels = self.labels[planes]
        objects = (labels > 0) & np.isin(labels, labels[marked])
        objects &= ~np.isin(labels, list(but))
        return marked | objects | (self._grown(objects) & (labels == 0))

    def predict(
        self, predicted: Labels, window: Window, region: Window, *, again: bool
    ) -> bool:
        """Put a prediction under what is protected; tell whether that changed it."""
        before = self.labels.copy()
        fixed = np.ones(self.labels.shape, bool)
        planes = self.planes(window)
        fixed[planes] = self.protected(planes)
        placed = np.zeros_like(self.labels)
        placed[window] = predicted
        if self.instances:
            self._predict_objects(placed, fixed, region)
        else:
            there = self._inside(region) & ~fixed
            self.labels[there] = placed[there]
            self.next_label = max(self.next_label, int(self.labels.max()) + 1)
        if (before == self.labels).all():
            return False
        joins = again and bool(self.titles) and self.titles[-1] == "prediction"
        self.settled = self.labels.copy()
        self._remember("prediction", joins=joins)
        return True

    def _predict_objects(self, placed: Labels, fixed: Mask, region: Window) -> None:
        movable = self._reaching(region) & ~fixed
        old = np.where(movable, self.labels, 0)
        self.labels[movable] = 0
        free = ~fixed & (self.labels == 0)
        for label in np.unique(placed[region][placed[region] > 0]):
            whole = placed == label
            left = whole & free
            enough = left.any() and 2 * left.sum() >= whole.sum()
            if enough and ((left == whole).all() or self.pieces(left) == 1):
                there = int(old[left][0])
                if there and (left == (old == there)).all():
                    self.labels[left] = there  # the same object as before
                    continue
                self.labels[left] = self.next_label
                self.next_label += 1

    def _reaching(self, region: Window) -> Mask:
        """Return the pieces of objects that reach into a region."""
        found, inside = np.zeros(self.labels.shape, bool), self._inside(region)
        near = self._neighbours(self.dims)
        for label in np.unique(self.labels[region][self.labels[region] > 0]):
            pieces, _ = ndimage.label(self.labels == label, near)
            found |= (pieces > 0) & np.isin(pieces, pieces[inside])
        return found

    # -- looking

    def tally(self) -> Tally:
        counts = []
        for state in (EDITED, ACCEPTED):
            inside = self.labels[self.state == state]
            counts += [len(set(inside[inside != 0].tolist())), inside.size]
        return Tally(*counts, int((self.state >= IGNORED).sum()))

    def objects(self) -> Iterator[int]:
        yield from np.unique(self.labels[self.labels > 0]).tolist()

    def pieces(self, mask: Mask) -> int:
        """Count the pieces, connected through faces inside of planes (volumes)."""
        return int(ndimage.label(mask, self._neighbours(1))[1])

    def _grown(self, mask: Mask) -> Mask:
        grown: Mask = ndimage.binary_dilation(mask, self._neighbours(1), iterations=2)
        return grown & ~mask

    def _neighbours(self, connectivity: int) -> Mask:
        """Return a pixel's neighbours inside of planes (volumes); 1: through faces."""
        found = np.zeros((3,) * self.labels.ndim, bool)
        middle = (1,) * (self.labels.ndim - self.dims)
        found[middle] = ndimage.generate_binary_structure(self.dims, connectivity)
        return found

    def _inside(self, window: Window) -> Mask:
        inside = np.zeros(self.labels.shape, bool)
        inside[window] = True
        return inside
