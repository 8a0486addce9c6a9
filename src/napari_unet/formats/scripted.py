"""The weights of a TorchScript archive, read without running its program.

A TorchScript file holds its modules as a pickle of nested attributes, and its tensors
as plain numbers. Here every class that the pickle names becomes an empty stand-in, so
that nothing of the program is loaded; what remains are tensors by their place, which
are those of the state dict.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Any

import torch

from napari_unet.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

LARGEST_PICKLE = 2**24  # bytes; the numbers are not in it
MOST_TENSORS = 20_000
DEEPEST = 40
MOST_KEPT = 1_000_000  # objects that a pickle may refer back to
ALLOWED = {
    "PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID",
    "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE",
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_DICT", "SETITEM", "SETITEMS",
    "DICT",
}  # fmt: skip
UNREADABLE = (
    pickle.UnpicklingError, KeyError, TypeError, ValueError, AttributeError, IndexError,
    EOFError, OverflowError, RecursionError, RuntimeError,
)  # fmt: skip
TYPES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "DoubleStorage": torch.float64, "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64, "IntStorage": torch.int32, "ByteStorage": torch.uint8,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "BoolStorage": torch.bool,
}  # fmt: skip
LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


class _StandIn:
    """In the place of a module of the program: its attributes, and no code."""

    def __init__(self, *_: object) -> None:
        self.held: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.held = state


def scripted_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript file by name; nothing of it is run.

    Parameters
    ----------
    path : a zip archive of ``torch.jit.save``, its checksums verified before

    Raises
    ------
    CheckpointError
        If it holds anything but modules and tensors.
    """
    with zipfile.ZipFile(path) as archive:
        inside = next((n for n in archive.namelist() if n.endswith("/data.pkl")), "")
        if not inside or archive.getinfo(inside).file_size > LARGEST_PICKLE:
            raise CheckpointError(
                f"{path.name} is no TorchScript file whose weights can be read: choose "
                "other weights."
            )
        try:
            root = _Reader(archive, inside.removesuffix("data.pkl")).load()
        except UNREADABLE as error:
            line = (str(error).splitlines() or ["no details"])[0][:80]
            raise CheckpointError(
                f"{path.name} holds more than modules and tensors ({line}); nothing "
                "was run: choose other weights."
            ) from error
    found = dict(_tensors(root, "", DEEPEST))
    if len(found) > MOST_TENSORS:
        raise CheckpointError(f"{path.name} holds {len(found):,} tensors: choose less.")
    return found


class _Reader(pickle.Unpickler):
    """Reads the pickle of an archive; classes and functions are looked up nowhere."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        content = archive.read(f"{folder}data.pkl")
        _check_operations(content)
        super().__init__(BytesIO(content))
        self._archive = archive
        self._folder = folder

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for whatever the pickle names."""
        if module.startswith("__torch__"):
            return _StandIn
        known: dict[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch.jit._pickle", "restore_type_tag"): _untagged,
            ("collections", "OrderedDict"): dict,
            **{("torch.jit._pickle", one): _listed for one in LISTS},
        }
        if module == "torch" and name in TYPES:
            return TYPES[name]
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name}"[:80])
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the numbers of a storage as a one-dimensional tensor."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("an unknown kind of storage")
        info = self._archive.getinfo(f"{self._folder}data/{key}")
        if info.compress_type or info.file_size != int(count) * dtype.itemsize:
            raise pickle.UnpicklingError(f"the storage {str(key)[:40]}")
        content = bytearray(self._archive.read(info))
        return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0)


def _check_operations(content: bytes) -> None:
    """Refuse what torch does not write, and what would make room for nothing."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name not in ALLOWED:
            raise pickle.UnpicklingError(f"the operation {operation.name}")
        if operation.name == "LONG_BINPUT" and int(argument or 0) > MOST_KEPT:
            raise pickle.UnpicklingError("a memory without end")


def _tensor(numbers: Any, offset: Any, size: Any, stride: Any, *_: object) -> Tensor:
    """Return a view that lies in its storage and repeats none of it."""
    if not isinstance(numbers, torch.Tensor):
        raise pickle.UnpicklingError("a tensor without numbers")
    shape, steps = tuple(map(int, size)), tuple(map(int, stride))
    expected = 1
    for length, step in zip(reversed(shape), reversed(steps), strict=True):
        if length > 1 and step != expected:
            raise pickle.UnpicklingError("a tensor whose numbers are not in order")
        expected *= length
    if not 0 <= int(offset) <= numbers.numel() - expected:
        raise pickle.UnpicklingError("a tensor outside of its storage")
    return numbers[int(offset) : int(offset) + expected].reshape(shape)


def _parameter(data: Any, *_: object) -> Any:
    return data


def _untagged(value: Any, *_: object) -> Any:
    return value


def _listed(*values: Any) -> Any:
    return values[0] if values else []


def _tensors(value: Any, place: str, left: int) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors with their names, down through modules."""
    if isinstance(value, torch.Tensor):
        yield place, value
    elif isinstance(value, _StandIn) and left:
        for name, inner in value.held.items():
            yield from _tensors(
                inner, f"{place}.{name}" if place else str(name), left - 1
            )
