"""What the axes of a layer are, and which channel is predicted and learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from napari.layers import Image
from qtpy.QtWidgets import QComboBox, QLineEdit

from napari_unet.engine.config import FinetuneConfig
from napari_unet.engine.spec import UNetSpec
from napari_unet.jobs import run_now
from napari_unet.qt.finetune_panel import FinetunePanel
from napari_unet.qt.layer_axes import layer_axes
from napari_unet.qt.previews import visible_view
from tiny import nuclei

if TYPE_CHECKING:
    from hands import Hands

    from napari_unet.engine.finetune import FinetuneResult

NUCLEI, TRUTH = nuclei()
OTHER = NUCLEI[::-1].copy()
PAIR = np.stack([OTHER, NUCLEI])  # of two channels the second is the one


def axes_of(one: Hands) -> str:
    return str(one.find("predict.axes", QLineEdit).text())


def box(one: Hands) -> QComboBox:
    found: QComboBox = one.find("predict.channels", QComboBox)
    return found


def pick(one: Hands, text: str) -> None:
    """Choose a channel as a person does."""
    box(one).setCurrentText(text)
    box(one).activated.emit(box(one).currentIndex())


@pytest.mark.parametrize(
    ("shape", "rgb", "axes"),
    [
        ((40, 50), False, "YX"),
        ((40, 50, 3), True, "YXC"),
        ((40, 50, 3), False, "ZYX"),
        ((5, 40, 50), False, "ZYX"),
        ((5, 40, 50, 3), True, "ZYXC"),
        ((6, 5, 40, 50), False, "TZYX"),
    ],
)
def test_axes_of_a_layer(shape: Any, rgb: bool, axes: str) -> None:
    assert layer_axes(Image(np.zeros(shape, np.uint8), rgb=rgb), None) == axes


def test_an_axis_as_long_as_the_model_has_channels_holds_them() -> None:
    layer = Image(np.zeros((2, 40, 50)), rgb=False)
    assert layer_axes(layer, UNetSpec(in_channels=2)) == "CYX"


@pytest.mark.parametrize(
    ("labels", "rgb", "axes"),
    [
        (("channel", "y", "x"), False, "CYX"),
        (("Time", "Y", "X"), False, "TYX"),
        (("c", "y", "x"), True, "ZYXC"),  # it is no channel: colour is one
        (("t", "y", "x"), True, "TYXC"),
        (("x", "y", "z"), False, "ZYX"),  # not an order that we know
        (("depth", "y", "x"), False, "ZYX"),
    ],
)
def test_axis_labels_say_what_axes_are(labels: Any, rgb: bool, axes: str) -> None:
    shape = (5, 40, 50, 3) if rgb else (5, 40, 50)
    layer = Image(np.zeros(shape, np.uint8), rgb=rgb, axis_labels=labels)
    assert layer_axes(layer, None) == axes


def test_a_volume_is_guessed_where_the_labels_leave_too_few_axes() -> None:
    layer = Image(np.zeros((5, 40, 50)), axis_labels=("c", "y", "x"))
    assert layer_axes(layer, UNetSpec(dims=3)) == "ZYX"


def test_the_channel_in_view_is_predicted_and_learnt_from(
    hands, tiny_files, tmp_path
) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, PAIR, imagej=True, metadata={"axes": "CYX"})
    one: Hands = hands()
    one.load(tiny_files["instances"])
    one.viewer.open(path, plugin="napari")
    assert axes_of(one) == "CYX"
    for shown in (0, 1):
        one.bench.viewer.dims.set_current_step(0, shown)
        assert box(one).currentText() == str(shown)
    one.predict()
    one.bench.viewer.dims.set_current_step(0, 0)
    assert box(one).currentText() == "1"  # what was predicted
    (opened,) = one.bench.session.images
    assert "channel 1 only" in opened.summary
    assert one.pixels.shape == TRUTH.shape
    view, _ = visible_view(one.bench, one.bench.session.model)
    assert view.config.channel == 1

    one.press("model.look")
    one.wait_idle()
    assert "choose a channel" not in one.bench.session.look.sentence
    one.press("correct.accept_view")
    results: list[FinetuneResult] = []
    one.bench.session.finetuned.connect(results.append)
    panel = one.docks[0].findChild(FinetunePanel)
    panel.settings.setValue(FinetuneConfig(steps=4))
    one.wait(lambda: one.find("finetune.start").isEnabled())
    one.press("finetune.start")
    one.wait_idle()
    assert "choose a channel" not in one.text("finetune")
    (result,) = results
    assert result.recipe is not None
    assert result.recipe.account.images[0].channel == 1

    one.press("correct.next")
    one.wait_idle()
    assert "channel" not in one.text("correct")
    pick(one, "0")
    one.viewer.add_image(NUCLEI, name="flat")
    one.choose("predict.image", "flat")
    assert box(one).count() == 1
    one.choose("predict.image", "cells")
    assert box(one).currentText() == "0"
    assert opened.channel == 0


def test_all_channels_are_for_models_that_take_them(hands, tiny_files) -> None:
    one: Hands = hands()
    one.load(tiny_files["instances"])
    one.viewer.add_image(np.zeros((40, 50, 3), np.uint8), name="colour", rgb=True)
    assert [box(one).itemText(i) for i in range(box(one).count())] == [
        "all", "0", "1", "2",
    ]  # fmt: skip
    assert box(one).currentText() == "all"


def test_pairs_hold_the_channel_that_was_learnt_from(
    hands, tiny_files, tmp_path
) -> None:
    one: Hands = hands()
    one.load(tiny_files["instances"])
    one.viewer.add_image(PAIR, name="cells", axis_labels=("c", "y", "x"))
    pick(one, "1")
    one.predict()
    one.press("correct.accept_view")
    run_now(one.bench.session.save_pairs_job(tmp_path / "pairs"))
    (image,) = (tmp_path / "pairs" / "images").iterdir()
    np.testing.assert_array_equal(tifffile.imread(image), NUCLEI)


def test_axes_that_were_typed_stay_with_their_image(hands, tiny_files) -> None:
    one: Hands = hands()
    one.viewer.add_image(PAIR, name="cells")
    assert axes_of(one) == "ZYX"
    one.type_axes("cyx")
    assert axes_of(one) == "CYX"
    one.load(tiny_files["instances"])
    assert axes_of(one) == "CYX"
    one.viewer.add_image(NUCLEI, name="flat")
    one.choose("predict.image", "flat")
    assert axes_of(one) == "YX"
    one.choose("predict.image", "cells")
    assert axes_of(one) == "CYX"
    one.type_axes("YY")
    assert "do not describe" in one.text("predict")
    one.type_axes("")
    assert axes_of(one) == "ZYX"
