"""A person at work in a real napari, who writes down what was there when; to be killed.

Started by faults.py. Every line of the log holds the time, and checksums of the labels
and of the states at that time; a line is in the file before the event loop goes on, so
nothing that is kept later can be older than its line.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from _window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

PHASES = ("paint", "tools", "predict", "train", "save", "close")
TOOLS = ("delete", "fill_holes", "smooth", "accept_object")
BRUSH = 9  # pixels


class Hand:
    """Works on one image, at random."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        self.log = os.open(folder / "log.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self.window = Window()
        self.viewer = self.window.viewer
        self.viewer.open(str(folder / "image" / "cells.tif"))
        self.window.open_workbench()
        self.bench: Any = None

    def begin(self) -> None:
        """Load the bundled model and predict once."""
        from napari_unet.qt.bench import bench_for

        self.bench = bench_for(self.viewer)
        self.bench.session.labels_changed.connect(lambda *_: self.note("changed"))
        for name in ("unet.model.load", "unet.predict.run"):
            self.window.press(name)
            self.window.wait(lambda: not self.bench.runner.busy)
        self.window.wait(lambda: self.layer is not None)
        self.note("begun")

    @property
    def opened(self) -> Any:
        images = self.bench.session.images
        return images[0] if images else None

    @property
    def layer(self) -> Any:
        return None if self.opened is None else self.bench.layer_of(self.opened)

    def note(self, what: str, *, settled: bool = True) -> None:
        """Write down what is there now; states only when no stroke is under way."""
        if self.opened is None:
            return
        found = checksums(self.opened.corrections)
        line = {"time": time.time(), "what": what, "labels": found[0]}
        project = self.bench.session.project
        if project is not None and project.trouble:
            line["trouble"] = project.trouble
        if settled:
            line["states"] = found[1]
        os.write(self.log, (json.dumps(line) + "\n").encode())

    # -- what a person does

    def place(self) -> tuple[int, int]:
        height, width = self.layer.data.shape
        return int(self.rng.integers(height)), int(self.rng.integers(width))

    def paint(self) -> None:
        """Draw a stroke of several dots with napari's brush, or erase."""
        layer, (row, column) = self.layer, self.place()
        layer.brush_size = BRUSH
        new = int(np.max(layer.data)) + 1
        label = int(self.rng.choice([0, new, new]))
        with layer.block_history():
            for dot in range(int(self.rng.integers(1, 6))):
                layer.paint((row, (column + 4 * dot) % layer.data.shape[1]), label)
                self.note("dot", settled=False)
                self.window.rest(float(self.rng.random()) * 0.02)
        self.note("stroke")

    def use_tool(self) -> None:
        """Press a tool's button for an object, or undo or redo."""
        name = str(self.rng.choice([*TOOLS, "undo", "redo", "accept_view"]))
        ids = np.unique(self.layer.data)
        self.layer.selected_label = int(self.rng.choice(ids[1:])) if len(ids) > 1 else 1
        self.press(f"unet.correct.{name}")
        self.note(name)

    def press(self, name: str) -> None:
        button = self.window.find(name)
        if button.isEnabled():
            button.click()

    def predict(self) -> None:
        """Paint, then predict again; the result comes when it comes."""
        self.paint()
        self.press("unet.predict.run")

    def train(self) -> None:
        """Fine-tune while painting; keep what comes out."""
        self.press("unet.finetune.keep")
        self.press("unet.finetune.start")
        self.paint()

    def save(self) -> None:
        """Write the masks over and over, while painting."""
        self.paint()
        target = self.folder / "masks.tif"
        session = self.bench.session
        self.bench.run("correct", session.save_labels_job, self.opened, target)

    def close(self) -> None:
        """Paint a little, then close the window."""
        for _ in range(int(self.rng.integers(1, 12))):
            self.paint()
        self.note("closing")
        self.viewer.close()


def checksums(corrections: Any) -> tuple[int, int]:
    """Return those of labels and states."""
    whole = tuple(slice(0, n) for n in corrections.shape)
    labels, states = corrections.labels.now(whole), corrections.state[whole]
    return zlib.crc32(labels.tobytes()), zlib.crc32(states.tobytes())


def main() -> None:
    folder, phase, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    hand = Hand(folder, seed)
    hand.begin()
    act: Callable[[], None] = {
        "paint": hand.paint, "tools": hand.use_tool, "predict": hand.predict,
        "train": hand.train, "save": hand.save, "close": hand.close,
    }[phase]  # fmt: skip
    if phase == "train":
        hand.window.find("unet.finetune.steps").setValue(30)
    for _ in range(6):
        hand.paint()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        act()
        hand.window.rest(0.02 + 0.1 * float(hand.rng.random()))
        if phase == "close":
            return


if __name__ == "__main__":
    main()
