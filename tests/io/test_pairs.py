"""Folders of images and masks, in three layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest

from napari_unet.errors import ImageError
from napari_unet.io.pairs import find_pairs

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = np.arange(12, dtype=np.uint8).reshape(3, 4)


def fill(folder: Path, images: str, masks: str, index: str | None = None) -> Path:
    """Write images and masks of these one-letter names, and an index."""
    for kind, names in (("images", images), ("masks", masks)):
        (folder / kind).mkdir(parents=True)
        for name in names:
            iio.imwrite(folder / kind / f"{name}.png", IMAGE)
    if index is not None:
        (folder / "index.csv").write_text(index, encoding="utf-8")
    return folder


def names(*arguments: object) -> list[str]:
    """Return the names of the pairs that are found."""
    return [pair.name for pair in find_pairs(*arguments)]


def test_equal_stems_make_pairs(tmp_path: Path) -> None:
    assert names(fill(tmp_path, "abc", "bcd")) == ["b", "c"]
    image, labels = find_pairs(tmp_path)[0].read()
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(labels, IMAGE)


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_an_index_says_which_and_what(tmp_path: Path, start: str) -> None:
    fill(tmp_path, "abcd", "abcd", f"{start}name,split\na.png,train\nb,val\nc,train\n")
    assert names(tmp_path) == ["a", "b", "c"]
    assert names(tmp_path, {"split": ("train",)}) == ["a", "c"]
    assert names(tmp_path, {"split": ("train", "val")}) == ["a", "b", "c"]
    assert find_pairs(tmp_path)[1].facts["split"] == "val"


def test_a_name_with_a_dot_keeps_it(tmp_path: Path) -> None:
    fill(tmp_path, ["x.v2"], ["x.v2"], "name,split\nx.v2,train\n")  # type: ignore[arg-type]  # names of several letters
    assert names(tmp_path) == ["x.v2"]


def test_the_data_science_bowl_layout_has_one_mask_per_object(tmp_path: Path) -> None:
    for name in "ba":
        folder = fill(tmp_path / name, "i", "")
        for column in (0, 3):
            mask = np.zeros((3, 4), np.uint8)
            mask[:, column] = 255
            iio.imwrite(folder / "masks" / f"{column}.png", mask)
    assert names(tmp_path) == ["a", "b"]
    _, labels = find_pairs(tmp_path)[0].read()
    np.testing.assert_array_equal(labels, [[1, 0, 0, 2]] * 3)


def test_masks_of_one_image_must_agree_in_shape(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", "i", "xy")
    iio.imwrite(folder / "masks" / "y.png", IMAGE[:2])
    with pytest.raises(ImageError, match="2 masks of a differ in shape"):
        find_pairs(tmp_path)[0].read()


@pytest.mark.parametrize(
    ("index", "where", "words"),
    [
        ("file,split\na,train\n", {}, 'columns file, split, expected a column "name"'),
        ("name;split\na;train\n", {}, 'expected a column "name"'),
        ("name,split\na,train\n", {"modality": ("x",)}, 'no index with a column "mod'),
        ("name,split\na,train\n", {"split": ("test",)}, "no image with a mask"),
        ("name,split\nz,train\n", {}, "no image with a mask"),
        (None, {"split": ("train",)}, "columns: none"),
    ],
)
def test_a_wrong_index_or_filter_is_said(tmp_path, index, where, words) -> None:
    fill(tmp_path, "a", "a", index)
    with pytest.raises(ImageError, match=words):
        find_pairs(tmp_path, where)


def test_an_index_in_another_encoding_is_said(tmp_path: Path) -> None:
    fill(tmp_path, "a", "a")
    (tmp_path / "index.csv").write_bytes("name,split\nä,train\n".encode("latin-1"))
    with pytest.raises(ImageError, match="expected comma-separated UTF-8"):
        find_pairs(tmp_path)


def test_no_folder_and_an_empty_one_are_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is no folder"):
        find_pairs(tmp_path / "absent")
    with pytest.raises(ImageError, match="holds no image with a mask"):
        find_pairs(tmp_path)


def test_the_real_nuclei_are_found_by_their_index(data_folder: Path) -> None:
    folder = data_folder / "data" / "dsb2018"
    train, val = (find_pairs(folder, {"split": (split,)}) for split in ("train", "val"))
    assert train
    assert val
    assert not {pair.name for pair in train} & {pair.name for pair in val}
    image, labels = val[0].read()
    assert image.shape[:2] == labels.shape


def test_what_is_supervised_lies_beside(tmp_path: Path) -> None:
    folder = fill(tmp_path, "ab", "ab", "name,axes\na,YX\nb,\n")
    (folder / "supervised").mkdir()
    iio.imwrite(folder / "supervised" / "a.png", np.uint8([[0, 255, 1, 0]] * 3))
    partly, wholly = find_pairs(folder)
    np.testing.assert_array_equal(partly.read_supervised(), [[0, 1, 1, 0]] * 3)
    assert wholly.read_supervised() is None
    assert (partly.axes, wholly.axes) == ("YX", None)


def test_a_lost_file_of_what_is_supervised_is_said(tmp_path: Path) -> None:
    fill(tmp_path, "ab", "ab", "name,supervised_pixels\na,\nb,40\n")
    with pytest.raises(ImageError, match="says of b that its mask can be trusted"):
        find_pairs(tmp_path)
