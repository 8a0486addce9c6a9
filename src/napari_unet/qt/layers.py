"""napari layers to arrays and back: axes, scale, the visible part, undo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_unet.engine.axes import check_axes, check_labels
from napari_unet.errors import ImageError, LabelsError
from napari_unet.opened import ImageSource, check_range, shape_without_channels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari import Viewer
    from napari.layers import Image, Labels

    from napari_unet.engine.blocks import Region
    from napari_unet.opened import OpenImage

T = TypeVar("T")
NEARLY_ALL = 0.6  # of an axis in view: then a prediction does all of it
LABELS_OPACITY = 0.5
LARGEST_COPY = 2**28  # bytes that a removed layer may take along
MOVES = ("scale", "translate", "rotate", "shear", "affine")  # events of a layer
# key in the metadata of our labels layers: tells napari's save dialog of their labels
PROVENANCE = "unet provenance"


def image_data(layer: Image) -> Any:
    """Return a layer's pixels at full resolution, not copied."""
    return layer.data[0] if layer.multiscale else layer.data


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
    for axis in (a - layer.ndim + ndim for a in shown_axes(viewer, layer)):
        start, stop = int(corners[0, axis]), int(corners[1, axis]) + 1
        if stop - start < nearly_all * shape[axis] and stop > start:
            region[axis] = slice(max(start, 0), min(stop, shape[axis]))
    return tuple(region)


def check_in_view(viewer: Viewer, layer: Image) -> None:
    """Refuse a view that shows nothing of a layer.

    Raises
    ------
    ImageError
        Saying how to get back.
    """
    shown = list(shown_axes(viewer, layer))
    ends = np.ptp(np.asarray(layer.corner_pixels), axis=0)[shown]
    lengths = np.array(shown_shape(layer))[shown]
    if viewer.dims.ndisplay == 2 and ((ends == 0) & (lengths > 1)).any():
        raise ImageError(
            f"{layer.name} is not in view, expected a part of it: press napari's home "
            "button, or choose another place under Where."
        )


def without_channels(region: Region, layer: Image, axes: str) -> Region:
    """Return a region of an image layer over the axes that its labels have.

    Parameters
    ----------
    region : slices over the layer's axes; of an RGB layer, napari counts no channels
    layer : the image
    axes : one letter per axis of the image
    """
    if layer.rgb or "C" not in axes:
        return region
    channel = axes.index("C")
    return region[:channel] + region[channel + 1 :]


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


def plane_at(layer: Labels, position: Any, dims: int) -> Region:
    """Return the plane or volume of a labels layer at a position.

    Parameters
    ----------
    position : in the layer's pixels, one number per axis
    dims : number of the last axes that the plane or volume has
    """
    shape = layer.data.shape
    flat = len(shape) - dims
    places = np.clip(np.rint(position), 0, np.array(shape) - 1).astype(int).tolist()
    return tuple(
        slice(place, place + 1) if axis < flat else slice(0, length)
        for axis, (place, length) in enumerate(zip(places, shape, strict=True))
    )


def shown_axes(viewer: Viewer, layer: Image | Labels) -> tuple[int, ...]:
    """Return the axes of a layer that are displayed, in their order in the layer."""
    moved = (axis - viewer.dims.ndim + layer.ndim for axis in viewer.dims.displayed)
    return tuple(sorted(axis for axis in moved if axis >= 0))


def here(viewer: Viewer, layer: Labels) -> Any:
    """Return where the sliders are, in a layer's pixels, one number per axis."""
    return layer.world_to_data(viewer.dims.point[-layer.ndim :])


