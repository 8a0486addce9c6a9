"""The Model panel: what a file says, what was guessed, finding, dropping, looking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QWidget,
)

from napari_unet.formats import load_model
from napari_unet.qt.model_panel import ModelPanel
from napari_unet.qt.predict_panel import PredictPanel
from napari_unet.sample_data import synthetic_nuclei_2d
from tiny import nuclei, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

GREY = nuclei()[0]


@pytest.fixture
def foreign(tiny_files, tmp_path: Path) -> Path:
    """The weights of a trained network, without a word on how to use them."""
    model = load_model(tiny_files["instances"], device="cpu")
    torch.save(model.network.state_dict(), tmp_path / "foreign.pth")
    return tmp_path / "foreign.pth"


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """Weights without batch norm, which tell nothing of the images of the training."""
    torch.save(tiny_model(norm="none").network.state_dict(), tmp_path / "silent.pth")
    return tmp_path / "silent.pth"


def basic_unet(folder: Path, channels: int = 1, outputs: int = 3) -> Path:
    """Save weights that can be read in several ways."""
    from monai.networks.nets import BasicUNet

    torch.manual_seed(0)
    network = BasicUNet(2, channels, outputs, features=(4, 4, 8, 8, 8, 4))
    torch.save(network.state_dict(), folder / "basic.pth")
    return folder / "basic.pth"


def panel_of(one: Any) -> ModelPanel:
    return one.docks[0].findChild(ModelPanel) or one.docks[0]


def is_asked(one: Any, control: str) -> bool:
    """Tell whether a field is outside of the fold."""
    return panel_of(one).form.isAncestorOf(one.find(f"model.{control}", QWidget))


def spec_of(one: Any) -> Any:
    return one.bench.session.model.spec


def kind_of(one: Any, kind: str) -> None:
    box = one.find("model.normalization", QComboBox)
    box.setCurrentIndex(box.findData(kind))


def drop(panel: QWidget, *paths: Path) -> bool:
    """Drop files on a panel as a window system does; tell whether it takes them."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    buttons = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(9, 9), Qt.DropAction.CopyAction, data, *buttons)
    enter.ignore()
    QApplication.sendEvent(panel, enter)
    if enter.isAccepted():
        event = QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, data, *buttons)
        QApplication.sendEvent(panel, event)
    return enter.isAccepted()


def test_each_fact_says_where_it_is_from(hands, tiny_files, silent) -> None:
    one = hands("Model")
    facts = panel_of(one).facts.labels
    one.load(silent)
    assert (
        facts["Expects"].text() == "2D grey image, any size · inferred from the weights"
    )
    assert facts["Scaling"].text().endswith("percentile of the image · guessed")
    one.load(tiny_files["instances"])
    assert facts["Scaling"].text().endswith("read from the file")
    assert facts["Network"].text().startswith("napari-unet, widths 4 to 8, batch norm")


def test_guesses_are_asked_and_the_rest_is_in_the_fold(
    hands, tiny_files, silent
) -> None:
    one = hands("Model")
    one.load(silent)
    controls = ("normalization", "low", "output", "pixel_size")
    assert [is_asked(one, control) for control in controls] == [True] * 4
    assert not is_asked(one, "input_scale")
    one.load(tiny_files["instances"])
    assert [is_asked(one, control) for control in controls] == [False] * 4
    assert one.find("model.normalization", QComboBox).isEnabled()


def test_a_changed_guess_is_applied_and_stays_in_reach(hands, silent) -> None:
    one = hands("Model")
    one.load(silent)
    assert "nothing is changed" in one.find("model.apply").toolTip()
    kind_of(one, "scale")
    one.find("model.divisor", QDoubleSpinBox).setValue(4095)
    one.press("model.apply")
    assert spec_of(one).normalization.kind == "scale"
    assert spec_of(one).normalization.divisor == 4095
    assert "chosen by you" in panel_of(one).facts.labels["Scaling"].text()
    assert is_asked(one, "normalization")
    assert not one.find("model.apply").isEnabled()
    assert "version 1" in one.text("model")


