"""napari's save dialog writes any labels layer in the formats it has no writer for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet.errors import ImageError
from napari_unet.io.masks import Provenance, write_labels
from napari_unet.io.masks.content import LETTERS
from napari_unet.qt.layers import PROVENANCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USUAL = ".ome.zarr"  # for a name without an ending


def write_layers(
    path: str, layers: Sequence[tuple[Any, Mapping[str, Any], str]]
) -> list[str]:
    """Write the one labels layer that napari hands over.

    Raises
    ------
    UnetError
        If the labels do not fit the format or cannot be written.
    """
    data, meta = next((data, meta) for data, meta, kind in layers if kind == "labels")
    return write(path, data, meta)


def write(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a labels layer; the ending says the format.

    Parameters
    ----------
    path : the ending says the format; without one it is OME-Zarr
    data : labels, one array or the levels of a pyramid, largest first
    meta : of the layer, as napari hands it over

    Returns
    -------
    paths : the one that was written

    Raises
    ------
    UnetError
        If the labels do not fit the format or cannot be written.
    """
    labels = data[0] if meta.get("multiscale") else data
    if len(labels.shape) > len(LETTERS):
        raise ImageError(
            f"The labels have {len(labels.shape)} axes, expected at most "
            f"{len(LETTERS)}: save a part."
        )
    units = meta.get("units") or ["pixel"]
    place = Path(path)
    if not place.suffix:
        place = place.with_name(place.name + USUAL)
    write_labels(
        place,
        labels,
        axes=_axes(meta.get("axis_labels") or (), len(labels.shape)),
        scale=meta.get("scale"),
        units=str(units[-1]),
        provenance=_provenance(data, meta),
    )
    return [str(place)]


def _axes(names: Sequence[str], ndim: int) -> str:
    """Return the layer's own axis letters where it has them, else the usual ones."""
    own = "".join(names).upper()
    usual = LETTERS[-ndim:]
    fits = len(own) == len(set(own)) == len(names) == ndim and own.endswith("YX")
    return own if fits and own.isalpha() and "C" not in own else usual


def _provenance(data: Any, meta: Mapping[str, Any]) -> Provenance:
    """Return where the labels come from; at least the layer's name."""
    tell = (meta.get("metadata") or {}).get(PROVENANCE)
    known: Provenance | None = tell(data) if callable(tell) else None
    return known or Provenance(image=str(meta.get("name") or ""))
