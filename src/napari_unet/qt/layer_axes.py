"""What the axes of an image layer are, and which of its channels is meant."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet.engine.axes import check_axes, guess_axes
from napari_unet.engine.spec import UNetSpec
from napari_unet.qt.layers import current_slice, image_data

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from napari_unet.engine.spec import Architecture
    from napari_unet.qt.layer_bench import LayerBench

AXES, CHANNEL = "unet axes", "unet channel"  # keys of what the user says, in a layer
NAMES = {
    "t": "T", "time": "T", "frame": "T", "frames": "T", "z": "Z", "slice": "Z",
    "slices": "Z", "plane": "Z", "planes": "Z", "c": "C", "ch": "C", "channel": "C",
    "channels": "C", "y": "Y", "x": "X", "s": "S", "scene": "S", "p": "P",
    "position": "P",
}  # fmt: skip


def layer_axes(layer: Image, spec: Architecture | None) -> str:
    """Return axis letters for a layer; an RGB layer ends in C.

    They are what the user has said, else what the layer's axis labels or its file
    (TIFF) say, if that leaves the model the axes that it needs; else a guess.
    """
    shape = tuple(image_data(layer).shape)
    typed = str(layer.metadata.get(AXES, ""))
    if len(typed) == len(shape):
        return typed
    spec = spec or UNetSpec()
    said = _named(layer) or _in_file(layer, shape)
    if said is not None and len(said.replace("C", "")) >= spec.dims:
        return said
    if layer.rgb:
        return guess_axes(shape[:-1], spec).replace("C", "S") + "C"
    axes = guess_axes(shape, spec)
    if axes == "YXC":  # napari would show colour as RGB: this is a thin stack
        return "ZYX"
    return axes


def _named(layer: Image) -> str | None:
    """Return what the axis labels of a layer mean, if all are known."""
    letters = "".join(NAMES.get(name.lower(), "") for name in layer.axis_labels)
    fitting = len(letters) == len(set(letters)) == layer.ndim
    if not fitting or not letters.replace("C", "").endswith("YX"):
        return None
    if not layer.rgb:
        return letters
    return None if "C" in letters else letters + "C"


def _in_file(layer: Image, shape: tuple[int, ...]) -> str | None:
    """Return what the file says of which napari showed the numbers only."""
    path = layer.source.path
    axes = _read(path, shape) if path else None
    return None if axes is None or layer.rgb != axes.endswith("YXC") else axes


@lru_cache
def _read(path: str, shape: tuple[int, ...]) -> str | None:
    from napari_unet.io.images import axes_in

    return axes_in(Path(path), shape)


def say_axes(layer: Image, axes: str) -> None:
    """Let a layer know what the user says of its axes; "": nothing.

    Raises
    ------
    ImageError
        If they do not describe it.
    """
    if axes:
        layer.metadata[AXES] = check_axes(axes, len(image_data(layer).shape))
    else:
        layer.metadata.pop(AXES, None)


# -- channels


def channel_of(
    viewer: Viewer, layer: Image, axes: str, spec: Architecture | None
) -> int | None:
    """Return the channel of a layer that a one-channel model takes.

    That is the one that the user has chosen, else the one in view. None: all of them,
    as of colour, or for a model of several channels.
    """
    shape = image_data(layer).shape
    several = "C" in axes and len(axes) == len(shape) and shape[axes.index("C")] > 1
    if not several or (spec or UNetSpec()).in_channels != 1:
        return None
    if CHANNEL in layer.metadata:
        said: int | None = layer.metadata[CHANNEL]
        return said
    if layer.rgb:
        return None
    shown: int = current_slice(viewer, layer, layer.ndim)[axes.index("C")].start
    return shown


def channel_for(bench: LayerBench, layer: Image, axes: str) -> int | None:
    """Return the channel that the model in use takes of a layer."""
    opened, model = bench.opened_of(bench.labels_of(layer)), bench.session.model
    if opened is not None and opened.channel is not None:
        return opened.channel
    spec = model.spec.architecture if model else None
    return channel_of(bench.viewer, layer, axes, spec)


def say_channel(layer: Image, channel: int | None) -> None:
    """Let a layer know which channel the user chose; None: all."""
    layer.metadata[CHANNEL] = channel
