"""Masks as ImageJ ROIs, for its ROI Manager."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from napari_unet.engine.config import PlaneDone
from napari_unet.files import replacing
from napari_unet.io.masks.outlines import objects_in

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from roifile import ImagejRoi

    from napari_unet.io.masks.content import Masks
    from napari_unet.io.masks.outlines import Object

OFTEN = 500  # objects between two steps
MOVE, LINE, CLOSE = 0.0, 1.0, 4.0  # of a path, as java.awt.geom.PathIterator has them


def write_rois(path: Path, masks: Masks) -> Generator[PlaneDone, None, None]:
    """Write a RoiSet.zip with one ROI per object and plane, exact to the pixel.

    An object of several pieces or with holes is one composite ROI. What is known of
    the masks is the archive's comment: as a file among the ROIs it would stop readers
    that expect nothing else.
    """
    number = 0
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.comment = json.dumps(masks.facts()).encode()
        for done, (index, plane) in enumerate(masks.planes(), start=1):
            for thing in objects_in(plane):
                roi = _roi(thing)
                roi.name = _name(thing, masks, index)
                _set_position(roi, masks, index)
                archive.writestr(f"{roi.name}.roi", roi.tobytes())
                number += 1
                if number % OFTEN == 0:
                    yield PlaneDone(done - 1, masks.count)
            yield PlaneDone(done, masks.count)


def _roi(thing: Object) -> ImagejRoi:
    from roifile import ROI_TYPE, ImagejRoi

    outlines = thing.outlines()
    if len(outlines) == 1:
        roi = ImagejRoi.frompoints(outlines[0])
        roi.roitype = ROI_TYPE.TRACED
    else:
        parts = np.concatenate([_path(outline) for outline in outlines])
        roi = ImagejRoi(roitype=ROI_TYPE.RECT, multi_coordinates=parts)
        roi.shape_roi_size = len(parts)
    rows, columns = thing.mask.shape
    roi.top, roi.left = thing.top, thing.left
    roi.bottom, roi.right = thing.top + rows, thing.left + columns
    return roi


def _path(outline: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return a closed outline as path commands, each with x and y."""
    commands = np.full((len(outline), 1), LINE)
    commands[0] = MOVE
    steps = np.concatenate([commands, outline], axis=1).ravel()
    return np.append(steps, CLOSE).astype(np.float32)


def _name(thing: Object, masks: Masks, index: Sequence[int]) -> str:
    """Return the object's number, and in stacks the plane as ImageJ counts it."""
    places = masks.place(tuple(index)).items()
    return "-".join([f"{thing.label:04}", *(f"{a}{n + 1:04}" for a, n in places)])


def _set_position(roi: ImagejRoi, masks: Masks, index: Sequence[int]) -> None:
    """Tie a ROI to its plane: slice and frame, or the number in a plain stack."""
    place = masks.place(tuple(index))
    if set(place) == {"t", "z"}:
        roi.z_position, roi.t_position = place["z"] + 1, place["t"] + 1
    elif place:
        stack = masks.shape[:-2]
        roi.position = int(np.ravel_multi_index(tuple(index), stack)) + 1
