"""Splitting: no pixel is lost, nobody else is touched, each part is one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_unet.engine.objects import objects_on
from napari_unet.engine.shaping import path_of
from napari_unet.engine.tools import (
    split,
    split_by_line,
    split_by_seeds,
)
from napari_unet.errors import LabelsError
from tiny import discs

if TYPE_CHECKING:
    from napari_unet.engine.tools import Change

FIRST = 1000
SHAPES = [(40, 50), (7, 24, 30)]


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return objects of random shape, some touching, each in one piece."""
    rng = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(rng.random(shape), 2)
    height = rough > np.quantile(rough, 0.4)
    coarse = rng.integers(1, 4, (2,) * len(shape))
    zones = ndimage.zoom(coarse, np.array(shape) / 2, order=0)
    pieces = cc3d.connected_components(
        (height * zones).astype(np.int32), connectivity={2: 4, 3: 6}[len(shape)]
    )
    return pieces.astype(np.int32)


def applied(labels: np.ndarray, change: Change) -> np.ndarray:
    after = labels.copy()
    after[change.window] = change.labels
    return after


def in_one_piece(mask: np.ndarray) -> bool:
    connectivity = {2: 4, 3: 6}[mask.ndim]
    return int(cc3d.connected_components(mask, connectivity=connectivity).max()) == 1


def dumbbell(shape: tuple[int, ...] = (60, 90)) -> np.ndarray:
    """Return one object made of two discs (balls) that overlap a little."""
    middle = [n / 2 for n in shape[:-1]]
    return (discs(shape, 12, [(*middle, 34), (*middle, 54)]) > 0).astype(np.int32) * 5


def check_split(before: np.ndarray, after: np.ndarray, ids: tuple[int, ...]) -> None:
    """Compare labels before and after: whose pixels went where."""
    changed = before != after
    assert set(np.unique(after[changed])) == {n for n in ids if n >= FIRST}
    assert set(np.unique(before[changed])) <= {n for n in ids if n < FIRST}
    fresh = sorted(n for n in ids if n >= FIRST)
    assert fresh == list(range(FIRST, FIRST + len(fresh)))
    for number in ids:
        assert in_one_piece(after == number)
        (origin,) = np.unique(before[after == number])
        kept = (after == origin).sum()
        assert kept >= (after == number).sum()


@pytest.mark.parametrize("shape", SHAPES)
@given(st.data())
def test_a_cut_loses_no_pixel_and_touches_nobody_else(
    shape: tuple[int, ...], data: st.DataObject
) -> None:
    labels = blobs(shape, data.draw(st.integers(0, 10**6)))
    place = st.tuples(*(st.floats(-9, n + 9) for n in shape[-2:]))
    line = np.array(data.draw(st.lists(place, min_size=2, max_size=5)))
    if len(shape) == 3:
        line = np.insert(line, 0, data.draw(st.integers(0, shape[0] - 1)), axis=1)
    labels.setflags(write=False)
    try:
        change = split_by_line(labels, line, FIRST)
    except LabelsError:
        return
    check_split(labels, applied(labels, change), change.ids)


@pytest.mark.parametrize("shape", SHAPES)
@given(st.data())
def test_seeds_lie_in_sides_of_one_piece_each(
    shape: tuple[int, ...], data: st.DataObject
) -> None:
    labels = blobs(shape, data.draw(st.integers(0, 10**6)))
    areas = np.bincount(labels.ravel())
    places = np.argwhere(labels == areas[1:].argmax() + 1)
    pick = st.integers(0, len(places) - 1)
    one, other = places[data.draw(pick)], places[data.draw(pick)]
    if (one == other).all():
        return
    change = split_by_seeds(labels, one + 0.4, other - 0.4, FIRST)
    after = applied(labels, change)
    check_split(labels, after, change.ids)
    assert {after[tuple(one)], after[tuple(other)]} == set(change.ids)


