"""napari's save dialog: our formats for any labels, napari's own for ours."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import npe2
import numpy as np
import pytest
import tifffile
import zarr
from roifile import roiread

from napari_unet.engine.writes import TrackedLabels
from napari_unet.errors import ImageError
from napari_unet.io.masks import KINDS, Provenance
from napari_unet.qt.layers import PROVENANCE
from napari_unet.qt.writer import write

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = "napari-unet-workbench"
STACK = np.zeros((2, 30, 40), np.int32)
STACK[0, 2:9, 3:12] = 7
STACK[1, 10:20, 10:30] = 12


def test_the_save_dialog_writes_all_three(
    make_napari_viewer_proxy, tmp_path: Path
) -> None:
    viewer = make_napari_viewer_proxy()
    made = Provenance(image="cells.tif", model="nuclei", version=2)
    layer = viewer.add_labels(TrackedLabels(STACK), scale=(2, 0.5, 0.25), units="um")
    layer.metadata[PROVENANCE] = lambda _: made
    for suffix in (".ome.zarr", ".zip", ".json"):
        path = str(tmp_path / f"a{suffix}")
        assert viewer.layers.save(path, plugin=PLUGIN) == [path]
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][...], STACK)
    (multiscale,) = group.attrs["ome"]["multiscales"]
    said = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert said == [2, 0.5, 0.25]
    assert {axis["unit"] for axis in multiscale["axes"]} == {"micrometer"}
    assert [(r.name, r.position) for r in roiread(tmp_path / "a.zip")] == [
        ("0007-z0001", 1), ("0012-z0002", 2),
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert json.loads(archive.comment)["provenance"] == made.as_dict()
    coco = json.loads((tmp_path / "a.json").read_text())
    assert coco["info"]["provenance"] == made.as_dict()


def test_without_a_plugin_named_the_right_writer_is_found(
    make_napari_viewer_proxy, tmp_path: Path
) -> None:
    viewer = make_napari_viewer_proxy()
    layer = viewer.add_labels(TrackedLabels(STACK), name="ours")
    for name in ("a.tif", "a.ome.zarr", "a.zip", "b"):
        layer.save(str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.ome.zarr", "a.tif", "a.zip", "b.tif",
    ]  # fmt: skip
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), STACK)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    assert group.attrs["napari-unet"]["provenance"]["image"] == "ours"


def test_labels_of_other_kinds_are_written(tmp_path: Path) -> None:
    pyramid = [STACK[0], STACK[0, ::2, ::2]]
    stored = zarr.create_array(tmp_path / "raw", shape=(30, 40), dtype="u1")
    stored[...] = STACK[0]
    for data, meta in (
        (pyramid, {"multiscale": True}),
        (stored, {"axis_labels": ("-2", "-1"), "scale": [1.0, -1.0]}),
        (STACK[0] > 0, {"metadata": {PROVENANCE: "not ours"}, "name": "x"}),
    ):
        (path,) = write(str(tmp_path / "a.json"), data, meta)
        (one,) = json.loads((tmp_path / "a.json").read_text())["annotations"]
        assert path == str(tmp_path / "a.json")
        assert one["bbox"] == [3, 2, 9, 7]


def test_axis_names_of_the_layer_are_kept(tmp_path: Path) -> None:
    for names, axes in ((("t", "y", "x"), "TYX"), (("-3", "-2", "-1"), "ZYX")):
        write(str(tmp_path / "a.json"), STACK, {"axis_labels": names})
        assert json.loads((tmp_path / "a.json").read_text())["info"]["axes"] == axes


def test_too_many_axes_are_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="8 axes, expected at most 7"):
        write(str(tmp_path / "a.zip"), np.zeros((1,) * 8, int), {})


def test_the_manifest_names_endings_that_are_known() -> None:
    manifest = npe2.PluginManifest.from_distribution(PLUGIN)
    manifest.validate_imports()
    (writer,) = manifest.contributions.writers
    assert set(writer.filename_extensions) < set(KINDS)
    assert writer.command.endswith("write_labels")


def test_napari_still_offers_its_own_writer_first(make_napari_viewer_proxy) -> None:
    make_napari_viewer_proxy()
    manager = npe2.PluginManager.instance()
    first, second, *_ = manager.iter_compatible_writers(["labels"])
    assert (first.plugin_name, second.plugin_name) == ("napari", PLUGIN)
    for layers in (["labels", "image"], ["labels", "labels"], ["image"]):
        assert second not in list(manager.iter_compatible_writers(layers))


def test_a_name_without_an_ending_becomes_ome_zarr(tmp_path: Path) -> None:
    path = tmp_path / "nuclei"
    assert write(str(path), STACK, {}) == [f"{path}.ome.zarr"]
    assert [p.name for p in tmp_path.iterdir()] == ["nuclei.ome.zarr"]
    with pytest.raises(ImageError, match=r"ends in '\.v2', expected"):
        write(f"{path}.v2", STACK, {})
