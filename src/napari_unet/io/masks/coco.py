"""Masks as COCO JSON, one image per plane."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.config import PlaneDone
from napari_unet.files import replacing
from napari_unet.io.masks.content import Provenance
from napari_unet.io.masks.outlines import objects_in

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_unet.io.masks.content import Masks
    from napari_unet.io.masks.outlines import Object

OFTEN = 500  # objects between two steps
CATEGORIES = [{"id": 1, "name": "object", "supercategory": ""}]


def write_coco(path: Path, masks: Masks) -> Generator[PlaneDone, None, None]:
    """Write an annotation per object and plane.

    One-piece objects without holes are polygons along the edges of their pixels,
    others uncompressed run lengths, down the columns; both are exact. ``label`` is the
    number of the object, the same in all planes.
    """
    made = masks.provenance or Provenance()
    head = {
        "info": {
            "description": made.summary,
            "date_created": made.made,
            **masks.facts(),
        },
        "licenses": [],
        "images": _images(masks),
        "categories": CATEGORIES,
    }
    number = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "annotations": [')
        for done, (_, plane) in enumerate(masks.planes(), start=1):
            for thing in objects_in(plane):
                number += 1
                found = {
                    "id": number,
                    "image_id": done,
                    **_annotation(thing, plane.shape),
                }
                file.write((",\n" if number > 1 else "\n") + json.dumps(found))
                if number % OFTEN == 0:
                    yield PlaneDone(done - 1, masks.count)
            yield PlaneDone(done, masks.count)
        file.write("]}\n")


def _images(masks: Masks) -> list[dict[str, Any]]:
    height, width = masks.shape[-2:]
    name = masks.provenance.image if masks.provenance else ""
    return [
        {
            "id": number,
            "file_name": name,
            "width": width,
            "height": height,
            **({"plane": masks.place(index)} if index else {}),
        }
        for number, index in enumerate(np.ndindex(masks.shape[:-2]), start=1)
    ]


def _annotation(thing: Object, shape: tuple[int, ...]) -> dict[str, Any]:
    rows, columns = thing.mask.shape
    outlines = thing.outlines()
    segmentation: Any = (
        [outlines[0].ravel().tolist()] if len(outlines) == 1 else _runs(thing, shape)
    )
    return {
        "category_id": 1,
        "label": thing.label,
        "bbox": [thing.left, thing.top, columns, rows],
        "area": int(np.count_nonzero(thing.mask)),
        "segmentation": segmentation,
        "iscrowd": 0,
    }


def _runs(thing: Object, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return COCO's uncompressed run lengths, beginning outside the object."""
    borders = [0, *thing.borders(shape[0])]
    size = int(np.prod(shape))
    counts = np.diff([*borders, size]).tolist()
    return {"size": list(shape), "counts": counts if counts[-1] else counts[:-1]}
