"""HDF5 files are checked header by header before a number is read."""

from __future__ import annotations

import re
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from napari_unet.errors import CheckpointError
from napari_unet.formats import hdf5
from napari_unet.formats.hdf5 import opened
from napari_unet.formats.hdf5_texts import most_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def made(folder: Path, write: Callable[[h5py.File], object]) -> Path:
    place = folder / "a.h5"
    with h5py.File(place, "w") as file:
        write(file)
    return place


def refusal(place: Path) -> str:
    """Return the sentence with which a file is refused."""
    with pytest.raises(CheckpointError) as caught, opened(place, place.name):
        pass
    return str(caught.value)


def test_plain_numbers_and_texts_are_read(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        group = file.create_group("model_weights/conv")
        group.attrs["weight_names"] = [b"conv/kernel:0", b"conv/bias:0"]
        file.attrs["model_config"] = '{"a": "Ä"}'
        file["model_weights/conv/conv/kernel:0"] = np.arange(6.0).reshape(2, 3)
        file.create_dataset(
            "packed", data=np.eye(50), chunks=(10, 10), compression="gzip", shuffle=True
        )

    with opened(made(tmp_path, write), "a.h5") as file:
        assert file.shapes["packed"] == (50, 50)
        assert np.array_equal(file.array("packed"), np.eye(50))
        assert file.array("model_weights/conv/conv/kernel:0")[1, 2] == 5
        assert file.text("", "model_config") == '{"a": "Ä"}'
        names = file.names("model_weights/conv", "weight_names")
        assert names == ("conv/kernel:0", "conv/bias:0")


def test_bytes_are_read_as_a_file_is(tmp_path: Path) -> None:
    place = made(tmp_path, lambda file: file.create_dataset("a", data=[1.0, 2.0]))
    with opened(place.read_bytes(), "a.h5") as file:
        assert file.array("a").tolist() == [1, 2]


def test_long_lists_of_names_are_put_together(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        file.attrs["layer_names0"] = [b"a", b"b"]
        file.attrs["layer_names1"] = [b"c"]
        file.attrs.create("weight_names", [], dtype="f8")

    with opened(made(tmp_path, write), "a.h5") as file:
        assert file.names("", "layer_names") == ("a", "b", "c")
        assert file.names("", "weight_names") == ()
        assert file.names("", "model_config") is None


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
    file.create_virtual_dataset("v", layout)


EVIL: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external link": (
        lambda f: f.update({"x": h5py.ExternalLink("/etc/passwd", "/")}), "link x"
    ),
    "soft link": (lambda f: f.update({"x": h5py.SoftLink("/y")}), "link x"),
    "external storage": (
        lambda f: f.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
        "another file",
    ),
    "virtual": (_virtual, "another file"),
    "reference": (
        lambda f: f.create_dataset("x", data=f.ref, dtype=h5py.ref_dtype),
        "numbers in x",
    ),
    "region": (
        lambda f: f.create_dataset("x", (1,), dtype=h5py.regionref_dtype),
        "numbers in x",
    ),
    "text": (lambda f: f.create_dataset("x", data="code"), "numbers in x"),
    "type": (lambda f: f.update({"x": np.dtype("f8")}), "neither group nor numbers"),
    "loop": (lambda f: f.create_group("g").update({"h": f["/"]}), "second time"),
    "twice": (lambda f: f.update({"x": f.create_dataset("y", data=[1.0])}), "second"),
    "filter": (
        lambda f: f.create_dataset("x", data=np.eye(9), compression="lzf"), "gzip"
    ),
    "axes": (lambda f: f.create_dataset("x", (1,) * 9, data=np.ones((1,) * 9)), "axes"),
    "deep": (lambda f: f.create_group("/".join("g" * 50)), "more groups"),
    "huge": (lambda f: f.create_dataset("x", (1 << 40,), "f4"), "far more"),
    "huge packed": (
        lambda f: f.create_dataset("x", (1 << 40,), "f4", chunks=(1 << 20,),
                                   compression="gzip"), "far more",
    ),
    "huge chunk": (
        lambda f: f.create_dataset("x", (4,), "f4", chunks=(2**29,), maxshape=(None,)),
        "far more",
    ),
    "bomb": (
        lambda f: f.create_dataset("x", data=np.zeros(1 << 22), compression="gzip"),
        "far more",
    ),
    "unwritten": (lambda f: f.create_dataset("x", (64,), "f4"), "not written"),
}  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_what_leads_out_or_claims_too_much_is_refused(
    name: str, tmp_path: Path
) -> None:
    write, sentence = EVIL[name]
    tracemalloc.start()
    assert sentence in refusal(made(tmp_path, write))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_many_objects_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "MOST_OBJECTS", 20)
    place = made(tmp_path, lambda f: [f.create_group(str(n)) for n in range(30)])
    assert "more groups" in refusal(place)


def test_lengths_of_texts_are_looked_at_before_they_are_taken(tmp_path: Path) -> None:
    text = "x" * 777
    place = made(tmp_path, lambda f: f.attrs.update({"model_config": text}))
    content = place.read_bytes()
    assert most_text(content) == 777
    claimed = content.replace((777).to_bytes(4, "little"), b"\xf0\xff\xff\xff", 1)
    place.write_bytes(claimed)
    assert most_text(claimed) == 0xFFFFFFF0
    assert "longer than the file" in refusal(place)


def test_one_text_named_many_times_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "LARGEST_TEXT", 5000)

    def write(file: h5py.File) -> None:
        for n in range(9):
            file.create_group(str(n)).attrs["model_config"] = "x" * 900

    assert re.search("texts of over 5,000 letters", refusal(made(tmp_path, write)))


def test_no_cut_and_no_flip_does_more_than_refuse(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        file.attrs["layer_names"] = [b"a"]
        file.attrs["model_config"] = "{}"
        file["a/b"] = np.ones((3, 4), np.float32)

    place = made(tmp_path, write)
    content = place.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        changed = bytearray(content[: rng.integers(1, len(content))])
        if rng.random() < 0.8:
            changed = bytearray(content)
            changed[rng.integers(len(content))] = rng.integers(256)
        with suppress(CheckpointError), opened(bytes(changed), "a.h5") as file:
            for path in file.shapes:
                file.array(path)
