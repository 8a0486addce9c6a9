"""Whether the window stays alive while the network predicts and learns.

A timer on the event loop of a real, shown viewer should fire every 5 ms. Each gap
between two of its beats is time in which nobody could have clicked or painted. The
workbench's own buttons are pressed: load, predict a large image twice, correct five
nuclei, accept a view, fine-tune with previews on; an idle phase shows what the machine
does by itself.

    python benchmarks/responsiveness.py --size 2048 --steps 60
    python benchmarks/responsiveness.py --explain stacks.txt     where long gaps are
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from _common import add_model, arguments, machine, report, say
from _window import Window, ensure_display

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import TextIO

INTERVAL = 5  # milliseconds between two beats
LONG, LONGER = 100.0, 500.0  # milliseconds
EXPLAINED = 0.1  # seconds after which --explain writes all stacks
WATCH = 0.02  # seconds between two looks of --explain
DEEPEST = 12  # calls of a stack that are written
CORRECTED = 5  # nuclei
STROKE_PAUSE = 700  # milliseconds between two strokes of --paint


class Heartbeat:
    """Measures the gaps between the beats of a timer on the event loop."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.timer = QTimer(interval=INTERVAL, timerType=Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(self._beat)
        self.gaps: list[float] = []
        self.last = time.perf_counter()
        self.running = ""  # the phase that is measured
        self.rows: list[dict[str, Any]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure while the body runs; what it does itself counts as well."""
        self.gaps, self.last, self.running = [], time.perf_counter(), name
        self.timer.start()
        yield
        self._beat()
        self.timer.stop()
        self.running = ""
        self.rows.append({"phase": name, **summary(self.gaps)})
        say(str(self.rows[-1]))

    def _beat(self) -> None:
        now = time.perf_counter()
        self.gaps.append(1000 * (now - self.last))
        self.last = now


def explain(heart: Heartbeat, file: TextIO) -> None:
    """Write the stacks of all threads, once for each long gap; runs in a thread.

    Where this thread comes late itself, the interpreter lock was held, or the machine
    was busy: it says how late.
    """
    explained = 0.0
    while True:
        asleep = time.perf_counter()
        time.sleep(WATCH)
        now = time.perf_counter()
        if heart.running and now - heart.last > EXPLAINED and heart.last != explained:
            explained = heart.last
            late = 1000 * (now - asleep - WATCH)
            file.write(f"=== {heart.running}: {1000 * (now - heart.last):.0f} ms and ")
            file.write(f"more without a beat, watched {late:.0f} ms late\n")
            for frame in sys._current_frames().values():  # noqa: SLF001 - documented
                file.write("".join(traceback.format_stack(frame)[-DEEPEST:]) + "\n")
            file.flush()


def summary(gaps: list[float]) -> dict[str, Any]:
    """Return what matters of the gaps, in milliseconds."""
    return {
        "seconds": round(sum(gaps) / 1000, 1), "beats": len(gaps),
        "p50_ms": round(float(np.percentile(gaps, 50)), 1),
        "p99_ms": round(float(np.percentile(gaps, 99)), 1),
        "max_ms": round(max(gaps), 1),
        "over_100": sum(gap > LONG for gap in gaps),
        "over_500": sum(gap > LONGER for gap in gaps),
    }  # fmt: skip


def main() -> None:
    options = _options()
    ensure_display()
    window = Window()
    image = nuclei(options.size)
    window.viewer.add_image(image, name="nuclei")
    window.open_workbench()
    window.rest(2)
    heart = Heartbeat()
    if options.explain:
        file = open(options.explain, "w")  # noqa: SIM115 - for the thread
        threading.Thread(target=explain, args=(heart, file), daemon=True).start()
    with heart.phase("idle"):
        window.rest(options.idle)
    with heart.phase("load"):
        window.load(options.model)
    began = machine()
    predict(window, heart)
    correct(window, heart)
    previews = finetune(window, heart, options.steps, painting=options.paint)
    window.close()
    busy = [r for r in heart.rows if r["phase"].startswith(("predict", "fine-tune"))]
    facts = {
        "image": list(image.shape), "interval_ms": INTERVAL, **previews,
        "reached": all(r["p99_ms"] <= LONG and not r["over_500"] for r in busy),
    }  # fmt: skip
    report("responsiveness", heart.rows, facts, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--size", type=int, default=2048, help="of the image, pixels")
    parser.add_argument("--steps", type=int, default=60, help="of the fine-tuning")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds")
    parser.add_argument(
        "--paint", action="store_true", help="also paint while the network learns"
    )
    parser.add_argument(
        "--explain", metavar="FILE", help="write all stacks there at each long gap"
    )
    return parser.parse_args()


def nuclei(size: int) -> np.ndarray[Any, Any]:
    """Return an image of synthetic nuclei, made of tiles of 512 x 512 pixels."""
    from napari_unet.sample_data import synthesize

    rng = np.random.default_rng(7)
    tile = synthesize((512, 512), rng).image
    times = -(-size // 512)
    return np.asarray(np.tile(tile, (times, times))[:size, :size])


def predict(window: Window, heart: Heartbeat) -> None:
    for name in ("predict", "predict again"):
        with heart.phase(name):
            window.press_and_wait("unet.predict.run", "unet.predict.run")
            window.rest(0.5)
        say(window.find("unet.predict.summary").text())


def correct(window: Window, heart: Heartbeat) -> None:
    """Paint over the rims of some objects, and accept what is in view."""
    layer = window.labels
    with heart.phase("correct"):
        for label in np.unique(layer.data)[1 : CORRECTED + 1]:
            stroke(layer, int(label))
            window.rest(0.4)
        window.rest(1)
    with heart.phase("accept view"):
        window.press("unet.correct.accept_view")
        window.rest(1)
    with heart.phase("undo"):
        window.press("unet.correct.undo")
        window.rest(1)


def stroke(layer: Any, label: int) -> None:
    """Paint a dot in an object, as napari's brush does."""
    row, column = np.argwhere(np.asarray(layer.data) == label)[0]
    layer.selected_label, layer.brush_size = label, 6
    layer.mode = "paint"
    layer.paint((int(row), int(column)), label)


def finetune(
    window: Window, heart: Heartbeat, steps: int, *, painting: bool
) -> dict[str, Any]:
    """Fine-tune with previews on; return how many there were, and when the first."""
    from qtpy.QtCore import QTimer

    from napari_unet.learning import PreviewDone
    from napari_unet.qt.bench import bench_for

    shown: list[PreviewDone] = []
    bench_for(window.viewer).runner.progressed.connect(
        lambda _, event: shown.append(event) if isinstance(event, PreviewDone) else None
    )
    window.find("unet.finetune.preview").setChecked(True)
    window.find("unet.finetune.steps").setValue(steps)
    labels = iter(np.unique(window.labels.data)[CORRECTED + 1 :])
    brush = QTimer(interval=STROKE_PAUSE)
    brush.timeout.connect(lambda: stroke(window.labels, int(next(labels))))
    with heart.phase("fine-tune, painting" if painting else "fine-tune"):
        if painting:
            brush.start()
        window.press_and_wait("unet.finetune.start", "unet.finetune.start")
        brush.stop()
        window.rest(0.5)
    say(window.find("unet.finetune.summary").text())
    first = round(shown[0].seconds, 1) if shown else None
    return {"previews": len(shown), "first_preview_s": first}


if __name__ == "__main__":
    main()
