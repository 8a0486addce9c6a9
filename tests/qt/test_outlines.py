"""Regions drawn in a Shapes layer, as pixels of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_unet.errors import ImageError
from napari_unet.qt.layers import check_in_view
from napari_unet.qt.outlines import drawn_region
from tiny import nuclei

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.layers import Image, Shapes

BOX = np.array([[10, 20], [10, 39], [29, 39], [29, 20]], float)


def drawn(viewer, shapes: Shapes, image: Image) -> tuple[tuple, np.ndarray]:
    return drawn_region(viewer, shapes, image, image.ndim)


def test_a_rectangle_covers_its_pixels(make_napari_viewer_proxy) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((60, 70)))
    shapes = viewer.add_shapes([BOX], shape_type="rectangle")
    region, within = drawn(viewer, shapes, image)
    assert region == (slice(10, 30), slice(20, 40))
    assert within.all()


def test_a_scaled_and_moved_image_is_covered_where_it_is_shown(
    make_napari_viewer_proxy,
) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((60, 70)), scale=(2, 2), translate=(10, 0))
    shapes = viewer.add_shapes([BOX * 2 + (10, 0)], shape_type="rectangle")
    region, within = drawn(viewer, shapes, image)
    assert region == (slice(10, 30), slice(20, 40))
    assert within.all()


def test_what_a_crossing_outline_goes_around_twice_is_outside(
    make_napari_viewer_proxy,
) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((60, 70)))
    bow = np.array([[10, 10], [40, 40], [10, 40], [40, 10]], float)
    shapes = viewer.add_shapes([bow], shape_type="polygon")
    _region, within = drawn(viewer, shapes, image)
    assert 0.4 < within.mean() < 0.6
    assert within[:, within.shape[1] // 2].sum() < 5


def test_an_ellipse_covers_less_than_its_box(make_napari_viewer_proxy) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((60, 70)))
    shapes = viewer.add_shapes([BOX], shape_type="ellipse")
    _, within = drawn(viewer, shapes, image)
    assert abs(within.mean() - np.pi / 4) < 0.08


def test_selected_shapes_alone_count(make_napari_viewer_proxy) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((60, 70)))
    shapes = viewer.add_shapes([BOX, BOX + 20], shape_type="rectangle")
    shapes.selected_data = {1}
    assert drawn(viewer, shapes, image)[0] == (slice(30, 50), slice(40, 60))
    shapes.selected_data = set()
    assert drawn(viewer, shapes, image)[0] == (slice(10, 50), slice(20, 60))


def test_shapes_of_another_slice_do_not_count(make_napari_viewer_proxy) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((5, 60, 70)))
    both = [np.insert(BOX + 9 * z, 0, z, axis=1) for z in (1, 3)]
    shapes = viewer.add_shapes(both, shape_type="rectangle")
    viewer.dims.set_point(0, 3)
    region, within = drawn(viewer, shapes, image)
    assert region == (slice(3, 4), slice(37, 57), slice(47, 67))
    assert within.shape == (1, 20, 20)
    viewer.dims.set_point(0, 2)
    with pytest.raises(ImageError, match="in this slice"):
        drawn(viewer, shapes, image)


def test_what_lies_beside_the_image_is_said(make_napari_viewer_proxy) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((60, 70)), name="cells")
    shapes = viewer.add_shapes([BOX + 500], shape_type="rectangle", name="mine")
    with pytest.raises(ImageError, match="Nothing in mine covers a pixel of cells"):
        drawn(viewer, shapes, image)
    line = viewer.add_shapes([BOX[:2]], shape_type="line")
    with pytest.raises(ImageError, match="expected a rectangle"):
        drawn(viewer, line, image)
    with pytest.raises(ImageError, match="no shapes layer"):
        drawn_region(viewer, None, image, 2)


def test_predict_keeps_to_the_region(
    hands: Callable, tiny_files: dict[str, Path]
) -> None:
    image, _ = nuclei(192)
    person = hands("Model", "Predict")
    person.viewer.add_image(image, name="cells")
    person.load(tiny_files["instances"])
    person.choose("predict.scope", "region")
    person.press("predict.run")
    person.wait_idle()
    assert "no shapes layer" in person.text("predict")
    outline = np.array([[0, 0], [0, 90], [90, 0]], float)
    person.viewer.add_shapes([outline], shape_type="polygon", name="there")
    person.choose("predict.region", "there")
    person.predict()
    found = person.pixels > 0
    assert found[:80, :80].any()
    assert not found[150:, 150:].any()


def test_a_view_beside_the_image_is_said(make_napari_viewer_proxy) -> None:
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((3, 60, 70)), name="cells")
    image.corner_pixels = np.array([[1, 0, 20], [1, 59, 30]])
    check_in_view(viewer, image)
    image.corner_pixels = np.array([[1, 59, 69], [1, 59, 69]])  # clipped by napari
    with pytest.raises(ImageError, match="cells is not in view"):
        check_in_view(viewer, image)
