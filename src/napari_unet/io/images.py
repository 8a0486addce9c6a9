"""Reading microscope images and masks."""

from __future__ import annotations

import json
import re
import struct
import zlib
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import tifffile
from PIL import Image

from napari_unet.errors import ImageError
from napari_unet.files import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIFF = (".tif", ".tiff")
READABLE = (*TIFF, ".png", ".jpg", ".jpeg", ".bmp")
FLAT = 2  # axes of a plane
MOST_CHANNELS = 4  # more are likely slices: tifffile calls the first axis channels
OME_START = 2**16  # letters of OME-XML in which an image says how large its pixels are
MICROMETRES = {
    "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6,
}  # fmt: skip
UNREADABLE = (  # what tifffile and Pillow raise for damaged files
    OSError, ValueError, LookupError, TypeError, SyntaxError, EOFError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def read_image(path: Path) -> NDArray[Any]:
    """Read a TIFF, PNG, JPEG or BMP file.

    Parameters
    ----------
    path : the ending says the kind

    Returns
    -------
    image : as stored; a last axis of length 3 or 4 is colour

    Raises
    ------
    ImageError
        If the file is absent, of another kind, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path} is not there: check the name.")
    if path.suffix.lower() not in READABLE:
        raise ImageError(
            f"{path} ends in {path.suffix!r}, expected {', '.join(READABLE)}: "
            "convert it."
        )
    try:
        if path.suffix.lower() in TIFF:
            return np.asarray(tifffile.imread(path))
        return np.asarray(iio.imread(path, plugin="pillow"))
    except UNREADABLE as error:
        raise ImageError(
            f"{path} could not be read as an image ({error}): open another copy of it."
        ) from error


def pixel_size_in(path: Path) -> tuple[float, ...] | None:
    """Return how large the pixels of a TIFF file are, as OME or ImageJ wrote it.

    Returns
    -------
    sides : micrometres, Z (where it is known), Y, X; None: the file does not say
    """
    path = Path(path)
    if path.suffix.lower() not in TIFF:
        return None
    try:
        with tifffile.TiffFile(path) as file:
            found = _of_ome(file) if file.is_ome else _of_imagej(file)
    except UNREADABLE:
        return None
    sides = tuple(side for side in found if side is not None and 0 < side < np.inf)
    return sides if len(sides) >= FLAT and found[1:] == sides[-FLAT:] else None


def axes_in(path: Path, shape: tuple[int, ...]) -> str | None:
    """Return the axes of an array from a TIFF file, as OME or ImageJ wrote them.

    Parameters
    ----------
    path : of the file
    shape : of the array as it was read: axes of length 1 may be gone, channels may have
        been taken apart

    Returns
    -------
    axes : of T, Z, C, Y, X, one letter per axis, C last for colour; None: the file does
        not say, or says something else of another shape, or more than four channels,
        which are as likely the slices of a stack that nobody named
    """
    path = Path(path)
    if path.suffix.lower() not in TIFF:
        return None
    try:
        with tifffile.TiffFile(path) as file:
            lengths = _axes_of(file)
    except UNREADABLE:
        return None
    if lengths is None or not {"Y", "X"} <= lengths.keys() <= set("TZCYX"):
        return None
    if lengths.get("C", 1) > MOST_CHANNELS:
        return None
    letters = "".join(a for a, n in lengths.items() if n > 1 or a in "YX")
    alone = letters.replace("C", "")
    for axes in ("".join(lengths), letters, f"{alone}C", alone):
        if tuple(lengths.get(axis) for axis in axes) == shape:
            return axes
    return None


def _axes_of(file: tifffile.TiffFile) -> dict[str, int] | None:
    """Return the axes of the first image with their lengths, in the file's order."""
    page = file.pages.first
    plane = {"Y": page.imagelength, "X": page.imagewidth}
    if file.is_ome:
        said = _ome_pixels(file)
        order = said.get("DimensionOrder", "")[::-1]
        return {axis: int(said.get(f"Size{axis}", 1)) for axis in order}
    if file.is_imagej:
        facts = file.imagej_metadata or {}
        many = {"T": "frames", "Z": "slices", "C": "channels"}
        stack = {axis: int(facts.get(name, 1)) for axis, name in many.items()}
        return {**stack, **plane, **_colours(page)}
    if file.is_shaped:
        facts = json.loads(page.description)
        letters = str(facts.get("axes", "")).replace("S", "C")
        if len(set(letters)) == len(letters) == len(facts["shape"]):
            return dict(zip(letters, facts["shape"], strict=True))
    return None


def _colours(page: Any) -> dict[str, int]:
    """Return the colours of each pixel as the last axis, where it has several."""
    return {"C": page.samplesperpixel} if page.samplesperpixel > 1 else {}


Sides = tuple[float | None, ...]  # Z, Y, X


def _ome_pixels(file: tifffile.TiffFile) -> dict[str, str]:
    """Return what is said of the first image; the XML of many planes is not read."""
    start = (file.ome_metadata or "")[:OME_START]
    tag = re.search(r"<(?:\w+:)?Pixels\s[^>]*>", start)
    return dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', tag[0])) if tag else {}


def _of_ome(file: tifffile.TiffFile) -> Sides:
    """Return the sizes of the first image."""
    said = _ome_pixels(file)
    sides = []
    for axis in "ZYX":
        side = said.get(f"PhysicalSize{axis}")
        scale = MICROMETRES.get(unescape(said.get(f"PhysicalSize{axis}Unit", "um")))
        sides.append(float(side) * scale if side and scale else None)
    return tuple(sides)


def _of_imagej(file: tifffile.TiffFile) -> Sides:
    facts = file.imagej_metadata or {}
    scale = MICROMETRES.get(str(facts.get("unit", "")).replace("\\u00B5", "\u00b5"))
    if scale is None:
        return (None, None, None)
    depth = facts.get("spacing")
    sides = [scale * depth if isinstance(depth, (int, float)) else None]
    for name in ("YResolution", "XResolution"):
        tag = file.pages.first.tags.get(name)
        pixels, units = tag.value if tag is not None else (0, 1)
        sides.append(scale * units / pixels if pixels else None)
    return tuple(sides)


def write_image(path: Path, image: NDArray[Any]) -> None:
    """Write a TIFF file that ``read_image`` reads, compressed; whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, image, compression="zlib", photometric="minisblack")
