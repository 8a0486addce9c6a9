"""Reading microscope images and masks, writing labels."""

from __future__ import annotations

import struct
import zlib
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
WRITABLE = (*TIFF, ".png")
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


def write_labels(path: Path, labels: NDArray[Any]) -> Path:
    """Write labels as TIFF (int32, any axes) or PNG (16 bit, one plane).

    Parameters
    ----------
    path : the ending says the kind
    labels : (..., Y, X) integers, 0 is background

    Returns
    -------
    path : as given

    Raises
    ------
    OutputError
        If the file cannot be written; nothing is left half-written.
    ImageError
        If the labels do not fit the format.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ImageError(
            f"{path} ends in {path.suffix!r}, expected {', '.join(WRITABLE)}: "
            "choose one of those."
        )
    labels = np.asarray(labels)
    lowest, highest = int(labels.min(initial=0)), int(labels.max(initial=0))
    if suffix == ".png" and (labels.ndim != 2 or highest > 65535):
        raise ImageError(
            f"The labels have the shape {labels.shape} and go up to {highest}; PNG "
            "holds one plane up to 65535: write TIFF."
        )
    if lowest < 0 or highest > np.iinfo(np.int32).max:
        raise ImageError(
            f"The labels go from {lowest} to {highest}, expected 0 to "
            f"{np.iinfo(np.int32).max}: renumber them."
        )
    with replacing(path) as temporary:
        if suffix == ".png":
            iio.imwrite(temporary, labels.astype(np.uint16), plugin="pillow")
        else:
            tifffile.imwrite(
                temporary,
                labels.astype(np.int32),
                compression="zlib",
                photometric="minisblack",
            )
    return path