def test_each_time_point_can_be_measured_on_its_own(hands, silent) -> None:
    one = hands("Model")
    one.load(silent)
    each = one.find("model.each", QComboBox)
    assert each.currentData() == spec_of(one).normalization.each == ""
    each.setCurrentIndex(each.findData("T"))
    one.press("model.apply")
    assert spec_of(one).normalization.each == "T"
    assert "each T on its own" in panel_of(one).facts.labels["Scaling"].text()
    assert each.currentData() == "T"
    kind_of(one, "scale")  # measures nothing
    assert not each.isEnabled()


def test_only_the_numbers_of_the_scaling_can_be_set(hands, silent) -> None:
    one = hands("Model")
    one.load(silent)
    for kind, enabled in (
        ("percentile", [True, True, False]), ("scale", [False, False, True]),
        ("zscore", [False] * 3),
    ):  # fmt: skip
        kind_of(one, kind)
        boxes = [one.find(f"model.{n}", QWidget) for n in ("low", "high", "divisor")]
        assert [box.isEnabled() for box in boxes] == enabled


@pytest.mark.parametrize(
    ("control", "text", "words"),
    [
        ("pixel_size", "a few", "expected a number above 0"),
        ("pixel_size", "1 x 2 x 3", "has 3 numbers, expected 1 or 2"),
        ("pixel_size", "-0.5", "expected a number above 0"),
        ("classes", "one, two", "2 class names for 3 channels"),
    ],
)
def test_what_cannot_be_understood_is_said_and_changes_nothing(
    hands, tmp_path, control, text, words
) -> None:
    one = hands("Model")
    one.load(basic_unet(tmp_path))
    before = one.bench.session.model
    one.find(f"model.{control}", QLineEdit).setText(text)
    one.press("model.apply")
    assert words in one.text("model")
    assert one.bench.session.model is before


def test_classes_pixel_size_colours_and_meaning_can_be_given(hands, tmp_path) -> None:
    one = hands("Model")
    one.load(basic_unet(tmp_path, channels=3))
    one.find("model.classes", QLineEdit).setText("background, cell, border")
    one.find("model.pixel_size", QLineEdit).setText("0.5")
    for control, value in (
        ("channel_order", "BGR"), ("output", "multilabel"), ("activation", "sigmoid"),
    ):  # fmt: skip
        box = one.find(f"model.{control}", QComboBox)
        box.setCurrentIndex(box.findData(value))
    one.press("model.apply")
    spec = spec_of(one)
    assert [each.name for each in spec.classes] == ["background", "cell", "border"]
    assert (spec.pixel_size, spec.channel_order) == ((0.5, 0.5), "BGR")
    assert (spec.output, spec.likely_activation) == ("multilabel", "sigmoid")


def test_another_reading_is_taken_by_a_job(hands, tmp_path) -> None:
    one = hands("Model")
    one.load(basic_unet(tmp_path))
    assert "Note: " in one.find("model.remarks", QLabel).text()
    box = one.find("model.reading", QComboBox)
    assert is_asked(one, "reading")
    assert box.count() > 1
    wanted = box.itemData(1)
    box.setCurrentIndex(1)
    one.press("model.apply")
    one.wait_idle()
    assert spec_of(one).reading == wanted
    assert one.find("model.reading", QComboBox).currentData() == wanted


def test_a_factor_in_the_network_is_a_number_or_a_fraction(hands, tmp_path) -> None:
    one = hands("Model")
    one.load(basic_unet(tmp_path))
    box = one.find("model.input_scale", QComboBox)
    box.setEditText("1/255")
    one.press("model.apply")
    one.wait_idle()
    assert spec_of(one).architecture.input_scale == pytest.approx(1 / 255)
    assert box.currentText() == "1/255"
    assert "times 0.003922" in panel_of(one).facts.labels["Scaling"].text()


# -- a quick look


def test_a_look_needs_an_image_and_says_so(hands, foreign) -> None:
    one = hands("Model")
    one.load(foreign)
    assert "no image layer is open" in one.find("model.look").toolTip()
    one.viewer.add_image(GREY, name="nuclei")
    assert one.find("model.look").isEnabled()


