"""What keeping every correction costs the hand that corrects.

Strokes, tools, undo, redo, taking a prediction and accepting the view, in a shown
viewer with an image of 4096 x 4096 pixels and with a stack of 50 x 2048 x 2048, on our
layer and on a plain napari Labels layer in one run: medians, in milliseconds, until the
layer is up to date (drawing on the screen comes on top and is the same for both). For a
plain layer, deleting is a fill, and a prediction an assignment of all its data.

Then what a stroke costs of ours alone: writing beyond numpy's own, recording, counting;
once more after thousands of strokes. What writing the journal costs. And what strokes
on 20 GB of labels on disk cost in time and memory.

    python benchmarks/ledger.py --repeats 15
"""

from __future__ import annotations

import os
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from _common import arguments, machine, report, say
from _window import Window, ensure_display

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_unet.engine.corrections import Corrections

    Act = Callable[[], object]
    Region = tuple[slice, ...]

SQUARE = 40  # pixels from one object to the next
SIDE = 28  # pixels; of an object
BRUSH = 20  # pixels
DOTS = 30  # in a drag
LATE = 2000  # strokes after which ours alone is measured again
STORE = (300, 4096, 4096)  # 20 GB of int32
ACTS = (
    "stroke", "drag", "delete", "split", "undo", "redo", "prediction", "accept view",
)  # fmt: skip
Row = dict[str, Any]


def main() -> None:
    options = _options()
    ensure_display()
    began = machine()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_UNET_SETTINGS"] = folder  # not those of the person
        os.environ["NAPARI_UNET_CACHE"] = folder
        planes = {"plane": (options.size,) * 2, "stack": tuple(options.stack)}
        for name in options.of:
            if name == "store":
                rows += on_disk(Path(folder), options.repeats)
            else:
                rows += in_viewer(planes[name], Path(folder), options.repeats)
    report("ledger", rows, {}, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=4096, help="of the plane, pixels")
    parser.add_argument(
        "--stack", type=int, nargs=3, default=(50, 2048, 2048), metavar="N",
        help="shape of the stack, pixels",
    )  # fmt: skip
    kinds = ("plane", "stack", "store")
    parser.add_argument("--of", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--repeats", type=int, default=15)
    return parser.parse_args()


def row(shape: tuple[int, ...], what: str, **figures: float) -> Row:
    """Return a row of the table, and tell it at once."""
    found: Row = {"shape": "x".join(map(str, shape)), "what": what}
    for column in ("ours_ms", "plain_napari_ms", "megabytes"):
        found[column] = round(figures[column], 3) if column in figures else ""
    say("  ".join(str(value) for value in found.values()))
    return found


def median_ms(act: Act, repeats: int) -> float:
    """Return how long something takes, in milliseconds; the first warms up."""
    times = []
    for _ in range(repeats + 1):
        clock = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - clock))
    return float(np.median(times[1:]))


# -- in a shown viewer


def in_viewer(shape: tuple[int, ...], folder: Path, repeats: int) -> list[Row]:
    window = Window()
    window.viewer.add_image(np.zeros(shape, np.uint8), name="nuclei")
    window.open_workbench()
    ours, plain = Ours(window, shape), Plain(window, shape)
    rows = []
    for name in ACTS:
        hands = (ours, plain) if plain.can(name) else (ours,)
        found = timed(window, hands, name, repeats)
        figures = dict(zip(("ours_ms", "plain_napari_ms"), found, strict=False))
        rows.append(row(shape, name, **figures))
    corrections = ours.opened.corrections
    rows += alone(corrections, "soon")
    rows += journal(corrections, folder)
    for number in range(LATE):
        paint(corrections, number)
        corrections.stroke_ends()
    rows += alone(corrections, f"after {LATE} strokes")
    window.close()
    return rows


def timed(
    window: Window, hands: tuple[Hand, ...], name: str, repeats: int
) -> list[float]:
    """Return the median milliseconds of an act of each, taken in turn."""
    found: list[list[float]] = [[] for _ in hands]
    for repeat in range(repeats + 1):
        for hand, times in zip(hands, found, strict=True):
            hand.choose(window)
            act = hand.prepare(name, repeat)
            window.rest(0.05)
            clock = time.perf_counter()
            act()
            times.append(1000 * (time.perf_counter() - clock))
            window.rest(0.05)
    return [float(np.median(times[1:])) for times in found]  # the first warms up


def objects(shape: tuple[int, ...], shift: int) -> NDArray[np.int32]:
    """Return squares on a grid, at a place that depends on ``shift``."""
    rows, columns = np.indices(shape[-2:], np.int32, sparse=True)
    columns = columns + 2 * (shift % 5)
    ids = rows // SQUARE * (shape[-1] // SQUARE + 2) + columns // SQUARE + 1
    inside = (rows % SQUARE < SIDE) & (columns % SQUARE < SIDE)
    return np.where(inside, ids, 0).astype(np.int32)


