"""A part of a labels layer is drawn as a whole refresh would draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet.engine.writes import TrackedLabels
from napari_unet.qt.refresh import refresh_part

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Labels


@pytest.fixture
def viewer(make_napari_viewer_proxy: Any) -> Viewer:
    shown = make_napari_viewer_proxy(show=True)
    shown.window.resize(700, 500)
    return shown


def picture(viewer: Viewer) -> np.ndarray:
    return np.asarray(viewer.screenshot(canvas_only=True, flash=False))


def change(layer: Labels, window: tuple[slice, ...]) -> None:
    """Write around napari, as an undo does."""
    np.asarray(layer.data)[window] = 3


@pytest.mark.parametrize("contour", [0, 2])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
def test_a_part_looks_as_if_all_had_been_drawn(
    viewer: Viewer, contour: int, order: tuple[int, int, int]
) -> None:
    layer = viewer.add_labels(TrackedLabels(np.zeros((20, 60, 70), np.int32)))
    layer.contour, viewer.dims.order = contour, order
    viewer.dims.set_point(order[0], 5)
    window = (slice(3, 12), slice(4, 40), slice(5, 30))
    before = picture(viewer)
    change(layer, window)
    refresh_part(layer, window)
    part = picture(viewer)
    layer.refresh()
    np.testing.assert_array_equal(part, picture(viewer))
    assert (part != before).any()


def test_a_part_of_another_slice_is_seen_when_one_goes_there(viewer: Viewer) -> None:
    layer = viewer.add_labels(TrackedLabels(np.zeros((4, 60, 70), np.int32)))
    viewer.dims.set_point(0, 0)
    empty = picture(viewer)
    window = (slice(2, 3), slice(10, 40), slice(10, 40))
    change(layer, window)
    refresh_part(layer, window)
    np.testing.assert_array_equal(picture(viewer), empty)
    viewer.dims.set_point(0, 2)
    assert (picture(viewer) != empty).any()


def test_a_volume_and_labels_on_disk_are_drawn_whole(viewer: Viewer) -> None:
    layer = viewer.add_labels(TrackedLabels(np.zeros((20, 30, 30), np.int32)))
    viewer.dims.ndisplay = 3
    empty = picture(viewer)
    window = (slice(3, 12), slice(4, 25), slice(5, 25))
    change(layer, window)
    refresh_part(layer, window)
    assert (picture(viewer) != empty).any()
