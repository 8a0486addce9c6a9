"""ImageJ ROIs and COCO JSON give back exactly the pixels they were made from."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from roifile import ROI_TYPE, ImagejRoi, roiread

from napari_unet.io.masks import Provenance, write_labels
from napari_unet.io.masks.coco import _annotation
from napari_unet.io.masks.imagej import _roi
from napari_unet.io.masks.outlines import objects_in

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RING = np.array(
    [
        [3, 3, 3, 0, 9],
        [3, 0, 3, 0, 0],
        [3, 3, 3, 0, 9],
        [0, 0, 0, 2**31 - 1, 0],
    ]
)
planes = arrays(
    np.int32, st.tuples(*[st.integers(1, 9)] * 2), elements=st.integers(0, 3)
)


def filled(outlines: list[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Fill polygons by the even-odd rule: count crossings left of a pixel's middle."""
    inside = np.zeros(shape, bool)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    for outline in outlines:
        points = np.asarray(outline, float).reshape(-1, 2)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
            if y0 != y1:
                crossed = (min(y0, y1) < y) & (y < max(y0, y1))
                inside ^= crossed & (x0 + (y - y0) * (x1 - x0) / (y1 - y0) < x)
    return inside


def decoded(segmentation: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of a COCO annotation."""
    if isinstance(segmentation, list):
        return filled(segmentation, shape)
    assert segmentation["size"] == list(shape)
    values = np.arange(len(segmentation["counts"])) % 2 == 1
    flat = np.zeros(shape[0] * shape[1], bool)
    runs = np.repeat(values, segmentation["counts"])
    flat[: len(runs)] = runs
    return flat.reshape(shape, order="F")


def from_roi(roi: ImagejRoi, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of a ROI that was written and read."""
    read = ImagejRoi.frombytes(roi.tobytes())
    found = read.coordinates(multi=read.composite)
    return filled(found if read.composite else [found], shape)


@given(planes)
def test_rois_and_annotations_are_exact(plane: NDArray[np.int32]) -> None:
    found = list(objects_in(plane))
    assert [thing.label for thing in found] == sorted(set(np.unique(plane)) - {0})
    for thing in found:
        truth = plane == thing.label
        np.testing.assert_array_equal(from_roi(_roi(thing), plane.shape), truth)
        said = _annotation(thing, plane.shape)
        np.testing.assert_array_equal(decoded(said["segmentation"], plane.shape), truth)
        assert said["area"] == truth.sum()
        runs = {"size": list(plane.shape), "counts": _counts(thing, plane.shape)}
        np.testing.assert_array_equal(decoded(runs, plane.shape), truth)


def _counts(thing: Any, shape: tuple[int, ...]) -> list[int]:
    return np.diff([0, *thing.borders(shape[0]), shape[0] * shape[1]]).tolist()


def test_an_object_with_a_hole_or_of_two_pieces_is_one_composite_roi(
    tmp_path: Path,
) -> None:
    made = Provenance(image="i.tif", model="m")
    path = write_labels(tmp_path / "RoiSet.zip", RING, provenance=made)
    rois = roiread(path)
    assert isinstance(rois, list)
    assert [roi.name for roi in rois] == ["0003", "0009", "2147483647"]
    assert [roi.composite for roi in rois] == [True, True, False]
    assert rois[2].roitype == ROI_TYPE.TRACED
    for roi, label in zip(rois, (3, 9, 2**31 - 1), strict=True):
        np.testing.assert_array_equal(from_roi(roi, RING.shape), label == RING)
        assert (roi.position, roi.z_position, roi.t_position) == (0, 0, 0)
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.comment)["provenance"] == made.as_dict()


def test_rois_of_stacks_know_their_slice(tmp_path: Path) -> None:
    stack = np.stack([np.zeros_like(RING), RING])
    (first, *_) = roiread(write_labels(tmp_path / "a.zip", stack))
    assert (first.name, first.position) == ("0003-z0002", 2)
    movie = np.stack([stack, np.zeros_like(stack)])
    (first, *_) = roiread(write_labels(tmp_path / "b.zip", movie[::-1]))
    places = (first.position, first.z_position, first.t_position)
    assert (first.name, *places) == ("0003-t0002-z0002", 0, 2, 2)


def test_coco_has_an_image_per_plane_and_names_objects(tmp_path: Path) -> None:
    made = Provenance(image="i.tif", summary="corrected", made="2030-01-01T00:00:00")
    stack = np.stack([RING, RING * 0, RING])
    path = write_labels(tmp_path / "a.json", stack, axes="TYX", provenance=made)
    said = json.loads(path.read_text())
    assert said["info"]["provenance"] == made.as_dict()
    assert [image["plane"] for image in said["images"]] == [
        {"t": 0},
        {"t": 1},
        {"t": 2},
    ]
    assert {image["file_name"] for image in said["images"]} == {"i.tif"}
    found = np.zeros_like(stack)
    for one in said["annotations"]:
        mask = decoded(one["segmentation"], RING.shape)
        found[one["image_id"] - 1][mask] = one["label"]
        y, x = np.nonzero(mask)
        size = [int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
        assert one["bbox"] == [x.min(), y.min(), *size]
    np.testing.assert_array_equal(found, stack)
    numbers = [one["id"] for one in said["annotations"]]
    assert numbers == list(range(1, 7))


def test_empty_labels_give_empty_lists(tmp_path: Path) -> None:
    nothing = np.zeros((3, 4), int)
    assert roiread(write_labels(tmp_path / "a.zip", nothing)) == []
    said = json.loads(write_labels(tmp_path / "a.json", nothing).read_text())
    assert said["annotations"] == []
    assert len(said["images"]) == 1
