"""The size of an image's pixels: from its layer, its file, or the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from napari.layers import Image
from qtpy.QtWidgets import QLineEdit

from napari_unet.engine.model import revised
from napari_unet.formats import load_model, save_model
from napari_unet.qt.pixel_size import pixel_size_of
from napari_unet.qt.previews import visible_view
from tiny import nuclei

if TYPE_CHECKING:
    from pathlib import Path

    from hands import Hands

SMALL = nuclei()[0]
LARGE = np.kron(SMALL, np.ones((2, 2), SMALL.dtype))  # each pixel is four


@pytest.fixture
def sized(tiny_files: dict[str, Path], tmp_path: Path) -> Path:
    """Return a checkpoint whose pixels measure 1 um."""
    model = revised(load_model(tiny_files["instances"]), {"pixel_size": [1.0, 1.0]})
    return save_model(model, tmp_path / "sized.safetensors")


def line(one: Hands) -> QLineEdit:
    found: QLineEdit = one.find("predict.pixel_size", QLineEdit)
    return found


def typed(one: Hands, text: str) -> None:
    line(one).setText(text)
    line(one).editingFinished.emit()


@pytest.mark.parametrize(
    ("shape", "axes", "given", "expected"),
    [
        ((9, 8), "YX", {}, None),
        ((9, 8), "YX", {"scale": (2, 2)}, None),  # units are pixels
        ((9, 8), "YX", {"scale": (0.5, 0.25), "units": "um"}, (0.5, 0.25)),
        ((9, 8), "YX", {"scale": (500, 500), "units": "nm"}, (0.5, 0.5)),
        ((9, 8), "YX", {"scale": (-0.5, 0.5), "units": "um"}, (0.5, 0.5)),
        ((3, 9, 8), "ZYX", {"scale": (2, 1, 1), "units": "um"}, (2, 1, 1)),
        ((3, 9, 8), "CYX", {"scale": (7, 1, 1), "units": "um"}, (1, 1)),
        ((9, 8, 2), "YXC", {"scale": (1, 2, 7), "units": "um"}, (1, 2)),
        ((3, 9, 8), "TYX", {"scale": (9, 1, 1), "units": ("s", "um", "um")}, (1, 1)),
        ((9, 8, 3), "YXC", {"scale": (1, 2), "units": "um", "rgb": True}, (1, 2)),
    ],
)
def test_a_layers_scale_counts_where_its_units_are_lengths(
    shape: tuple, axes: str, given: dict[str, Any], expected: Any
) -> None:
    found = pixel_size_of(Image(np.zeros(shape, np.uint8), **given), axes)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_prediction_is_scaled_and_its_labels_lie_on_the_image(hands, sized) -> None:
    one: Hands = hands()
    one.viewer.add_image(LARGE, name="cells", scale=(0.5, 0.5), units="um")
    one.load(sized)
    assert line(one).text() == "0.5"
    one.predict()
    assert "image scaled by 0.5 to the model's pixels" in one.text("predict")
    assert one.pixels.shape == LARGE.shape
    scaled = one.pixels
    assert len(np.unique(scaled)) - 1 == pytest.approx(16, abs=3)
    np.testing.assert_allclose(one.labels.scale, (0.5, 0.5))
    view, _ = visible_view(one.bench, one.bench.session.model)
    assert view.pixel_size == (0.5, 0.5)

    typed(one, "1 um")
    assert line(one).text() == "1"
    one.predict()
    assert "scaled" not in one.text("predict")
    assert not np.array_equal(one.pixels > 0, scaled > 0)


def test_what_the_user_says_of_an_image_stays_with_it(hands, sized) -> None:
    one: Hands = hands()
    one.load(sized)
    one.viewer.add_image(LARGE, name="cells")
    assert line(one).text() == ""
    typed(one, "0.5")
    one.viewer.add_image(np.stack([SMALL] * 2), name="stack")
    one.choose("predict.image", "stack")
    assert line(one).text() == ""
    typed(one, "2 x 1 x 1")
    one.choose("predict.image", "cells")
    assert line(one).text() == "0.5"
    one.predict()
    assert one.bench.session.images[0].pixel_size == (0.5, 0.5)
    typed(one, "none")
    assert one.bench.session.images[0].pixel_size == ()
    assert line(one).text() == "none"
    one.predict()
    assert "scaled" not in one.text("predict")
    typed(one, "")
    assert one.bench.session.images[0].pixel_size is None
    one.viewer.layers["cells"].scale = (0.5, 0.5)
    one.viewer.layers["cells"].units = "um"
    one.predict()
    assert line(one).text() == "0.5"
    one.choose("predict.image", "stack")
    assert line(one).text() == "2 x 1 x 1"
    one.viewer.add_image(np.stack([SMALL] * 2), name="movie")
    one.choose("predict.image", "movie")
    one.type_axes("TYX")
    typed(one, "1 x 0.5")  # time has no length
    assert line(one).text() == "1 x 0.5"


def test_a_layer_that_gets_another_scale_is_followed(hands, sized) -> None:
    one: Hands = hands()
    layer = one.viewer.add_image(LARGE, name="cells", scale=(1, 1), units="um")
    one.load(sized)
    one.predict()
    assert "scaled" not in one.text("predict")
    layer.scale = (0.5, 0.5)
    one.predict()
    assert line(one).text() == "0.5"
    assert "scaled by 0.5" in one.text("predict")


@pytest.mark.parametrize("text", ["-1", "large", "1 x 2 x 3", "0", "nan", "inf"])
def test_what_is_no_size_is_said_and_changes_nothing(hands, sized, text: str) -> None:
    one: Hands = hands()
    one.load(sized)
    one.viewer.add_image(LARGE, name="cells", scale=(0.5, 0.5), units="um")
    typed(one, text)
    assert "pixel size" in one.text("predict").lower()
    assert "expected" in one.text("predict")
    assert line(one).text() == "0.5"


def test_a_size_that_cannot_be_is_refused_when_it_is_predicted(hands, sized) -> None:
    one: Hands = hands()
    one.load(sized)
    one.viewer.add_image(LARGE, name="cells", scale=(500, 500), units="um")
    one.press("predict.run")
    assert "correct the pixel size" in one.text("predict")
    assert not one.bench.runner.busy


def test_a_tiff_file_says_how_large_its_pixels_are(hands, tmp_path) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(
        path, LARGE, imagej=True, resolution=(4, 4), metadata={"unit": "um"}
    )
    one: Hands = hands()
    one.viewer.open(path, plugin="napari")
    assert line(one).text() == "0.25"
