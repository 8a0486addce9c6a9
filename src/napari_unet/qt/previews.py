"""What versions of a model find, shown over an image and in no ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.utils import DirectLabelColormap
from napari.utils.colormaps import label_colormap
from napari.utils.transforms import Affine

from napari_unet.qt.layers import spatial_transform
from napari_unet.steps import Preview

if TYPE_CHECKING:
    import numpy as np
    from napari import Viewer
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.steps import Compared

MARK = "unet preview"  # in the layer's metadata
# of the first version, the second, and both; also for eyes that see few colours
COLORS = {"orange": "#e69f00", "blue": "#56b4e9", "green": "#009e73"}


def shown(viewer: Viewer) -> Labels | None:
    """Return the layer that shows previews."""
    return next((layer for layer in viewer.layers if MARK in layer.metadata), None)


def remove(viewer: Viewer) -> None:
    """Take the previews away; the active layer stays the active one."""
    active, layer = viewer.layers.selection.active, shown(viewer)
    if layer is not None:
        viewer.layers.remove(layer)
    if active in viewer.layers:
        viewer.layers.selection.active = active


def show(viewer: Viewer, image: Image, axes: str, found: Preview | Compared) -> None:
    """Show the outlines of what versions find instead of earlier ones.

    There is one layer: napari takes 0.2 s to remove one, and where two go at once it
    has crashed with the next drawing.

    Parameters
    ----------
    image : the layer that they are of
    axes : of the image
    found : by one version or two; classes of one keep their own colours
    """
    previews = [found] if isinstance(found, Preview) else found.previews
    numbers = [str(preview.number) for preview in previews]
    versions = f"version{'s' if numbers[1:] else ''} {' and '.join(numbers)}"
    own = numbers[1:] or previews[0].objects
    given: dict[str, Any] = {
        "name": f"{image.name} - {versions} preview",
        "metadata": {"unet overlay": True, MARK: versions},
        "colormap": _colormap() if own else label_colormap(),
        **placed(spatial_transform(image, axes), previews[0].window),
    }
    _put(viewer, found.outline, given)


def _put(viewer: Viewer, outline: NDArray[np.uint8], given: dict[str, Any]) -> None:
    """Show outlines in the layer of earlier ones, or else in a new one."""
    active, layer = viewer.layers.selection.active, shown(viewer)
    if layer is not None and layer.ndim != outline.ndim:
        viewer.layers.remove(layer)
        layer = None
    if layer is None:
        layer = Labels(outline, opacity=1.0, **given)
        viewer.add_layer(layer)
    else:
        layer.data = outline
        for key, value in given.items():
            setattr(layer, key, value)
        layer.visible = True
    layer.editable = False
    if active in viewer.layers:
        viewer.layers.selection.active = active


def _colormap() -> Any:
    """Return the colours of the first version, the second, and both."""
    colors: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    colors.update(enumerate(COLORS.values(), start=1))
    return DirectLabelColormap(color_dict=colors)


def placed(transform: dict[str, Any], window: Region) -> dict[str, Any]:
    """Return scale, position and units for labels of a part of an image.

    Parameters
    ----------
    transform : of labels of the whole image, as from ``spatial_transform``
    window : slices over the labels' axes, in pixels
    """
    parts = ("scale", "translate", "rotate", "shear")
    here = Affine(**{part: transform[part] for part in parts if part in transform})
    return {**transform, "translate": here([part.start for part in window])}
