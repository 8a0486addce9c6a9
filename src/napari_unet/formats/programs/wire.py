"""Messages between the program's process and ours: a JSON header, then raw numbers.

Eight bytes say how long the header is; an array's shape is in the header and its bytes,
float32 in C order, follow. Nothing is pickled, so nothing of a message can run.
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST_HEADER = 2**20


def send(
    to: BinaryIO, header: dict[str, Any], array: NDArray[np.float32] | None = None
) -> None:
    """Write one message; with an array (any axes, float32), its shape is added."""
    if array is not None:
        header = {**header, "shape": list(array.shape)}
    text = json.dumps(header).encode()
    to.write(len(text).to_bytes(8, "little") + text)
    if array is not None:
        to.write(np.ascontiguousarray(array, np.float32).data.cast("B"))
    to.flush()


def receive_header(source: BinaryIO) -> dict[str, Any]:
    """Return the next header.

    Raises
    ------
    EOFError
        If the other side is gone.
    ValueError
        If it is no header.
    """
    length = int.from_bytes(_exactly(source, 8), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"a header of {length} bytes")
    header = json.loads(_exactly(source, length))
    if not isinstance(header, dict):
        raise ValueError("a header without names")
    return header


def receive_array(source: BinaryIO, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the array that follows a header; the shape must have been checked.

    Raises
    ------
    EOFError
        If the other side is gone.
    """
    data = bytearray(4 * prod(shape))
    _fill(source, memoryview(data))
    return np.frombuffer(data, np.float32).reshape(shape)


def _exactly(source: BinaryIO, count: int) -> bytes:
    data = bytearray(count)
    _fill(source, memoryview(data))
    return bytes(data)


def _fill(source: BinaryIO, room: memoryview) -> None:
    done = 0
    while done < len(room):
        taken = source.readinto(room[done:])  # type: ignore[attr-defined]  # typeshed's BinaryIO lacks it
        if not taken:
            raise EOFError
        done += taken
