"""How much text the attributes of an HDF5 file state, from its bytes alone.

An attribute of texts of any length holds their lengths and places. HDF5 takes memory
for a length before it looks whether there is such a text, so lengths are read here
first, wherever the bytes of a known name are part of an attribute.

References
----------
The HDF Group: HDF5 file format specification, version 3.0, "The Attribute Message".
"""

from __future__ import annotations

import mmap
import struct

Content = bytes | mmap.mmap
NAMES = (
    b"model_config", b"training_config", b"keras_version", b"layer_names",
    b"weight_names",
)  # fmt: skip
VARIABLE = 9  # HDF5's number of the type "of any length"
MOST_TEXTS = 20_000
ENTRY = struct.Struct("<IQI")  # length, place of the heap, number in it
TOO_MUCH = 1 << 62  # where it cannot be told


def most_text(content: Content) -> int:
    """Return the bytes of text that one attribute states at most.

    Parameters
    ----------
    content : of the whole file, which begins with HDF5's magic bytes
    """
    sizes = content[13:15] if content[8] < 2 else content[9:11]
    if sizes != b"\x08\x08":  # of places and lengths; no library writes others
        return TOO_MUCH
    most = 0
    for name in NAMES:
        found = content.find(name)
        while found >= 0:
            most = max(most, _stated(content, found))
            found = content.find(name, found + 1)
    return most


def _stated(content: Content, at: int) -> int:
    """Return what an attribute states whose name lies at a place; 0 if none does."""
    for version, length in ((1, 8), (2, 8), (3, 9)):
        head = content[at - length : at] if at >= length else b""
        if not head or head[0] != version:
            continue
        if version > 1 and head[1] & 3:  # described in another place
            return TOO_MUCH
        name, kind, space = struct.unpack_from("<HHH", head, 2)
        step = 8 if version == 1 else 1  # the first version pads each part
        type_at = at + _padded(name, step)
        space_at = type_at + _padded(kind, step)
        data_at = space_at + _padded(space, step)
        if content[type_at : type_at + 1] and content[type_at] & 15 == VARIABLE:
            return _sum(content, data_at, content[space_at:data_at])
    return 0


def _padded(size: int, step: int) -> int:
    return -(-size // step) * step


def _sum(content: Content, at: int, space: bytes) -> int:
    """Return the sum of the lengths that lie at a place, as many as are stated."""
    axes = space[1] if len(space) > 1 else 0
    sizes_at = 8 if space[:1] == b"\1" else 4
    count = 1
    if axes and len(space) >= sizes_at + 8:
        (count,) = struct.unpack_from("<Q", space, sizes_at)
    entries = content[at : at + ENTRY.size * min(count, MOST_TEXTS)]
    entries = entries[: len(entries) // ENTRY.size * ENTRY.size]
    return sum(length for length, _, _ in ENTRY.iter_unpack(entries))
