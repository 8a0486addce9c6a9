"""napari layers to arrays and back: axes, scale, the visible part, undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.axes import check_axes, check_labels, guess_axes
from napari_unet.engine.spec import UNetSpec
from napari_unet.errors import LabelsError
from napari_unet.opened import check_range, shape_without_channels

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from napari.layers import Image, Labels

    from napari_unet.engine.protect import Region
    from napari_unet.engine.spec import Architecture
    from napari_unet.opened import OpenImage

NEARLY_ALL = 0.6  # of an axis in view: then a prediction does all of it
LABELS_OPACITY = 0.5


def image_data(layer: Image) -> Any:
    """Return a layer's pixels at full resolution, not copied."""
    return layer.data[0] if layer.multiscale else layer.data


def layer_axes(layer: Image, spec: Architecture | None) -> str:
    """Return axis letters for a layer; an RGB layer ends in C."""
    shape = image_data(layer).shape
    spec = spec or UNetSpec()
    if layer.rgb:
        return guess_axes(shape[:-1], spec).replace("C", "S") + "C"
    axes = guess_axes(shape, spec)
    if axes == "YXC":  # napari would show colour as RGB: this is a thin stack
        return "ZYX"
    return axes


def spatial_transform(layer: Image, axes: str) -> dict[str, Any]:
    """Return scale, position and units for labels that lie on an image."""
    flat = layer.rgb or "C" not in axes
    keep = [i for i in range(layer.ndim) if flat or axes[i] != "C"]
    transform = {
        "scale": layer.scale[keep],
        "translate": layer.translate[keep],
        "rotate": layer.rotate[np.ix_(keep, keep)],
        "affine": layer.affine.affine_matrix[np.ix_([*keep, -1], [*keep, -1])],
        "units": [layer.units[i] for i in keep],
    }
    return {**transform, "shear": layer.shear} if flat else transform


def labels_name(image: Image) -> str:
    """Return the name of the result layer for an image."""
    return f"{image.name} - U-Net"


def visible_region(
    viewer: Viewer, layer: Image | Labels, ndim: int, nearly_all: float = 1.0
) -> Region:
    """Return the part of the current slice that is in view, over ``ndim`` label axes.

    Where at least ``nearly_all`` of an axis is in view, all of it is meant; a 3D view
    means all of the displayed volume.
    """
    region = list(current_slice(viewer, layer, ndim))
    if viewer.dims.ndisplay == 3:
        return tuple(region)
    corners = np.asarray(layer.corner_pixels)
    if layer.multiscale:  # they are counted in the pixels of the level in view
        corners = corners * layer.downsample_factors[layer.data_level][-layer.ndim :]
    corners = corners[:, -ndim:]
    shape = shown_shape(layer)[-ndim:]
    for axis in range(ndim - 2, ndim):
        start, stop = int(corners[0, axis]), int(corners[1, axis]) + 1
        if stop - start < nearly_all * shape[axis] and stop > start:
            region[axis] = slice(max(start, 0), min(stop, shape[axis]))
    return tuple(region)


def shown_shape(layer: Image | Labels) -> tuple[int, ...]:
    """Return a layer's shape without a colour axis."""
    shape = image_data(layer).shape
    return tuple(shape[:-1] if getattr(layer, "rgb", False) else shape)


def current_slice(viewer: Viewer, layer: Image | Labels, ndim: int) -> Region:
    """Return slices over ``ndim`` label axes: displayed ones whole, one of others."""
    shape = shown_shape(layer)[-ndim:]
    position = layer.world_to_data(viewer.dims.point[-layer.ndim :])
    displayed = [axis - viewer.dims.ndim + ndim for axis in viewer.dims.displayed]
    region = []
    for axis, length in enumerate(shape):
        if axis in displayed:
            region.append(slice(0, length))
        else:
            here = int(np.clip(round(position[axis - ndim]), 0, length - 1))
            region.append(slice(here, here + 1))
    return tuple(region)


def bind(
    layer: Labels, opened: OpenImage, undo: Callable[[], None], redo: Callable[[], None]
) -> None:
    """Give a layer the tracked labels, and our history instead of napari's (fact B3).

    napari's shortcuts and menus call the layer's own ``undo`` and ``redo``.
    """
    if layer.data is not opened.corrections.labels:
        layer.data = opened.corrections.labels
    layer.undo = undo
    layer.redo = redo
    layer.events.paint.connect(lambda _: opened.corrections.stroke_ends())


def replaced_data(layer: Labels, opened: OpenImage) -> bool:
    """Take labels that someone assigned to ``layer.data`` as an edit.

    Returns
    -------
    replaced : whether that had happened

    Raises
    ------
    LabelsError
        If they do not fit the image; the layer then shows the corrections again.
    """
    tracked = opened.corrections.labels
    if layer.data is tracked:
        return False
    foreign = np.asarray(layer.data)
    layer.data = tracked
    check_labels(foreign, tracked.shape)
    check_range(foreign)
    tracked[...] = foreign
    opened.corrections.commit()
    layer.refresh()
    return True


def check_same_place(image: Image, labels: Labels, axes: str) -> None:
    """Refuse labels that do not lie on an image pixel by pixel.

    Raises
    ------
    LabelsError
        Saying what differs.
    """
    if labels.multiscale:
        raise LabelsError(
            f"{labels.name} has several resolutions and cannot be edited; expected one "
            "resolution: choose another labels layer, or a new one."
        )
    check_shapes(image.name, image_data(image).shape, axes, labels.data.shape)
    expected = spatial_transform(image, axes)
    places = ("scale", "translate", "rotate")
    if not all(np.allclose(getattr(labels, key), expected[key]) for key in places):
        raise LabelsError(
            f"{labels.name} has another scale or position than {image.name}; expected "
            "the same: choose a new layer, or give both the same scale."
        )


def check_shapes(
    name: str, shape: tuple[int, ...], axes: str, labels: tuple[int, ...]
) -> None:
    """Refuse labels of another shape than the image's without channels.

    Raises
    ------
    LabelsError, ImageError
        Saying what was found and expected.
    """
    expected = shape_without_channels(shape, check_axes(axes, len(shape)))
    if labels != expected:
        raise LabelsError(
            f"The labels have the shape {labels}, expected {expected} for {name}: "
            "choose the labels that belong to this image, or a new layer."
        )