class Hand:
    """Somebody who corrects and gets predictions, on one layer; always in slice 0."""

    def __init__(self, layer: Any, shape: tuple[int, ...]) -> None:
        self.layer, self.shape = layer, shape
        self.first = (0,) * (len(shape) - 2)
        layer.brush_size, layer.selected_label = BRUSH, 1

    def can(self, name: str) -> bool:
        return hasattr(self, name.replace(" ", "_"))

    def choose(self, window: Window) -> None:
        """Show this layer only, and make it the one that is painted on."""
        window.viewer.dims.set_current_step(0, 0)
        for layer in window.viewer.layers:
            layer.visible = layer is self.layer
        window.viewer.layers.selection.active = self.layer
        self.layer.mode = "paint"

    def prepare(self, name: str, repeat: int) -> Act:
        """Return what is to be timed, all that comes before it done."""
        act: Act = getattr(self, name.replace(" ", "_"))(repeat)
        return act

    def stroke(self, repeat: int) -> Act:
        return lambda: self.dot(repeat)

    def drag(self, repeat: int) -> Act:
        """Paint dots along a line, as the mouse moves."""

        def act() -> None:
            with self.layer.block_history():
                for step in range(DOTS):
                    self.dot(repeat, 5 * step)

        return act

    def undo(self, repeat: int) -> Act:
        self.dot(repeat)
        return self.layer.undo  # type: ignore[no-any-return]  # napari's or ours

    def redo(self, repeat: int) -> Act:
        self.undo(repeat)()
        return self.layer.redo  # type: ignore[no-any-return]

    def dot(self, repeat: int, away: int = 0) -> None:
        """Paint a dot with a new label, elsewhere each time."""
        self.layer.selected_label += 1
        here = np.array(self.shape[-2:]) * (0.1 + 0.05 * (repeat % 16))
        place = (*self.first, int(here[0]), int(here[1]) + away)
        self.layer.paint(place, self.layer.selected_label)

    def an_object(self, repeat: int) -> tuple[int, int]:
        """Return the middle of an object that nobody touched, one for each repeat."""
        labels = np.asarray(self.layer.data[(*self.first, slice(None), slice(None))])
        row = SQUARE * (3 + repeat) + SIDE // 2
        columns = np.flatnonzero(labels[row])
        column = int(columns[columns > SQUARE * 30][0]) + SIDE // 2
        return row, column


class Plain(Hand):
    """On a plain Labels layer."""

    def __init__(self, window: Window, shape: tuple[int, ...]) -> None:
        labels = np.zeros(shape, np.int32)
        labels[...] = objects(shape, 0)
        super().__init__(window.viewer.add_labels(labels, name="plain"), shape)
        self.layer.selected_label = 100_000

    def delete(self, repeat: int) -> Act:
        place = (*self.first, *self.an_object(repeat))
        return lambda: self.layer.fill(place, 0)

    def prediction(self, repeat: int) -> Act:
        labels = np.array(self.layer.data)
        labels[self.first] = objects(self.shape, repeat)

        def take() -> None:
            self.layer.data = labels

        return take


class Ours(Hand):
    """On the workbench's layer; its predictions come ready from the worker."""

    def __init__(self, window: Window, shape: tuple[int, ...]) -> None:
        from napari_unet.qt.bench import bench_for

        self.bench = bench_for(window.viewer)
        self.bench.session.autosave = False  # the journal is measured by itself
        self.viewer, self.shape = window.viewer, shape
        image = window.viewer.layers["nuclei"]
        self.opened = self.bench.open(image, "TYX"[-len(shape) :], None)
        for plane in self.planes():
            self.take(plane, 0)()
        window.wait(lambda: self.bench.layer_of(self.opened) is not None)
        super().__init__(self.bench.layer_of(self.opened), shape)
        self.layer.selected_label = self.opened.corrections.next_label + 10_000

    def planes(self) -> Iterator[Region]:
        """Yield all slices, the one that is looked at last."""
        whole = tuple(slice(0, n) for n in self.shape[-2:])
        for place in reversed(list(np.ndindex(self.shape[:-2]))):
            yield (*(slice(at, at + 1) for at in place), *whole)

    def prediction(self, repeat: int) -> Act:
        *_, plane = self.planes()
        return self.take(plane, repeat)

    def take(self, plane: Region, repeat: int) -> Act:
        corrections, session = self.opened.corrections, self.bench.session
        predicted = objects(self.shape, repeat)
        predicted = predicted.reshape([s.stop - s.start for s in plane])
        merged = corrections.snapshot(plane).merge(predicted, plane)

        def act() -> None:  # as Session does with the result of a prediction
            session.labels_changed.emit(self.opened, corrections.put(merged))

        return act

    def accept_view(self, repeat: int) -> Act:
        from napari_unet.qt.layers import visible_region

        session = self.bench.session
        session.unaccept(self.opened, tuple(slice(0, n) for n in self.shape))
        region = visible_region(self.viewer, self.layer, len(self.shape))
        del repeat
        return lambda: session.accept(self.opened, region)

    def delete(self, repeat: int) -> Act:
        place = self.an_object(repeat)
        label = int(self.layer.data[(*self.first, *place)])
        return self.tool("delete", label=label)

    def split(self, repeat: int) -> Act:
        row, column = self.an_object(repeat + 20)
        line = np.array([[row - SIDE, column], [row + SIDE, column]], float)
        return self.tool("split", line=line)

    def tool(self, name: Any, **what: Any) -> Act:
        """Use a tool as its button does."""
        from napari_unet.jobs import run_now
        from napari_unet.tool_steps import ToolUse

        *_, plane = self.planes()
        ndim = len(self.shape)
        use = ToolUse(name, plane, (ndim - 2, ndim - 1), **what)
        session = self.bench.session
        return lambda: run_now(session.tool_job(self.opened, use))


