"""The one way of writing labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet.engine.drain import drain
from napari_unet.errors import ImageError
from napari_unet.io.masks.coco import write_coco
from napari_unet.io.masks.content import masks_of
from napari_unet.io.masks.imagej import write_rois
from napari_unet.io.masks.ome_zarr import write_ome_zarr
from napari_unet.io.masks.png import write_png
from napari_unet.io.masks.tiff import write_tiff

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_unet.engine.config import PlaneDone
    from napari_unet.io.masks.content import Masks, Provenance


@dataclass(frozen=True)
class Kind:
    """A format of masks.

    Attributes
    ----------
    title : for a file dialog
    write : writes masks; whole or not at all, also when it is closed halfway
    """

    title: str
    write: Callable[[Path, Masks], Generator[PlaneDone, None, None]]


KINDS = {
    ".tif": Kind("TIFF labels, for all programs", write_tiff),
    ".tiff": Kind("TIFF labels, for all programs", write_tiff),
    ".png": Kind("PNG, one plane of 16 bit", write_png),
    ".ome.zarr": Kind("OME-Zarr labels, for large stacks", write_ome_zarr),
    ".zip": Kind("ImageJ ROIs, for the ROI Manager", write_rois),
    ".json": Kind("COCO annotations, for machine learning", write_coco),
}


def suffix_of(path: Path | str) -> str | None:
    """Return the ending in ``KINDS`` of a name, also one of two dots; None if none."""
    name = Path(path).name.lower()
    found = (suffix for suffix in KINDS if name.endswith(suffix) and name != suffix)
    return max(found, key=len, default=None)


def check_name(path: Path | str) -> str:
    """Return the ending in ``KINDS`` of a name.

    Raises
    ------
    ImageError
        If it has another.
    """
    suffix = suffix_of(path)
    if suffix is None:
        raise ImageError(
            f"{path} ends in {Path(path).suffix!r}, expected {', '.join(KINDS)}: "
            "choose one of those."
        )
    return suffix


def write_labels(
    path: Path | str,
    labels: Any,
    *,
    axes: str | None = None,
    scale: Sequence[float] | None = None,
    units: str = "pixel",
    provenance: Provenance | None = None,
) -> Path:
    """Write labels in the format of a name's ending; see ``write_labels_steps``.

    Raises
    ------
    OutputError
        If the file cannot be written; nothing is left half-written.
    ImageError
        If the labels do not fit the format, or the ending is unknown.
    """
    steps = write_labels_steps(
        path, labels, axes=axes, scale=scale, units=units, provenance=provenance
    )
    return drain(steps)


def write_labels_steps(
    path: Path | str,
    labels: Any,
    *,
    axes: str | None = None,
    scale: Sequence[float] | None = None,
    units: str = "pixel",
    provenance: Provenance | None = None,
) -> Generator[PlaneDone, None, Path]:
    """Write labels plane by plane; closing the generator leaves nothing half-written.

    Parameters
    ----------
    path : the ending says the format, see ``KINDS``
    labels : (..., Y, X) integers, 0 is background; an array in memory or on disk
    axes : one letter per axis of the labels, such as "TZYX"; None to number them so
    scale : size of a pixel along each axis; None: 1
    units : of the scale, such as "micrometer"
    provenance : where the labels come from, kept in the file

    Yields
    ------
    PlaneDone

    Returns
    -------
    path : where it is

    Raises
    ------
    OutputError
        If the file cannot be written; nothing is left half-written.
    ImageError
        If the labels do not fit the format, or the ending is unknown.
    ValueError
        If axes or scale do not fit the labels.
    """
    kind = KINDS[check_name(path)]
    masks = masks_of(labels, axes, scale, units, provenance)
    yield from kind.write(Path(path), masks)
    return Path(path)
