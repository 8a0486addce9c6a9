"""Handing corrected masks on: to other programs, and to training elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_unet.engine.protect import Snapshot
    from napari_unet.io.masks import Provenance
    from napari_unet.opened import OpenImage
    from napari_unet.opened_model import Version


class Grid(NamedTuple):
    """How large the pixels of labels are.

    Attributes
    ----------
    scale : length of a pixel along each axis of the labels
    units : of these lengths
    """

    scale: tuple[float, ...]
    units: str = "pixel"


def provenance_of(opened: OpenImage, version: Version | None) -> Provenance:
    """Tell where an image's masks come from.

    Parameters
    ----------
    opened : the image
    version : of the model in use; None: no model
    """
    from napari_unet.io.masks import Provenance

    tally, work = opened.corrections.tally(), opened.corrections.work
    return Provenance(
        image=opened.name,
        model=version.model.spec.name if version else "",
        version=version.number if version else None,
        summary=opened.summary,
        edited_objects=tally.edited_objects,
        accepted_objects=tally.accepted_objects,
        hand_seconds=round(work.seconds, 1),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def write_masks(
    path: Path, snapshot: Snapshot, axes: str, grid: Grid | None,
    provenance: Provenance,
) -> Generator[Any, None, Path]:  # fmt: skip
    """Write labels in the format of the path's ending; see ``io.masks``."""
    from napari_unet.io.masks import write_labels_steps

    scale, units = grid or (None, "pixel")
    return (
        yield from write_labels_steps(
            path, snapshot.labels, axes=axes, scale=scale, units=units,
            provenance=provenance,
        )
    )  # fmt: skip


def write_pairs(
    folder: Path, images: Sequence[tuple[OpenImage, Snapshot]], dims: int,
    provenance: Provenance | None, *, alone: bool,
) -> Generator[Any, None, Path]:  # fmt: skip
    """Write images with their corrections as a folder for training.

    Of an image of several channels only the chosen one, where it is ``alone`` learnt
    from.
    """
    from napari_unet.io.training_folder import Part, write_pairs_steps

    pairs = []
    for opened, taken in images:
        image, axes = opened.image, opened.axes
        if alone and opened.channel is not None and "C" in axes:
            image = image[(*(slice(None),) * axes.index("C"), opened.channel)]
            axes = axes.replace("C", "")
        size, trusted = opened.pixel_size, taken.supervised()
        pairs.append(Part(opened.name, image, taken.labels, trusted, axes, size))
    return (
        yield from write_pairs_steps(folder, pairs, dims=dims, provenance=provenance)
    )
