"""Moving the view to a place: sliders, camera and zoom."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer

from napari_unet.qt.layers import camera_of

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.opened import OpenImage
    from napari_unet.qt.bench import Bench

FILLS = 0.4  # of the canvas, on the side on which the place is longest
USUAL = (600, 600)  # pixels of a canvas; napari tells it since 0.9


def show_place(
    bench: Bench, opened: OpenImage, window: Region, before: Image | None
) -> None:
    """Show a place of an image in the session; its layers become the chosen ones.

    Parameters
    ----------
    window : slices with numbers, over the axes of its labels
    before : the image that was worked on; another one is brought up
    """
    layer, image = bench.layer_of(opened), bench.image_of(opened)
    if layer is None:
        return
    viewer = bench.viewer
    if image is not before:
        bring_up(viewer, image, layer)
        bench.choose_image(image)
    viewer.layers.selection.active = layer
    fly_to(viewer, layer, window)


def fly_to(viewer: Viewer, layer: Labels, window: Region) -> None:
    """Show a place of a layer in the middle of the canvas.

    Sliders of axes that are not displayed go to its middle. Works in 2D and 3D
    display, whatever the layer's scale, position and order of axes.

    Parameters
    ----------
    window : slices with numbers, over the layer's axes
    """
    before = viewer.dims.ndim - layer.ndim  # axes that the layer does not have
    shown = list(viewer.dims.displayed)
    world = layer.data_to_world([(s.start + s.stop - 1) // 2 for s in window])
    for axis in range(layer.ndim):
        if axis + before not in shown:
            viewer.dims.set_point(axis + before, world[axis])
    first, last = _extent(layer, window)
    camera = camera_of(viewer)
    centre = np.array(camera.center, float)
    for place, axis in zip(range(-len(shown), 0), shown, strict=True):
        if axis >= before:
            centre[place] = (first[axis - before] + last[axis - before]) / 2
    camera.center = tuple(centre.tolist())
    sides = [(last - first)[a - before] if a >= before else 0.0 for a in shown]
    camera.zoom = FILLS * _zoom(viewer, sides)


def _extent(
    layer: Labels, window: Region
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest world coordinates of a window's pixels."""
    ends = [(s.start - 0.5, s.stop - 0.5) for s in window]
    corners = np.array([layer.data_to_world(corner) for corner in product(*ends)])
    return corners.min(axis=0), corners.max(axis=0)


def _zoom(viewer: Viewer, sides: list[float]) -> float:
    """Return the zoom at which displayed lengths just fit into the canvas."""
    canvas: Any = getattr(viewer, "canvas", None)
    size = USUAL if canvas is None else canvas.size
    if len(sides) == 2:
        pairs = zip(size, sides, strict=True)
        return float(min(pixels / max(side, 1e-9) for pixels, side in pairs))
    return float(min(size) / max(*sides, 1e-9))  # it may be seen from any side


def bring_up(viewer: Viewer, image: Image | None, labels: Labels) -> None:
    """Let an image and its labels be seen; other layers stay as they are.

    Where another visible image lies above it in the list, and so perhaps on it, both
    go to the top of the list, in their order.
    """
    pair = [layer for layer in (image, labels) if layer is not None]
    for layer in pair:
        layer.visible = True
    layers = viewer.layers
    lowest = min(layers.index(layer) for layer in pair)
    above = list(layers)[lowest:]
    if any(isinstance(a, ImageLayer) and a.visible and a not in pair for a in above):
        for layer in pair:
            layers.move(layers.index(layer), len(layers))
