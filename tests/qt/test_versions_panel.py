"""Handing a version on: what is asked, and what is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

from qtpy.QtWidgets import QDialogButtonBox, QFileDialog

from napari_unet.formats import SAVE_SUFFIXES, load_model
from napari_unet.formats.bioimageio.people import Author
from napari_unet.qt import versions_panel
from napari_unet.qt.export_dialog import ExportDialog, people
from tiny import tiny_spec

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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
