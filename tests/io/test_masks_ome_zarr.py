"""OME-Zarr: valid, a pyramid without new numbers, never in the place of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from ome_zarr_models import open_ome_zarr
from ome_zarr_models.v05.image_label import ImageLabel

from napari_unet.errors import OutputError
from napari_unet.io.masks import Provenance, write_labels

if TYPE_CHECKING:
    from pathlib import Path

LABELS = np.random.default_rng(0).integers(0, 2**31 - 1, (2, 3, 601, 1030))


def test_the_store_is_a_valid_image_label(tmp_path: Path) -> None:
    path, made = tmp_path / "a.ome.zarr", Provenance(image="i", version=2)
    scale = (60.0, 2.0, 0.5, 0.25)
    write_labels(path, LABELS, scale=scale, units="µm", provenance=made)
    group = zarr.open_group(path, mode="r")
    label = ImageLabel.from_zarr(group)
    assert open_ome_zarr(group).ome_zarr_version == "0.5"
    (multiscale,) = label.ome_attributes.multiscales
    assert label.ome_attributes.image_label is not None
    assert [a.name for a in multiscale.axes] == ["t", "z", "y", "x"]
    assert [a.unit for a in multiscale.axes] == [None, *["micrometer"] * 3]
    scales = [list(d.coordinateTransformations[0].scale) for d in multiscale.datasets]
    assert scales == [[60, 2, 0.5, 0.25], [60, 2, 1, 0.5], [60, 2, 2, 1]]
    assert group.attrs["napari-unet"]["provenance"] == made.as_dict()


def test_levels_take_every_second_pixel(tmp_path: Path) -> None:
    group = zarr.open_group(write_labels(tmp_path / "a.ome.zarr", LABELS), mode="r")
    for number, step in enumerate((1, 2, 4)):
        level = group[str(number)]
        assert level.dtype == np.int32
        np.testing.assert_array_equal(level[...], LABELS[..., ::step, ::step])
    assert "3" not in group


def test_an_image_is_never_replaced_by_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    image = zarr.create_array(path / "0", shape=(4, 4), dtype="u2")
    zarr.open_group(path, mode="a", attributes={"ome": {"multiscales": []}})
    image[:] = 5
    with pytest.raises(OutputError, match="holds something else than labels"):
        write_labels(path, LABELS[0])
    assert (image[:] == 5).all()


@pytest.mark.parametrize("content", ["[]", "{}", '{"attributes": 3}', "\x00{"])
def test_a_damaged_folder_is_not_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.ome.zarr"
    path.mkdir()
    (path / "zarr.json").write_text(content)
    with pytest.raises(OutputError, match="choose another name"):
        write_labels(path, LABELS[0])
    assert (path / "zarr.json").read_text() == content
