"""napari's layers and tools meet the session's arrays."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox

from napari_unet.errors import LabelsError
from napari_unet.qt.layers import (
    NEARLY_ALL,
    check_in_view,
    check_same_place,
    current_slice,
    spatial_transform,
    visible_region,
)
from tiny import noise, nuclei


def camera(viewer):
    return getattr(viewer, "scene", viewer).camera  # napari before 0.9: viewer


def test_labels_get_the_place_of_their_image() -> None:
    image = Image(
        np.zeros((2, 5, 40, 50)), scale=(1, 3, 0.5, 0.5), translate=(0, 1, 2, 3),
        units=("pixel", "um", "um", "um"),
    )  # fmt: skip
    labels = Labels(np.zeros((5, 40, 50), int), **spatial_transform(image, "CZYX"))
    np.testing.assert_allclose(labels.scale, (3, 0.5, 0.5))
    np.testing.assert_allclose(labels.translate, (1, 2, 3))
    assert labels.units == image.units[1:]
    check_same_place(image, labels, "CZYX")


def test_labels_turn_with_their_image() -> None:
    image = Image(np.zeros((40, 50)), rotate=30, shear=[0.2], affine=np.diag([2, 1, 1]))
    labels = Labels(np.zeros((40, 50), int), **spatial_transform(image, "YX"))
    np.testing.assert_allclose(
        labels.data_to_world((7, 9)), image.data_to_world((7, 9))
    )


@pytest.mark.parametrize(
    "other", [{"scale": (2, 2)}, {"translate": (0, 1)}, {"rotate": 10}]
)
def test_labels_of_another_place_are_refused(other) -> None:
    labels = Labels(np.zeros((40, 50), int), name="mine", **other)
    with pytest.raises(LabelsError, match="mine has another scale or position"):
        check_same_place(Image(np.zeros((40, 50))), labels, "YX")


def test_labels_of_another_shape_are_refused() -> None:
    labels = Labels(np.zeros((40, 51), int))
    with pytest.raises(LabelsError, match=r"\(40, 51\), expected \(40, 50\)"):
        check_same_place(Image(np.zeros((40, 50))), labels, "YX")


def test_the_whole_image_in_view_is_meant_whole(hands) -> None:
    viewer = hands("Model").viewer
    layer = viewer.add_image(noise((300, 400)))
    viewer.reset_view()
    whole = (slice(0, 300), slice(0, 400))
    assert visible_region(viewer, layer, 2, NEARLY_ALL) == whole


def test_a_zoomed_view_means_what_is_visible(hands) -> None:
    one = hands("Model")
    viewer = one.viewer
    layer = viewer.add_image(noise((1000, 2000)), scale=(0.5, 0.5))
    camera(viewer).center = (0, 250, 500)  # world; pixel (500, 1000)
    camera(viewer).zoom = 20
    one.wait(lambda: visible_region(viewer, layer, 2)[0].start > 0)
    rows, columns = visible_region(viewer, layer, 2)
    assert 0 < rows.start < 500 < rows.stop < 1000
    assert 0 < columns.start < 1000 < columns.stop < 2000


def test_a_zoomed_pyramid_is_measured_in_full_pixels(hands) -> None:
    one = hands("Model")
    full = noise((2048, 2048))
    layer = one.viewer.add_image([full, full[::2, ::2], full[::4, ::4]])
    camera(one.viewer).zoom = 0.3
    camera(one.viewer).center = (0, 1024, 1024)
    one.wait(lambda: layer.data_level > 0)
    rows, _ = visible_region(one.viewer, layer, 2)
    assert rows.stop - rows.start > 1000 or rows == slice(0, 2048)
    assert rows.start < 1024 < rows.stop


def test_slices_and_volumes_of_a_stack(hands) -> None:
    viewer = hands("Model").viewer
    layer = viewer.add_image(noise((6, 40, 50)), scale=(4, 1, 1))
    viewer.dims.set_current_step(0, 2)
    here = (slice(2, 3), slice(0, 40), slice(0, 50))
    assert current_slice(viewer, layer, 3) == here
    assert visible_region(viewer, layer, 3, NEARLY_ALL) == here
    viewer.dims.ndisplay = 3
    assert visible_region(viewer, layer, 3) == (
        slice(0, 6), slice(0, 40), slice(0, 50),
    )  # fmt: skip
    plane = viewer.add_image(noise((40, 50)))
    check_in_view(viewer, plane)
    assert visible_region(viewer, plane, 2) == (slice(0, 40), slice(0, 50))


def test_a_stack_seen_from_its_side(hands) -> None:
    one = hands("Model")
    layer = one.viewer.add_image(noise((300, 400, 500)))
    plane = one.viewer.add_image(noise((400, 500)))
    one.viewer.dims.order = (2, 0, 1)
    one.viewer.dims.set_current_step(2, 123)
    one.viewer.reset_view()
    whole = (slice(0, 300), slice(0, 400), slice(123, 124))
    assert visible_region(one.viewer, layer, 3, NEARLY_ALL) == whole
    camera(one.viewer).zoom *= 6
    one.wait(lambda: visible_region(one.viewer, layer, 3)[0].start > 0)
    depth, rows, columns = visible_region(one.viewer, layer, 3)
    assert 0 < depth.start < 150 < depth.stop < 300
    assert 0 < rows.start < 200 < rows.stop < 400
    assert columns == slice(123, 124)
    check_in_view(one.viewer, layer)
    check_in_view(one.viewer, plane)


def ready(hands, tiny_files, image: np.ndarray, **options):
    """Open an image, predict it, and return the hands."""
    one = hands()
    one.viewer.add_image(image, name="nuclei", **options)
    one.load(tiny_files["instances"])
    one.predict()
    return one


def predict_otherwise(one: Any) -> None:
    """Predict with another threshold: what is found just as before is no step."""
    one.bench.opened_of(one.labels).kept = None  # else the slider acts by itself
    one.find("predict.threshold", QDoubleSpinBox).setValue(0.8)
    one.predict()


def test_every_tool_is_undone_by_the_key_across_a_prediction(hands, tiny_files) -> None:
    one = ready(hands, tiny_files, nuclei()[0][:80, :90])
    layer = one.labels
    one.viewer.layers.selection.active = layer
    states = [one.pixels]
    corners = [(5, 60), (5, 80), (25, 80), (25, 60)]
    places = (np.array([70, 71]), np.array([3, 3]))
    for tool in (
        lambda: layer.paint((20, 20), 500),
        lambda: predict_otherwise(one),
        lambda: layer.paint_polygon(corners, 502),
        lambda: layer.paint((20, 20), 0),
        lambda: layer.data_setitem(places, 503),
        lambda: layer.fill((40, 40), 501),
    ):
        tool()
        states.append(one.pixels)
    one.bench.settle()
    assert all((a != b).any() for a, b in itertools.pairwise(states))
    for expected in states[-2::-1]:
        one.key(Qt.Key.Key_Z)
        np.testing.assert_array_equal(one.pixels, expected)
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    for expected in states[1:]:
        one.key(Qt.Key.Key_Z, both)
        np.testing.assert_array_equal(one.pixels, expected)


def test_napari_s_own_undo_goes_to_our_history(hands, tiny_files) -> None:
    one = ready(hands, tiny_files, nuclei()[0][:60, :70])
    predicted = one.pixels
    one.labels.paint((20, 20), 77)
    painted = one.pixels
    predict_otherwise(one)
    assert (one.pixels[painted == 77] == 77).all()
    one.labels.undo()
    one.labels.undo()
    np.testing.assert_array_equal(one.pixels, predicted)
    one.labels.redo()
    np.testing.assert_array_equal(one.pixels, painted)


def test_labels_assigned_by_another_plugin_count_as_edits(hands, tiny_files) -> None:
    one = ready(hands, tiny_files, nuclei()[0][:60, :70])
    foreign = one.pixels
    foreign[5:15, 5:15] = 300
    one.labels.data = foreign
    one.predict()
    assert (one.pixels[5:15, 5:15] == 300).all()
    assert one.labels.data is one.bench.opened_of(one.labels).corrections.labels


def test_labels_of_another_shape_assigned_are_refused(hands, tiny_files) -> None:
    one = ready(hands, tiny_files, nuclei()[0][:60, :70])
    before = one.pixels
    one.labels.data = np.ones((10, 10), int)
    one.bench.settle()
    np.testing.assert_array_equal(one.pixels, before)
