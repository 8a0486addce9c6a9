"""Whatever people do to layers, no correction is lost or lands in the wrong place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtWidgets import QListWidget

from napari_unet.errors import LabelsError
from napari_unet.qt.bench import bench_for

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (60, 70)
PIXELS = np.random.default_rng(0).random(SHAPE)


@pytest.fixture
def pair(make_napari_viewer) -> Any:
    """A bench, an image layer, an open image and its labels layer."""

    def make(**options: Any) -> tuple[Any, ...]:
        viewer = make_napari_viewer()
        image = viewer.add_image(PIXELS, name="cells", **options)
        bench = bench_for(viewer)
        bench.session.autosave = False
        layer = viewer.add_labels(np.zeros(SHAPE, np.int32), name="mine", **options)
        return bench, image, bench.open(image, "YX", layer), layer

    return make


def test_a_deleted_layer_comes_back_as_it_was(pair) -> None:
    bench, _, opened, layer = pair(scale=(2, 3))
    layer.paint((20, 20), 7)
    painted = np.array(layer.data)
    bench.viewer.layers.remove(layer)
    assert not opened.shown
    bench.show(opened)
    again = bench.layer_of(opened)
    assert again is not layer
    assert (again.name, tuple(again.scale), opened.shown) == ("mine", (2, 3), True)
    np.testing.assert_array_equal(again.data, painted)
    again.undo()
    assert not again.data.any()


def test_the_list_shows_a_deleted_layer_again(hands) -> None:
    one = hands()
    viewer = one.bench.viewer
    image = viewer.add_image(PIXELS, name="cells")
    layer = viewer.add_labels(np.zeros(SHAPE, np.int32), name="mine")
    opened = one.bench.open(image, "YX", layer)
    layer.paint((20, 20), 7)
    viewer.layers.remove(layer)
    listed = one.find("project.images", QListWidget)
    assert "(layer removed)" in listed.item(0).text()
    one.press("project.show")
    assert one.bench.layer_of(opened).name == "mine"
    assert "removed" not in listed.item(0).text()
    assert not one.find("project.show").isEnabled()


def test_a_stroke_before_the_deletion_is_not_lost(pair) -> None:
    bench, _, opened, layer = pair()
    opened.corrections.labels[5:9, 5:9] = 3  # not yet recorded
    bench.viewer.layers.remove(layer)
    assert opened.corrections.tally().edited_objects == 1


def test_a_layer_moved_to_another_viewer_paints_nothing_here(
    pair, make_napari_viewer
) -> None:
    bench, _, opened, layer = pair()
    layer.paint((20, 20), 7)
    kept = np.array(opened.corrections.labels)
    bench.viewer.layers.remove(layer)
    other = make_napari_viewer()
    other.add_layer(layer)
    np.testing.assert_array_equal(layer.data, kept)
    layer.paint((40, 40), 9)
    layer.undo()
    layer.redo()
    layer.fill((50, 50), 4)
    np.testing.assert_array_equal(opened.corrections.labels, kept)
    theirs = bench_for(other)
    theirs.session.autosave = False
    second = theirs.open(other.add_image(PIXELS), "YX", layer)
    assert second is not opened
    layer.paint((10, 10), 5)
    np.testing.assert_array_equal(opened.corrections.labels, kept)


def test_a_layer_that_comes_back_brings_what_was_painted_on_it(pair) -> None:
    bench, _, opened, layer = pair()
    layer.paint((20, 20), 7)
    kept = np.array(opened.corrections.labels)
    bench.viewer.layers.remove(layer)
    layer.paint((40, 40), 9)
    bench.viewer.add_layer(layer)
    assert bench.opened_of(layer) is opened
    assert layer.data is opened.corrections.labels
    assert layer.data[40, 40] == 9
    layer.undo()
    np.testing.assert_array_equal(layer.data, kept)


def test_one_image_with_two_labels_layers_has_two_histories(pair) -> None:
    bench, image, first, layer = pair()
    other = bench.viewer.add_labels(np.zeros(SHAPE, np.int32), name="mine")
    second = bench.open(image, "YX", other)
    layer.paint((20, 20), 7)
    other.paint((40, 40), 9)
    layer.undo()
    assert not first.corrections.labels.any()
    assert (second.corrections.labels == 9).any()
    assert bench.opened_of(other) is second


@pytest.mark.parametrize(
    ("name", "value"),
    [("scale", (0.2, 0.4)), ("translate", (5, 6)), ("rotate", 30), ("shear", (0.5,)),
     ("affine", np.diag([2.0, 3, 1]))],
)  # fmt: skip
def test_labels_follow_their_image(pair, name: str, value: Any) -> None:
    bench, image, opened, layer = pair()
    setattr(image, name, value)
    np.testing.assert_allclose(layer.data_to_world((7, 9)), image.data_to_world((7, 9)))
    assert bench.open(image, "YX", layer) is opened
    assert opened.source.scale == tuple(image.scale)


def test_labels_that_were_moved_by_hand_stay_and_are_refused(pair) -> None:
    bench, image, _, layer = pair()
    layer.translate = (3, 3)
    image.scale = (2, 2)
    assert tuple(layer.scale) == (1, 1)
    with pytest.raises(LabelsError, match="mine has another scale or position"):
        bench.open(image, "YX", layer)


def test_labels_outlive_their_image_layer(pair) -> None:
    bench, image, opened, layer = pair()
    bench.viewer.layers.remove(image)
    layer.paint((20, 20), 7)
    bench.settle()
    assert opened.corrections.tally().edited_objects == 1
    np.testing.assert_array_equal(opened.image, PIXELS)
    bench.viewer.layers.remove(layer)
    bench.show(opened)
    assert (bench.layer_of(opened).data == 7).any()


def test_an_image_of_another_shape_under_the_same_name_is_refused(pair) -> None:
    bench, image, opened, layer = pair()
    bench.viewer.layers.remove(image)
    other = bench.viewer.add_image(PIXELS[:50], name="cells")
    with pytest.raises(LabelsError, match=r"expected \(50, 70\) for cells"):
        bench.open(other, "YX", layer)
    assert opened.image.shape == SHAPE


def test_labels_beyond_32_bits_are_refused(pair) -> None:
    bench, image, opened, layer = pair()
    layer.paint((20, 20), 7)
    kept = np.array(layer.data)
    huge = np.zeros(SHAPE, np.int64)
    huge[3, 3] = 2**40
    layer.data = huge
    bench.settle()
    np.testing.assert_array_equal(layer.data, kept)
    assert layer.data is opened.corrections.labels
    theirs = bench.viewer.add_labels(huge, name="huge")
    with pytest.raises(LabelsError, match="go up to 1099511627776"):
        bench.open(image, "YX", theirs)
    assert bench.opened_of(theirs) is None


def test_a_large_layer_that_is_removed_cannot_be_painted(pair, monkeypatch) -> None:
    monkeypatch.setattr("napari_unet.qt.layers.LARGEST_COPY", 100)
    bench, _, opened, layer = pair()
    layer.paint((20, 20), 7)
    bench.viewer.layers.remove(layer)
    assert not layer.editable
    assert np.shares_memory(layer.data, opened.corrections.labels)
    bench.viewer.add_layer(layer)
    assert layer.editable
    layer.paint((40, 40), 9)
    assert (opened.corrections.labels == 9).any()


def test_an_image_tells_the_project_where_it_is_from(pair, tmp_path) -> None:
    import imageio.v3 as iio

    bench, image, opened, layer = pair()
    assert (opened.source.path, opened.source.labels_name) == (None, "mine")
    layer.name = "better"
    image.scale = (2, 2)
    assert opened.source.labels_name == "better"
    assert opened.source.scale == (2, 2)
    iio.imwrite(tmp_path / "file.tif", PIXELS.astype(np.float32))
    (read,) = bench.viewer.open(str(tmp_path / "file.tif"), plugin="napari")
    other = bench.open(read, "YX", bench.viewer.add_labels(np.zeros(SHAPE, int)))
    assert other.source.path == str(tmp_path / "file.tif")
    assert other.source.reader == "napari"
    assert isinstance(bench.layer_of(other), Labels)


def test_the_save_dialog_tells_where_our_labels_come_from(pair, tmp_path: Path) -> None:
    bench, _, _, layer = pair()
    layer.paint((20, 20), 7)
    viewer = bench.viewer
    duplicate = Labels(np.array(layer.data), name="copy", metadata=layer.metadata)
    viewer.add_layer(duplicate)
    found = []
    for each in (layer, duplicate):
        place = tmp_path / f"{each.name}.json"
        each.save(str(place))
        made = json.loads(place.read_text())["info"]["provenance"]
        found.append((made["image"], made["edited_objects"]))
    assert found == [("cells", 1), ("copy", 0)]
