"""The one piece of the protobuf encoding that is read here. Imports no library.

References
----------
Protocol Buffers documentation: "Encoding", on variable-width integers.
"""

from __future__ import annotations

from typing import BinaryIO


def varint(file: BinaryIO) -> int:
    """Return the variable-width whole number at the file's place, and move past it.

    Raises
    ------
    ValueError
        If the file ends within it, or it has more than 64 bits.
    """
    value: int = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("cut short")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("no whole number of 64 bits")