def test_after_loading_the_open_image_is_looked_at(hands, foreign) -> None:
    one = hands("Model")
    one.viewer.add_image(GREY, name="nuclei")
    one.load(foreign)
    assert "plausible" in one.find("model.look_found", QLabel).text().lower()


def test_an_image_that_is_opened_after_the_model_is_looked_at(hands, foreign) -> None:
    one = hands("Model")
    one.load(foreign)
    found = one.find("model.look_found", QLabel)
    assert found.text() == ""
    one.viewer.add_image(GREY, name="nuclei")
    one.wait_idle()
    assert "plausible" in found.text().lower()
    one.viewer.add_image(np.zeros((5, 60, 60), np.uint8), name="five")
    one.wait_idle()
    assert "plausible" in found.text().lower()


def test_a_wrong_scaling_is_noticed_and_mended_with_one_button(hands, foreign) -> None:
    one = hands("Model")
    one.viewer.add_image(GREY, name="nuclei")
    one.load(foreign)
    kind_of(one, "none")
    one.press("model.apply")
    one.wait_idle()
    found = one.find("model.look_found", QLabel)
    assert found.text().startswith("Suspicious: ")
    one.press("model.use")
    one.wait_idle()
    assert spec_of(one).normalization.kind != "none"
    assert not found.text().startswith("Suspicious: ")


def test_a_negative_is_noticed_and_turned_over_with_one_button(hands) -> None:
    one = hands("Model", "Predict")
    bright = np.asarray(synthetic_nuclei_2d()[0][0])
    one.viewer.add_image(bright.max() - bright, name="dark nuclei")
    one.load("nuclei-2d")
    assert "turned over (Negative)" in one.find("model.look_found", QLabel).text()
    box = one.find("model.negative", QCheckBox)
    assert not box.isChecked()
    one.press("model.use")
    one.wait_idle()
    assert spec_of(one).normalization.negative
    assert box.isChecked()
    assert "turned over" in panel_of(one).facts.labels["Scaling"].text()
    box.click()
    one.press("model.apply")
    one.wait_idle()
    assert not spec_of(one).normalization.negative


def test_a_look_touches_no_layer(hands, foreign) -> None:
    one = hands("Model")
    one.viewer.add_image(GREY, name="nuclei")
    mine = np.zeros(GREY.shape, int)
    mine[:9, :9] = 4
    layer = one.viewer.add_labels(mine.copy(), name="mine")
    one.load(foreign)
    one.press("model.look")
    one.wait_idle()
    assert [each.name for each in one.viewer.layers] == ["nuclei", "mine"]
    np.testing.assert_array_equal(layer.data, mine)


def test_the_image_of_the_predict_panel_is_looked_at(hands, foreign) -> None:
    one = hands()
    one.viewer.add_image(GREY, name="nuclei")
    one.viewer.add_image(np.zeros((5, 60, 60), np.uint8), name="five")
    one.load(foreign)
    for name in ("five", "nuclei"):
        one.choose("predict.image", name)
        assert one.bench.image.name == name
        one.press("model.look")
        one.wait_idle()
    assert "plausible" in one.find("model.look_found", QLabel).text().lower()


def test_a_volume_model_with_a_flat_image_is_said_not_raised(hands, tmp_path) -> None:
    model = tiny_model("foreground", dims=3)
    torch.save(model.network.state_dict(), tmp_path / "volume.pth")
    one = hands()
    one.viewer.add_image(GREY, name="nuclei")
    one.load(tmp_path / "volume.pth")
    assert "needs at least 3" in one.find("model.look_found", QLabel).text()
    assert "needs at least 3" in one.text("predict")


# -- finding


def test_models_are_found_by_words_and_loaded_by_two_clicks(
    hands, foreign, monkeypatch
) -> None:
    one = hands("Model")
    one.wait_idle()
    folder = str(foreign.parent)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: folder)
    one.press("model.folder")
    one.wait_idle()
    one.find("model.search", QLineEdit).setText("FOREIGN folder")
    found = one.find("model.found", QListWidget)
    assert [found.item(i).text() for i in range(found.count())] == [
        "foreign.pth  (folder)"
    ]
    found.itemClicked.emit(found.item(0))
    assert one.find("model.source", QComboBox).currentText() == str(foreign)
    assert one.bench.session.model is None
    found.itemActivated.emit(found.item(0))
    one.wait_idle()
    assert spec_of(one).name == "foreign"


