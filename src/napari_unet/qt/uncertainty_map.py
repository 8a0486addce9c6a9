"""Where averaged looks are apart, shown over the image as a layer of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils import Colormap

from napari_unet.qt.layers import spatial_transform
from napari_unet.qt.overlays import OVERLAY, undisturbed
from napari_unet.qt.previews import placed

if TYPE_CHECKING:
    from napari import Viewer

    from napari_unet.opened import UncertaintyMap

MARK = "unet uncertainty of"  # in the layer's metadata: the name of the image
LIMITS = (0.0, 0.5)  # of a standard deviation of scores
# what is sure lets the image through, be it bright or dark
CLEAR_TO_RED = ((1.0, 0.7, 0.0, 0.0), (1.0, 0.6, 0.0, 0.7), (0.9, 0.0, 0.2, 1.0))


def show(viewer: Viewer, image: Image, axes: str, found: UncertaintyMap) -> None:
    """Show the map of one prediction instead of the one before, above its image.

    Parameters
    ----------
    image : the layer that was predicted
    axes : of the image
    found : the map, of a part of the image
    """
    given: dict[str, Any] = {
        "name": f"{image.name} - uncertainty",
        "metadata": {OVERLAY: True, MARK: image.name},
        **placed(spatial_transform(image, axes), found.region),
    }
    layer = _of(viewer, image.name)
    with undisturbed(viewer):
        if layer is not None and layer.ndim != found.values.ndim:
            viewer.layers.remove(layer)
            layer = None
        if layer is None:
            layer = Image(
                found.values, colormap=Colormap(CLEAR_TO_RED, name="uncertainty"),
                blending="translucent", contrast_limits=LIMITS, **given,
            )  # fmt: skip
            viewer.layers.insert(viewer.layers.index(image) + 1, layer)
        else:
            layer.data = found.values
            for key, value in given.items():
                setattr(layer, key, value)


def _of(viewer: Viewer, name: str) -> Image | None:
    """Return the layer with the map of an image."""
    marked = (each for each in viewer.layers if each.metadata.get(MARK) == name)
    return next(marked, None)
