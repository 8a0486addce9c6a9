"""What our tracked Labels layer costs the hand that paints.

A stroke, its undo, and taking a new prediction, in a shown viewer with an image of
4096 x 4096 pixels, on our layer and on a plain napari Labels layer in one run: medians,
in milliseconds, until the layer is up to date (drawing on the screen comes on top and
is the same for both). For a plain layer, a prediction is an assignment of all its data.

    python benchmarks/strokes.py --size 4096 --repeats 9
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from _common import arguments, machine, report
from _window import Window, ensure_display

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

    Act = Callable[[], object]

SQUARE = 40  # pixels from one object to the next
BRUSH = 20  # pixels


def main() -> None:
    options = _options()
    ensure_display()
    began = machine()
    window = Window()
    shape = (options.size, options.size)
    image = np.zeros(shape, np.uint8)
    window.viewer.add_image(image, name="nuclei")
    window.open_workbench()
    ours = Ours(window, image)
    plain = Plain(window, shape)
    rows = []
    for name in ("stroke", "undo", "prediction"):
        found = timed(window, (ours, plain), name, options.repeats)
        rows.append({"what": name, "ours_ms": found[0], "plain_napari_ms": found[1]})
    window.close()
    report("strokes", rows, {"shape": shape}, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=4096, help="of the image, pixels")
    parser.add_argument("--repeats", type=int, default=9)
    return parser.parse_args()


def timed(
    window: Window, hands: tuple[Ours, Plain], name: str, repeats: int
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


def objects(shape: tuple[int, int], shift: int) -> NDArray[np.int32]:
    """Return squares on a grid, at a place that depends on ``shift``."""
    rows, columns = np.indices(shape, np.int32, sparse=True)
    columns = columns + 2 * (shift % 5)
    ids = rows // SQUARE * (shape[1] // SQUARE + 2) + columns // SQUARE + 1
    inside = (rows % SQUARE < SQUARE - 12) & (columns % SQUARE < SQUARE - 12)
    return np.where(inside, ids, 0).astype(np.int32)


class Hand:
    """Somebody who paints, takes back, and gets predictions, on one layer."""

    def __init__(self, layer: Any, shape: tuple[int, int]) -> None:
        self.layer, self.shape = layer, shape
        layer.brush_size, layer.selected_label = BRUSH, 1

    def choose(self, window: Window) -> None:
        """Show this layer only, and make it the one that is painted on."""
        for layer in window.viewer.layers:
            layer.visible = layer is self.layer
        window.viewer.layers.selection.active = self.layer
        self.layer.mode = "paint"

    def prepare(self, name: str, repeat: int) -> Act:
        """Return what is to be timed, all that comes before it done."""
        if name == "prediction":
            return self.prediction(objects(self.shape, repeat))
        if name == "undo":
            self.stroke(repeat)
            return self.layer.undo  # type: ignore[no-any-return]  # napari's or ours
        return lambda: self.stroke(repeat)

    def stroke(self, repeat: int) -> None:
        """Paint a dot elsewhere each time."""
        self.layer.selected_label = 100_000 + repeat
        here = (np.array(self.shape) * (0.1 + 0.05 * (repeat % 16))).astype(int)
        self.layer.paint(tuple(here.tolist()), self.layer.selected_label)

    def prediction(self, labels: NDArray[np.int32]) -> Act:
        raise NotImplementedError


class Plain(Hand):
    """On a plain Labels layer."""

    def __init__(self, window: Window, shape: tuple[int, int]) -> None:
        layer = window.viewer.add_labels(objects(shape, 0), name="plain")
        super().__init__(layer, shape)

    def prediction(self, labels: NDArray[np.int32]) -> Act:
        def take() -> None:
            self.layer.data = labels

        return take


class Ours(Hand):
    """On the workbench's layer; its predictions come ready from the worker."""

    def __init__(self, window: Window, image: NDArray[Any]) -> None:
        from napari_unet.qt.bench import bench_for

        self.bench = bench_for(window.viewer)
        shape = (image.shape[0], image.shape[1])
        self.opened = self.bench.open(window.viewer.layers["nuclei"], "YX", None)
        self.everything = tuple(slice(0, n) for n in shape)
        self.prediction(objects(shape, 0))()
        window.wait(lambda: self.bench.layer_of(self.opened) is not None)
        super().__init__(self.bench.layer_of(self.opened), shape)

    def prediction(self, labels: NDArray[np.int32]) -> Act:
        corrections, session = self.opened.corrections, self.bench.session
        merged = corrections.snapshot().merge(labels, self.everything)

        def take() -> None:  # as Session does with the result of a prediction
            session.labels_changed.emit(self.opened, corrections.put(merged))

        return take


if __name__ == "__main__":
    main()
