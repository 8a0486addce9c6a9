"""Labels and states of one moment on disk: what a journal begins with.

Both are zarr 3 arrays in chunks of 256 x 256; up to 4096 x 4096 pixels of a plane are
one file, and what is 0 takes no room.
"""

from __future__ import annotations

import shutil
import warnings
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.blocks import BLOCK
from napari_unet.errors import OutputError, ProjectError
from napari_unet.files import replacing_folder
from napari_unet.io.project import image_folder, journal_path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region

FILE = 16  # chunks of a file along Y and X
PIECE = 2**20  # values of a chunk of an image
UNREADABLE = (OSError, ValueError, LookupError, TypeError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Base:
    """Labels and states to be written.

    Attributes
    ----------
    shape : of both
    labels : returns int32 of a window
    states : returns uint8 of a window
    """

    shape: tuple[int, ...]
    labels: Callable[[Region], NDArray[np.int32]]
    states: Callable[[Region], NDArray[np.uint8]]


def base_paths(folder: Path, generation: int) -> tuple[Path, Path]:
    """Return where labels and states of a generation are."""
    return (
        folder / f"labels-{generation}.zarr",
        folder / f"states-{generation}.zarr",
    )


def write_base_steps(
    folder: Path, generation: int, base: Base
) -> Generator[None, None, None]:
    """Write labels and states, a file at a time; whole or not there.

    Parameters
    ----------
    folder : of the image
    generation : counts the bases of an image
    base : what to write

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    at_labels, at_states = base_paths(folder, generation)
    with replacing_folder(at_labels) as temporary:
        yield from _write_steps(temporary, base.shape, "int32", base.labels)
    with replacing_folder(at_states) as temporary:
        yield from _write_steps(temporary, base.shape, "uint8", base.states)


def _write_steps(
    path: Path, shape: tuple[int, ...], dtype: str,
    content: Callable[[Region], NDArray[Any]],
) -> Generator[None, None, None]:  # fmt: skip
    chunks, files = _sizes(shape)
    array = _create(path, shape, dtype, chunks, files)
    written = 0
    for window in windows(shape, files):
        values = content(window)
        if values.any():
            array[window] = values
            written += 1
        yield
    array.attrs.put({"files": written})


def _create(
    path: Path, shape: tuple[int, ...], dtype: str, chunks: tuple[int, ...],
    files: tuple[int, ...] | None,
) -> Any:  # fmt: skip
    from zarr import create_array
    from zarr.codecs import ZstdCodec

    return create_array(
        str(path), shape=shape, dtype=dtype, chunks=chunks, shards=files, fill_value=0,
        compressors=ZstdCodec(level=1, checksum=True),
    )  # fmt: skip


def _sizes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of a chunk and of what is one file."""
    flat = (1,) * (len(shape) - 2)
    files = tuple(BLOCK * min(FILE, max(-(-n // BLOCK), 1)) for n in shape[-2:])
    return (*flat, BLOCK, BLOCK), (*flat, *files)


def windows(shape: tuple[int, ...], size: tuple[int, ...]) -> Iterator[Region]:
    """Yield the windows of a size that fill a shape."""
    starts = [range(0, n, step) for n, step in zip(shape, size, strict=True)]
    for place in product(*starts):
        yield tuple(
            slice(start, min(start + step, n))
            for start, step, n in zip(place, size, shape, strict=True)
        )


def read_base(
    folder: Path, generation: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.int32], Iterator[tuple[Region, NDArray[np.uint8]]]]:
    """Return labels, and windows with their states.

    Parameters
    ----------
    folder, generation : as written
    shape : that both must have

    Raises
    ------
    ProjectError
        If one of them is absent, damaged, or not what was written.
    """
    at_labels, at_states = base_paths(folder, generation)
    labels = _open(at_labels, shape, "int32")
    states = _open(at_states, shape, "uint8")
    _, files = _sizes(shape)
    content = np.zeros(shape, np.int32)
    for window in windows(shape, files):
        content[window] = _read(labels, window, at_labels)
    return content, (
        (window, _read(states, window, at_states)) for window in windows(shape, files)
    )


def _open(path: Path, shape: tuple[int, ...], dtype: str) -> Any:
    """Open an array; nothing of it is read before its sizes are those expected."""
    import zarr

    chunks, files = _sizes(shape)
    try:
        array = zarr.open_array(str(path), mode="r")
        there = sum(each.is_file() for each in (path / "c").rglob("*"))
        fits = (array.shape, array.chunks, array.shards) == (shape, chunks, files)
        if fits and array.dtype == dtype and array.attrs.get("files") == there:
            return array
    except UNREADABLE as error:
        raise _lost(path, str(error)) from error
    raise _lost(path, "parts are missing")


def _read(array: Any, window: Region, path: Path) -> NDArray[Any]:
    try:
        return np.asarray(array[window])
    except UNREADABLE as error:
        raise _lost(path, str(error)) from error


def _lost(path: Path, why: str) -> ProjectError:
    reason = (why.splitlines() or ["no details"])[0][:120]
    return ProjectError(
        f"{path} is damaged or gone ({reason}), expected labels of the project: bring "
        "it back from a copy of the project."
    )


# -- images that came from no file


def store_image_steps(path: Path, image: Any) -> Generator[None, None, None]:
    """Write an image as a zarr array, piece by piece; whole or not there.

    Parameters
    ----------
    path : of the zarr array
    image : numbers of any shape

    Raises
    ------
    OutputError
        If the folder cannot be written, or zarr has no such numbers.
    """
    shape = tuple(image.shape)
    chunks = _piece(shape)
    with replacing_folder(path) as temporary:
        try:
            array = _create(temporary, shape, str(image.dtype), chunks, None)
        except (ValueError, TypeError) as error:
            raise OutputError(
                f"The image holds {image.dtype}, expected numbers: the project cannot "
                "keep it, save it yourself."
            ) from error
        for window in windows(shape, chunks):
            array[window] = np.asarray(image[window])
            yield


def _piece(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a chunk: planes as whole as possible."""
    sizes = list(shape)
    for axis in range(len(sizes)):
        while np.prod(sizes) > PIECE and sizes[axis] > 1:
            sizes[axis] = -(-sizes[axis] // 2)
    return tuple(sizes)


def read_image(path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any] | None:
    """Return an image that was stored; None if it is damaged or gone."""
    import zarr

    with suppress(*UNREADABLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr, on metadata that it does not know
        array = zarr.open_array(str(path), mode="r")
        ours = array.metadata.zarr_format == 3  # older filters may unpickle
        fits = ours and (array.shape, array.chunks) == (shape, _piece(shape))
        if fits and array.dtype.newbyteorder("=") == np.dtype(dtype).newbyteorder("="):
            return np.asarray(array[...])
    return None


def remove_generation(folder: Path, number: int, generation: int) -> None:
    """Remove the files of a generation; what cannot be removed does no harm."""
    for path in base_paths(image_folder(folder, number), generation):
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        journal_path(folder, number, generation).unlink(missing_ok=True)
