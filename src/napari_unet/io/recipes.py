"""Recipes of fine-tunings as files, and back, checked.

A file is a magic, the sizes of a JSON header, that header and the blocks, both
compressed, and a SHA-256 of all before. A block is 256 x 256 pixels of one plane:
labels (int32), then what is supervised (uint8). Nothing is executed, and every size is
checked before memory is taken.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from napari_unet.engine.blocks import everything, grid, keys_in, shape_of, window_of
from napari_unet.engine.protect import members
from napari_unet.engine.recipe import MOST_DRAFTS, Account, Recipe
from napari_unet.errors import ProjectError
from napari_unet.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet.engine.recipe import Key, Taught, TaughtImage
    from napari_unet.engine.sampling import Example

MAGIC = b"unet-recipe-1\n"
SIZES = struct.Struct("<QQ")  # of the header, and compressed
LEVEL = 6  # of zlib
LARGEST_HEADER = 2**26  # bytes
LARGEST = 2**28  # bytes of a file
DIGEST = 32  # bytes
PER_PIXEL = 5  # bytes of a block
LEARNT, HELD, ACCEPTED = 1, 2, 4
ACCOUNTS = TypeAdapter(tuple[Account, ...])


# -- what is supervised


def blocks_of(example: Example, *, objects: bool) -> Iterator[tuple[Key, bytes]]:
    """Yield what of an example a fine-tuning depends on, block by block.

    Parameters
    ----------
    example : with what is supervised and what is held out
    objects : whether labels number objects: then all of each object counts that is
        supervised somewhere, since its size does

    Yields
    ------
    key : the block's place in the grid
    packed : its labels and what is supervised, compressed
    """
    marked, held = example.supervised, example.held_out
    if marked is None or held is None:
        raise ValueError("nobody has said what is supervised and what is held out")
    labels = example.labels
    wanted = marked
    if objects:
        wanted = marked | members(labels, np.unique(labels[marked]))
    for key in keys_in(everything(labels.shape)):
        window = window_of(key, labels.shape)
        if not wanted[window].any():
            continue
        values = np.where(wanted[window], labels[window], 0).astype("<i4")
        state = marked[window] * np.uint8(LEARNT) + held[window] * np.uint8(HELD)
        if example.accepted is not None:
            state += example.accepted[window] * np.uint8(ACCEPTED)
        raw = values.tobytes() + state.astype(np.uint8).tobytes()
        yield key, zlib.compress(raw, LEVEL)


def example_of(
    taught: Taught, noted: TaughtImage, blocks: Sequence[bytes], image: NDArray[Any]
) -> Example:
    """Return an example as it was learnt from.

    Parameters
    ----------
    taught : what was corrected
    noted : of its image
    blocks : of the recipe
    image : the pixels; labels take memory only if they are of its shape

    Raises
    ------
    ValueError
        If the recipe does not fit the image, or holds something else.
    """
    from napari_unet.engine.sampling import Example

    pairs = zip(image.shape, noted.axes, strict=True)
    if noted.shape != tuple(n for n, axis in pairs if axis != "C"):
        raise ValueError("labels and image differ in shape")
    labels = np.zeros(noted.shape, np.int32)
    state = np.zeros(noted.shape, np.uint8)
    for key, number in taught.blocks:
        if len(key) != labels.ndim or number >= len(blocks):
            raise ValueError("a block is missing")
        if any(k >= n for k, n in zip(key, grid(noted.shape), strict=True)):
            raise ValueError("a block lies outside of the labels")
        window = window_of(key, noted.shape)
        labels[window], state[window] = _unpacked(blocks[number], shape_of(window))
    held = (state & HELD) > 0
    return Example(
        image, labels, (state & LEARNT) > 0, noted.axes, held,
        (state & ACCEPTED) > 0, noted.pixel_size, noted.channel,
    )  # fmt: skip


def _unpacked(
    packed: bytes, shape: tuple[int, ...]
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    pixels = int(np.prod(shape))
    raw = _decompressed(packed, pixels * PER_PIXEL)
    labels = np.frombuffer(raw, "<i4", pixels).reshape(shape)
    return labels, np.frombuffer(raw, np.uint8, pixels, 4 * pixels).reshape(shape)


def _decompressed(packed: bytes, size: int) -> bytes:
    """Return compressed bytes, of which there must be so many; no more are made."""
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, size)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(raw) != size or not unpacker.eof or unpacker.unused_data:
        raise ValueError("a part is not as long as stated")
    return raw


# -- files


def recipe_path(folder: Path, number: int) -> Path:
    """Return the file in a project that holds how a version was fine-tuned."""
    return folder / "models" / f"version-{number}.recipe"


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    accounts = ACCOUNTS.dump_python(recipe.accounts, mode="json")
    lengths = [len(each) for each in recipe.blocks]
    text = json.dumps({"accounts": accounts, "blocks": lengths}).encode()
    packed = zlib.compress(text, LEVEL)
    sizes = SIZES.pack(len(text), len(packed))
    content = b"".join([MAGIC, sizes, packed, *recipe.blocks])
    with replacing(path) as temporary:
        temporary.write_bytes(content + hashlib.sha256(content).digest())


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; its blocks stay compressed.

    Raises
    ------
    ProjectError
        If it is gone or damaged.
    """
    try:
        if not path.is_file():
            raise ProjectError(
                f"{path} is gone: bring it back from a copy of the project."
            )
        if path.stat().st_size > LARGEST:
            raise ValueError("it is far too large")
        return _recipe(path.read_bytes())
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(map(str, what["loc"]))
        raise _damaged(path, f"{where}: {what['msg']}") from error
    except (
        OSError, ValueError, TypeError, LookupError, RecursionError, struct.error
    ) as error:  # fmt: skip
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> ProjectError:
    return ProjectError(
        f"{path} is damaged ({why[:120]}), expected the recipe of a fine-tuning: bring "
        "it back from a copy of the project."
    )


def _recipe(content: bytes) -> Recipe:
    body, digest = content[:-DIGEST], content[-DIGEST:]
    if not body.startswith(MAGIC):
        raise ValueError("it is no recipe, or one of a newer version")
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its SHA-256 differs")
    size, packed = SIZES.unpack_from(body, len(MAGIC))
    at = len(MAGIC) + SIZES.size
    if not 0 < size <= LARGEST_HEADER or not 0 < packed <= len(body) - at:
        raise ValueError("its header has an impossible size")
    header = json.loads(_decompressed(body[at : at + packed], size))
    accounts = ACCOUNTS.validate_python(header["accounts"])
    if not 0 < len(accounts) <= MOST_DRAFTS:
        raise ValueError(f"it is of {len(accounts)} fine-tunings")
    if any(each.draft for each in accounts[:1]):
        raise ValueError("a draft is missing")
    return Recipe(accounts, _cut(body, at + packed, header["blocks"]))


def _cut(body: bytes, at: int, lengths: list[int]) -> tuple[bytes, ...]:
    """Return the blocks, which must fill the rest."""
    if not all(isinstance(n, int) and n > 0 for n in lengths):
        raise ValueError("a block has an impossible size")
    if sum(lengths) != len(body) - at:
        raise ValueError("blocks are missing")
    ends = np.cumsum([at, *lengths]).tolist()
    return tuple(body[start:stop] for start, stop in pairwise(ends))
