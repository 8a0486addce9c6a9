"""Does a file look like a checkpoint? A look at its first bytes; imports no torch."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from napari_unet.formats.protobuf import varint

if TYPE_CHECKING:
    from collections.abc import Iterator

LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic, pickled
HDF5 = b"\x89HDF\r\n\x1a\n"
KERAS_MARKS = ("model_config", "layer_names", "keras_version")
KERAS_GROUPS = ("model_weights", "_layer_checkpoint_dependencies")
PACKAGES = ({"rdf.yaml"}, {"bioimageio.yaml"}, {"config.json", "model.weights.h5"})
PROGRAMS = ({"data.pkl"}, {"serialized_exported_program.json"}, {"archive_format"})
LONGEST_HEADER = 100_000_000  # bytes; what safetensors itself allows
LAST_ONNX_FIELD = 26
GRAPH, VERSION = 7, 1  # of the fields of an ONNX model
MOST_FIELDS = 64
FIRST_NAME, LONGEST_NAME = 30, 256  # where a zip archive names its first member
SUFFIXES = (
    ".safetensors", ".pth", ".pt", ".ckpt", ".h5", ".hdf5", ".keras", ".onnx", ".pt2",
    ".zip", ".pytorch", ".bin",
)  # fmt: skip


def looks_like_checkpoint(path: str | Path) -> bool:
    """Tell whether a file's own bytes are those of a checkpoint.

    Nothing is unpickled or run, and no array is read. A file that cannot be read is
    none.

    Parameters
    ----------
    path : of a file
    """
    place = Path(path)
    try:
        if not place.is_file():
            return False
        with place.open("rb") as file:
            head = file.read(len(LEGACY_TORCH))
            if head.startswith(b"PK\x03\x04"):
                return _is_archive(file)
            if head.startswith(HDF5):
                return _is_keras(place)
            if head == LEGACY_TORCH:
                return True
            size = place.stat().st_size
            return _is_safetensors(head, size) or _is_onnx(file, size)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _is_archive(file: BinaryIO) -> bool:
    if not zipfile.is_zipfile(file):  # cut short: its first member still has a name
        file.seek(FIRST_NAME)
        return b"data.pkl" in file.read(LONGEST_NAME)
    with zipfile.ZipFile(file) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    return any(marks <= names for marks in (*PACKAGES, *PROGRAMS))


def _is_keras(path: Path) -> bool:
    """Tell Keras' files from the many other uses of HDF5; they need h5py anyway."""
    try:
        import h5py
    except ImportError:
        return False
    with h5py.File(path, "r") as file:
        marks = any(mark in file.attrs for mark in KERAS_MARKS)
        return marks or any(group in file for group in KERAS_GROUPS)


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= min(size - 8, LONGEST_HEADER)


def _is_onnx(file: BinaryIO, size: int) -> bool:
    """Tell whether the outermost protobuf fields are those of an ONNX model."""
    seen = set()
    for number, kind in _fields(file, size):
        if (number, kind) == (GRAPH, 2):
            return VERSION in seen
        if not 1 <= number <= LAST_ONNX_FIELD or kind not in (0, 2):
            return False
        seen.add(number)
    return False


def _fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield number and wire type of each outermost field, leaping over contents."""
    file.seek(0)
    for _ in range(MOST_FIELDS):
        if file.tell() >= size:
            return
        tag, length = varint(file), varint(file)
        if tag & 7 == 2 and length > size - file.tell():
            return
        yield tag >> 3, tag & 7
        if tag & 7 == 2:
            file.seek(length, 1)