@pytest.mark.parametrize("slope", [0, 7, -13, 30])
def test_a_cut_separates_straight_where_it_was_drawn(slope: int) -> None:
    labels = np.zeros((60, 80), np.int32)
    labels[10:50, 10:70] = 5
    change = split_by_line(labels, np.array([[0, 45 - slope], [59, 45 + slope]]), FIRST)
    after = applied(labels, change)
    rows, columns = np.indices(labels.shape)
    beyond = columns - (45 - slope + 2 * slope * rows / 59)
    assert change.ids == (5, FIRST)
    assert set(np.unique(after[(labels == 5) & (beyond < -2)])) == {5}
    assert set(np.unique(after[(labels == 5) & (beyond > 2)])) == {FIRST}


def test_parts_that_touch_with_corners_come_apart() -> None:
    labels = np.zeros((30, 30), np.int32)
    rows, columns = np.indices(labels.shape)
    labels[abs(rows - columns) < 6] = 3
    change = split_by_line(labels, np.array([[29.0, 0.0], [0.0, 29.0]]), FIRST)
    after = applied(labels, change)
    assert len(change.ids) == 2
    assert in_one_piece(after == 3)
    assert in_one_piece(after == FIRST)


def test_a_curved_line_across_both_arms_makes_three_parts() -> None:
    labels = np.zeros((50, 50), np.int32)
    labels[5:45, 5:45] = 2
    labels[5:35, 20:30] = 0
    change = split_by_line(labels, np.array([[20, 0], [25, 25], [20, 49]]), FIRST)
    assert change.ids == (2, FIRST, FIRST + 1)


def test_one_line_splits_all_objects_that_it_separates() -> None:
    labels = discs((40, 90), 12, [(20, 20), (20, 50), (20, 78)])
    change = split_by_line(labels, np.array([[20, 0], [20, 80]]), FIRST)
    assert change.ids == (1, FIRST, 2, FIRST + 1)
    assert (applied(labels, change)[labels == 3] == 3).all()


def test_fragments_beside_the_cut_join_a_neighbour() -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[10:30, 10:50] = 4
    labels[9, 28:30] = 4
    change = split_by_line(labels, np.array([[9.0, 0.0], [9.0, 30], [39, 30]]), FIRST)
    assert change.ids == (4, FIRST)


@pytest.mark.parametrize("ending", [(30, 40), (30, 30)])
def test_a_line_that_ends_inside_separates_nothing(ending: tuple[int, int]) -> None:
    with pytest.raises(LabelsError, match="right across"):
        split(dumbbell(), np.array([[0, 44], ending]), FIRST)


@pytest.mark.parametrize(
    "line", [[[0, 0], [5, 5]], [[-50, -50], [-9, 200]], [[30, 44], [30, 44]]]
)
def test_a_line_beside_all_or_of_one_place_separates_nothing(line: list) -> None:
    with pytest.raises(LabelsError, match="right across"):
        split_by_line(dumbbell(), np.array(line), FIRST)


def test_a_line_a_little_too_short_is_meant_to_reach_the_outline() -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[10:30, 10:50] = 4
    change = split_by_line(labels, np.array([[11.0, 25], [28.0, 25]]), FIRST)
    assert change.ids == (4, FIRST)


def test_ends_inside_one_object_are_seeds_else_the_line_cuts() -> None:
    labels = dumbbell()
    across = applied(labels, split(labels, np.array([[0, 44], [59, 44]]), FIRST))
    seeded = applied(labels, split(labels, np.array([[30, 30], [30, 60]]), FIRST))
    same = (across == across[30, 34]) == (seeded == seeded[30, 34])
    assert same[labels > 0].mean() > 0.97


@pytest.mark.parametrize("seeds", [((30, 34), (30, 54)), ((22, 30), (38, 61))])
def test_seeds_need_not_lie_in_the_middle_of_their_sides(seeds: tuple) -> None:
    labels = dumbbell()
    truth = discs(labels.shape, 12, [(30, 34), (30, 54)])
    after = applied(labels, split_by_seeds(labels, *map(np.array, seeds), FIRST))
    left = after == after[seeds[0]]
    assert (left == (truth == 1))[labels > 0].mean() > 0.97


