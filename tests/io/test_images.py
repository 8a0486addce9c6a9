"""Images in, labels out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_unet.errors import ImageError, OutputError
from napari_unet.io.images import read_image
from napari_unet.io.masks import write_labels

if TYPE_CHECKING:
    from pathlib import Path

LABELS = np.arange(12, dtype=np.int32).reshape(3, 4)


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".png", ".bmp"])
def test_an_image_is_read_as_it_was_stored(tmp_path: Path, suffix: str) -> None:
    path, image = tmp_path / f"a{suffix}", LABELS.astype(np.uint8)
    if "tif" in suffix.lower():
        tifffile.imwrite(path, image)
    else:
        iio.imwrite(path, image)
    np.testing.assert_array_equal(read_image(path), image)


@pytest.mark.parametrize("shape", [(3, 4), (3, 5, 6), (5, 6, 3), (2, 3, 4, 5)])
def test_tiff_labels_come_back_whatever_their_axes(
    tmp_path: Path, shape: tuple
) -> None:
    labels = np.random.default_rng(0).integers(0, 2**31 - 1, shape)
    found = read_image(write_labels(tmp_path / "a.tif", labels))
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == np.int32


def test_png_labels_come_back(tmp_path: Path) -> None:
    labels = LABELS * 5000
    np.testing.assert_array_equal(
        read_image(write_labels(tmp_path / "a.png", labels)), labels
    )


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("a.png", LABELS + 65536, "go up to 65547; PNG holds one plane up to 65535"),
        ("a.png", np.zeros((2, 3, 4), int), "PNG holds one plane"),
        ("a.png", LABELS - 1, "go from -1 to 10"),
        ("a.tif", LABELS.astype(np.int64) + 2**31, "renumber them"),
        ("a.jpg", LABELS, r"ends in '\.jpg', expected \.tif"),
    ],
)
def test_labels_that_do_not_fit_the_format_are_refused(
    tmp_path: Path, name: str, labels: np.ndarray, words: str
) -> None:
    with pytest.raises(ImageError, match=words):
        write_labels(tmp_path / name, labels)
    assert list(tmp_path.iterdir()) == []


def test_labels_into_an_absent_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose another place"):
        write_labels(tmp_path / "absent" / "a.tif", LABELS)


def test_absent_and_unknown_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is not there: check the name"):
        read_image(tmp_path / "a.tif")
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(ImageError, match=r"ends in '\.xyz', expected"):
        read_image(tmp_path / "a.xyz")


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("keep", [0, 4, 9, 30])
def test_damaged_files_are_said(tmp_path: Path, suffix: str, keep: int) -> None:
    path = write_labels(tmp_path / f"a{suffix}", LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ImageError, match="could not be read as an image"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
def test_a_web_page_is_no_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>not found</html>" * 10)
    with pytest.raises(ImageError, match="could not be read as an image"):
        read_image(tmp_path / name)
