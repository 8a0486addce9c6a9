"""Reading what zstd packed: of a file's own making, or of anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numcodecs.zstd import decompress

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME = bytes.fromhex("28b52ffd")  # with which a frame begins


def unpacked(packed: bytes, size: int) -> NDArray[np.uint8]:
    """Return the bytes that a zstd frame holds, of which there must be so many.

    Parameters
    ----------
    packed : one frame that states its size, as ``numcodecs.zstd.compress`` gives it
    size : in bytes; no more are made

    Raises
    ------
    ValueError
        If it is damaged or holds another number of bytes.
    """
    stated = _stated(packed)
    if stated != size:
        raise ValueError(f"it holds {stated} bytes, expected {size}")
    raw = np.zeros(size, np.uint8)
    try:
        decompress(packed, raw)  # into a longer array it would leave the rest as it is
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return raw


def _stated(packed: bytes) -> int | None:
    """Return the size that a frame's header states; None: it states none.

    References
    ----------
    RFC 8878, section 3.1.1.1: the header's flags, and which fields they leave out.
    """
    if not packed.startswith(FRAME) or len(packed) < len(FRAME) + 2:
        return None
    flags = packed[len(FRAME)]
    single = bool(flags & 0x20)
    length = (1 if single else 0, 2, 4, 8)[flags >> 6]
    at = len(FRAME) + 1 + (not single) + (0, 1, 2, 4)[flags & 3]
    field = packed[at : at + length]
    if not length or len(field) < length:
        return None
    return int.from_bytes(field, "little") + (256 if length == 2 else 0)