def test_without_a_neck_each_pixel_goes_to_the_nearer_seed() -> None:
    labels = discs((50, 50), 20, [(25, 25)])
    change = split_by_seeds(labels, np.array([25, 18]), np.array([25, 32]), FIRST)
    after = applied(labels, change)
    assert (after[20:30, 10:23] == after[25, 18]).all()
    assert (after[20:30, 27:40] == after[25, 32]).all()


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ((0, 0), (30, 34), "background"),
        ((30, 34), (30, 200), "background"),
        ((30, 34), (5, 5), "objects 5 and 6"),
        ((30, 34), (30.2, 34.1), "same pixel"),
    ],
)
def test_seeds_must_lie_in_one_object(one: tuple, other: tuple, found: str) -> None:
    labels = dumbbell()
    labels[4:8, 4:8] = 6
    with pytest.raises(LabelsError, match=found):
        split_by_seeds(labels, np.array(one), np.array(other), FIRST)


def test_seeds_in_two_pieces_of_an_object_divide_whole_pieces() -> None:
    labels = np.zeros((30, 60), np.int32)
    labels[5:15, 5:15] = labels[5:15, 40:50] = labels[20:25, 38:42] = 7
    change = split_by_seeds(labels, np.array([10, 10]), np.array([10, 45]), FIRST)
    after = applied(labels, change)
    assert len(set(after[20:25, 38:42].ravel())) == 1
    assert after[22, 40] == after[10, 45] != after[10, 10]


@pytest.mark.parametrize("level", [20, 25])
def test_in_a_volume_the_cut_follows_a_neck_that_leans(level: int) -> None:
    centres = [(20, 30, 30), (30, 30, 52)]
    truth = discs((50, 60, 90), 14, centres)
    middle, across = np.mean(centres, axis=0), np.subtract(*centres)
    column = middle[2] - across[0] * (level - middle[0]) / across[2]
    line = np.array([[level, 0, column], [level, 59, column]])
    labels = (truth > 0).astype(np.int32)
    after = applied(labels, split_by_line(labels, line, FIRST))
    side = after == after[20, 30, 30]
    assert (side == (truth == 1))[truth > 0].mean() > 0.99


def test_in_a_volume_without_a_neck_the_cut_goes_straight_through() -> None:
    rows, columns = np.indices((40, 100, 40))[[0, 2]]
    rod = (np.hypot(rows - 20, columns - 20) < 14).astype(np.int32)
    change = split_by_line(rod, np.array([[8, 40.0, 0], [8, 40.0, 39]]), FIRST)
    after = applied(rod, change)
    assert (after[:, :38][rod[:, :38] > 0] == FIRST).all()
    assert (after[:, 42:][rod[:, 42:] > 0] == 1).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_along_any_axis_will_do(axis: int) -> None:
    labels = np.zeros((20, 30, 40), np.int32)
    labels[3:17, 5:25, 6:34] = 1
    line = np.insert([[12.0, -5.0], [14.0, 50.0]], axis, 10.2, axis=1)
    change = split_by_line(labels, line, FIRST)
    check_split(labels, applied(labels, change), change.ids)


@pytest.mark.parametrize("line", [[[1, 2, 3], [4, 9, 9]], [[99, 2, 3], [99, 9, 9]]])
def test_a_line_through_several_slices_is_refused(line: list) -> None:
    with pytest.raises(LabelsError, match="slice"):
        split_by_line(np.ones((9, 20, 20), np.int32), np.array(line), FIRST)


def test_objects_come_in_their_order_along_the_line() -> None:
    labels = discs((40, 90), 8, [(20, 70), (20, 20), (20, 45)])
    line = np.array([[20, -1e9], [20.0, 1e9]])
    path = path_of(line, labels.shape)
    assert objects_on(labels, path) == (2, 3, 1)
    assert objects_on(labels, path[::-1]) == (1, 3, 2)
    assert objects_on(labels, path + np.array([19, 0])) == ()
