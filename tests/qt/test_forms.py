"""A form gives back exactly the Config that it was given, unless it was touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QWidget

from napari_unet.engine.config import (
    FinetuneConfig,
    LabelsConfig,
    PredictConfig,
    TrainConfig,
)
from napari_unet.qt.forms import ConfigForm

if TYPE_CHECKING:
    from napari_unet.engine.config import (
        Frozen,
    )

CONFIGS = (LabelsConfig, PredictConfig, TrainConfig, FinetuneConfig)


def form_of(config: Frozen, qtbot) -> ConfigForm:
    form: ConfigForm = ConfigForm(config, list(type(config).model_fields), "test")
    qtbot.addWidget(form)
    return form


def control(form: ConfigForm, name: str) -> QWidget:
    found = form.findChild(QWidget, f"unet.test.{name}")
    assert found is not None
    return found


@pytest.mark.parametrize("kind", CONFIGS)
def test_defaults_come_back(kind: type[Frozen], qtbot) -> None:
    assert form_of(kind(), qtbot).value() == kind()


@pytest.mark.parametrize(
    "config",
    [
        *(FinetuneConfig(learning_rate=10.0**-n) for n in range(9)),
        FinetuneConfig(learning_rate=0.000345678, held_out=0.1234567),
        FinetuneConfig(seed=2**31, steps=1_000_000, patience=3),
        PredictConfig(tile=16, threshold=1 / 3, smallest=0, channel=2),
        PredictConfig(tile=10_000_000),
    ],
)
def test_what_was_set_comes_back(config: Frozen, qtbot) -> None:
    form = form_of(type(config)(), qtbot)
    form.setValue(config)
    assert form.value() == config


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.builds(
        FinetuneConfig,
        steps=st.integers(1, 1_000_000),
        learning_rate=st.floats(1e-12, 1.0),
        held_out=st.floats(0, 0.5),
        loss=st.sampled_from(["dice", "cross-entropy", "dice+cross-entropy"]),
        patience=st.none() | st.integers(1, 1000),
        augment=st.sampled_from(["off", "mild", "strong"]),
    )
)
def test_random_settings_come_back(qtbot, config: FinetuneConfig) -> None:
    form = form_of(FinetuneConfig(), qtbot)
    form.setValue(config)
    assert form.value() == config


def test_touching_one_field_leaves_the_others_exact(qtbot) -> None:
    config = FinetuneConfig(learning_rate=3.14159e-7, held_out=0.1234567)
    form = form_of(config, qtbot)
    control(form, "steps").setValue(77)
    assert form.value() == config.model_copy(update={"steps": 77})


@pytest.mark.parametrize("rate", [1e-2, 1e-3, 1e-4, 1e-5])
def test_a_learning_rate_can_be_typed(qtbot, rate: float) -> None:
    form = form_of(FinetuneConfig(), qtbot)
    control(form, "learning_rate").setValue(rate)
    assert form.value().learning_rate == pytest.approx(rate)


def test_a_tile_size_can_be_typed_digit_by_digit(qtbot) -> None:
    form = form_of(PredictConfig(), qtbot)
    for typed, tile in ((1, 16), (12, 16), (128, 128), (0, None)):
        control(form, "tile").setValue(typed)
        assert form.value().tile == tile


def test_nothing_is_shown_as_auto_and_can_be_typed_over(qtbot) -> None:
    form = form_of(LabelsConfig(), qtbot)
    form.show()
    box = control(form, "smallest")
    edit = box.lineEdit()
    assert (edit.text(), edit.placeholderText()) == ("", "auto")
    qtbot.keyClicks(edit, "40")
    assert form.value().smallest == 40
    qtbot.keyClick(edit, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClick(edit, Qt.Key.Key_Backspace)
    assert (edit.text(), form.value().smallest) == ("", None)
    box.stepBy(1)
    assert (edit.text(), form.value().smallest) == ("1", 1)
    box.stepBy(-1)
    assert (edit.text(), form.value().smallest) == ("", None)
    form.setValue(LabelsConfig(smallest=7))
    assert edit.text() == "7"
    form.setValue(LabelsConfig())
    assert edit.text() == ""


def test_changes_are_told_with_the_new_config(qtbot) -> None:
    form = form_of(PredictConfig(), qtbot)
    told: list[PredictConfig] = []
    form.valueChanged.connect(told.append)
    flips = control(form, "tta")
    assert isinstance(flips, QCheckBox)
    flips.setChecked(True)
    precision = control(form, "precision")
    assert isinstance(precision, QComboBox)
    precision.setCurrentText("float32")
    assert told == [
        PredictConfig(tta=True), PredictConfig(tta=True, precision="float32"),
    ]  # fmt: skip


def test_setting_a_config_is_told_once(qtbot) -> None:
    form = form_of(LabelsConfig(), qtbot)
    told: list[LabelsConfig] = []
    form.valueChanged.connect(told.append)
    form.setValue(LabelsConfig(threshold=0.25, smallest=3))
    assert told == [LabelsConfig(threshold=0.25, smallest=3)]
