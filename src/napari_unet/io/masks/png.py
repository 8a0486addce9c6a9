"""Masks as PNG: one plane of 16 bit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, PngImagePlugin

from napari_unet.engine.config import PlaneDone
from napari_unet.errors import ImageError
from napari_unet.files import replacing
from napari_unet.io.masks.content import Provenance

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_unet.io.masks.content import Masks

HIGHEST = 65535


def write_png(path: Path, masks: Masks) -> Generator[PlaneDone, None, None]:
    """Write one plane; what is known of it goes into its text chunks."""
    if len(masks.shape) != 2:
        raise ImageError(
            f"The labels have the shape {masks.shape}, PNG holds one plane: write TIFF."
        )
    ((_, plane),) = masks.planes()
    if plane.max() > HIGHEST:
        raise ImageError(
            f"The labels go up to {plane.max()}; PNG holds one plane up to {HIGHEST}: "
            "write TIFF."
        )
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Software", (masks.provenance or Provenance()).program)
    texts.add_text("Comment", json.dumps(masks.facts()))
    with replacing(path) as temporary:
        picture = Image.fromarray(plane.astype(np.uint16))
        picture.save(temporary, format="PNG", pnginfo=texts)
        yield PlaneDone(1, 1)
