"""The one door: whatever a file holds, one sentence or a model."""

from __future__ import annotations

import os
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

from napari_unet.errors import CheckpointError, DeviceError, UnetError
from napari_unet.formats import load_model, save_model
from napari_unet.formats.registry import bundled_models
from tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pth", b"", "is empty"),
        ("a.pth", b"<!DOCTYPE html><html>404</html>", "a web page"),
        ("a.safetensors", b"\n <html>", "a web page"),
        ("a.pth", b"\x89PNG\r\n", "a PNG image"),
        ("a.gz", b"\x1f\x8b\x08", "a gzip archive"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("a.pth", b"weights", "of an unknown kind"),
        ("a.pth", b"PK\x03\x04 and no more", "cut short"),
        ("a.pt", b"\x80\x02garbage", "damaged"),
    ],
)
def test_what_is_no_checkpoint_is_named(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path / name)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="zip archive without PyTorch weights"):
        load_model(tmp_path / "a.zip")


def test_a_folder_and_a_missing_file_are_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder, expected one of nnU-Net"):
        load_model(tmp_path)
    with pytest.raises(
        CheckpointError, match="neither a file or folder nor a bundled model"
    ):
        load_model(tmp_path / "absent.pth")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything"
)
def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    path = save_model(tiny_model(), tmp_path / "m.safetensors")
    path.chmod(0)
    with pytest.raises(CheckpointError, match="may not be read by you"):
        load_model(path)


def test_an_absent_device_is_said(tmp_path: Path) -> None:
    path = save_model(tiny_model(), tmp_path / "m.safetensors")
    with pytest.raises(DeviceError, match="is not there"):
        load_model(path, device="tpu")


def test_a_native_file_is_recognised_by_its_content(tmp_path: Path) -> None:
    path = save_model(tiny_model(), tmp_path / "m.safetensors")
    renamed = path.rename(tmp_path / "m.ckpt")
    assert load_model(renamed).spec == tiny_model().spec


def test_bundled_models_are_opened_by_name() -> None:
    for name in bundled_models():
        assert load_model(name, device="cpu").spec.name


def test_hostile_files_are_refused_quickly_and_harmlessly(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in sorted((data_folder / "checkpoints" / "hostile").iterdir()):
        if file.name.startswith("CONTROL_good"):
            assert load_model(file).spec.architecture.widths == (4, 8, 16, 32, 64)
            continue
        began = time.perf_counter()
        with pytest.raises(UnetError) as caught:
            load_model(file)
        assert time.perf_counter() - began < 2, file.name
        assert file.name in str(caught.value)
        assert ": " in str(caught.value)
    assert list(tmp_path.iterdir()) == []
