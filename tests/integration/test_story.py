"""The whole loop, told through the real widgets in a real, shown viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QPushButton, QWidget

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

IMAGE = "0c6507d493bf79b2ba248c5cca3d14df8b67328b89efa5f4a32f97a06a88c92c"
Edits = list[tuple[tuple[slice, slice], int]]
PATIENCE = 240_000  # milliseconds that a job may take on a loaded machine


@pytest.fixture
def image(request: pytest.FixtureRequest) -> np.ndarray:
    """A real image where there is one, else a synthetic one."""
    try:
        folder: Path = request.getfixturevalue("data_folder")
    except pytest.skip.Exception:
        from napari_unet.sample_data import synthesize

        return synthesize((256, 256), np.random.default_rng(0)).image
    return iio.imread(folder / "data" / "dsb2018" / "images" / f"{IMAGE}.png")


class Person:
    """Presses real buttons by their object names."""

    def __init__(self, viewer, dock: QWidget, qtbot: QtBot) -> None:
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot

    def find(self, name: str, kind: type = QPushButton):
        found = self.dock.findChild(kind, name)
        assert found is not None, name
        return found

    def press(self, name: str) -> None:
        button = self.find(name)
        assert button.isEnabled(), f"{name}: {button.toolTip()}"
        button.click()

    def wait_enabled(self, name: str) -> None:
        self.qtbot.waitUntil(self.find(name).isEnabled, timeout=PATIENCE)

    def press_and_wait(self, name: str) -> None:
        self.press(name)
        self.wait_enabled(name)

    def text(self, name: str) -> str:
        return self.find(name, QLabel).text()

    @property
    def visible(self) -> tuple[slice, slice]:
        first, last = np.asarray(self.labels.corner_pixels)
        return slice(first[0], last[0] + 1), slice(first[1], last[1] + 1)

    @property
    def labels(self):
        return self.viewer.layers["nuclei - U-Net"]


@pytest.fixture
def person(make_napari_viewer_proxy, qtbot, image) -> Person:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(image, name="nuclei")
    _, dock = viewer.window.add_plugin_dock_widget(
        "napari-unet-workbench", "U-Net workbench"
    )
    return Person(viewer, dock, qtbot)


def load(person: Person, source: str) -> None:
    chooser = person.find("unet.model.source", QComboBox)
    chooser.setEditText(source)
    person.press("unet.model.load")
    person.wait_enabled("unet.predict.run")


def test_load_predict_correct_finetune_keep_revert_save(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(person, "nuclei-2d")
    person.press_and_wait("unet.predict.run")
    assert len(np.unique(person.labels.data)) > 3, person.text("unet.predict.summary")

    edits = paint_and_erase(person)
    for _ in range(2):
        person.press_and_wait("unet.predict.run")
        assert_edits_kept(person, edits)

    person.press("unet.correct.accept_view")
    seen = person.visible
    accepted = np.array(person.labels.data[seen])
    person.qtbot.waitUntil(
        lambda: "accepted" in person.text("unet.correct.summary"), timeout=5000
    )
    steps = person.find("unet.finetune.steps", QWidget)
    steps.setValue(6)
    person.press("unet.finetune.start")
    person.wait_enabled("unet.finetune.keep")
    said = person.text("unet.finetune.summary")  # of one place nothing is held out
    assert "A draft, not in use, because nothing is held out" in said
    person.press("unet.finetune.keep")
    assert "version 2" in person.text("unet.model.summary")
    person.press_and_wait("unet.predict.run")
    assert_edits_kept(person, edits)
    np.testing.assert_array_equal(person.labels.data[seen], accepted)

    person.press("unet.finetune.revert")
    assert "version 1" in person.text("unet.model.summary")
    save_and_load_again(person, tmp_path, monkeypatch)


def paint_and_erase(person: Person) -> Edits:
    """Paint a new object and erase part of another, with napari's own tools."""
    labels = person.labels
    new = int(np.max(labels.data)) + 1
    labels.selected_label, labels.brush_size = new, 12
    labels.mode = "paint"
    labels.paint((20, 20), new)
    first = int(np.unique(labels.data)[1])
    row, column = np.argwhere(np.asarray(labels.data) == first)[0]
    labels.mode = "erase"
    labels.brush_size = 4
    labels.paint((int(row), int(column)), 0)
    return [
        ((slice(18, 22), slice(18, 22)), new),
        ((slice(row, row + 1), slice(column, column + 1)), 0),
    ]


def assert_edits_kept(person: Person, edits: Edits) -> None:
    for place, value in edits:
        assert (np.asarray(person.labels.data)[place] == value).all()


def save_and_load_again(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, model = tmp_path / "masks.tif", tmp_path / "mine.safetensors"
    names = iter([(str(masks), ""), (str(model), "")])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: next(names))
    person.press("unet.correct.save")
    person.qtbot.waitUntil(masks.exists, timeout=PATIENCE)
    np.testing.assert_array_equal(iio.imread(masks), person.labels.data)
    person.press("unet.versions.save")
    person.qtbot.waitUntil(model.exists, timeout=PATIENCE)
    load(person, str(model))
    person.qtbot.waitUntil(
        lambda: "version 3" in person.text("unet.model.summary"), timeout=PATIENCE
    )  # loading another model keeps the versions that were fine-tuned
    person.press_and_wait("unet.predict.run")
