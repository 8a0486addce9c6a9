"""Split, merge, snap, undo all; the program is killed; go on, and fine-tune."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QLabel, QPushButton, QWidget

from napari_unet.qt.bench import bench_for
from napari_unet.sample_data import synthesize

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

PATIENCE = 240_000  # milliseconds that a job may take on a loaded machine
PERSON = Path(__file__).with_name("to_be_killed.py")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image, in which all is kept."""
    image = synthesize((256, 256), np.random.default_rng(3)).image
    tifffile.imwrite(tmp_path / "cells.tif", image)
    monkeypatch.setenv("NAPARI_UNET_PROJECTS", str(tmp_path / "projects"))
    return tmp_path


def work_until_killed(folder: Path) -> None:
    """Let a person work in a napari of their own; kill it when all is on the disk."""
    own = {**os.environ, "NAPARI_CONFIG": str(folder / "napari.yaml")}
    with (folder / "said.txt").open("w") as said:
        person = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, str(PERSON), str(folder)], env=own, cwd=PERSON.parent,
            stdout=subprocess.PIPE, stderr=said, start_new_session=True,
        )  # fmt: skip
        assert person.stdout is not None
        first = person.stdout.readline()
        os.killpg(person.pid, signal.SIGKILL)
        person.wait()
        person.stdout.close()
    assert first == b"ready\n", (folder / "said.txt").read_text()[-3000:]


class Next:
    """The person who opens napari again."""

    def __init__(self, viewer: Any, qtbot: QtBot) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        _, self.dock = viewer.window.add_plugin_dock_widget(
            "napari-unet-workbench", "U-Net workbench"
        )
        self.bench = bench_for(viewer)

    def find(self, name: str, kind: type = QPushButton) -> Any:
        found = self.dock.findChild(kind, f"unet.{name}")
        assert found is not None, name
        return found

    def press(self, name: str) -> None:
        button = self.find(name)
        self.qtbot.waitUntil(button.isEnabled, timeout=PATIENCE)
        button.click()

    def wait(self, done: Any) -> None:
        self.qtbot.waitUntil(done, timeout=PATIENCE)

    @property
    def layer(self) -> Any:
        images = self.bench.session.images
        return self.bench.layer_of(images[0]) if images else None


def test_a_killed_program_goes_on_exactly_where_it_was(
    folder: Path, make_napari_viewer_proxy: Any, qtbot: QtBot
) -> None:
    work_until_killed(folder)
    person = Next(make_napari_viewer_proxy(show=True), qtbot)
    person.wait(person.find("project.go_on").isVisible)
    person.press("project.go_on")
    person.wait(lambda: person.layer is not None)
    done, before = np.load(folder / "done.npy"), np.load(folder / "before.npy")
    np.testing.assert_array_equal(person.layer.data, done)
    undo_everything(person, before, int((folder / "steps.txt").read_text()))
    np.testing.assert_array_equal(person.layer.data, done)
    fine_tune_and_predict(person, done)


def undo_everything(person: Next, before: np.ndarray, steps: int) -> None:
    """The history outlives the program."""
    for _ in range(steps):
        person.press("correct.undo")
    np.testing.assert_array_equal(person.layer.data, before)
    for _ in range(steps):
        person.press("correct.redo")


def fine_tune_and_predict(person: Next, done: np.ndarray) -> None:
    """Corrections of before the kill are learnt from, and stay."""
    kept = person.bench.session.images[0].corrections.snapshot().protected()
    assert kept.any()
    person.find("finetune.steps", QWidget).setValue(6)
    person.press("finetune.start")
    person.press("finetune.keep")
    assert "version 2" in person.find("model.summary", QLabel).text()
    person.press("predict.run")
    person.wait(lambda: not person.bench.runner.busy)
    np.testing.assert_array_equal(np.asarray(person.layer.data)[kept], done[kept])