def test_what_was_loaded_is_offered_again(hands, foreign) -> None:
    one = hands("Model")
    one.load(foreign)
    source = one.find("model.source", QComboBox)
    assert str(foreign) in [source.itemText(i) for i in range(source.count())]
    assert source.currentText() == str(foreign)


def test_an_id_of_bioimageio_is_offered_for_download(hands) -> None:
    one = hands("Model")
    one.wait_idle()
    one.find("model.search", QLineEdit).setText("affable-shark")
    found = one.find("model.found", QListWidget)
    assert found.item(0).text() == "affable-shark  (download from BioImage.IO)"
    found.itemClicked.emit(found.item(0))
    assert one.find("model.source", QComboBox).currentText() == "affable-shark"


# -- dropping


def test_a_dropped_file_is_loaded(hands, foreign) -> None:
    one = hands("Model")
    assert drop(panel_of(one), foreign)
    one.wait_idle()
    assert spec_of(one).name == "foreign"
    assert one.find("model.source", QComboBox).currentText() == str(foreign)


def test_a_dropped_folder_that_is_no_model_is_said(hands, tmp_path: Path) -> None:
    one = hands("Model")
    assert drop(panel_of(one), tmp_path)
    one.wait_idle()
    assert tmp_path.name in one.text("model")
    assert one.bench.session.model is None


def test_text_is_not_taken_for_a_file(hands) -> None:
    one = hands("Model")
    data = QMimeData()
    data.setText("hello")
    event = QDragEnterEvent(
        QPoint(9, 9), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    event.ignore()
    QApplication.sendEvent(panel_of(one), event)
    assert not event.isAccepted()


def test_return_in_the_search_loads_the_first_that_is_found(hands, foreign) -> None:
    one = hands("Model")
    one.load(foreign)
    line = one.find("model.search", QLineEdit)
    line.setText("nuclei-2d")
    QTest.keyClick(line, Qt.Key.Key_Return)
    one.wait_idle()
    assert spec_of(one).name == "nuclei-2d"


def test_an_ensemble_is_averaged_and_its_uncertainty_lies_over_the_image(
    hands, tiny_files, silent, tmp_path
) -> None:
    one = hands()
    image = one.viewer.add_image(GREY, name="nuclei", scale=(2, 2), translate=(5, 6))
    add, alone = one.find("model.ensemble_add"), one.find("model.ensemble_clear")
    assert "no model is loaded" in add.toolTip()
    one.load(tiny_files["instances"])
    one.find("model.source", QComboBox).setEditText(str(tiny_files["classes"]))
    one.press("model.ensemble_add")
    one.wait_idle()
    assert "expected the same of all" in one.text("model")
    assert one.bench.session.partners == ()
    one.find("model.source", QComboBox).setEditText(str(silent))
    one.press("model.ensemble_add")
    one.wait_idle()
    assert one.text("model") == "Averaged with silent."
    one.find("model.uncertainty", QCheckBox).setChecked(True)
    for scope in ("everything", "slice"):
        one.find("predict.scope", QComboBox).setCurrentText(scope)
        one.predict()
        [found] = [each for each in one.viewer.layers if "uncertainty" in each.name]
        assert found.data.shape == GREY.shape
        assert 0 < found.data.max() <= 0.5
        np.testing.assert_allclose(found.extent.world, image.extent.world)
        assert one.viewer.layers.index(found) == one.viewer.layers.index(image) + 1
        assert one.viewer.layers.selection.active is not found
    assert "mean of 2 models" in one.text("predict")
    assert found not in one.docks[0].findChild(PredictPanel).image.box.choices
    one.press("model.ensemble_clear")
    assert one.bench.session.partners == ()
    assert not alone.isEnabled()
    one.predict()
    assert "no uncertainty map" in one.text("predict")
