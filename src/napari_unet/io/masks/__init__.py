"""Writing corrected masks: one table, from the ending of a name to what writes it."""

from __future__ import annotations

from napari_unet.io.masks.content import Masks, Provenance
from napari_unet.io.masks.registry import (
    KINDS,
    Kind,
    check_name,
    suffix_of,
    write_labels,
    write_labels_steps,
)

__all__ = [
    "KINDS", "Kind", "Masks", "Provenance", "check_name", "suffix_of",
    "write_labels", "write_labels_steps",
]  # fmt: skip
