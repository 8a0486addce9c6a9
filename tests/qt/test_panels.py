"""Panels, alone and together: what can be pressed, what is said, what is refused."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QWidget,
)

from napari_unet.engine.config import BlockDone
from tiny import nuclei

if TYPE_CHECKING:
    from pathlib import Path

ALONE = ("Model", "Predict", "Correct", "Fine-tune")
CONTROLS = {
    "unet.model.source",
    "unet.model.browse",
    "unet.model.load",
    "unet.model.device",
    "unet.model.precision",
    "unet.model.trust",
    "unet.model.check_tiling",
    "unet.model.rotate",
    "unet.model.uncertainty",
    "unet.model.ensemble_add",
    "unet.model.ensemble_clear",
    "unet.model.summary",
    "unet.predict.image",
    "unet.predict.channels",
    "unet.predict.axes",
    "unet.predict.pixel_size",
    "unet.predict.scope",
    "unet.predict.region",
    "unet.predict.labels",
    "unet.predict.run",
    "unet.predict.cancel",
    "unet.predict.threshold",
    "unet.predict.split",
    "unet.predict.smallest",
    "unet.predict.holes",
    "unet.predict.summary",
    "unet.correct.labels",
    "unet.correct.accept_view",
    "unet.correct.accept_slice",
    "unet.correct.accept_object",
    "unet.correct.unaccept",
    "unet.correct.undo",
    "unet.correct.redo",
    "unet.correct.show_edited",
    "unet.correct.save",
    "unet.correct.summary",
    "unet.finetune.steps",
    "unet.finetune.learning_rate",
    "unet.finetune.start",
    "unet.finetune.stop",
    "unet.finetune.cancel",
    "unet.finetune.plot",
    "unet.finetune.keep",
    "unet.finetune.revert",
    "unet.finetune.summary",
    "unet.finetune.plan",
    "unet.finetune.preview",
    "unet.finetune.show_worse",
    "unet.finetune.start_from",
    "unet.versions.list",
    "unet.versions.restore",
    "unet.versions.save",
}
GREY = nuclei()[0][:60, :70]
COLOUR = np.stack([GREY, GREY, GREY // 2], axis=-1)


def ready(hands, tiny_files, image=GREY, *, kind: str = "instances", **options):
    one = hands()
    one.viewer.add_image(image, name="nuclei", **options)
    one.load(tiny_files[kind])
    return one


def named(dock: QWidget) -> list[QWidget]:
    children = dock.findChildren(QWidget)
    return [each for each in children if each.objectName().startswith("unet.")]


def test_every_control_is_there_once_with_a_tooltip(hands) -> None:
    one = hands()
    found = named(one.docks[0])
    names = [each.objectName() for each in found]
    assert len(set(names)) == len(names)
    assert set(names) >= CONTROLS
    untold = [
        each.objectName() for each in found
        if not each.toolTip() and not isinstance(each, QLabel)
    ]  # fmt: skip
    assert untold == []


def test_what_is_folded_takes_a_header_and_a_line_that_says_something(hands) -> None:
    one = hands()
    one.docks[0].window().resize(1200, 980)
    steps = one.docks[0].steps
    for only in ("predict", "finetune", "predict", "versions"):
        for name, step in steps.items():
            step.expand(name == only)
        folded = [step.section for name, step in steps.items() if name != only]
        one.wait(lambda f=folded: all(s.height() == s.sizeHint().height() for s in f))
        assert all(step.line.text() for name, step in steps.items() if name != only)


def test_buttons_that_cannot_work_say_why(hands) -> None:
    one = hands()
    disabled = [
        each for each in named(one.docks[0])
        if isinstance(each, QPushButton) and not each.isEnabled()
    ]  # fmt: skip
    assert len(disabled) >= 10
    assert [b.objectName() for b in disabled if "Not now: " not in b.toolTip()] == []
    assert "no model is loaded" in one.find("predict.run").toolTip()


def test_the_panels_work_in_docks_of_their_own(hands, tiny_files) -> None:
    one = hands(*ALONE)
    one.viewer.add_image(GREY, name="nuclei")
    one.load(tiny_files["instances"])
    one.predict()
    assert one.labels.name == "nuclei - U-Net"
    one.press("correct.accept_view")
    one.wait(lambda: "accepted" in one.text("correct"))
    one.find("finetune.steps", QWidget).setValue(2)
    one.wait(lambda: one.find("finetune.start").isEnabled())
    one.press("finetune.start")
    one.wait(lambda: one.find("finetune.keep").isEnabled())
    one.press("finetune.keep")
    assert "version 2" in one.text("model")
    one.press("finetune.revert")
    assert "version 1" in one.text("model")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((20, 20), np.nan, np.float32), "NaN"),
        (np.zeros((20, 20), bool), "true and false"),
    ],
)
def test_bad_images_are_refused_in_a_sentence(hands, tiny_files, image, words) -> None:
    one = ready(hands, tiny_files)
    one.viewer.add_image(image, name="bad")
    one.choose("predict.image", "bad")
    one.predict()
    assert words in one.text("predict")
    assert len(one.viewer.layers) == 2
    one.choose("predict.image", "nuclei")
    one.predict()
    assert one.labels.name == "nuclei - U-Net"


def test_constant_one_pixel_and_wrong_channels(hands, tiny_files) -> None:
    one = ready(hands, tiny_files, np.full((30, 30), 5, np.uint8))
    one.predict()
    assert "object" in one.text("predict")
    one.viewer.add_image(np.full((1, 1), 5, np.uint8), name="dot")
    one.choose("predict.image", "dot")
    one.predict()
    assert "object" in one.text("predict")
    one.viewer.add_image(np.zeros((5, 30, 30), np.uint8), name="five")
    one.choose("predict.image", "five")
    one.type_axes("CYX")
    one.choose("predict.channels", "all")
    before = len(one.viewer.layers)
    one.predict()
    assert "5 channels" in one.text("predict")
    assert len(one.viewer.layers) == before
    one.type_axes("QQ")
    one.predict()
    assert 'The axes "QQ"' in one.text("predict")
    one.type_axes("CYX")
    one.choose("predict.channels", "3")
    one.predict()
    assert one.viewer.layers["five - U-Net"].data.shape == (30, 30)


def test_labels_that_do_not_fit_are_refused_untouched(hands, tiny_files) -> None:
    one = ready(hands, tiny_files)
    for name, labels, options in (
        ("shape", np.zeros((5, 5), int), {}),
        ("scale", np.zeros((60, 70), int), {"scale": (2, 2)}),
        ("negative", np.full((60, 70), -1), {}),
        ("huge", np.full((60, 70), 2**40), {}),
    ):
        layer = one.viewer.add_labels(labels, name=name, **options)
        one.choose("predict.labels", name)
        one.predict()
        assert len(one.text("predict")) > 20, name
        assert not one.text("predict").startswith("Predicting"), name
        np.testing.assert_array_equal(layer.data, labels)
        assert layer.data is labels
    assert one.bench.session.images == []


def test_labels_of_another_dtype_take_a_prediction_and_keep_their_objects(
    hands, tiny_files
) -> None:
    one = ready(hands, tiny_files)
    mine = np.zeros((60, 70), np.uint8)
    mine[5:20, 5:20] = 9
    layer = one.viewer.add_labels(mine, name="mine")
    one.choose("predict.labels", "mine")
    one.predict()
    assert (np.asarray(layer.data)[5:20, 5:20] == 9).all()
    assert np.asarray(layer.data).max() > 9


def test_without_a_model_or_an_image_it_says_what_is_missing(hands, tiny_files) -> None:
    one = hands()
    assert "model" in one.text("predict").lower()
    one.load(tiny_files["instances"])
    assert not one.find("predict.run").isEnabled()
    assert "image" in one.find("predict.run").toolTip()


def test_bad_checkpoints_are_refused_and_the_model_stays(
    hands, tiny_files, tmp_path: Path
) -> None:
    one = ready(hands, tiny_files)
    model = one.bench.session.model
    contents = {
        "short.safetensors": tiny_files["instances"].read_bytes()[:2000],
        "page.pt": b"<!DOCTYPE html><html>404</html>",
        "code.pt": pickle.dumps({"a": np.zeros}),
        "empty.safetensors": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in [*contents, "absent.safetensors"]:
        one.load(tmp_path / name)
        assert name in one.text("model"), one.text("model")
        assert not one.text("model").startswith("Loading")
        assert "\n" not in one.text("model")
        assert one.bench.session.model is model
    one.predict()


def test_return_loads_once(hands, tiny_files, recwarn) -> None:
    one = hands("Model")
    said: list[str] = []
    one.bench.said.connect(lambda _, sentence: said.append(sentence))
    one.load(tiny_files["instances"])
    assert said == []
    assert "tiny, version 1" in one.text("model")


def test_a_folder_that_cannot_be_written_is_said(
    hands, tiny_files, tmp_path: Path, monkeypatch
) -> None:
    one = ready(hands, tiny_files)
    one.predict()
    one.labels.paint((20, 20), 50)
    one.wait(lambda: "kept in the project" in one.text("correct"))
    (tmp_path / "file").touch()
    path = str(tmp_path / "file" / "out.tif")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (path, ""))
    one.press("correct.save")
    one.wait_idle()
    assert "out.tif could not be written" in one.text("correct")
    assert one.bench.session.unsaved


def test_saved_masks_are_not_called_a_model(
    hands, tiny_files, tmp_path: Path, monkeypatch
) -> None:
    one = ready(hands, tiny_files)
    one.predict()
    before = one.text("versions")
    path = str(tmp_path / "out.tif")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (path, ""))
    one.press("correct.save")
    one.wait_idle()
    assert one.text("versions") == before


def test_colour_stacks_and_time_series(hands, tiny_files) -> None:
    one = ready(hands, tiny_files, COLOUR, rgb=True, scale=(0.5, 0.5))
    one.predict()
    assert "luminance" in one.text("predict")
    np.testing.assert_allclose(one.labels.scale, (0.5, 0.5))
    assert one.labels.data.shape == (60, 70)

    one.viewer.add_image(np.stack([GREY] * 3), name="stack", scale=(4, 1, 1))
    one.choose("predict.image", "stack")
    one.viewer.dims.set_current_step(0, 1)
    one.choose("predict.scope", "slice")
    one.predict()
    stack = one.viewer.layers["stack - U-Net"]
    np.testing.assert_array_equal(
        np.asarray(stack.data).any(axis=(1, 2)), [False, True, False]
    )
    one.choose("predict.scope", "everything")
    one.predict()
    assert np.asarray(stack.data).any(axis=(1, 2)).all()

    one.viewer.add_image(np.stack([[GREY] * 3] * 2), name="movie")
    one.choose("predict.image", "movie")
    assert one.find("predict.axes", QLineEdit).text() == "TZYX"
    one.predict()
    movie = one.viewer.layers["movie - U-Net"]
    assert np.asarray(movie.data).any(axis=(2, 3)).all()


def test_sliders_change_the_labels_without_the_network(hands, tiny_files) -> None:
    one = ready(hands, tiny_files)
    one.predict()
    one.bench.session._state.versions.clear()  # no network any more
    before, said = one.pixels, one.text("predict")
    one.find("predict.threshold", QDoubleSpinBox).setValue(1.0)
    one.wait_idle()
    assert not one.pixels.any()
    assert one.text("predict").startswith("0 objects in ")
    assert "nothing found" in one.text("predict")
    one.find("predict.threshold", QDoubleSpinBox).setValue(0.5)
    one.wait_idle()
    assert one.text("predict") == said
    changed = (one.pixels > 0) != (before > 0)  # scores are kept as float16
    assert changed.mean() < 1e-3


def test_labels_of_a_large_plane_are_made_with_a_bar_and_can_be_cancelled(
    hands, tiny_files, monkeypatch
) -> None:
    from napari_unet.engine import seams

    monkeypatch.setattr(seams, "LARGEST", 100)
    monkeypatch.setattr(seams, "CORE", {2: 16})
    monkeypatch.setattr("napari_unet.qt.job_runner.SHORTEST_PAUSE", 0)
    one = ready(hands, tiny_files)
    bar = one.find("predict.run").parent().findChild(QProgressBar)
    said: set[str] = set()

    def note(_: object, event: object) -> None:
        said.add(bar.format())

    one.bench.runner.progressed.connect(note)
    one.predict()
    one.bench.runner.progressed.disconnect(note)
    assert "making labels: %p%" in said
    assert one.pixels.any()
    assert bar.isHidden()
    one.find("predict.threshold", QDoubleSpinBox).setValue(1.0)
    one.wait_idle()
    assert not one.pixels.any()
    one.wait(bar.isHidden)
    one.viewer.add_image(np.tile(GREY, (9, 9)), name="large")
    one.choose("predict.image", "large")
    one.choose("predict.scope", "everything")

    def cancel(_: object, event: object) -> None:
        if isinstance(event, BlockDone):
            one.bench.runner.cancel()

    one.bench.runner.progressed.connect(cancel)
    one.press("predict.run")
    one.wait_idle()
    assert one.text("predict").startswith("Cancelled")


def test_a_slice_that_is_left_while_it_is_predicted_is_the_one_that_is_done(
    hands, tiny_files
) -> None:
    one = ready(hands, tiny_files, np.stack([GREY] * 4))
    one.type_axes("ZYX")
    one.choose("predict.scope", "slice")
    one.viewer.dims.set_point(0, 1)
    one.press("predict.run")
    for place in (2, 3, 0, 3):
        one.viewer.dims.set_point(0, place)
    one.wait_idle()
    assert one.pixels.any(axis=(1, 2)).tolist() == [False, True, False, False]
    assert one.viewer.dims.point[0] == 3


def test_all_images_are_predicted_and_what_cannot_be_is_named(
    hands, tiny_files
) -> None:
    one = ready(hands, tiny_files)
    one.viewer.add_image(np.stack([GREY] * 2), name="stack")
    one.viewer.add_image(np.full((20, 20), np.nan, np.float32), name="broken")
    one.viewer.add_image(GREY[:40], name="chosen")
    one.choose("predict.image", "chosen")
    one.choose("predict.scope", "all images")
    bar = one.find("predict.run").parent().findChild(QProgressBar)
    said: set[str] = set()
    one.bench.runner.progressed.connect(lambda *_: said.add(bar.format()))
    one.press("predict.run")
    one.wait_idle()
    one.wait(lambda: "images predicted" in one.text("predict"))
    assert one.text("predict").startswith("3 of 4 images predicted.\nbroken: ")
    assert "NaN" in one.text("predict")
    found = {
        layer.name: np.asarray(layer.data).any(axis=(-1, -2)).tolist()
        for layer in one.viewer.layers if isinstance(layer, Labels)
    }  # fmt: skip
    assert found == {
        "chosen - U-Net": True, "nuclei - U-Net": True, "stack - U-Net": [True, True],
    }  # fmt: skip
    assert one.find("predict.image", QComboBox).currentText() == "chosen"
    assert one.viewer.layers.selection.active.name == "chosen - U-Net"
    assert "image 1 of 4: %p%" in said
    one.find("predict.threshold", QDoubleSpinBox).setValue(1.0)
    one.wait_idle()
    assert not np.asarray(one.viewer.layers["chosen - U-Net"].data).any()


def test_of_all_images_the_chosen_one_may_be_left_out_or_the_rest_cancelled(
    hands, tiny_files
) -> None:
    one = ready(hands, tiny_files)
    one.viewer.add_image(GREY, name="other")
    one.choose("predict.image", "nuclei")
    one.choose("predict.scope", "all images")
    one.find("predict.axes", QLineEdit).setText("ZYX")
    one.press("predict.run")
    one.wait_idle()
    one.wait(lambda: one.text("predict").startswith("1 of 2 images predicted.\nnuclei"))
    one.type_axes("YX")
    one.bench.session.labels_changed.connect(lambda *_: one.bench.runner.cancel())
    one.press("predict.run")
    one.wait_idle()
    one.wait(lambda: one.text("predict").startswith("Cancelled after "))
    assert " of 2 images" in one.text("predict")


def test_sliders_that_move_while_it_predicts_count_once_it_is_done(
    hands, tiny_files
) -> None:
    one = ready(hands, tiny_files)
    one.press("predict.run")
    one.find("predict.threshold", QDoubleSpinBox).setValue(1.0)
    one.wait_idle()
    one.wait(lambda: not one.pixels.any())


def test_a_cancelled_large_prediction_says_what_stays(
    hands, tiny_files, monkeypatch
) -> None:
    from napari_unet import session
    from napari_unet.engine import parts

    monkeypatch.setattr(session, "SOON", 1000)
    monkeypatch.setattr(parts, "ROWS", {2: 16})
    one = ready(hands, tiny_files, np.tile(GREY, (20, 12)))
    one.find("model.tile", QWidget).setValue(16)
    one.press("predict.run")
    one.press("predict.cancel")
    one.wait_idle()
    assert one.text("predict") == "Cancelled"
    one.press("predict.run")
    one.wait(lambda: any(layer.name.endswith("U-Net") for layer in one.viewer.layers))
    one.wait(lambda: one.pixels.any())
    one.press("predict.cancel")
    one.wait_idle()
    assert one.text("predict").startswith("Cancelled: what was predicted by then stays")
    assert one.pixels.any()
    one.press("correct.undo")
    assert not one.pixels.any()


def test_shortcuts_fire_while_a_labels_layer_is_active(hands, tiny_files) -> None:
    one = ready(hands, tiny_files)
    one.predict()
    one.viewer.layers.selection.active = one.labels
    shift = Qt.KeyboardModifier.ShiftModifier
    told: list[object] = []
    one.bench.session.labels_changed.connect(lambda *_: told.append(one))
    one.key(Qt.Key.Key_R, shift)
    one.wait_idle()
    assert told
    one.key(Qt.Key.Key_A, shift)
    opened = one.bench.opened_of(one.labels)
    assert opened.corrections.tally().accepted_pixels > 1000
    one.find("finetune.steps", QWidget).setValue(100_000)
    one.wait(lambda: one.find("finetune.start").isEnabled())
    one.key(Qt.Key.Key_F, shift)
    assert one.bench.runner.running().title == "Fine-tuning"
    one.key(Qt.Key.Key_Escape, shift)
    one.wait_idle()
    assert "Cancelled" in one.text("finetune")


def test_cancelling_presses_no_other_button(hands, monkeypatch) -> None:
    one = hands()
    opened: list[object] = []
    monkeypatch.setattr(
        QFileDialog, "getOpenFileName", lambda *given: opened.append(given) or ("", "")
    )
    clicked: list[str] = []
    for button in one.docks[0].findChildren(QPushButton):
        button.clicked.connect(lambda _, b=button: clicked.append(b.text()))
    one.bench.request("cancel")
    assert (opened, clicked) == ([], [])


def test_what_is_corrected_can_be_shown_and_hidden(hands, tiny_files) -> None:
    one = ready(hands, tiny_files)
    one.predict()
    one.labels.paint((20, 20), 50)
    box = one.find("correct.show_edited", QAbstractButton)
    box.setChecked(True)
    overlay = one.viewer.layers["nuclei - corrected"]
    assert not overlay.editable
    choosers = [one.find(f"{p}.labels", QComboBox) for p in ("predict", "correct")]
    shown = {c.itemText(i) for c in choosers for i in range(c.count())}
    assert "nuclei - corrected" not in shown
    box.setChecked(False)
    assert "nuclei - corrected" not in [layer.name for layer in one.viewer.layers]
