"""Reading microscope images and masks."""

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


def write_image(path: Path, image: NDArray[Any]) -> None:
    """Write a TIFF file that ``read_image`` reads, compressed; whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, image, compression="zlib", photometric="minisblack")
