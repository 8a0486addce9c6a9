"""What is drawn in a Shapes layer, as pixels of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.draw import polygon

from napari_unet.errors import ImageError
from napari_unet.qt.layers import current_slice

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image, Shapes
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region

AREAS = ("rectangle", "polygon", "ellipse")  # kinds of shapes that have an inside
CORNERS = 72  # of the polygon that stands for an ellipse


def drawn_region(
    viewer: Viewer, shapes: Shapes | None, image: Image, ndim: int
) -> tuple[Region, NDArray[np.bool_]]:
    """Return the pixels of an image inside of what is drawn in the current slice.

    Selected shapes count, or all if none is. Where an outline crosses itself, what it
    goes around twice is outside, as in napari's own masks of shapes.

    Parameters
    ----------
    viewer : with the slice
    shapes : the layer with rectangles, polygons and ellipses
    image : the layer that is predicted
    ndim : axes of the image layer

    Returns
    -------
    region : slices over the image layer's axes, around all that is drawn
    within : bool, of the region's shape

    Raises
    ------
    ImageError
        If nothing is drawn there, or in the 3D view.
    """
    if shapes is None:
        raise ImageError(
            "There is no shapes layer, expected one with the region: add one with "
            "napari's New shapes layer button and draw around what is to be predicted."
        )
    if viewer.dims.ndisplay == 3:
        raise ImageError(
            "The view is 3D, a region is drawn in a slice: turn to the 2D view first."
        )
    here = current_slice(viewer, image, ndim)
    axes = [axis for axis, s in enumerate(here) if _is_shown(viewer, axis, ndim)]
    plane = np.zeros([here[axis].stop - here[axis].start for axis in axes], bool)
    for outline in _outlines(viewer, shapes, image, ndim):
        if _lies_in(outline, here, axes):
            rows, columns = polygon(*outline[:, axes].T, shape=plane.shape)
            plane[rows, columns] = True
    if not plane.any():
        raise ImageError(
            f"Nothing in {shapes.name} covers a pixel of {image.name} in this slice, "
            "expected a rectangle, polygon or ellipse on it: draw one there."
        )
    region = list(here)
    for axis, place in zip(axes, np.nonzero(plane), strict=True):
        region[axis] = slice(int(place.min()), int(place.max()) + 1)
    shape = [s.stop - s.start for s in region]
    within = plane[tuple(region[axis] for axis in axes)].reshape(shape)
    return tuple(region), within


def _is_shown(viewer: Viewer, axis: int, ndim: int) -> bool:
    return axis + viewer.dims.ndim - ndim in viewer.dims.displayed


def _outlines(
    viewer: Viewer, shapes: Shapes, image: Image, ndim: int
) -> list[NDArray[np.float64]]:
    """Return the corners of shapes with an inside, (N, ndim) in the image's pixels."""
    numbers = sorted(shapes.selected_data) or range(len(shapes.data))
    found = []
    for number in numbers:
        kind, corners = shapes.shape_type[number], np.asarray(shapes.data[number])
        if kind not in AREAS:
            continue
        if kind == "ellipse":
            corners = _ellipse(corners)
        world = np.array([shapes.data_to_world(corner) for corner in corners])
        missing = max(ndim - world.shape[1], 0)  # shapes of fewer axes lie in any slice
        before = np.asarray(viewer.dims.point)[-ndim:][:missing]
        world = np.hstack([np.tile(before, (len(world), 1)), world[:, -ndim:]])
        found.append(np.array([image.world_to_data(point) for point in world]))
    return found


def _ellipse(corners: NDArray[Any]) -> NDArray[np.float64]:
    """Return a polygon for the ellipse in a box of four corners."""
    middle = corners.mean(axis=0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)[:, np.newaxis]
    return np.asarray(middle + np.cos(angle) * one + np.sin(angle) * other)


def _lies_in(outline: NDArray[np.float64], here: Region, axes: list[int]) -> bool:
    """Tell whether an outline was drawn in a slice."""
    others = [axis for axis in range(outline.shape[1]) if axis not in axes]
    return all(round(float(outline[0, a])) == here[a].start for a in others)
