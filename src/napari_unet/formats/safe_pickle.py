"""Pickles of ``torch.save`` that hold numpy's numbers too, read without running them.

nnU-Net and others store losses and scores as numpy scalars, which torch's
``weights_only`` refuses. To allow numpy's own functions would be too much: a scalar or
array of numpy can hold any object. So where a file names such a function, one of this
module is called instead, which makes plain numbers of bytes and can do nothing else.
"""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pickle import UnpicklingError
from threading import Lock
from typing import TYPE_CHECKING
from zipfile import ZipFile

import numpy as np
import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAIN = re.compile(r"(b1|[iu][1248]|f[248]|[SU]\d{1,5})\Z")  # no objects or structures
NAMED = re.compile(r"GLOBAL ([\w.]{1,80})")  # by torch, in its message
ORDERS = ("<", ">", "=", "|")
MEMORY = re.compile(rb"c(__builtin__|builtins)\nbytearray\n")
ARCHIVE = b"PK\x03\x04"
LARGEST_PICKLE = 2**28  # bytes; the numbers of tensors are not in it
_TURN = Lock()  # torch's list of what is allowed is one for the whole process


def load_pickle(path: Path) -> object:
    """Return what a file of ``torch.save`` holds; nothing of it is run.

    Dictionaries, lists, text, numbers and tensors come as they are, numpy's scalars as
    Python's numbers, and numpy's arrays as ``LeftOut``. What others allowed torch to
    load is not allowed here.

    Parameters
    ----------
    path : a zip file or one of the old format

    Raises
    ------
    pickle.UnpicklingError
        If the file holds anything else, or is damaged.
    """
    _check_calls(path)
    with _TURN, _only(STAND_INS), warnings.catch_warnings():
        # of another protocol: what cannot be read is refused in any case
        warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def reason(error: UnpicklingError) -> str:
    """Say what was refused: the object by its name, where torch's message has it.

    Parameters
    ----------
    error : of ``load_pickle``
    """
    found = NAMED.search(str(error))
    return (
        f"the Python object {found[1]}"
        if found
        else "code or Python objects, or is damaged"
    )


def _check_calls(path: Path) -> None:
    """Refuse a call that torch allows, and that makes any amount of memory."""
    with path.open("rb") as file:
        if not file.read(1):
            raise UnpicklingError("nothing")
        file.seek(0)
        if file.read(len(ARCHIVE)) != ARCHIVE:  # as torch tells them apart
            with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                _check_bytes(content)
            return
    with ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith("data.pkl"):
                if member.file_size > LARGEST_PICKLE:
                    raise UnpicklingError(f"{member.file_size:,} bytes of objects")
                if not member.CRC:  # written without checksums (B8): check none
                    del member.CRC
                _check_bytes(archive.read(member))


def _check_bytes(content: bytes | mmap) -> None:
    found = MEMORY.search(content)
    if found:
        raise UnpicklingError("GLOBAL bytearray, which makes any amount of memory")


@contextmanager
def _only(allowed: list[tuple[object, str]]) -> Iterator[None]:
    """Allow torch to load these, and nothing that others added to its own list."""
    before = get_safe_globals()
    clear_safe_globals()
    add_safe_globals(allowed)  # type: ignore[arg-type]  # pairs, since torch 2.5
    try:
        yield
    finally:
        since = [one for one in get_safe_globals() if one not in allowed]
        clear_safe_globals()
        add_safe_globals([*before, *since])


class PlainType:
    """Stands for ``numpy.dtype``: the type of a plain number or text, and no other."""

    def __init__(self, code: object = None, *rest: object) -> None:
        del rest  # whether to align and to copy, which numbers do not need
        if not isinstance(code, str) or not PLAIN.match(code):
            raise UnpicklingError(f"numpy values of the type {str(code)[:20]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        """Take the byte order; a type with fields is none of a number."""
        if not isinstance(state, tuple) or len(state) < 5 or any(state[2:5]):
            raise UnpicklingError("numpy values of a type with parts")
        if state[1] not in ORDERS:
            raise UnpicklingError(f"numpy values of the order {str(state[1])[:5]!r}")
        self.dtype = self.dtype.newbyteorder(state[1])


class LeftOut:
    """Stands for a numpy array beside the weights, which nobody needs."""

    def __init__(self, *ignored: object) -> None:
        del ignored

    def __setstate__(self, state: object) -> None:
        """Forget what the array holds."""


def scalar(kind: object = None, data: object = None) -> float | str | bytes:
    """Return the number or text that numpy wrote as bytes."""
    if not isinstance(kind, PlainType):
        raise UnpicklingError("a numpy scalar without a type")
    if isinstance(data, str):  # by very old versions
        data = encode(data)
    if not isinstance(data, bytes) or len(data) != kind.dtype.itemsize:
        raise UnpicklingError(f"a numpy scalar of other bytes than {kind.dtype} has")
    if not data:
        return ""
    value: float | str | bytes = np.frombuffer(data, kind.dtype)[0].item()
    return value


def encode(text: object = "", encoding: object = "latin1") -> bytes:
    """Return bytes that were written as text; torch's own list comes before this."""
    if not isinstance(text, str) or encoding != "latin1":
        raise UnpicklingError("bytes that were not written as latin1 text")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError as error:
        raise UnpicklingError("bytes beyond 255") from error


def no_bytes(*given: object) -> bytes:
    """Return no bytes, which old pickles write as a call; never as many as asked."""
    if given:
        raise UnpicklingError("bytes that were not written as text")
    return b""


STAND_INS: list[tuple[object, str]] = [
    (scalar, "numpy.core.multiarray.scalar"),
    (scalar, "numpy._core.multiarray.scalar"),
    (PlainType, "numpy.dtype"),
    (encode, "_codecs.encode"),
    (no_bytes, "builtins.bytes"),
    (LeftOut, "numpy.core.multiarray._reconstruct"),
    (LeftOut, "numpy._core.multiarray._reconstruct"),
    (LeftOut, "numpy.ndarray"),
]
