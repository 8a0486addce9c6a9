"""How large pixels are, as files and users write it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_unet.errors import UnetError
from napari_unet.io.images import pixel_size_in
from napari_unet.pixel_sizes import sides_from, sides_in_words

if TYPE_CHECKING:
    from pathlib import Path

STACK = np.zeros((3, 20, 30), np.uint16)
MICRO = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}


@pytest.mark.parametrize(
    ("image", "given", "expected"),
    [
        (STACK, {"imagej": True, "metadata": {"unit": "um", "spacing": 2.0}},
         (2.0, 0.5, 0.25)),
        (STACK[0], {"imagej": True, "metadata": {"unit": "\\u00B5m"}}, (0.5, 0.25)),
        (STACK[0], {"imagej": True, "metadata": {"unit": "nm"}}, (0.0005, 0.00025)),
        (STACK[0], {"imagej": True, "metadata": {"unit": "parsec"}}, None),
        (STACK[0], {"imagej": True, "metadata": {}}, None),
        (STACK[0], {}, None),  # 4 dots per inch are of a printer
    ],
)  # fmt: skip
def test_imagej_says_how_large_pixels_are(
    tmp_path: Path, image: Any, given: Any, expected: Any
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image, resolution=(4, 2), **given)
    found = pixel_size_in(tmp_path / "a.tif")
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, **MICRO,
          "PhysicalSizeZ": 500, "PhysicalSizeZUnit": "nm"}, (0.5, 0.5, 0.25)),
        ({"axes": "TYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}, (0.5, 0.25)),
        ({"axes": "ZYX", "PhysicalSizeX": 0.25}, None),
        ({"axes": "ZYX", "PhysicalSizeX": -1, "PhysicalSizeY": -1}, None),
        ({"axes": "ZYX"}, None),
    ],
)  # fmt: skip
def test_ome_says_how_large_pixels_are(
    tmp_path: Path, metadata: Any, expected: Any
) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    found = pixel_size_in(tmp_path / "a.ome.tif")
    assert found == (None if expected is None else pytest.approx(expected))


def test_only_the_beginning_of_large_xml_is_read(tmp_path: Path) -> None:
    planes = '<Plane TheZ="0" TheC="0" TheT="0"/>' * 300_000
    pixels = 'PhysicalSizeX="0.5" PhysicalSizeXUnit="&#181;m" PhysicalSizeY="250" '
    pixels += 'PhysicalSizeYUnit="nm" SizeX="30" SizeY="20"'
    xml = (
        f'<OME:OME xmlns="x"><Image><OME:Pixels {pixels}>{planes}</OME:Pixels></Image>'
    )
    tifffile.imwrite(
        tmp_path / "a.ome.tif", STACK[0], description=f"{xml}</OME:OME>".encode(),
        metadata=None,
    )  # fmt: skip
    began = time.perf_counter()
    assert pixel_size_in(tmp_path / "a.ome.tif") == (0.25, 0.5)
    assert time.perf_counter() - began < 1


def test_what_is_no_tiff_says_nothing(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif", "gone.tif"):
        if name != "gone.tif":
            (tmp_path / name).write_bytes(b"II*\0 nothing")
        assert pixel_size_in(tmp_path / name) is None


@pytest.mark.parametrize(
    ("text", "dims", "expected"),
    [
        ("", 2, ()), ("0.5", 2, (0.5, 0.5)), ("0.5 um", 3, (0.5, 0.5, 0.5)),
        ("2 x 0.5 X 0.25µm", 3, (2.0, 0.5, 0.25)), ("1/2x1", 2, (0.5, 1.0)),
    ],
)  # fmt: skip
def test_users_write_sizes(text: str, dims: int, expected: tuple[float, ...]) -> None:
    assert sides_from(text, dims) == expected
    assert sides_from(sides_in_words(expected), dims) == expected


@pytest.mark.parametrize("text", ["1 x 2 x 3", "-1", "x", "inf", "a", "1,5"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UnetError, match="expected"):
        sides_from(text, 2)
