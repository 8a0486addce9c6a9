"""Recipes that were damaged or made up are refused before memory is taken."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
import zlib
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet.engine.config import FinetuneConfig
from napari_unet.engine.protect import members
from napari_unet.engine.recipe import (
    Account,
    Beginning,
    Machine,
    Moment,
    Recipe,
    Taught,
    TaughtImage,
)
from napari_unet.engine.sampling import Example
from napari_unet.engine.spec import ModelSpec, UNetSpec
from napari_unet.errors import ProjectError
from napari_unet.io.recipes import (
    ACCOUNTS,
    MAGIC,
    SIZES,
    blocks_of,
    example_of,
    read_recipe,
    write_recipe,
)
from tiny import nuclei

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 2**24  # bytes that reading a small file may take


def example(size: int = 96, numbers: tuple[int, ...] = (1, 2, 6)) -> Example:
    """Return an image of which some objects are supervised, one of them in part."""
    image, labels = nuclei(size)
    supervised = np.isin(labels, numbers)
    supervised[labels == numbers[0]] = False
    supervised[tuple(np.argwhere(labels == numbers[0])[0])] = True
    return Example(image, labels, supervised, "YX", np.isin(labels, numbers[-1:]))


def recipe(blocks: tuple[bytes, ...] = (b"block",), **changes: Any) -> Recipe:
    spec = ModelSpec(name="tiny", architecture=UNetSpec(widths=(4, 8), out_channels=2))
    noted = TaughtImage(name="n", fingerprint="f", axes="YX", shape=(96, 96))
    taught = Taught(image=0, blocks=(((0, 0), 0),))
    account = Account(
        config=FinetuneConfig(),
        model=Beginning(number=1, spec=spec, weights="w", channels_last=True),
        images=(noted,),
        begun=Moment(event=0, step=0, taught=(taught,)),
        machine=Machine(
            device="cpu", processor="", dtype="float32", threads=2, torch="", program=""
        ),
        weights="w",
    )
    return Recipe((account.model_copy(update=changes),), blocks)


def forged(path: Path, header: Any, blocks: bytes = b"block", size: int = 0) -> Path:
    """Write a file with a right checksum and whatever else."""
    text = json.dumps(header).encode()
    packed = zlib.compress(text)
    body = MAGIC + SIZES.pack(size or len(text), len(packed)) + packed + blocks
    path.write_bytes(body + hashlib.sha256(body).digest())
    return path


def header_of(made: Recipe, lengths: Any = None) -> dict[str, Any]:
    accounts = ACCOUNTS.dump_python(made.accounts, mode="json")
    return {"accounts": accounts, "blocks": lengths or [len(b) for b in made.blocks]}


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail where more memory is taken than a small file may."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < LIMIT


@pytest.mark.parametrize("objects", [True, False])
def test_what_is_supervised_comes_back_and_nothing_else(objects: bool) -> None:
    given = example(600)
    assert given.supervised is not None
    right = given.supervised.copy()
    right[:, ::2] = False
    given = replace(given, accepted=right)
    packed = dict(blocks_of(given, objects=objects))
    assert set(packed) == {(0, 0)}
    noted = TaughtImage(name="n", fingerprint="", axes="YX", shape=given.labels.shape)
    taught = Taught(image=0, blocks=tuple((k, n) for n, k in enumerate(packed)))
    found = example_of(taught, noted, list(packed.values()), given.image)
    assert found.supervised is not None
    np.testing.assert_array_equal(found.supervised, given.supervised)
    np.testing.assert_array_equal(found.held_out, given.held_out)
    np.testing.assert_array_equal(found.accepted, right)
    assert right.any()
    wanted = given.supervised
    if objects:
        wanted = wanted | members(given.labels, given.labels[wanted])
    np.testing.assert_array_equal(found.labels, np.where(wanted, given.labels, 0))
    assert len(packed[0, 0]) < 6000


def test_what_was_written_is_read(tmp_path: Path) -> None:
    made = recipe((b"one", b"other"))
    write_recipe(tmp_path / "version-2.recipe", made)
    assert read_recipe(tmp_path / "version-2.recipe") == made
    assert [p.name for p in tmp_path.iterdir()] == ["version-2.recipe"]


def test_a_file_damaged_at_any_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "version-2.recipe"
    write_recipe(path, recipe())
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(ProjectError, match="is damaged"):
            read_recipe(path)
        path.write_bytes(content[:at])
        with pytest.raises(ProjectError, match="is damaged"):
            read_recipe(path)


def test_a_file_that_is_gone_or_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="is gone"):
        read_recipe(tmp_path / "version-2.recipe")
    with pytest.raises(ProjectError, match="is gone"):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    ("header", "size", "words"),
    [
        (header_of(recipe()), 2**50, "impossible size"),
        (header_of(recipe()), 2**25, "not as long as stated"),
        (header_of(recipe(), [2**62]), 0, "blocks are missing"),
        (header_of(recipe(), [-5, 10]), 0, "impossible size"),
        (header_of(recipe(), "12345"), 0, "impossible size"),
        ({"accounts": [], "blocks": [5]}, 0, "of 0 fine-tunings"),
        ([1, 2], 0, "damaged"),
        ({"accounts": [{}], "blocks": [5]}, 0, "Field required"),
        (header_of(recipe(images=())), 0, "an image is missing"),
        (header_of(recipe(draft=recipe().account.model)), 0, "a draft is missing"),
        (header_of(recipe(steps=2**60)), 0, "less than or equal"),
    ],
)
def test_headers_that_cannot_be_are_refused(
    tmp_path: Path, header: Any, size: int, words: str
) -> None:
    path = forged(tmp_path / "version-2.recipe", header, size=size)
    with pytest.raises(ProjectError, match=words), little_memory():
        read_recipe(path)


def test_a_header_that_unpacks_to_more_than_it_states_is_refused(
    tmp_path: Path,
) -> None:
    bomb = {"accounts": [], "blocks": [], "x": " " * 2**25}
    path = forged(tmp_path / "version-2.recipe", bomb, size=100)
    with pytest.raises(ProjectError, match="is damaged"), little_memory():
        read_recipe(path)


HUGE = zlib.compress(bytes(2**26))  # a few kB


@pytest.mark.parametrize(
    ("shape", "blocks", "packed", "words"),
    [
        ((2**31, 2**31), (((0, 0), 0),), HUGE, "differ in shape"),
        ((96, 96), (((0, 0), 0),), HUGE, "not as long as stated"),
        ((96, 96), (((0, 0), 0),), b"no zlib", "incorrect header"),
        ((96, 96), (((0, 0), 9),), HUGE, "a block is missing"),
        ((96, 96), (((0, 2**40), 0),), HUGE, "outside of the labels"),
        ((96, 96), (((0,), 0),), HUGE, "a block is missing"),
    ],
)
def test_blocks_that_cannot_be_take_no_memory(
    shape: tuple[int, ...], blocks: Any, packed: bytes, words: str
) -> None:
    image = np.zeros((96, 96), np.uint8)
    noted = TaughtImage(name="n", fingerprint="", axes="YX", shape=shape)
    with pytest.raises(ValueError, match=words), little_memory():
        example_of(Taught(image=0, blocks=blocks), noted, [packed], image)
