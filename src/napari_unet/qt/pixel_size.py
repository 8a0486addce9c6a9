"""How large the pixels of an image layer are: as its file says, or as the user does."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_unet.pixel_sizes import NONE, sides_from, sides_in_words, spatial_axes

if TYPE_CHECKING:
    from napari.layers import Image

SAID = "unet pixel size"  # key in the metadata of a layer, where the user has said it


def pixel_size_of(layer: Image, axes: str) -> tuple[float, ...] | None:
    """Return the sides of a layer's pixels in micrometres, [Z,] Y, X.

    Parameters
    ----------
    layer : an image; its scale counts where its units are lengths, else what its file
        says (TIFF)
    axes : one letter per axis of its array

    Returns
    -------
    sides : of its last axes; None: unknown, (): the user wants it to be unknown
    """
    said = layer.metadata.get(SAID)
    if said is not None:
        return tuple(said)
    return _of_layer(layer, axes) or _of_file(layer)


def _of_layer(layer: Image, axes: str) -> tuple[float, ...] | None:
    """Return what a layer's scale means where its units are lengths."""
    found: list[float] = []
    letters = axes.removesuffix("C") if layer.rgb else axes
    if len(letters) != layer.ndim:
        return None
    for letter, scale, unit in zip(
        letters[::-1], layer.scale[::-1], layer.units[::-1], strict=True
    ):
        if letter == "C":
            continue
        if letter not in "ZYX" or not unit.is_compatible_with("meter"):
            break
        found.insert(0, abs(float((scale * unit).to("micrometer").magnitude)))
    return tuple(found) if len(found) > 1 and all(found) else None


def _of_file(layer: Image) -> tuple[float, ...] | None:
    """Return what the file says of which napari showed the numbers only."""
    path = layer.source.path
    return _read(path) if path and (np.asarray(layer.scale) == 1).all() else None


@lru_cache
def _read(path: str) -> tuple[float, ...] | None:
    from napari_unet.io.images import pixel_size_in

    return pixel_size_in(Path(path))


def say_pixel_size(layer: Image, sides: tuple[float, ...] | None) -> None:
    """Let a layer know what the user says; (): it is unknown, None: nothing."""
    if sides is None:
        layer.metadata.pop(SAID, None)
    else:
        layer.metadata[SAID] = sides


def said_of(text: str, axes: str) -> tuple[float, ...] | None:
    """Return what a user's text says; see ``say_pixel_size``.

    Raises
    ------
    UnetError
        If it says nothing that can be.
    """
    if text.strip().lower() == NONE:
        return ()
    return sides_from(text, spatial_axes(axes)) or None


def shown_text(layer: Image | None, axes: str) -> str:
    """Return what is shown of a layer: a size, "none", or "" where it is unknown."""
    size = None if layer is None else pixel_size_of(layer, axes)
    return NONE if size == () else sides_in_words(size)
