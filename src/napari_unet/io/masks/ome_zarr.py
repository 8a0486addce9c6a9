"""Masks as OME-Zarr 0.5: an image-label with a pyramid."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from napari_unet.engine.config import PlaneDone
from napari_unet.errors import ImageError, OutputError
from napari_unet.files import replacing_folder
from napari_unet.io.masks.content import MICROMETRES

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import zarr

    from napari_unet.io.masks.content import Masks

CHUNK = 1024  # pixels; longest side of a chunk
SMALLEST = 512  # pixels; a level no longer than this is the last
TYPES = {"T": "time", "Z": "space", "Y": "space", "X": "space"}


def write_ome_zarr(path: Path, masks: Masks) -> Generator[PlaneDone, None, None]:
    """Write a folder; one that is there is replaced when the new one is complete.

    Every level takes each second pixel of the one before along Y and X, so that no
    number is made up.

    References
    ----------
    .. [1] OME-NGFF specification 0.5, https://ngff.openmicroscopy.org/0.5/
    """
    factors = _factors(masks)
    attributes = _attributes(masks, factors)
    _check_replaceable(path)
    with replacing_folder(path) as temporary:
        levels = _levels(temporary, masks, factors, attributes)
        for done, (index, plane) in enumerate(masks.planes(), start=1):
            for level, factor in zip(levels, factors, strict=True):
                level[index] = plane[::factor, ::factor]
            yield PlaneDone(done, masks.count)


def _factors(masks: Masks) -> list[int]:
    """Return of which pixels each level is made: 1, 2, 4, ..."""
    halvings = math.ceil(math.log2(max(max(masks.shape[-2:]) / SMALLEST, 1)))
    return [2**n for n in range(halvings + 1)]


def _attributes(masks: Masks, factors: list[int]) -> dict[str, Any]:
    """Return what the group says, checked against the specification.

    Raises
    ------
    ImageError
        If OME-Zarr has no such axes.
    """
    from ome_zarr_models.v05.axes import Axis
    from ome_zarr_models.v05.image_label import ImageLabelAttrs
    from ome_zarr_models.v05.image_label_types import Label
    from ome_zarr_models.v05.multiscales import Dataset, Multiscale
    from pydantic import ValidationError

    units = {"space": masks.unit if masks.unit in MICROMETRES else None}
    types = [(letter.lower(), TYPES.get(letter, "")) for letter in masks.axes]
    axes = [Axis(name=n, type=t or None, unit=units.get(t)) for n, t in types]
    stack, (y, x) = masks.scale[:-2], masks.scale[-2:]
    datasets = tuple(
        Dataset.build(path=str(n), scale=(*stack, y * f, x * f), translation=None)
        for n, f in enumerate(factors)
    )
    try:
        multiscale = Multiscale(
            axes=axes, datasets=datasets, name="labels", type="nearest"
        )
    except ValidationError as error:
        raise ImageError(
            f"The labels have the axes {masks.axes}, OME-Zarr holds T, one other, Z, Y "
            "and X, in this order: write TIFF."
        ) from error
    ome = ImageLabelAttrs(
        multiscales=[multiscale], version="0.5", **{"image-label": Label()}
    )
    said = ome.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"ome": said, "napari-unet": masks.facts()}


def _levels(
    folder: Path, masks: Masks, factors: list[int], attributes: dict[str, Any]
) -> list[zarr.Array[Any]]:
    import zarr

    group = zarr.create_group(folder, zarr_format=3, attributes=attributes)
    *stack, height, width = masks.shape
    made = []
    for number, factor in enumerate(factors):
        plane = (-(-height // factor), -(-width // factor))
        made.append(
            group.create_array(
                str(number),
                shape=(*stack, *plane),
                chunks=(*(1 for _ in stack), *(min(n, CHUNK) for n in plane)),
                dtype="int32",
                dimension_names=list(masks.axes.lower()),
            )
        )
    return made


def _check_replaceable(path: Path) -> None:
    """Refuse to put labels in the place of an image, or of anything else.

    Raises
    ------
    OutputError
        If so.
    """
    if not path.exists() or _holds_labels(path):
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    raise OutputError(
        f"{path} is there already and holds something else than labels: choose another "
        "name."
    )


def _holds_labels(path: Path) -> bool:
    """Tell whether a folder is an OME-Zarr image-label."""
    try:
        text = (path / "zarr.json").read_text(encoding="utf-8")
        said = json.loads(text)["attributes"]["ome"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return isinstance(said, dict) and "image-label" in said
