"""Versions: tried out, restored, deleted, and handed on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from qtpy.QtWidgets import QDialogButtonBox, QFileDialog, QListWidget, QMessageBox

from napari_unet.formats import SAVE_SUFFIXES, load_model
from napari_unet.formats.bioimageio.people import Author
from napari_unet.jobs import run_now
from napari_unet.opened_model import Version
from napari_unet.qt import previews, versions_panel
from napari_unet.qt.export_dialog import ExportDialog, people
from napari_unet.qt.parts import when
from napari_unet.qt.versions_panel import line_of, tip_of
from tiny import nuclei, tiny_model, tiny_spec

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

IMAGE, LABELS = nuclei()
TRIED = ("restore", "preview", "compare", "delete", "save", "export", "hide")


def chosen(dialog: ExportDialog, suffix: str) -> ExportDialog:
    dialog.format.setCurrentIndex(dialog.format.findData(suffix))
    return dialog


def test_a_version_is_exported_under_the_ending_of_its_format(
    hands, tiny_files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hands()
    one.load(tiny_files["instances"])
    monkeypatch.setattr(ExportDialog, "exec", lambda _: True)
    place = str(tmp_path / "out")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (place, ""))
    one.press("versions.export")
    one.wait_idle()
    assert load_model(tmp_path / "out.safetensors").spec.name == "tiny"
    assert "Saved model" in one.text("versions")


def test_what_was_asked_reaches_the_writer(
    hands, tiny_files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hands()
    one.load(tiny_files["instances"])

    def fill(dialog: ExportDialog) -> bool:
        chosen(dialog, ".zip").authors.setText("Ada (London); Alan")
        return True

    monkeypatch.setattr(ExportDialog, "exec", fill)
    place = str(tmp_path / "out.zip")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (place, ""))
    session = one.bench.session
    with mock.patch.object(session, "save_model_job", return_value=None) as save:
        one.press("versions.export")
    (path, number), asked = save.call_args
    assert (path.name, number) == ("out.zip", 1)
    assert asked["authors"] == [Author("Ada", "London"), Author("Alan")]
    assert asked["licence"] == "CC-BY-4.0"


def test_thinking_better_of_it_writes_nothing(
    hands, tiny_files, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hands()
    one.load(tiny_files["instances"])
    asked: list[Any] = []
    monkeypatch.setattr(ExportDialog, "exec", lambda _: False)
    monkeypatch.setattr(versions_panel, "ask_save", lambda *_: asked.append(1))
    one.press("versions.export")
    assert asked == []


def test_every_format_can_be_chosen_and_a_package_needs_an_author(qtbot) -> None:
    dialog = ExportDialog(tiny_spec())
    qtbot.addWidget(dialog)
    ok = dialog.buttons.button(QDialogButtonBox.StandardButton.Ok)
    for suffix in SAVE_SUFFIXES:
        chosen(dialog, suffix)
        assert dialog.value()[0] == suffix
        assert ok.isEnabled() is (suffix != ".zip")
    chosen(dialog, ".zip").authors.setText("Ada")
    assert ok.isEnabled()


def test_people_are_read_with_what_stands_in_brackets() -> None:
    text = " Ada (Kings, London, @ada, 0000-0001-2345-678X) ;; Alan B. ; ((; "
    assert people(text) == [
        Author("Ada", "Kings, London", "0000-0001-2345-678X", "ada"),
        Author("Alan B."),
    ]


# -- the list and what can be done with it


def with_versions(hands, tiny_files, **options: Any) -> Any:
    """An image, and a model with a second version that is in use."""
    one = hands()
    one.viewer.add_image(IMAGE, name="nuclei", **options)
    one.load(tiny_files["instances"])
    session = one.bench.session
    state = session._state
    state._add(Version(2, tiny_model(seed=4), "finds 3 of 4", 0.0, 0.75, 12, base=1))
    session.restore(2)
    return one


def select(one: Any, *numbers: int) -> None:
    versions = one.find("versions.list", QListWidget)
    for row in range(versions.count()):
        versions.item(row).setSelected(row + 1 in numbers)


def possible(one: Any) -> set[str]:
    return {name for name in TRIED if one.find(f"versions.{name}").isEnabled()}


def test_a_version_is_told_with_time_score_and_strokes() -> None:
    made = time.mktime((2020, 5, 6, 10, 41, 0, 0, 0, -1))
    tuned = Version(3, None, "finds 9 of 10", made, 0.876, 1, base=2)  # type: ignore[arg-type]
    assert line_of(tuned, in_use=True) == (
        "3   2020-05-06 10:41   0.88 held-out, 1 stroke   (in use)\n      finds 9 of 10"
    )
    assert "from version 2" in tip_of(tuned)
    loaded = Version(1, None, "cells.pth as loaded", made)  # type: ignore[arg-type]
    assert line_of(loaded, in_use=False).endswith("10:41   cells.pth as loaded")
    now = time.time()
    assert when(now) == time.strftime("%H:%M", time.localtime(now))


def test_long_notes_do_not_widen_the_dock(hands, tiny_files) -> None:
    one = with_versions(hands, tiny_files)
    width = one.docks[0].widget().minimumSizeHint().width()
    state = one.bench.session._state
    state._add(Version(3, tiny_model(), "a long note " * 40, strokes=10**9, base=2))
    one.bench.session.model_changed.emit()
    assert one.docks[0].widget().minimumSizeHint().width() == width
    item = one.find("versions.list", QListWidget).item(2)
    assert "a long note " * 40 in item.toolTip()


def test_buttons_follow_what_is_selected(hands, tiny_files) -> None:
    one = with_versions(hands, tiny_files)
    assert possible(one) == {"preview", "save", "export"}  # the one in use
    assert "restore another one first" in one.find("versions.delete").toolTip()
    select(one, 1)
    assert possible(one) == {"restore", "preview", "delete", "save", "export"}
    select(one, 1, 2)
    assert possible(one) == {"compare"}
    assert "several versions are selected" in one.find("versions.preview").toolTip()
    select(one)
    assert possible(one) == set()
    assert "no version is selected" in one.find("versions.restore").toolTip()
    one.viewer.layers.clear()
    select(one, 1)
    assert "no image layer is open" in one.find("versions.preview").toolTip()


def test_the_only_version_can_neither_be_deleted_nor_compared(
    hands, tiny_files
) -> None:
    one = hands()
    one.load(tiny_files["instances"])
    assert "it is the only version" in one.find("versions.delete").toolTip()
    assert "only one version" in one.find("versions.compare").toolTip()


def test_deleting_asks_first(hands, tiny_files, monkeypatch) -> None:
    one = with_versions(hands, tiny_files)
    asked: list[str] = []
    answers = iter([QMessageBox.StandardButton.Cancel, QMessageBox.StandardButton.Yes])

    def answer(_: Any, __: str, text: str, *___: Any) -> Any:
        asked.append(text)
        return next(answers)

    monkeypatch.setattr(QMessageBox, "question", answer)
    select(one, 1)
    one.press("versions.delete")
    assert len(one.bench.session.versions) == 2
    assert "Delete version 1 (as loaded)? This cannot be undone" in asked[0]
    one.press("versions.delete")
    assert [version.number for version in one.bench.session.versions] == [2]
    assert one.text("versions") == "1 version, version 2 in use"


# -- previews


def test_a_preview_lies_over_the_image_and_leaves_labels_and_choosers(
    hands, tiny_files
) -> None:
    one = with_versions(hands, tiny_files, scale=(0.5, 0.5), translate=(3, 4))
    one.bench.session.restore(1)
    one.predict()
    before, active = one.pixels, one.viewer.layers.selection.active
    one.press("versions.preview")
    one.wait_idle()
    layer = previews.shown(one.bench.viewer)
    assert layer.name == "nuclei - version 1 preview"
    assert not layer.editable
    np.testing.assert_allclose(layer.scale, (0.5, 0.5))
    np.testing.assert_allclose(layer.translate, (3, 4))
    assert layer not in one.bench.layers(type(layer))
    np.testing.assert_array_equal(one.pixels, before)
    assert one.viewer.layers.selection.active == active
    outlined = np.asarray(layer.data) > 0
    np.testing.assert_array_equal(before[outlined] > 0, True)
    count = len(np.unique(before)) - 1
    assert f"Version 1 finds {count} objects here" in one.text("versions")


def test_two_are_compared_and_hidden_again(hands, tiny_files) -> None:
    one = with_versions(hands, tiny_files)
    layer = one.viewer.add_labels(LABELS, name="mine")
    one.choose("predict.labels", "mine")
    one.predict()  # what the user brought is accepted
    select(one, 1, 2)
    one.press("versions.compare")
    one.wait_idle()
    shown = previews.shown(one.bench.viewer)
    assert shown.name == "nuclei - versions 1 and 2 preview"
    assert {1, 2, 3} & set(np.unique(shown.data))
    said = one.text("versions")
    assert "On your corrections: version 1 finds" in said
    assert "version 1 orange, version 2 blue, both green." in said
    assert one.viewer.layers.selection.active == layer
    one.press("versions.hide")
    assert previews.shown(one.bench.viewer) is None
    assert "no preview is shown" in one.find("versions.hide").toolTip()
    assert one.text("versions") == "2 versions, version 2 in use"


def test_a_new_preview_takes_the_place_of_the_earlier_ones(hands, tiny_files) -> None:
    one = with_versions(hands, tiny_files)
    select(one, 1, 2)
    one.press("versions.compare")
    one.wait_idle()
    one.viewer.add_image(np.stack([IMAGE] * 3), name="stack")
    one.choose("predict.image", "stack")
    one.viewer.dims.set_current_step(0, 1)
    select(one, 2)
    for _ in range(2):
        one.press("versions.preview")
        one.wait_idle()
        layer = previews.shown(one.bench.viewer)
        assert layer.name.startswith("stack - version 2 preview")
        assert layer.data.shape[0] == 1
        np.testing.assert_allclose(layer.translate, (1, 0, 0))
        assert not layer.editable


def test_a_preview_uses_the_settings_of_the_predict_panel(hands, tiny_files) -> None:
    one = with_versions(hands, tiny_files)
    image = np.stack([IMAGE, IMAGE])
    one.viewer.add_image(image, name="two", rgb=False)
    one.choose("predict.image", "two")
    one.type_axes("CYX")
    one.choose("predict.channels", "all")
    one.predict()
    assert "2 channels" in one.text("predict")
    one.choose("predict.channels", "1")
    one.predict()
    one.wait(lambda: "two - U-Net" in one.viewer.layers)
    select(one, 1)
    one.press("versions.preview")
    one.wait_idle()
    layer = previews.shown(one.bench.viewer)
    assert layer.ndim == 2
    assert "Version 1 finds" in one.text("versions")


def test_a_preview_that_cannot_be_made_says_why(hands, tiny_files) -> None:
    one = with_versions(hands, tiny_files)
    one.viewer.add_image(np.full((20, 20), np.nan, np.float32), name="bad")
    one.choose("predict.image", "bad")
    one.press("versions.preview")
    one.wait_idle()
    assert "NaN" in one.text("versions")
    assert previews.shown(one.bench.viewer) is None


def test_a_preview_asked_for_by_a_script_is_not_drawn(hands, tiny_files) -> None:
    one = with_versions(hands, tiny_files)
    view, _ = previews.visible_view(one.bench, one.bench.session.model)
    found = []
    one.bench.session.previewed.connect(found.append)
    run_now(one.bench.session.preview_job(1, view))
    assert [each.number for each in found] == [1]
    assert previews.shown(one.bench.viewer) is None
