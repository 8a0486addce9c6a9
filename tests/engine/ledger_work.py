"""Random work on a layer, compared after every action with the dense ledger."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from ledger_lots import Lots
from scipy import ndimage

from napari_unet.engine import history, tools
from napari_unet.engine.blocks import relative
from napari_unet.engine.corrections import Corrections
from napari_unet.engine.protect import IGNORED
from napari_unet.errors import LabelsError
from napari_unet.io.records import pack, unpack

if TYPE_CHECKING:
    from ledger_lots import Setting
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.history import Record
    from napari_unet.engine.tools import Change

ACTIONS = (
    "stroke", "stroke", "stroke", "fill", "write_around", "rewrite", "use_tool",
    "use_tool", "accept", "accept_object", "unaccept", "ignore", "predict", "predict",
    "undo", "undo", "redo", "slice_change",
)  # fmt: skip
TOOLS = (
    "split", "merge_along", "merge_along", "delete", "copy_object", "snap",
    "fill_holes", "smooth",
)  # fmt: skip


class Work(Lots):
    """Random work on a layer, compared after every action with the dense ledger."""

    def __init__(self, setting: Setting, seed: int) -> None:
        super().__init__(setting, seed)
        self.ledger = self.begin()
        self.ever = set(self.model.objects())  # ids
        self.told: list[Record] = []
        self.is_open = False  # a part of a stroke is recorded
        self.done: list[str] = []

    def begin(self) -> Corrections:
        """Return a ledger of the initial labels."""
        labels: Any = self.initial
        if self.setting.stored:
            chunks = (1,) * (len(self.shape) - 2) + (256, 256)
            labels = zarr.create_array(
                zarr.storage.MemoryStore(), shape=self.shape, chunks=chunks,
                dtype="int32",
            )  # fmt: skip
            labels[...] = self.initial
        ledger = Corrections(
            labels, dims=self.setting.dims, instances=self.setting.instances
        )
        ledger.clock = lambda: 0.0
        return ledger

    def run(self, count: int, *, without: tuple[str, ...] = ()) -> None:
        """Do so many random things, others than ``without``."""
        chosen = [name for name in ACTIONS if name not in without]
        try:
            for _ in range(count):
                self.done.append(str(self.rng.choice(chosen)))
                getattr(self, self.done[-1])()
                self.check()
                if not without and self.chance(0.3 / len(self.done)):
                    self.replay(packed=False)
        except BaseException as error:
            error.add_note(f"{self.setting} after {len(self.done)}: {self.done[-8:]}")
            raise

    # -- what a person does

    def slice_change(self) -> None:
        self.place = [int(self.rng.integers(n)) for n in self.shape[: self.flat]]

    def stroke(self) -> None:
        """Drag: several writes, some of it recorded on the way, then the report."""
        value = self.some_value()
        for _ in range(self.rng.integers(1, 5)):
            self.write(*self.brush(value))
            if self.chance(0.15):  # then what was written lies far apart
                self.slice_change()
            if self.chance(0.3):
                self.checkpoint()
        if self.is_open or (self.model.labels != self.model.settled).any():
            self.ledger.stroke_ends()  # napari tells of strokes that changed something
            self.model.commit(joins=self.is_open)
        self.is_open = False

    def write(self, key: Any, value: Any) -> None:
        self.ledger.labels[key] = value
        self.model.labels[key] = value

    def checkpoint(self) -> None:
        found = self.model.commit(joins=self.is_open)
        assert self.ledger.checkpoint() == found
        self.is_open |= found

    def fill(self) -> None:
        """Reported before its only write."""
        at = self.somewhere()
        plane = self.plane(at)
        inside = ndimage.label(self.model.labels[plane] == self.model.labels[at])[0]
        pixel = tuple(0 if i < len(at) - 2 else at[i] for i in range(len(at)))
        mask = inside == inside[pixel]
        box = ndimage.find_objects(mask.astype(int))[0]
        window = (*plane[:-2], *box[-2:])
        content = self.model.labels[window].copy()
        content[mask[box]] = value = self.some_value()
        if value == self.model.labels[at]:
            return
        self.ledger.stroke_ends()
        self.write(window, content)
        self.model.commit()

    def write_around(self) -> None:
        """Write through a view, which no array can notice; a snapshot finds it."""
        if self.setting.stored:
            return
        window = self.box(12)
        self.ledger.labels.view(np.ndarray)[window] = value = self.some_value()
        self.model.labels[window] = value
        self.ledger.snapshot(window)
        self.model.commit()

    def rewrite(self) -> None:
        """Give a window new content, as tools do."""
        window = self.box(30)
        content = self.model.labels[window].copy()
        present = self.present()
        chosen, value = content == self.rng.choice(present), self.some_value()
        if self.chance(0.5):  # a part of the object only
            chosen &= np.arange(chosen.shape[-1]) > chosen.shape[-1] // 2
        content[chosen] = value
        self.edit("rewrite", window, content)

    def use_tool(self) -> None:
        """Use one of the real tools on the plane (volume) in view."""
        labels = self.model.labels[tuple(self.place)]
        name = str(self.rng.choice(TOOLS))
        try:
            change = self.tool(name, labels)
        except LabelsError:
            return
        content = change.labels.reshape((1,) * self.flat + change.labels.shape)
        prefix = tuple(slice(at, at + 1) for at in self.place)
        self.edit(name, (*prefix, *change.window), content)

    def tool(self, name: str, labels: NDArray[np.int32]) -> Change:
        line, first = self.line(labels.shape), self.model.next_label
        one = int(self.rng.choice(self.present()))
        if name == "copy_object":
            return self.copied(labels, one)
        if name == "snap":
            scores = self.rng.random(labels.shape, np.float32)
            return tools.snap(labels, one, ndimage.gaussian_filter(scores, 2), 4)
        arguments: dict[str, tuple[Any, ...]] = {
            "split": (line, first), "merge_along": (line,),
            "delete": ([one],), "fill_holes": (one,), "smooth": (one, 1.0),
        }  # fmt: skip
        return getattr(tools, name)(labels, *arguments[name])

    def copied(self, labels: NDArray[np.int32], one: int) -> Change:
        """Copy an object to another slice (frame); what is protected there stays."""
        self.slice_change()
        target = self.model.labels[tuple(self.place)]
        planes = tuple(slice(at, at + 1) for at in self.place)
        kept = self.ledger.snapshot((*planes, *map(slice, labels.shape))).protected()
        kept = kept.reshape(labels.shape)
        new = self.model.next_label
        change = tools.copy_object(labels, target, one, new, kept)
        fixed = kept[change.window]
        assert (change.labels[fixed] == target[change.window][fixed]).all()
        return change

    def edit(self, title: str, window: Region, content: NDArray[np.int32]) -> None:
        self.model.labels[window] = content
        changed = self.model.commit(title)
        assert self.ledger.edit(title, window, content) == changed

    def accept(self) -> None:
        window = self.box(40)
        assert self.ledger.accept(window) == self.model.accept(window)

    def accept_object(self) -> None:
        window, label = self.box(60), int(self.rng.choice(self.present()))
        changed = self.model.accept(window, label)
        assert self.ledger.accept_object(label, window) == changed

    def unaccept(self) -> None:
        window = self.box(40)
        assert self.ledger.unaccept(window) == self.model.unaccept(window)

    def ignore(self) -> None:
        window = self.box(20)
        where = None
        if self.chance(0.7):
            where = self.rng.random(self.model.labels[window].shape) < 0.6
        changed = self.model.ignore(window, where)
        assert self.ledger.ignore(window, where) == changed

    # -- what the network does

    def predict(self) -> None:
        """Take a prediction of everything, of a slice, or of a region of one."""
        window = region = tuple(slice(0, n) for n in self.shape)
        kind = self.rng.integers(3)
        if kind:
            window = region = self.model.planes(self.box(1))
        if kind == 2:
            region = self.box(60)
            window = self.around(self.model.planes(region), region)
        predicted = self.drawn(window)
        merged = self.ledger.snapshot(window).merge(predicted, window, region)
        if self.chance(0.15):  # the user went on meanwhile
            merged = self.overtaken(merged, predicted, window, region)
        again = self.chance(0.4)
        before, state = self.model.labels.copy(), self.model.state.copy()
        planes, used = self.model.planes(window), self.model.next_label
        protected = self.model.protected(planes)
        changed = self.model.predict(predicted, window, region, again=again)
        found = self.ledger.put(merged, since=-inf if again else inf)
        after, now = content(self.ledger)
        assert (found is not None) == changed
        self.check_window(found, (before, state), (after, now))
        np.testing.assert_array_equal(now, state)
        assert (after[planes][protected] == before[planes][protected]).all()
        if self.setting.instances:
            self.check_objects(before[planes], after[planes], protected, used)

    def overtaken(self, merged: Any, predicted: Any, window: Any, region: Any) -> Any:
        """Return the merge made anew, after something made it stale."""
        before = len(self.model.titles), self.model.past[-1]
        self.rng.choice([self.stroke, self.accept, self.undo])()
        if (len(self.model.titles), self.model.past[-1]) == before:
            return merged
        assert self.ledger.is_stale(merged)
        with pytest.raises(ValueError, match="changed since"):
            self.ledger.put(merged)
        return self.ledger.snapshot(window).merge(predicted, window, region)

    # -- what both go through

    def undo(self) -> None:
        for _ in range(self.rng.integers(1, 4)):
            self.travel("undo")

    def redo(self) -> None:
        for _ in range(self.rng.integers(1, 4)):
            self.travel("redo")

    def travel(self, way: str) -> None:
        before = self.model.labels.copy(), self.model.state.copy()
        moved = getattr(self.model, way)()
        window = getattr(self.ledger, way)()
        assert (window is not None) == moved
        self.check_window(window, before, (self.model.labels, self.model.state))
        self.check_same(self.ledger, self.model.past[-1])

    # -- what must hold

    def check(self) -> None:
        """Compare all of the ledger with the model."""
        ledger, model = self.ledger, self.model
        labels, state = content(ledger)
        np.testing.assert_array_equal(labels, model.labels)
        np.testing.assert_array_equal(state, model.state)
        assert ledger.tally() == model.tally()
        assert ledger.next_label == model.next_label
        assert ledger.history.last == (model.titles[-1] if model.titles else None)
        assert ledger.history.next == (model.future[-1][0] if model.future else None)
        assert ledger.work.strokes == model.strokes
        self.ever.update(model.objects())
        self.told += ledger.take_records()
        if self.chance(0.2):
            self.check_protection(self.box(20))

    def check_protection(self, window: Region) -> None:
        shot, planes = self.ledger.snapshot(window), self.model.planes(window)
        here, there = relative(window, shot.window), relative(window, planes)
        protected, supervised = shot.protected()[here], shot.supervised()[here]
        np.testing.assert_array_equal(protected, self.model.protected(planes)[there])
        learnt = self.model.supervised(planes, shot.window)
        np.testing.assert_array_equal(supervised, learnt[there])
        ignored = self.model.state[window] >= IGNORED
        assert protected[ignored].all()
        assert not supervised[ignored].any()

    def check_window(
        self, window: Region | None, before: tuple[Any, ...], after: tuple[Any, ...]
    ) -> None:
        """What changed lies in the window that is refreshed."""
        outside = np.ones(self.shape, bool)
        if window is not None:
            outside[window] = False
        for one, other in zip(before, after, strict=True):
            assert (one == other)[outside].all()

    def check_objects(
        self, before: NDArray[Any], after: NDArray[Any], protected: Any, used: int
    ) -> None:
        """Old objects are whole or gone; new ones in one piece, newly numbered."""
        sizes = [Counter(each[each > 0].tolist()) for each in (before, after)]
        kept = Counter(before[(before == after) & (before > 0)].tolist())
        assert not self.ever.intersection(range(used, int(after.max()) + 1))
        for label, size in sizes[1].items():
            if label < used:
                assert size == sizes[0][label] == kept[label]
            else:
                new = after == label
                assert self.model.pieces(new) == 1
                assert not protected[new].any()
        for label in set(before[protected & (before > 0)].tolist()):
            assert sizes[1][label] == sizes[0][label] == kept[label]

    def replay(self, *, packed: bool) -> None:
        """Do all again from what was told, and undo all of that."""
        told = self.told
        if packed:
            told = [unpack(b"".join(pack(each)), self.shape) for each in told]
        again = self.begin()
        again.replay(told)
        self.check_same(again, self.model.past[-1])
        assert again.next_label == self.ledger.next_label
        assert again.work == self.ledger.work
        assert again.tally() == self.model.tally()
        assert titles(again) == titles(self.ledger)
        depth = self.undo_all(again)
        whole = sum(each.step.nbytes for each in told if each.step) < history.LIMIT
        assert depth == len(self.model.past) - 1 or not whole

    def undo_all(self, ledger: Corrections) -> int:
        """Undo all that can be, comparing; return how often that went."""
        depth = 0
        while ledger.undo() is not None:
            depth += 1
            self.check_same(ledger, self.model.past[-1 - depth])
        return depth

    def check_same(self, ledger: Corrections, packed: bytes) -> None:
        expected = self.model.unpacked(packed)
        for mine, theirs in zip(content(ledger), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def content(ledger: Corrections) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the labels and states of a ledger."""
    return np.array(ledger.labels), ledger.state[...]


def titles(ledger: Corrections) -> list[tuple[Any, ...]]:
    """Return what the history of a ledger holds, without the pixels."""
    steps = [(each.kind, each.step) for each in ledger.history.told()]
    return [(kind, s.title, s.joins, s.made) for kind, s in steps if s is not None]