def camera_of(viewer: Viewer) -> Any:
    """Return the camera, which napari keeps in a scene since 0.9."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def label_under_pointer(viewer: Viewer, layer: Labels) -> int | None:
    """Return the label to which the mouse points; None when it is elsewhere."""
    if not viewer.mouse_over_canvas:
        return None
    position = list(viewer.cursor.position)
    for axis in viewer.dims.not_displayed:  # the slice may have changed since it moved
        position[axis] = viewer.dims.point[axis]
    value = layer.get_value(
        position,
        view_direction=camera_of(viewer).calculate_nd_view_direction(
            viewer.dims.ndim, viewer.dims.displayed
        ),
        dims_displayed=list(viewer.dims.displayed),
        world=True,
    )
    return 0 if value is None else int(value)


def go_to(viewer: Viewer, layer: Labels, place: Region) -> None:
    """Move the sliders to a slice or frame of a layer."""
    shown = shown_axes(viewer, layer)
    position = np.array(here(viewer, layer), float)
    for axis, s in enumerate(place):
        if axis not in shown and s.stop - s.start == 1:
            position[axis] = s.start
    world = layer.data_to_world(position)
    for axis in range(layer.ndim):
        if axis not in shown:
            viewer.dims.set_point(axis + viewer.dims.ndim - layer.ndim, world[axis])


def transform_of(layer: Labels) -> dict[str, Any]:
    """Return scale, position and units for a layer that lies on another."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
    }


def image_source(image: Image, labels_name: str) -> ImageSource:
    """Return where an image comes from, and how it and its labels are shown."""
    path = image.source.path
    if path is not None and Path(path).exists():
        path = str(Path(path).absolute())
    return ImageSource(
        path=path,
        reader=image.source.reader_plugin if path else None,
        scale=tuple(map(float, image.scale)),
        translate=tuple(map(float, image.translate)),
        labels_name=labels_name,
    )


def lies_at(layer: Labels, place: Mapping[str, Any]) -> bool:
    """Tell whether a layer has a transform that ``spatial_transform`` gave."""
    for key, value in place.items():
        own = getattr(layer, key)
        own = getattr(own, "affine_matrix", own)
        if key != "units" and not np.allclose(own, value):
            return False
    return True


def move_to(layer: Labels, place: Mapping[str, Any]) -> None:
    """Give a layer a transform that ``spatial_transform`` gave."""
    for key, value in place.items():
        setattr(layer, key, value)


def stroke_goes_on() -> bool:
    """Tell whether somebody is drawing; counting then would cut the stroke in two."""
    return bool(QApplication.mouseButtons() != Qt.MouseButton.NoButton)


def bind(
    layer: Labels, opened: OpenImage, undo: Callable[[], None], redo: Callable[[], None]
) -> Callable[[], None]:
    """Give a layer the tracked labels, and our history instead of napari's (fact B3).

    napari's shortcuts and menus call the layer's own ``undo`` and ``redo``.

    Returns
    -------
    release : gives the layer labels and a history of its own; the corrections stay
    """
    corrections = opened.corrections
    if layer.data is not corrections.labels:
        layer.data = corrections.labels
    layer.undo = undo
    layer.redo = redo

    def on_paint(_: Any) -> None:
        corrections.stroke_ends()

    layer.events.paint.connect(on_paint)

    def release() -> None:
        layer.events.paint.disconnect(on_paint)
        del layer.undo, layer.redo
        layer.data, editable = _without_ledger(corrections.labels)
        layer.editable = False  # makes napari forget its own history of the layer
        layer.editable = editable

    return release


def _without_ledger(labels: Any) -> tuple[Any, bool]:
    """Return labels that no ledger hears of, and whether they may be painted on.

    A layer that was taken out of its viewer can be put into another one.
    """
    if isinstance(labels, np.ndarray):
        plain = labels.view(np.ndarray)
        if labels.nbytes <= LARGEST_COPY:
            return plain.copy(), True
        plain.flags.writeable = False
        return plain, False
    return labels.store, False


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
    foreign = layer.data
    layer.data = tracked  # first: what was assigned may fail when it is read
    foreign = np.asarray(foreign)
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


def unwrapped(one: T) -> T:
    """Return the viewer or layer itself where a plugin was given a proxy (fact F8)."""
    itself: T = getattr(one, "__wrapped__", one)
    return itself
