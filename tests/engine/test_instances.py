"""Scores to objects and back: connected, numbered, split by shape and not by size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from napari_unet.engine.config import LabelsConfig
from napari_unet.engine.instances import (
    SMOOTHING,
    as_objects,
    boundary_distance,
    fill_holes,
    labels_from_scores,
    targets_from_labels,
    without_small,
)
from napari_unet.engine.metrics import evaluate
from tiny import discs

if TYPE_CHECKING:
    from pathlib import Path

ALL = LabelsConfig(smallest=0, fill_holes=False)


def scores_of(labels: np.ndarray) -> np.ndarray:
    """Return the scores that a perfect network would give."""
    return targets_from_labels(labels, "instances")


def smooth_noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return random scores (2, ...) with hills some pixels wide."""
    rough = np.random.default_rng(seed).random((2, *shape))
    smooth = ndimage.gaussian_filter(rough, (0, *[2] * len(shape)))
    low, high = smooth.min(), smooth.max()
    return ((smooth - low) / (high - low)).astype(np.float32)


@pytest.mark.parametrize("radius", [6, 12, 40])
def test_touching_discs_split_whatever_their_size(radius: int) -> None:
    side, reach = 5 * radius, radius * 0.95
    middle = side / 2
    labels = discs(
        (side, side), radius, [(middle, middle - reach), (middle, middle + reach)]
    )
    found = labels_from_scores(scores_of(labels), "instances", LabelsConfig())
    assert found.max() == 2
    assert evaluate(found, labels)["ap75"] == 1


def test_touching_balls_split_in_3d() -> None:
    labels = discs((20, 30, 44), 9, [(10, 15, 13), (10, 15, 30)])
    found = labels_from_scores(scores_of(labels), "instances", LabelsConfig())
    assert evaluate(found, labels)["ap75"] == 1


def test_split_zero_leaves_touching_objects_together() -> None:
    labels = discs((40, 60), 12, [(20, 18), (20, 41)])
    config = LabelsConfig(split=0)
    assert labels_from_scores(scores_of(labels), "instances", config).max() == 1


@pytest.mark.parametrize("shape", [(64, 80), (12, 30, 34)])
@pytest.mark.parametrize("split", [0.0, 0.5, 1.0])
def test_objects_are_numbered_from_one_and_connected_through_faces(
    shape: tuple[int, ...], split: float
) -> None:
    config = ALL.model_copy(update={"split": split, "fill_holes": True})
    labels = labels_from_scores(smooth_noise(shape, 3), "instances", config)
    pieces = cc3d.connected_components(labels, connectivity={2: 4, 3: 6}[len(shape)])
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert pieces.max() == labels.max() >= 1


def by_definition(scores: np.ndarray, config: LabelsConfig) -> np.ndarray:
    """Return a watershed from the h-maxima by greyscale reconstruction."""
    mask = scores[0] > config.threshold
    smooth = np.where(mask, ndimage.gaussian_filter(scores[1], SMOOTHING), 0)
    faces = ndimage.generate_binary_structure(mask.ndim, 1)
    tops = (h_maxima(smooth, 0.2 * (1 - config.split), faces) > 0) & mask
    seeds = ndimage.label(tops, faces)[0]
    whole = ndimage.label(mask, faces)[0]
    unseeded = mask & ~np.isin(whole, whole[seeds > 0])
    seeds = np.where(unseeded, whole + seeds.max(), seeds)
    return watershed(-smooth, seeds, mask=mask)


def disagreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of foreground pixels outside the best matching objects."""
    foreground = one > 0
    pairs, counts = np.unique(
        np.stack([one[foreground], other[foreground]]), axis=1, return_counts=True
    )
    best = np.zeros(one.max() + 1)
    np.maximum.at(best, pairs[0], counts)
    return 1 - best.sum() / max(foreground.sum(), 1)


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.5, 0.9]))
def test_splitting_is_the_watershed_of_h_maxima(seed: int, split: float) -> None:
    config = ALL.model_copy(update={"split": split})
    scores = smooth_noise((40, 50), seed)
    fast = labels_from_scores(scores, "instances", config)
    slow = by_definition(scores, config)
    np.testing.assert_array_equal(fast > 0, slow > 0)
    assert fast.max() == len(np.unique(slow)) - 1
    assert disagreement(fast, slow) < 0.01
    assert disagreement(slow, fast) < 0.01


def test_splitting_is_the_watershed_of_h_maxima_in_3d() -> None:
    scores = smooth_noise((16, 24, 28), 5)
    fast, slow = (
        labels_from_scores(scores, "instances", ALL),
        by_definition(scores, ALL),
    )
    assert fast.max() == len(np.unique(slow)) - 1
    assert disagreement(fast, slow) < 0.01


def test_real_masks_come_back_from_their_targets(data_folder: Path) -> None:
    from napari_unet.io.images import read_image

    files = sorted((data_folder / "data" / "dsb2018" / "masks").iterdir())[::110]
    agreement = []
    for file in files:
        truth = read_image(file)
        found = labels_from_scores(scores_of(truth), "instances", ALL)
        slow = by_definition(scores_of(truth), ALL)
        assert evaluate(found, slow.astype(np.int32))["ap75"] > 0.9
        agreement.append(evaluate(found, truth)["ap50"])
    assert np.mean(agreement) > 0.95


def test_two_equal_summits_on_one_ridge_are_one_object() -> None:
    scores = np.zeros((2, 21, 61), np.float32)
    scores[0, 5:16, 5:56] = 1
    scores[1, 5:16, 5:56] = 0.97
    scores[1, 8:13, 10:20] = scores[1, 8:13, 40:50] = 1.0
    assert labels_from_scores(scores, "instances", LabelsConfig()).max() == 1


def test_nan_scores_are_background() -> None:
    scores = np.full((2, 8, 8), np.nan, np.float32)
    scores[0, :4] = 1
    labels = labels_from_scores(scores, "instances", ALL)
    np.testing.assert_array_equal(labels > 0, scores[0] > 0)


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (6, 7), (2, 3, 4)])
@pytest.mark.parametrize("output", ["instances", "foreground", "classes"])
def test_empty_scores_give_empty_labels(shape: tuple, output: Any) -> None:
    labels = labels_from_scores(
        np.zeros((2, *shape), np.float32), output, LabelsConfig()
    )
    assert labels.shape == shape
    assert not labels.any()


@pytest.mark.parametrize("shape", [(1, 1), (6, 7), (2, 3, 4)])
def test_a_full_image_is_one_object(shape: tuple) -> None:
    labels = labels_from_scores(np.ones((2, *shape), np.float32), "instances", ALL)
    assert (labels == 1).all()


def test_small_objects_are_dropped_and_the_rest_renumbered() -> None:
    labels = np.array([[1, 0, 2, 2], [0, 0, 2, 0], [5, 5, 0, 7]], np.int32)
    expected = [[0, 0, 1, 1], [0, 0, 1, 0], [2, 2, 0, 0]]
    np.testing.assert_array_equal(without_small(labels, 2), expected)
    assert without_small(labels, 0).max() == 4


def test_a_hole_in_one_object_is_filled_with_it() -> None:
    labels = discs((30, 60), 12, [(15, 15), (15, 44)])
    holed = labels.copy()
    holed[13:16, 12:15] = 0
    holed[15, 45] = 0
    np.testing.assert_array_equal(fill_holes(holed), labels)


def test_a_gap_between_two_objects_or_at_the_border_is_no_hole() -> None:
    labels = np.ones((7, 8), np.int32)
    labels[:, 4:] = 2
    labels[3, 3:5] = 0
    labels[0, 1] = 0
    np.testing.assert_array_equal(fill_holes(labels), labels)


def test_a_hole_open_in_one_slice_is_filled_in_3d_when_closed_all_round() -> None:
    labels = np.ones((3, 5, 5), np.int32)
    labels[1, 2, 2] = 0
    assert fill_holes(labels).all()
    labels[0, 2, 2] = 0
    np.testing.assert_array_equal(fill_holes(labels), labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_distance_is_one_at_the_centre_of_small_and_large(dtype: type) -> None:
    labels = discs((60, 100), 8, [(30, 15)]) + 9 * discs((60, 100), 25, [(30, 65)])
    distance = boundary_distance(labels.astype(dtype))
    assert distance[30, 15] == distance[30, 65] == 1
    assert distance[labels == 0].max() == 0
    assert distance[labels > 0].min() > 0


@pytest.mark.parametrize("shape", [(4, 5), (1, 1), (2, 3, 4)])
def test_distance_of_an_object_without_boundary_is_finite(shape: tuple) -> None:
    np.testing.assert_array_equal(boundary_distance(np.ones(shape, int)), 1)


def test_targets_follow_the_output() -> None:
    labels = np.array([[0, 1], [2, 2]])
    assert targets_from_labels(labels, "instances").shape == (2, 2, 2)
    np.testing.assert_array_equal(
        targets_from_labels(labels, "foreground"), [[[0, 1], [1, 1]]]
    )
    np.testing.assert_array_equal(
        targets_from_labels(labels, "classes"), [[[0, 1], [2, 2]]]
    )
    assert not targets_from_labels(np.zeros((3, 3), int), "instances").any()


def test_a_mask_becomes_its_connected_parts() -> None:
    mask = np.array([[True, False, True], [False, True, False]])
    assert sorted(as_objects(mask)[mask]) == [1, 2, 3]


def test_independent_classes_give_the_strongest_above_the_threshold() -> None:
    scores = np.array([[[0.9, 0.2, 0.4]], [[0.6, 0.3, 0.8]]], np.float32)
    assert labels_from_scores(scores, "multilabel", LabelsConfig()).tolist() == [
        [1, 0, 2]
    ]


def test_of_two_channels_the_second_is_the_foreground() -> None:
    scores = np.zeros((2, 6, 6), np.float32)
    scores[1, 1:4, 1:4] = 0.9
    found = labels_from_scores(scores, "foreground", LabelsConfig(smallest=0))
    assert np.array_equal(found > 0, scores[1] > 0.5)
