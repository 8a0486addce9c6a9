"""What versions of a model find, shown over an image and in no ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.utils import DirectLabelColormap
from napari.utils.colormaps import label_colormap
from napari.utils.transforms import Affine

from napari_unet.errors import ImageError
from napari_unet.qt.layer_axes import channel_for, layer_axes
from napari_unet.qt.layers import (
    NEARLY_ALL,
    image_data,
    spatial_transform,
    visible_region,
    without_channels,
)
from napari_unet.qt.overlays import OVERLAY, undisturbed
from napari_unet.qt.pixel_size import pixel_size_of
from napari_unet.steps import DRAFT, IN_TRAINING, Preview, View

if TYPE_CHECKING:
    import numpy as np
    from napari import Viewer
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.model import Model
    from napari_unet.qt.bench import Bench
    from napari_unet.steps import Compared

TRAINED = "model in training"
NAMES = {IN_TRAINING: TRAINED, DRAFT: "draft"}  # of previews that are of no version
MARK = "unet preview"  # in the layer's metadata
# of the first version, the second, and both; also for eyes that see few colours
COLORS = {"orange": "#e69f00", "blue": "#56b4e9", "green": "#009e73"}


def shown(viewer: Viewer) -> Labels | None:
    """Return the layer that shows previews."""
    return next((layer for layer in viewer.layers if MARK in layer.metadata), None)


def visible_view(
    bench: Bench, model: Model, largest: int | None = None
) -> tuple[View, Image]:
    """Return what is visible of the image that the user works on, and its layer.

    Parameters
    ----------
    model : that is to be tried there
    largest : side in pixels; of more than that only the middle is taken. None: all

    Raises
    ------
    ImageError
        If no image is open.
    """
    bench.settle()
    layer = bench.image
    if layer is None:
        raise ImageError("No image layer is open to try a model on: open one.")
    opened = bench.opened_of(bench.labels_of(layer))
    axes = opened.axes if opened else layer_axes(layer, model.spec.architecture)
    region = visible_region(bench.viewer, layer, layer.ndim, NEARLY_ALL)
    region = without_channels(region, layer, axes)
    if largest is not None:
        region = (*region[:-2], *(_middle(part, largest) for part in region[-2:]))
    chosen = {"channel": channel_for(bench, layer, axes)}
    config = bench.predict_config.model_copy(update=chosen)
    view = View(
        layer.name, image_data(layer), axes, region, config,
        pixel_size_of(layer, axes),
    )  # fmt: skip
    return view, layer


def _middle(part: slice, largest: int) -> slice:
    """Return the middle of a part of an axis."""
    spare = max(part.stop - part.start - largest, 0)
    return slice(part.start + spare // 2, part.stop - (spare - spare // 2))


def shown_in_training(viewer: Viewer) -> Labels | None:
    """Return the layer that shows previews if these are of a model in training."""
    return shown_as(viewer, IN_TRAINING)


def shown_as(viewer: Viewer, number: int) -> Labels | None:
    """Return the layer that shows previews if these are of what is no version."""
    layer = shown(viewer)
    same = layer is not None and layer.metadata[MARK] == NAMES[number]
    return layer if same else None


def remove(viewer: Viewer) -> None:
    """Take the previews away; what was selected stays so."""
    layer = shown(viewer)
    if layer is not None:
        with undisturbed(viewer):
            viewer.layers.remove(layer)


def show(viewer: Viewer, image: Image | None, found: Preview | Compared) -> bool:
    """Show the outlines of what versions find instead of earlier ones.

    What is of another image is not shown: another one may have been chosen since.
    There is one layer: napari takes 0.2 s to remove one, and where two go at once it
    has crashed with the next drawing.

    Parameters
    ----------
    image : the layer that they should be of
    found : by one version or two; classes of one keep their own colours

    Returns
    -------
    shown : whether they are
    """
    previews = [found] if isinstance(found, Preview) else found.previews
    view = previews[0].view
    if image is None or image not in viewer.layers:
        return False
    if image_data(image) is not view.image:
        return False
    numbers = [str(preview.number) for preview in previews]
    versions = f"version{'s' if numbers[1:] else ''} {' and '.join(numbers)}"
    versions = NAMES.get(previews[0].number, versions)
    own = numbers[1:] or previews[0].objects
    given: dict[str, Any] = {
        "name": f"{image.name} - {versions} preview",
        "metadata": {OVERLAY: True, MARK: versions},
        "colormap": _colormap() if own else label_colormap(),
        **placed(spatial_transform(image, view.axes), view.region),
    }
    goes_on = shown_in_training(viewer) is not None and versions == TRAINED
    layer = _put(viewer, found.outline, given)
    if not goes_on:  # else somebody may have hidden it
        layer.visible = True
    return True


def _put(viewer: Viewer, outline: NDArray[np.uint8], given: dict[str, Any]) -> Labels:
    """Show outlines in the layer of earlier ones, or else in a new one."""
    layer = shown(viewer)
    if layer is not None and layer.ndim != outline.ndim:
        remove(viewer)
        layer = None
    with undisturbed(viewer):
        if layer is None:
            layer = Labels(outline, opacity=1.0, **given)
            viewer.add_layer(layer)
        else:
            layer.data = outline
            for key, value in given.items():
                setattr(layer, key, value)
        layer.editable = False
    return layer


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
