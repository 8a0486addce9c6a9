"""What tells an image from another one, without keeping its pixels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.io.migrations import ALGORITHM

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from napari_unet.engine.blocks import Region

WHOLE = 2**29  # bytes up to which every pixel counts
PIECE = 2**21  # bytes of a piece
PIECES = 64  # of a larger image


def fingerprint_steps(image: Any) -> Generator[None, None, str]:
    """Return a fingerprint of shape, number type and pixels.

    Of images over 512 MB, 64 evenly spread pieces of 2 MB count.

    Parameters
    ----------
    image : anything with a shape of two axes or more and a dtype that windows are
        taken of; never written

    Returns
    -------
    fingerprint : name of the algorithm, a colon, BLAKE2b of 20 bytes in hexadecimal

    References
    ----------
    RFC 7693, The BLAKE2 Cryptographic Hash.
    """
    shape = tuple(image.shape)
    dtype = np.dtype(image.dtype).newbyteorder("<")
    total = hashlib.blake2b(f"{list(shape)} {dtype.str}".encode(), digest_size=20)
    for window in _pieces(shape, dtype.itemsize):
        yield
        total.update(np.ascontiguousarray(image[window], dtype).data)
    return f"{ALGORITHM}:{total.hexdigest()}"


def _pieces(shape: tuple[int, ...], itemsize: int) -> Iterator[Region]:
    """Yield windows of some rows: all, or evenly spread ones."""
    rows = int(np.prod(shape[:-1], dtype=np.int64))
    height = shape[-2]
    band = max(1, min(height, PIECE // (shape[-1] * itemsize)))
    size = rows * shape[-1] * itemsize
    if size <= WHOLE:
        starts = [
            plane * height + start
            for plane in range(rows // height)
            for start in range(0, height, band)
        ]
    else:
        starts = [round(k * (rows - band) / (PIECES - 1)) for k in range(PIECES)]
    for start in starts:
        *plane, row = np.unravel_index(start, shape[:-1])
        yield (
            *(slice(int(p), int(p) + 1) for p in plane),
            slice(int(row), min(int(row) + band, height)),
            slice(0, shape[-1]),
        )
