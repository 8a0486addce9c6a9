"""How soon a user sees something: the view first, and labels while a slider moves.

A real, shown viewer with a mosaic of real images (2018 Data Science Bowl,
fluorescence), zoomed in to 1024 x 1024 pixels; the screen must be 1600 pixels wide.
*Predict* is pressed for everything, the model being warm; the time until the labels in
view are there is taken, and then the job is cancelled. Then the threshold is moved, and
the time until the new labels are drawn is taken.

    python benchmarks/view.py --size 8192 --repeats 3
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from _common import add_model, arguments, machine, report, say
from _window import Window, ensure_display
from predict import mosaic

if TYPE_CHECKING:
    import argparse

VIEW = 1024  # pixels
THRESHOLDS = (0.4, 0.6)


def main() -> None:
    options = _options()
    ensure_display()
    began = machine()
    tile = mosaic(min(options.size, 2048), nuclei=56)
    many = -(-options.size // len(tile))
    image = np.tile(tile, (many, many))[: options.size, : options.size]
    window = Window()
    layer = window.viewer.add_image(image, name="mosaic")
    window.open_workbench()
    window.load(options.model)
    _zoom_in(window, options.size)
    rows: list[dict[str, Any]] = []
    for number in range(options.repeats + 1):
        first = _seconds_to_view(window)
        moved = _seconds_to_labels(window, THRESHOLDS[number % 2])
        if number:  # the first warms up
            rows.append({"view first, s": first, "slider to screen, s": moved})
            say(str(rows[-1]))
    facts = {key: median(row[key] for row in rows) for key in rows[0]}
    facts["view, pixels"] = np.ptp(layer.corner_pixels, axis=0).tolist()
    say(str(facts))
    report("view", rows, facts, options, began)
    window.close()


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--size", type=int, default=8192, help="pixels a side")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _zoom_in(window: Window, size: int) -> None:
    from napari_unet.qt.layers import camera_of

    camera, shown = camera_of(window.viewer), window.viewer.window
    height, width = shown._qt_viewer.canvas.size  # noqa: SLF001 - no other way
    outer = shown._qt_window  # noqa: SLF001
    outer.resize(outer.width() + height - width, outer.height())  # a square view
    window.rest(0.5)
    canvas = shown._qt_viewer.canvas.size  # noqa: SLF001
    camera.center = (0, size / 2, size / 2)
    camera.zoom = min(canvas) / VIEW
    window.rest(0.5)


def _seconds_to_view(window: Window) -> float:
    """Press Predict for everything; return when what is in view is there."""
    session_told: list[float] = []

    def on_labels_changed(*_: Any) -> None:
        session_told.append(time.perf_counter())

    from napari_unet.qt.bench import bench_for

    bench = bench_for(window.viewer)
    bench.session.labels_changed.connect(on_labels_changed)
    window.find("unet.predict.scope").setCurrentText("everything")
    start = time.perf_counter()
    window.press("unet.predict.run")
    window.wait(lambda: bool(session_told))
    window.rest(0.5)  # until the job for the rest has begun
    window.press_and_wait("unet.predict.cancel", "unet.predict.run")
    bench.session.labels_changed.disconnect(on_labels_changed)
    return session_told[0] - start


def _seconds_to_labels(window: Window, threshold: float) -> float:
    """Move the threshold; return when the labels are drawn."""
    from napari_unet.qt.bench import bench_for

    bench = bench_for(window.viewer)
    told: list[float] = []

    def on_labels_changed(*_: Any) -> None:
        from qtpy.QtCore import QTimer

        QTimer.singleShot(0, lambda: told.append(time.perf_counter()))  # once drawn

    bench.session.labels_changed.connect(on_labels_changed)
    start = time.perf_counter()
    window.find("unet.predict.threshold").setValue(threshold)
    window.wait(lambda: bool(told))
    bench.session.labels_changed.disconnect(on_labels_changed)
    return told[0] - start


if __name__ == "__main__":
    main()
