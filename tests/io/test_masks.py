"""Masks in every format: written whole, read back exactly, refused with a sentence."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_unet.errors import ImageError, OutputError
from napari_unet.io.images import read_image
from napari_unet.io.masks import (
    KINDS,
    Provenance,
    check_name,
    suffix_of,
    write_labels,
    write_labels_steps,
)

if TYPE_CHECKING:
    from pathlib import Path

PLANE = np.array([[0, 7, 7], [12, 0, 7]], np.int32)
MADE = Provenance(image="µ.tif", model="nuclei", version=3, hand_seconds=61.5)


@pytest.mark.parametrize("suffix", KINDS)
def test_every_kind_is_written_and_replaced(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for _ in range(2):
        assert write_labels(path, PLANE, provenance=MADE) == path
    assert list(tmp_path.iterdir()) == [path]
    assert KINDS[suffix].title


@pytest.mark.parametrize("suffix", KINDS)
def test_a_cancelled_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, suffix: str
) -> None:
    path = write_labels(tmp_path / f"a{suffix}", PLANE)
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    steps = write_labels_steps(path, PLANE * 2)
    next(steps)
    steps.close()
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.TIF", ".tif"), ("a.b.tiff", ".tiff"), ("a.ome.tif", ".tif"),
        ("a.ome.zarr", ".ome.zarr"), ("A.OME.ZARR", ".ome.zarr"), ("a.zip", ".zip"),
        ("a.zarr", None), ("a", None), (".png", None), ("a.json.txt", None),
    ],
)  # fmt: skip
def test_the_ending_says_the_kind(name: str, suffix: str | None) -> None:
    assert suffix_of(f"folder.png/{name}") == suffix


def test_an_unknown_ending_is_said() -> None:
    with pytest.raises(ImageError, match=r"a\.zarr ends in '\.zarr', expected \.tif"):
        check_name("a.zarr")


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (2, 5, 3), (2, 1, 3, 4)])
def test_tiff_keeps_axes_pixel_size_and_provenance(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    labels = np.random.default_rng(0).integers(0, 2**31 - 1, shape)
    scale = (2.0, 1.5, 0.5, 0.25)[-len(shape) :]
    path = tmp_path / "a.tif"
    write_labels(path, labels, scale=scale, units="um", provenance=MADE)
    with tifffile.TiffFile(path) as file:
        assert file.series[0].shape == shape
        assert file.series[0].axes == "TZYX"[-len(shape) :]
        page = file.pages.first
        facts = json.loads(page.description)
        y, x = page.tags["YResolution"].value, page.tags["XResolution"].value
    np.testing.assert_array_equal(read_image(path), labels)
    assert facts["provenance"] == MADE.as_dict()
    assert (y[0] / y[1], x[0] / x[1]) == (20_000, 40_000)  # per centimetre


def test_png_keeps_provenance_in_its_text(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "a.png", PLANE, provenance=MADE)
    with Image.open(path) as picture:
        facts = json.loads(picture.text["Comment"])  # type: ignore[attr-defined]
    assert facts["provenance"]["image"] == "µ.tif"
    np.testing.assert_array_equal(read_image(path), PLANE)


@pytest.mark.parametrize(
    ("suffix", "labels", "words"),
    [
        (".tif", np.full((2, 2), 0.5), "hold float64 values, expected whole numbers"),
        (".zip", np.zeros((0, 4), int), "expected planes or stacks"),
        (".json", np.zeros(4, int), "expected planes or stacks"),
        (".ome.zarr", PLANE - 1, "go from -1 to 11"),
        (".zip", PLANE.astype(np.int64) + 2**31, "renumber them"),
        (".png", PLANE[None], "PNG holds one plane"),
        (".ome.zarr", np.zeros((1,) * 6, int), "axes SPTZYX, OME-Zarr holds"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, suffix: str, labels: Any, words: str
) -> None:
    with pytest.raises(ImageError, match=words):
        write_labels(tmp_path / f"a{suffix}", labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", KINDS)
def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OutputError, match="choose another place"):
        write_labels(tmp_path / "absent" / f"a{suffix}", PLANE)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_full_disk_is_said(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_labels(tmp_path / f"a{suffix}", PLANE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("axes", "scale"), [("ZYX", None), ("XY", None), (None, [0, 1])]
)
def test_axes_and_scale_that_cannot_be_are_a_mistake(
    tmp_path: Path, axes: str | None, scale: Any
) -> None:
    with pytest.raises(ValueError, match="for labels of shape"):
        write_labels(tmp_path / "a.tif", PLANE, axes=axes, scale=scale)


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr", ".zip", ".json"])
def test_labels_on_disk_are_read_plane_by_plane(tmp_path: Path, suffix: str) -> None:
    class OnDisk:
        shape, dtype, read = (3, 2, 3), np.dtype(np.uint16), 0

        def __getitem__(self, key: Any) -> Any:
            self.read += 1
            return np.broadcast_to(PLANE.astype(self.dtype), self.shape)[key]

    stored = OnDisk()
    steps = write_labels_steps(tmp_path / f"a{suffix}", stored)
    for done, event in enumerate(steps, start=1):
        assert (event.done, event.total, stored.read) == (done, 3, done)
