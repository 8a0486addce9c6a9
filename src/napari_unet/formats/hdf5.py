"""HDF5 containers, checked header by header before a number is read.

Whatever could lead out of the file, or to more memory than the file is worth, is
refused: links other than hard ones, external storage, virtual datasets, references,
filters other than gzip and shuffle, sizes that the stored bytes cannot hold.

References
----------
The HDF Group: HDF5 file format specification, version 3.0.
"""

from __future__ import annotations

import importlib
import io
import mmap
import re
from contextlib import ExitStack, contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

from napari_unet.errors import CheckpointError
from napari_unet.formats.hdf5_texts import most_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet.formats.hdf5_texts import Content

MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_OBJECTS = 20_000
DEEPEST = 32
MOST_AXES = 8
LARGEST_TEXT = 64 << 20  # bytes of one attribute
PACKED_AT_MOST = 32  # times that the numbers may be larger than the file
SPARE = 1 << 20  # bytes; small files may pack better
ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError)
FILTERS = (1, 2)  # gzip and shuffle, by HDF5's numbers
KNOWN_TEXTS = re.compile(
    r"(model_config|training_config|keras_version|(layer|weight)_names\d{0,4})"
)


class Hdf5:
    """An open file whose headers were all checked.

    Attributes
    ----------
    shapes : of every dataset, by path such as "model_weights/conv2d/kernel:0"
    texts : the attributes that are text, by the path of their group and their name;
        one string, or several
    """

    def __init__(self, file: Any, name: str, content: Content) -> None:
        size = len(content)
        self.name = name
        self._content = content
        self._long_texts: bool | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.texts: dict[str, dict[str, str | tuple[str, ...]]] = {}
        self._h5py = _library()
        self.taken: set[str] = set()
        self._datasets: dict[str, Any] = {}
        self._most = PACKED_AT_MOST * size + SPARE
        self._stated = self._read = 0
        self._walk(file)

    def array(self, path: str) -> NDArray[np.generic]:
        """Return the numbers of a dataset; ``taken`` remembers it."""
        self.taken.add(path)
        with _damage(self.name):
            array: NDArray[np.generic] = self._datasets[path][()]
        return array

    def text(self, path: str, name: str) -> str | None:
        """Return a text attribute of a group."""
        value = self.texts.get(path, {}).get(name)
        return value if isinstance(value, str) else None

    def names(self, path: str, name: str) -> tuple[str, ...] | None:
        """Return a list of names, which Keras splits when it is long (name0 ...)."""
        held = self.texts.get(path, {})
        parts = [held[name]] if name in held else []
        if not parts:
            while f"{name}{len(parts)}" in held:
                parts.append(held[f"{name}{len(parts)}"])
        if not parts:
            return None
        return tuple(n for part in parts if isinstance(part, tuple) for n in part)

    # -- inside

    def _walk(self, file: Any) -> None:
        """Check every object, breadth first; nothing is followed out of the file."""
        todo: list[tuple[str, Any]] = [("", file)]
        seen = {self._place(file)}
        while todo:
            path, group = todo.pop()
            self.texts[path] = self._texts(group, path)
            for key in group:
                inner = f"{path}/{key}".strip("/").replace("\\", "/")
                found = self._object(group, key, inner)
                place = self._place(found)
                if place in seen:
                    raise self._refusal(f"{inner} a second time under another name")
                seen.add(place)
                if len(seen) > MOST_OBJECTS or inner.count("/") > DEEPEST:
                    raise self._refusal("more groups than any network has")
                if isinstance(found, self._h5py.Group):
                    todo.append((inner, found))
                else:
                    self._add(inner, found)

    def _place(self, found: Any) -> tuple[int, ...]:
        info = self._h5py.h5o.get_info(found.id)
        return (int(info.fileno), int(info.addr))

    def _object(self, group: Any, key: str, path: str) -> Any:
        link = group.get(key, getlink=True)
        if not isinstance(link, self._h5py.HardLink):
            raise self._refusal(f"the link {path}, which may lead anywhere")
        kind = group.get(key, getclass=True)
        if kind not in (self._h5py.Group, self._h5py.Dataset):
            raise self._refusal(f"{path}, which is neither group nor numbers")
        return group[key]

    def _texts(self, group: Any, path: str) -> dict[str, str | tuple[str, ...]]:
        texts: dict[str, str | tuple[str, ...]] = {}
        for name in group.attrs:
            if not KNOWN_TEXTS.fullmatch(name):
                continue
            header = self._h5py.h5a.open(group.id, name.encode())
            count = prod(header.shape or ())
            if header.shape is None or not count:
                texts[name] = ()  # an empty list has not even the type of a text
                continue
            if self._h5py.check_string_dtype(header.dtype) is None:
                continue
            if len(header.shape) > 1 or count > MOST_OBJECTS:
                raise self._refusal(f"{count:,} texts in {path or '/'}")
            if header.get_storage_size() > LARGEST_TEXT:
                raise self._refusal(f"a text of over {LARGEST_TEXT:,} bytes")
            if header.dtype.kind == "O":
                self._check_long_texts()
            texts[name] = _decoded(group.attrs[name])
            self._read += sum(map(len, texts[name]))
            if self._read > LARGEST_TEXT:
                raise self._refusal(f"texts of over {LARGEST_TEXT:,} letters")
        return texts

    def _check_long_texts(self) -> None:
        """Refuse texts longer than the file, for which HDF5 would take the memory."""
        if self._long_texts is None:
            self._long_texts = most_text(self._content) > len(self._content)
        if self._long_texts:
            raise self._refusal("texts that are longer than the file")

    def _add(self, path: str, dataset: Any) -> None:
        """Take note of a dataset, if its header states what the file can hold."""
        h5d, header = self._h5py.h5d, dataset.id.get_create_plist()
        if dataset.dtype.kind not in "fiub" or dataset.shape is None:
            raise self._refusal(f"no plain numbers in {path}")
        layout = header.get_layout()
        if layout == h5d.VIRTUAL or header.get_external_count():
            raise self._refusal(f"the numbers of {path} in another file")
        used = [header.get_filter(i)[0] for i in range(header.get_nfilters())]
        if set(used) - set(FILTERS):
            raise self._refusal(f"{path} packed by something else than gzip")
        if len(dataset.shape) > MOST_AXES:
            raise self._refusal(f"{path} with {len(dataset.shape)} axes")
        self._count(path, dataset, layout == h5d.CHUNKED)
        self.shapes[path] = tuple(int(n) for n in dataset.shape)
        self._datasets[path] = dataset

    def _count(self, path: str, dataset: Any, chunked: bool) -> None:
        item = dataset.dtype.itemsize
        stated = prod(dataset.shape) * item
        chunk = prod(dataset.chunks) * item if chunked else 0
        self._stated += stated
        if max(self._stated, chunk) > self._most:
            raise CheckpointError(
                f"{self.name} states {max(stated, chunk):,} bytes of {path}, far more "
                "than it holds: it is damaged or made to harm, copy it again."
            )
        stored = dataset.id.get_storage_size()
        whole = stored >= stated if not chunked else stored > 0 or not stated
        if not whole:
            raise CheckpointError(
                f"{self.name} holds {stored:,} of the {stated:,} bytes of {path}: "
                "it was not written to its end, save it again."
            )

    def _refusal(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.name} holds {what}, expected plain weights as Keras writes them: "
            "save it again with Keras."
        )


@contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[Hdf5]:
    """Open a file, checked before anything of it is read.

    Parameters
    ----------
    source : the file, or its bytes
    name : of the file, for messages

    Raises
    ------
    CheckpointError
        If the file is damaged, leads out of itself, or states more than it holds.
    """
    h5py = _library()
    with ExitStack() as stack:
        with _damage(name):
            content: Content = source if isinstance(source, bytes) else b""
            if not isinstance(source, bytes):
                raw = stack.enter_context(source.open("rb"))
                mapped = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
                content = stack.enter_context(mapped)
            place = io.BytesIO(source) if isinstance(source, bytes) else source
            file = stack.enter_context(h5py.File(place, "r"))
            checked = Hdf5(file, name, content)
        yield checked


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """Say of the library's many kinds of errors that the file is damaged."""
    try:
        yield
    except ERRORS as error:
        detail = (str(error).splitlines() or ["no details"])[0][:120]
        raise CheckpointError(
            f"{name} is damaged or cut short ({detail}); expected a whole HDF5 file: "
            "copy it again."
        ) from error


def _library() -> Any:
    """Return h5py, which is an extra."""
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise CheckpointError(
            "Keras files need the package h5py, which is not installed: "
            'run pip install "napari-unet-workbench[keras]".'
        ) from error


def _decoded(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, (str, bytes)):
        return _plain(value)
    return tuple(_plain(one) for one in value.ravel().tolist())


def _plain(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
