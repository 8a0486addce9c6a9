"""What a press of a tool means: on which object, in which plane or volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet.engine.blocks import everything
from napari_unet.engine.objects import window_of
from napari_unet.errors import LabelsError
from napari_unet.qt.layers import here, plane_at, shown_axes
from napari_unet.tool_steps import ToolUse

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.corrections import Corrections
    from napari_unet.tool_steps import Tool

AT_ONCE = 2**25  # pixels that a tool may look through before the click returns


def use_on_object(
    tool: Tool, corrections: Corrections, viewer: Viewer, layer: Labels
) -> ToolUse:
    """Return the use of a tool on the layer's selected label.

    Raises
    ------
    LabelsError
        If the object, or the slice to copy it to, cannot be told.
    """
    label, dims = int(layer.selected_label), corrections.dims
    if tool == "copy" and layer.ndim == dims == 3:
        return _copy_of_slice(label, viewer, layer)
    plane = plane_at(layer, here(viewer, layer), dims)
    if dims == 2 and viewer.dims.ndisplay == 3 and layer.ndim > 2:
        plane = _slice_with(label, corrections)
    axes = tuple(range(layer.ndim - dims, layer.ndim))
    if tool != "copy":
        return ToolUse(tool, plane, axes, label)
    target = _next(plane, layer.ndim - dims - 1, corrections.shape)
    return ToolUse(
        tool, plane, axes, label, target=target, renumber=corrections.instances
    )


def use_of_line(
    tool: Tool, points: NDArray[np.float64], corrections: Corrections, layer: Labels
) -> ToolUse:
    """Return the use of a tool with a line.

    Parameters
    ----------
    points : (N, number of the layer's axes), in its pixels

    Raises
    ------
    LabelsError
        If objects are flat and the line runs through several slices.
    """
    dims = corrections.dims
    flat = layer.ndim - dims
    if len(np.unique(np.rint(points[:, :flat]), axis=0)) > 1:
        raise LabelsError(
            "The line runs through several slices, and objects here lie in one each; "
            "expected a line in a slice: put napari's axes back in their order."
        )
    plane = plane_at(layer, points[0], dims)
    axes = tuple(range(flat, layer.ndim))
    return ToolUse(tool, plane, axes, line=points[:, flat:])


def _copy_of_slice(label: int, viewer: Viewer, layer: Labels) -> ToolUse:
    """Copy what an object of a volume is in the shown slice into the next slice."""
    axes = shown_axes(viewer, layer)
    if len(axes) != 2:
        raise LabelsError(
            "All slices are shown at once, expected one, from which to copy to the "
            "next: switch to the 2D display."
        )
    (axis,) = {0, 1, 2} - set(axes)
    plane = list(everything(layer.data.shape))
    plane[axis] = plane_at(layer, here(viewer, layer), 0)[axis]
    target = _next(tuple(plane), axis, layer.data.shape)
    return ToolUse("copy", tuple(plane), axes, label, target=target, renumber=False)


def _next(plane: Region, axis: int, shape: tuple[int, ...]) -> Region:
    """Return the next slice or frame."""
    following = plane[axis].stop
    if axis < 0 or following >= shape[axis]:
        raise LabelsError(
            "This is the last slice, expected one with another behind it: there is "
            "nothing to copy to."
        )
    return (*plane[:axis], slice(following, following + 1), *plane[axis + 1 :])


def _slice_with(label: int, corrections: Corrections) -> Region:
    """Return the slice of a flat object that is seen in 3D among others."""
    everywhere = everything(corrections.shape)
    found = None
    if corrections.labels.size <= AT_ONCE and label:
        found = window_of(corrections.labels.now(everywhere), (label,))
    if found is None or any(s.stop - s.start > 1 for s in found[:-2]):
        raise LabelsError(
            f"The slice of object {label} cannot be told in the 3D display, expected "
            "an object in one slice: switch to the 2D display."
        )
    return (*found[:-2], *everywhere[-2:])
