"""Corrections as pairs: written as ``train`` reads them, and never by halves."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet.engine.config import PlaneDone
from napari_unet.engine.drain import drain
from napari_unet.errors import OutputError, TrainingError
from napari_unet.io.masks import Provenance
from napari_unet.io.pairs import find_pairs
from napari_unet.io.training_folder import Part, write_pairs_steps

if TYPE_CHECKING:
    from pathlib import Path


RNG = np.random.default_rng(0)


def part(name: str, axes: str, shape: tuple[int, ...], *where: Any) -> Part:
    """Make an image of 8 bit and labels that are supervised at places."""
    image = RNG.integers(0, 255, shape, np.uint8)
    spatial = tuple(n for a, n in zip(axes, shape, strict=True) if a != "C")
    labels = RNG.integers(0, 4, spatial, np.int32)
    supervised = np.zeros(spatial, bool)
    for place in where:
        supervised[place] = True
    return Part(name, image, labels, supervised, axes)


def write(folder: Path, *parts: Part, **options: Any) -> Path:
    return drain(write_pairs_steps(folder, parts, **options))


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("axes", "size", "dims", "said", "found"),
    [
        ("YX", (0.5, 0.5), 2, "0.5", (0.5, 0.5)),
        ("ZYX", (2.0, 0.3, 0.4), 2, "0.3 x 0.4", (0.3, 0.4)),
        ("TZYX", (2.0, 0.3, 0.3), 3, "2 x 0.3 x 0.3", (2.0, 0.3, 0.3)),
        ("ZYX", (0.3, 0.4), 3, "", None),  # no number for Z
        ("YX", None, 2, "", None),
        ("YX", (), 2, "", None),
    ],
)
def test_the_size_of_pixels_is_handed_on(
    tmp_path: Path, axes: str, size: Any, dims: int, said: str, found: Any
) -> None:
    given = part("a", axes, (4, 5, 6, 7)[-len(axes) :], 0)._replace(pixel_size=size)
    folder = write(tmp_path / "a", given, dims=dims)
    [row, *_] = rows(folder).values()
    assert row["pixel_size"] == said
    [pair, *_] = find_pairs(folder)
    assert pair.pixel_size == found


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("YX", (8, 9)), ("YXC", (8, 9, 3)), ("YXC", (8, 9, 2)), ("CYX", (3, 8, 9))],
)
def test_a_plane_comes_back_with_its_axes(
    tmp_path: Path, axes: str, shape: Any
) -> None:
    given = part("cells one.tif", axes, shape, (2, 3))
    (pair,) = find_pairs(write(tmp_path / "a", given))
    image, labels = pair.read()
    supervised = pair.read_supervised()
    assert (pair.name, pair.axes) == ("cells_one", axes)
    for found, true in zip((image, labels, supervised), given[1:4], strict=True):
        np.testing.assert_array_equal(found, true)


def test_only_slices_with_supervised_pixels_are_written(tmp_path: Path) -> None:
    given = part("movie", "TZCYX", (2, 3, 2, 8, 9), (0, 1, 4, 4), (1, 2))
    pairs = find_pairs(write(tmp_path / "a", given))
    assert [pair.name for pair in pairs] == ["movie-t0000-z0001", "movie-t0001-z0002"]
    image, labels = pairs[1].read()
    np.testing.assert_array_equal(image, given[1][1, 2])
    np.testing.assert_array_equal(labels, given[2][1, 2])
    row = rows(tmp_path / "a")["movie-t0000-z0001"]
    objects = str(int(given[2][0, 1, 4, 4] != 0))
    assert row == {
        "name": "movie-t0000-z0001", "split": "train", "objects": objects,
        "supervised_pixels": "1", "axes": "CYX", "pixel_size": "",
    }  # fmt: skip


def test_volumes_stay_whole_for_a_3d_model(tmp_path: Path) -> None:
    given = part("movie", "TZYX", (2, 3, 8, 9), (1, 2))
    (pair,) = find_pairs(write(tmp_path / "a", given, dims=3))
    image, labels = pair.read()
    assert (pair.name, pair.axes) == ("movie-t0001", "ZYX")
    np.testing.assert_array_equal(image, given[1][1])
    np.testing.assert_array_equal(labels, given[2][1])
    np.testing.assert_array_equal(pair.read_supervised(), given[3][1])


def test_names_become_file_names_and_never_meet(tmp_path: Path) -> None:
    names = ["c/a*b.tif", "a:b.png", "A_b", "", "../x.v2.png.tif", "s-z0001"]
    parts = [part(name, "YX", (4, 4), 0) for name in names]
    stack = part("s", "ZYX", (2, 4, 4), 0, 1)
    found = find_pairs(write(tmp_path / "a", *parts, stack))
    assert {pair.name for pair in found} == {
        "a_b", "a_b_2", "A_b_3", "image", "x.v2", "s-z0001", "s_2-z0000", "s_2-z0001",
    }  # fmt: skip


def test_pairs_are_added_and_same_names_replaced(tmp_path: Path) -> None:
    folder, old = tmp_path / "a", part("old", "YX", (4, 4), 0)
    write(folder, old, part("same", "YX", (4, 4), 0), provenance=Provenance(model="m"))
    index = folder / "index.csv"
    index.write_text(index.read_text().replace("same,train", "same,val"))
    before, new = contents(folder), part("same", "YX", (4, 4), slice(None))
    write(folder, new, part("new", "YX", (4, 4), 1))
    pairs = {pair.name: pair for pair in find_pairs(folder)}
    assert sorted(pairs) == ["new", "old", "same"]
    np.testing.assert_array_equal(pairs["same"].read()[0], new[1])
    assert pairs["same"].facts["split"] == "val"
    assert pairs["same"].facts["supervised_pixels"] == "16"
    after = contents(folder)
    assert {k: v for k, v in after.items() if "old" in k} == {
        k: v for k, v in before.items() if "old" in k
    }
    written = json.loads(after["provenance.json"])["written"]
    assert [entry["pairs"] for entry in written] == [["old", "same"], ["same", "new"]]
    assert written[0]["model"] == "m"
    assert len(after) == 3 * 3 + 2


def test_a_cancelled_write_changes_nothing(tmp_path: Path) -> None:
    parts = [part(name, "YX", (4, 4), 0) for name in "ab"]
    write(tmp_path / "old", *parts)
    before = contents(tmp_path)
    for name in ("old", "new"):
        steps = write_pairs_steps(tmp_path / name, parts)
        assert next(steps) == PlaneDone(1, 2)
        steps.close()
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    for name, text in (("thesis.txt", "x"), ("provenance.json", '{"format": "other"}')):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text(text)
        with pytest.raises(OutputError, match="choose a new or an empty folder"):
            write(folder, part("a", "YX", (4, 4), 0))
        assert contents(folder) == {name: text.encode()}


def test_nothing_supervised_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there are no pairs to learn from"):
        write(tmp_path / "a", part("a", "ZYX", (2, 4, 4)))
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_does_not_fit_together_is_a_mistake(tmp_path: Path) -> None:
    given = part("a", "YX", (4, 4), 0)
    with pytest.raises(ValueError, match="axes of labels"):
        write(tmp_path / "a", given._replace(axes="ZYX"))
    with pytest.raises(ValueError, match="is not"):
        write(tmp_path / "a", given._replace(supervised=given.supervised[:2]))
