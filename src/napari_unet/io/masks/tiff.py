"""Masks as TIFF: int32, any axes."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import tifffile

from napari_unet.engine.config import PlaneDone
from napari_unet.files import replacing
from napari_unet.io.masks.content import Provenance

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_unet.io.masks.content import Masks

LARGE = 2**32 - 2**25  # bytes; above, offsets of 32 bit may not reach


def write_tiff(path: Path, masks: Masks) -> Generator[PlaneDone, None, None]:
    """Write one page per plane, compressed without loss.

    The first page's description is JSON as tifffile writes and reads it, with axes,
    pixel size and provenance; the resolution is that of ImageJ and Bio-Formats.
    """
    description = json.dumps({"shape": masks.shape, **masks.facts()})
    program = (masks.provenance or Provenance()).program
    with replacing(path) as temporary:
        large = 4 * math.prod(masks.shape) > LARGE
        with tifffile.TiffWriter(temporary, bigtiff=large) as file:
            for done, (_, plane) in enumerate(masks.planes(), start=1):
                file.write(
                    plane,
                    compression="zlib",
                    photometric="minisblack",
                    description=description if done == 1 else None,
                    software=program if done == 1 else None,
                    metadata=None,
                    **_resolution(masks),
                )
                yield PlaneDone(done, masks.count)


def _resolution(masks: Masks) -> dict[str, Any]:
    """Return pixels per centimetre, where the pixel size is known."""
    if masks.micrometres is None:
        return {}
    y, x = masks.micrometres[-2:]
    return {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