# -- ours alone


def paint(corrections: Corrections, number: int) -> tuple[Any, NDArray[np.int32]]:
    """Write a dot as napari's brush does: a window, read, changed, written back."""
    shape = corrections.shape
    row, column = (97 * number) % (shape[-2] - 60), (61 * number) % (shape[-1] - 60)
    key = (*(0,) * (len(shape) - 2), slice(row, row + 21), slice(column, column + 21))
    content = np.array(corrections.labels[key], np.int32)
    content[3:18, 3:18] = 50_000 + number
    corrections.labels[key] = content
    return key, content


def alone(corrections: Corrections, when: str) -> list[Row]:
    """Measure a dot: what it costs beyond a write into a numpy array."""
    plain = np.asarray(corrections.labels.now(whole(corrections)))
    times: dict[str, list[float]] = {}
    for number in range(60):
        key, content = paint(corrections, number)
        corrections.commit()
        content[3:18, 3:18] += 1_000_000
        clocks = [time.perf_counter()]
        for act in (
            lambda k=key, c=content: plain.__setitem__(k, c - 1),
            lambda k=key, c=content: corrections.labels.__setitem__(k, c),
            corrections.stroke_ends,
            corrections.tally,
        ):
            act()
            clocks.append(time.perf_counter())
        spent = 1000 * np.diff(clocks)
        beyond = spent[1] - spent[0]
        figures = (beyond, spent[2], spent[3], beyond + spent[2] + spent[3])
        names = ("write beyond numpy's", "record", "count", "all")
        for name, value in zip(names, figures, strict=True):
            times.setdefault(name, []).append(float(value))
    return [
        row(corrections.shape, f"ours alone {when}: {name}", ours_ms=np.median(each))
        for name, each in times.items()
    ]


def whole(corrections: Corrections) -> Region:
    return tuple(slice(0, n) for n in corrections.shape)


def journal(corrections: Corrections, folder: Path) -> list[Row]:
    """Measure what writing a stroke, and a prediction, into the journal costs."""
    from napari_unet.io.journal import Begin, Journal

    shape = corrections.shape
    path = folder / f"{len(shape)}.journal"
    book = Journal.create(path, Begin(shape, corrections.next_label))
    plane = (*(slice(0, 1) for _ in shape[:-2]), *map(slice, shape[-2:]))
    found: dict[str, list[float]] = {"stroke": [], "prediction": []}
    for number in range(12):
        for name, times in found.items():
            if name == "stroke":
                paint(corrections, number)
                corrections.stroke_ends()
            else:
                predicted = objects(shape, number)
                predicted = predicted.reshape([s.stop - (s.start or 0) for s in plane])
                corrections.merge(predicted, plane)
            records = corrections.take_records()[-1:]
            clock, size = time.perf_counter(), book.end
            book.append(records)
            times.append(1000 * (time.perf_counter() - clock))
            say(f"journal: {name}, {book.end - size} bytes")
    return [
        row(shape, f"journal: {name}", ours_ms=np.median(times[1:]))
        for name, times in found.items()
    ]


# -- on disk


def on_disk(folder: Path, repeats: int) -> list[Row]:
    """Measure strokes on labels that are much larger than memory."""
    import zarr

    from napari_unet.engine.corrections import Corrections

    store = zarr.create_array(
        folder / "labels.zarr", shape=STORE, chunks=(1, 256, 256), dtype="int32"
    )
    tracemalloc.start()
    corrections = Corrections(store, dims=3, highest=0)
    paint(corrections, 0)
    corrections.stroke_ends()
    corrections.undo()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    numbers = iter(range(1, 100_000))

    def stroke() -> None:
        paint(corrections, next(numbers))
        corrections.stroke_ends()

    took = median_ms(stroke, 4 * repeats)
    rows = [row(STORE, "stroke on disk", ours_ms=took, megabytes=peak)]
    held = (corrections.state.nbytes + sum_held(corrections)) / 2**20
    rows.append(row(STORE, "held after these strokes", megabytes=held))
    for name in ("undo", "redo", "tally"):
        took = median_ms(getattr(corrections, name), repeats)
        rows.append(row(STORE, f"{name} on disk", ours_ms=took))
    return rows


def sum_held(corrections: Corrections) -> int:
    """Return the bytes of the history."""
    steps = (record.step for record in corrections.history.told())
    return sum(step.nbytes for step in steps if step is not None)


if __name__ == "__main__":
    main()
