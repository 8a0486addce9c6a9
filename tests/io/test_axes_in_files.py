"""What the axes of an image are, as its file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_unet.io.images import axes_in

if TYPE_CHECKING:
    from pathlib import Path

Y, X = 20, 30


def written(path: Path, shape: tuple[int, ...], **how: Any) -> tuple[int, ...]:
    """Write a TIFF file and return the shape in which it is read."""
    tifffile.imwrite(path, np.zeros(shape, np.uint8), **how)
    found: tuple[int, ...] = tifffile.imread(path).shape
    return found


@pytest.mark.parametrize("kind", ["imagej", "ome", "plain"])
@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((2, Y, X), "CYX", "CYX"),
        ((5, Y, X), "TYX", "TYX"),
        ((5, Y, X), "ZYX", "ZYX"),
        ((4, 2, Y, X), "ZCYX", "ZCYX"),
        ((3, 4, 2, Y, X), "TZCYX", "TZCYX"),
        ((1, 4, 1, Y, X), "TZCYX", "ZYX"),
        ((Y, X), "YX", "YX"),
    ],
)
def test_a_tiff_file_says_what_its_axes_are(
    tmp_path: Path, kind: str, shape: Any, axes: str, expected: str
) -> None:
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    how = {"imagej": True} if kind == "imagej" else {}
    found = written(path, shape, metadata={"axes": axes}, **how)
    assert axes_in(path, found) == (axes if found == shape else expected)


@pytest.mark.parametrize(
    "how",
    [{"metadata": {"axes": "YXS"}}, {"imagej": True}, {"ome": True}],
)
def test_colour_is_the_last_axis(tmp_path: Path, how: Any) -> None:
    path = tmp_path / "a.tif"
    found = written(path, (Y, X, 3), photometric="rgb", **how)
    assert found == (Y, X, 3)
    assert axes_in(path, found) == "YXC"


def test_channels_that_were_taken_apart_leave_the_other_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    written(path, (5, 2, Y, X), metadata={"axes": "TCYX"})
    assert axes_in(path, (5, Y, X)) == "TYX"
    assert axes_in(path, (2, Y, X)) is None
    assert axes_in(path, (5, 2, X, Y)) is None


@pytest.mark.parametrize("how", [{"imagej": True}, {"ome": True}])
def test_a_stack_that_nobody_named_is_not_taken_for_channels(
    tmp_path: Path, how: Any
) -> None:
    path = tmp_path / "a.tif"
    assert axes_in(path, written(path, (9, Y, X), **how)) is None
    assert axes_in(path, written(path, (2, Y, X), **how)) == "CYX"


def test_a_file_that_says_nothing_of_its_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert axes_in(path, (5, Y, X)) is None
    found = written(path, (5, Y, X))
    assert axes_in(path, found) is None
    assert axes_in(path, written(path, (5, Y, X), metadata=None)) is None
    for content in (b"II*\0 nothing", b""):
        path.write_bytes(content)
        assert axes_in(path, found) is None
    assert axes_in(tmp_path / "a.png", (Y, X)) is None


def test_odd_descriptions_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for text in (
        '{"shape": [5, 20, 30], "axes": "TT"}', '{"shape": 5}', '{"shape": [5, 20',
        '<OME><Pixels DimensionOrder="XYCZT" SizeX="many"></Pixels></OME>',
        "ImageJ=1.5\nimages=5\nslices=many\n",
    ):  # fmt: skip
        tifffile.imwrite(
            path, np.zeros((5, Y, X), np.uint8), description=text, metadata=None
        )
        assert axes_in(path, (5, Y, X)) is None, text
