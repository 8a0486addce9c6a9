"""A person at work in a napari of their own, for a test that kills it.

    python to_be_killed.py FOLDER

Opens FOLDER/cells.tif, predicts, and uses the correction tools through real buttons.
Writes before.npy (the prediction), done.npy (after all tools) and, when all is on the
disk, "ready"; then goes on until it is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QPushButton
from story_edits import rough_disc, two_neighbours

from napari_unet.qt.app import open_workbench
from napari_unet.qt.bench import bench_for

PATIENCE = 240_000  # milliseconds


class Worker:
    """Presses real buttons."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.viewer, self.dock = open_workbench()
        self.viewer.open(str(folder / "cells.tif"))
        self.bench = bench_for(self.viewer)

    def wait(self, done: Any) -> None:
        loop, timer = QEventLoop(), QTimer(interval=20)
        timer.timeout.connect(lambda: loop.quit() if done() else None)
        QTimer.singleShot(PATIENCE, loop.quit)
        timer.start()
        loop.exec()
        timer.stop()
        if not done():
            raise TimeoutError

    def press(self, name: str) -> None:
        button = self.dock.findChild(QPushButton, f"unet.{name}")
        if not button.isEnabled():
            raise RuntimeError(f"{name}: {button.toolTip()}")
        button.click()

    @property
    def layer(self) -> Any:
        images = self.bench.session.images
        return self.bench.layer_of(images[0]) if images else None

    @property
    def labels(self) -> np.ndarray:
        return np.array(self.layer.data)

    def draw(self, tool: str, line: np.ndarray) -> None:
        """Draw a line for a tool, as napari's line tool leaves it."""
        self.press(f"correct.{tool}")
        before = self.labels
        self.viewer.layers.selection.active.add_lines(line)
        self.wait(lambda: (self.labels != before).any())
        self.press(f"correct.{tool}")

    def load_and_predict(self) -> None:
        for name in ("model.load", "predict.run"):
            self.press(name)
            self.wait(lambda: not self.bench.runner.busy)
        self.wait(lambda: self.layer is not None)
        np.save(self.folder / "before.npy", self.labels)

    def split_and_merge(self) -> None:
        """Merge two neighbours, then cut what came of it."""
        line = two_neighbours(self.labels)
        self.draw("merge", line)
        middle = line.mean(axis=0)
        across = np.array([-(line[1] - line[0])[1], (line[1] - line[0])[0]])
        self.draw("split", np.array([middle - 2 * across, middle + 2 * across]))

    def snap(self) -> None:
        """Paint roughly over an object, and let the outline go to the scores."""
        label, rough = rough_disc(self.labels)
        self.layer.selected_label = label
        self.layer.brush_size = rough.size
        self.layer.paint(rough.centre, label)
        self.press("correct.snap")

    def undo_all_and_redo(self) -> None:
        done = self.labels
        count = 0
        while self.bench.session.images[0].corrections.history.last != "prediction":
            self.press("correct.undo")
            count += 1
        if not np.array_equal(self.labels, np.load(self.folder / "before.npy")):
            raise AssertionError("undo did not return to the prediction")
        for _ in range(count):
            self.press("correct.redo")
        if not np.array_equal(self.labels, done):
            raise AssertionError("redo did not return to what was done")
        np.save(self.folder / "done.npy", done)
        (self.folder / "steps.txt").write_text(str(count))


def main() -> None:
    worker = Worker(Path(sys.argv[1]))
    worker.load_and_predict()
    worker.split_and_merge()
    worker.snap()
    worker.undo_all_and_redo()
    worker.wait(lambda: not worker.bench.session.unkept())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    worker.wait(lambda: False)


if __name__ == "__main__":
    main()
