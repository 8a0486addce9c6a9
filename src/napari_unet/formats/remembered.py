"""What this program wrote into a program's file beside the network, read back.

An ONNX or pt2 file gives scores and nothing else. Those written here also hold, as JSON
text, how images are normalised and what the channels mean: it is data, and a hint.
"""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

from pydantic import ValidationError

from napari_unet.engine.spec import ModelSpec
from napari_unet.formats.protobuf import varint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

KEY = "napari_unet"  # in the metadata of an ONNX file
KNOWN = f"{KEY}.json"  # the extra file of a pt2 archive
LARGEST = 1_000_000  # bytes
METADATA = 14  # the field of an ONNX model that holds keys and values
MOST_FIELDS = 1000
NOT_MEANING = ("architecture", "layout", "sources", "remarks", "reading", "readings")


def remembered(path: Path, spec: ModelSpec) -> ModelSpec:
    """Return a program's spec with what its file says of its meaning.

    Parameters
    ----------
    path : an ONNX or pt2 file, whoever wrote it
    spec : as the program alone gave it

    Returns
    -------
    spec : the same where the file says nothing, or nothing that fits
    """
    try:
        said = json.loads(_text(path) or "null")
        if not isinstance(said, dict):
            return spec
        known = {
            name: value
            for name, value in said.items()
            if name in ModelSpec.model_fields and name not in NOT_MEANING
        }
        sources = {**spec.sources, **dict.fromkeys(known, "read")}
        return ModelSpec.model_validate({**dict(spec), **known, "sources": sources})
    except (ValueError, ValidationError, RecursionError, OSError, zipfile.BadZipFile):
        return spec  # of another tool, or of another version


def _text(path: Path) -> str:
    """Return the JSON text of a file, "" for none."""
    if zipfile.is_zipfile(path):
        return _of_pt2(path)
    with path.open("rb") as file:
        for field in _metadata(file, path.stat().st_size):
            key, value = _pair(field)
            if key == KEY:
                return value
    return ""


def _of_pt2(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith(f"/extra/{KNOWN}") and info.file_size <= LARGEST:
                return archive.read(info).decode()
    return ""


def _metadata(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the entries of an ONNX file's metadata, leaping over all else."""
    for _ in range(MOST_FIELDS):
        if file.tell() >= size:
            return
        tag = varint(file)
        if tag & 7 == 0:
            varint(file)
            continue
        length = varint(file)
        if tag & 7 != 2 or length > size - file.tell():
            return
        if tag >> 3 == METADATA and length <= LARGEST:
            yield file.read(length)
        else:
            file.seek(length, 1)


def _pair(entry: bytes) -> tuple[str, str]:
    """Return key and value of an entry."""
    from io import BytesIO

    file, found = BytesIO(entry), {1: "", 2: ""}
    while file.tell() < len(entry):
        tag, length = varint(file), varint(file)
        found[tag >> 3] = file.read(length).decode()
    return found[1], found[2]
