"""What looks like a checkpoint, by its bytes alone."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_unet.formats import save_model
from napari_unet.formats.sniff import SUFFIXES, looks_like_checkpoint
from tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = {"a": torch.zeros(3)}


def test_files_of_torch_are_seen_whole_and_cut_short(tmp_path: Path) -> None:
    new, old, cut = (tmp_path / name for name in ("new.pth", "old.pth", "cut.pth"))
    torch.save(WEIGHTS, new)
    torch.save(WEIGHTS, old, _use_new_zipfile_serialization=False)
    cut.write_bytes(new.read_bytes()[:500])
    assert [looks_like_checkpoint(place) for place in (new, old, cut)] == [True] * 3


def test_the_native_file_is_seen_under_any_name(tmp_path: Path) -> None:
    path = save_model(tiny_model(), tmp_path / "a.safetensors").rename(tmp_path / "b")
    assert looks_like_checkpoint(path)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["rdf.yaml", "weights.pt"], True),
        (["package/bioimageio.yaml"], True),
        (["config.json", "metadata.json", "model.weights.h5"], True),
        (["config.json"], False),
        (["image.tif", "notes.txt"], False),
    ],
)
def test_packages_are_told_from_other_archives(
    tmp_path: Path, members: list[str], expected: bool
) -> None:
    path = tmp_path / "package.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, "x")
    assert looks_like_checkpoint(path) is expected


def test_hdf5_of_keras_is_told_from_images(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file.attrs["layer_names"] = ["conv2d"]
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["raw"] = np.zeros(3)
    assert looks_like_checkpoint(tmp_path / "keras.h5")
    assert not looks_like_checkpoint(tmp_path / "images.h5")


def test_onnx_is_seen_by_its_first_fields(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = helper.make_node("Relu", ["x"], ["y"])
    other = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "g", [value], [other])
    path = tmp_path / "net.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert looks_like_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"P", b"hello", b"\x08", b"\x08\x07:\xff\xff\xff\xff\x0f", b"\x80" * 64,
        b"<!DOCTYPE html><html>", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04",
        json.dumps({"a": 1}).encode(), b"II*\0" + bytes(100),
    ],
)  # fmt: skip
def test_other_files_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    assert not looks_like_checkpoint(path)


def test_folders_and_absent_files_are_none(tmp_path: Path) -> None:
    assert not looks_like_checkpoint(tmp_path)
    assert not looks_like_checkpoint(tmp_path / "absent.pth")


def test_real_checkpoints_are_seen(data_folder: Path) -> None:
    folder = data_folder / "checkpoints"
    files = [
        path
        for path in folder.rglob("*")
        if path.suffix in SUFFIXES and "hostile" not in path.parts
    ]
    assert len(files) >= 15
    assert [path.name for path in files if not looks_like_checkpoint(path)] == []


def test_looking_loads_no_torch() -> None:
    code = (
        "import sys, napari_unet.formats.sniff as s; "
        "s.looks_like_checkpoint(sys.executable); print('torch' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603  our own code, no shell
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
