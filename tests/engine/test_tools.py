"""Tools change what they say they change: the right object, and background."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_unet.engine import tools
from napari_unet.engine.objects import objects_on
from napari_unet.engine.shaping import path_of
from napari_unet.errors import LabelsError
from tiny import discs

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = [(40, 50), (9, 26, 30)]
LINE = np.array([[5.0, 5.0], [8.0, 8.0]])


def applied(labels: np.ndarray, change: tools.Change) -> np.ndarray:
    assert change.labels.dtype == np.int32
    after = labels.copy()
    after[change.window] = change.labels
    return after


def in_one_piece(mask: np.ndarray) -> bool:
    connectivity = {2: 4, 3: 6}[mask.ndim]
    return int(cc3d.connected_components(mask, connectivity=connectivity).max()) == 1


def scattered(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return some objects, of random shape and often in several pieces; read-only."""
    rng = np.random.default_rng(seed)
    height = ndimage.gaussian_filter(rng.random(shape), 1.5)
    numbers = ndimage.gaussian_filter(rng.random(shape), 3).argsort(axis=None).argsort()
    zones = numbers.reshape(shape) * 5 // numbers.size + 1
    labels = np.where(height > np.quantile(height, 0.5), zones * 3, 0).astype(np.int32)
    labels.setflags(write=False)
    return labels


def soft(mask: np.ndarray) -> np.ndarray:
    """Return the scores of a network that blurs."""
    return ndimage.gaussian_filter(mask.astype(np.float32), 2)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


# -- windows


@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 8, 9)])
@given(seed=st.integers(0, 10**6), ids=st.sets(st.integers(1, 6), min_size=1))
def test_a_window_is_the_smallest_that_holds_the_objects(
    shape: tuple[int, ...], seed: int, ids: set[int]
) -> None:
    labels = np.random.default_rng(seed).choice(200, shape).astype(np.int32)
    window = tools.window_of(labels, ids)
    found = np.isin(labels, list(ids))
    if window is None:
        assert not found.any()
        return
    assert found.sum() == found[window].sum()
    (expected,) = ndimage.find_objects(found.astype(int))
    assert window == expected


def test_a_window_of_rows_beyond_one_chunk() -> None:
    labels = np.zeros((900, 700), np.int32)
    labels[[3, 880], [650, 12]] = 4
    view = labels[::-1].T
    assert tools.window_of(view, [4]) == (slice(12, 651), slice(19, 897))
    assert tools.window_of(view, []) is None


# -- what all tools refuse


CALLS: dict[str, Callable[[np.ndarray, int], Any]] = {
    "delete": lambda a, n: tools.delete(a, (2, n)),
    "fill_holes": tools.fill_holes,
    "smooth": tools.smooth,
    "snap": lambda a, n: tools.snap(a, n, soft(a > 0)),
    "copy_object": lambda a, n: tools.copy_object(a, a, n, 9),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("label", "found"), [(0, "Found background"), (77, "no object 77"), (-3, "no obj")]
)
def test_background_and_absent_objects_are_refused(
    name: str, label: int, found: str
) -> None:
    labels = discs((30, 30), 8, [(15, 15)]) * 2
    with pytest.raises(LabelsError, match=found):
        CALLS[name](labels, label)


@pytest.mark.parametrize("call", [tools.split, tools.split_by_line])
def test_a_line_on_the_background_splits_nothing(call: Any) -> None:
    with pytest.raises(LabelsError, match="separates nothing"):
        call(np.zeros((30, 30), np.int32), LINE, 1)


@pytest.mark.parametrize(
    "line", [[[1.0, 2.0]], [[1.0, 2.0, 3.0]] * 2, [[1.0, np.nan]] * 2]
)
def test_a_line_that_is_none_is_a_programmers_mistake(line: list) -> None:
    with pytest.raises(ValueError, match="line of"):
        tools.merge_along(np.zeros((30, 30), np.int32), np.array(line))


# -- merge and delete


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 10**6), order=st.permutations([3, 6, 9, 12, 15]))
def test_deleting_touches_only_what_was_named(
    shape: tuple[int, ...], seed: int, order: list[int]
) -> None:
    labels, ids = scattered(shape, seed), order[:3]
    deleted = tools.delete(labels, ids)
    named = np.isin(labels, ids)
    np.testing.assert_array_equal(applied(labels, deleted), np.where(named, 0, labels))
    assert deleted.ids == ()


@pytest.mark.parametrize("label", [0, 2])
def test_merging_needs_two_objects(label: int) -> None:
    with pytest.raises(LabelsError, match="at least two"):
        tools.merge_along(np.full((9, 9), label, np.int32), LINE)


@pytest.mark.parametrize("shape", SHAPES)
@given(st.data())
def test_merging_along_a_line_takes_background_only_near_the_line(
    shape: tuple[int, ...], data: st.DataObject
) -> None:
    labels = scattered(shape, data.draw(st.integers(0, 10**6)))
    places = st.tuples(*(st.floats(0, n - 1) for n in shape[-2:]))
    line = np.array(data.draw(st.lists(places, min_size=2, max_size=4)))
    if len(shape) == 3:
        line = np.insert(line, 0, data.draw(st.integers(0, shape[0] - 1)), axis=1)
    ids = objects_on(labels, path_of(line, labels.shape))
    if len(ids) < 2:
        return
    after = applied(labels, tools.merge_along(labels, line))
    named = np.isin(labels, ids)
    assert (after[named] == ids[0]).all()
    taken = (after != labels) & ~named
    assert not labels[taken].any()
    if taken.any():
        away = np.abs(np.argwhere(taken)[:, np.newaxis] - dense(line)).max(axis=2)
        assert away.min(axis=1).max() <= 2.1


def dense(line: np.ndarray) -> np.ndarray:
    """Return many points of a line."""
    shares = np.linspace(0, 1, 200)[:, np.newaxis]
    return np.concatenate([a + (b - a) * shares for a, b in pairwise(line)])


@pytest.mark.parametrize("end", [(20.0, 78.0), (33.0, 70.0), (28.0, 140.0)])
def test_objects_that_do_not_touch_get_a_bridge(end: tuple[float, float]) -> None:
    labels = discs((40, 90), 9, [(20, 15), (20, 45), (27, 70)])
    change = tools.merge_along(labels, np.array([(20.0, 10.0), (20.0, 45.0), end]))
    after = applied(labels, change)
    assert change.ids == (1,)
    assert in_one_piece(after == 1)
    assert ((after > 0)[:, 30] == (np.abs(np.arange(40) - 20) <= 1)).all()


def test_objects_that_touch_get_no_bridge() -> None:
    labels = discs((40, 60), 9, [(20, 15), (20, 32)])
    line = np.array([[12.0, 15.0], [12.0, 32.0]])  # through the notch between them
    after = applied(labels, tools.merge_along(labels, line))
    np.testing.assert_array_equal(after > 0, labels > 0)


def test_a_bridge_in_a_volume_stays_in_the_slice_of_its_line() -> None:
    labels = discs((20, 30, 60), 8, [(10, 15, 12), (10, 15, 45)])
    change = tools.merge_along(labels, np.array([[10.0, 15, 12], [10, 15, 45]]))
    after = applied(labels, change)
    assert in_one_piece(after == 1)
    assert np.unique(np.nonzero((after > 0) & (labels == 0))[0]).tolist() == [10]


def test_a_line_that_touches_one_object_merges_nothing() -> None:
    labels = discs((40, 60), 9, [(20, 15), (20, 45)])
    with pytest.raises(LabelsError, match="Found 1 object"):
        tools.merge_along(labels, np.array([[20.0, 15.0], [0.0, 15.0]]))


# -- holes and outlines


def test_only_what_an_object_encloses_is_filled() -> None:
    labels = np.zeros((30, 40), np.int32)
    labels[5:25, 5:25] = 3
    labels[10:20, 10:20] = 0
    labels[13:16, 13:16] = 8
    labels[0:4, 20:23] = 3
    labels[1:3, 21] = 0
    labels[0, 21] = 0  # this one is open to the edge of the image
    after = applied(labels, tools.fill_holes(labels, 3))
    assert (after[13:16, 13:16] == 8).all()
    assert (after[5:25, 5:25] != 0).all()
    assert (after == 3).sum() == (labels == 3).sum() + 100 - 9


def test_a_tunnel_through_a_volume_is_no_hole() -> None:
    labels = np.zeros((9, 12, 12), np.int32)
    labels[1:8, 1:11, 1:11] = 1
    labels[3:6, 4:6, 4:6] = 0
    tunnel = labels.copy()
    tunnel[:, 8, 8] = 0
    assert (applied(labels, tools.fill_holes(labels, 1))[1:8, 1:11, 1:11] == 1).all()
    assert not applied(tunnel, tools.fill_holes(tunnel, 1))[:, 8, 8].any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tool", ["fill_holes", "smooth", "snap"])
@given(seed=st.integers(0, 10**6), label=st.sampled_from([3, 6, 9, 12, 15]))
def test_reshaping_takes_background_and_gives_back_own_pixels(
    shape: tuple[int, ...], tool: str, seed: int, label: int
) -> None:
    labels = scattered(shape, seed)
    more = () if tool != "snap" else (soft(labels % 2 > 0), 4)
    try:
        change = getattr(tools, tool)(labels, label, *more)
    except LabelsError:
        return
    after = applied(labels, change)
    others = (labels != label) & (labels != 0)
    np.testing.assert_array_equal(after[others], labels[others])
    assert set(np.unique(after[~others])) <= {0, label}
    assert change.ids == (label,)
    assert tool == "fill_holes" or in_one_piece(after == label)


def test_smoothing_takes_off_a_spike_and_keeps_the_body() -> None:
    labels = discs((60, 60), 15, [(30, 30)])
    labels[29:31, 44:58] = 1
    after = applied(labels, tools.smooth(labels, 1))
    assert not after[:, 50:].any()
    assert iou(after > 0, discs((60, 60), 15, [(30, 30)]) > 0) > 0.96


def test_smoothing_does_not_pull_an_object_from_the_edge_of_the_image() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[:20, :] = 2
    np.testing.assert_array_equal(applied(labels, tools.smooth(labels, 2)), labels)


def test_an_object_that_smoothing_would_remove_is_refused() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[20, 5:35] = 2
    with pytest.raises(LabelsError, match="would vanish"):
        tools.smooth(labels, 2)
    with pytest.raises(ValueError, match="above 0"):
        tools.smooth(labels, 2, 0)


# -- snap


@pytest.mark.parametrize(("change", "shift"), [(4, 3), (-4, 3), (4, 0), (-4, -3)])
@pytest.mark.parametrize(
    ("shape", "radius"), [((100, 100), 25), ((80, 80), 12), ((44, 50, 50), 14)]
)
def test_a_rough_outline_goes_to_the_edge_of_the_scores(
    shape: tuple[int, ...], radius: int, change: int, shift: int
) -> None:
    centre = [n // 2 for n in shape]
    scores = soft(discs(shape, radius, [tuple(centre)]))
    centre[-1] += shift
    labels = discs(shape, radius + change, [tuple(centre)]) * 7
    after = applied(labels, tools.snap(labels, 7, scores))
    assert iou(after == 7, scores > 0.5) > 0.93


def test_logits_and_unknown_places_do_as_well() -> None:
    scores = np.clip(soft(discs((80, 80), 20, [(40, 40)])), 1e-4, 1 - 1e-4)
    labels = discs((80, 80), 24, [(40, 43)])
    logits = np.log(scores / (1 - scores)).astype(np.float32)
    logits[:, 70:] = np.nan
    after = applied(labels, tools.snap(labels, 1, logits))
    assert iou(after == 1, scores > 0.5) > 0.95


def test_the_edge_of_another_object_is_not_taken() -> None:
    truth = discs((60, 100), 15, [(30, 30), (30, 65)])
    labels = discs((60, 100), 17, [(30, 32)])
    after = applied(labels, tools.snap(labels, 1, soft(truth > 0)))
    assert iou(after == 1, truth == 1) > 0.93


def test_where_objects_touch_in_the_scores_the_drawn_border_holds() -> None:
    scores = np.zeros((60, 100), np.float32)
    scores[15:45, 10:90] = 1
    labels = np.zeros((60, 100), np.int32)
    labels[18:42, 13:50] = 1  # its right side was drawn in the middle of the score
    after = applied(labels, tools.snap(labels, 1, soft(scores)))
    rows, columns = np.nonzero(after)
    assert columns.max() in (48, 49, 50)
    assert abs(rows.min() - 15) <= 1
    assert abs(columns.min() - 10) <= 1


@pytest.mark.parametrize("value", [0.0, 0.7, np.nan, -9.0])
def test_without_an_edge_within_reach_nothing_snaps(value: float) -> None:
    labels = discs((60, 60), 12, [(30, 30)])
    scores = np.full(labels.shape, value, np.float32)
    with pytest.raises(LabelsError, match="no edge within 8 pixels"):
        tools.snap(labels, 1, scores)
    far = soft(discs((60, 60), 28, [(30, 30)]))
    with pytest.raises(LabelsError, match="no edge within 5 pixels"):
        tools.snap(labels, 1, far, reach=5)


def test_an_object_that_fills_everything_has_no_edge() -> None:
    labels = np.ones((20, 20), np.int32)
    with pytest.raises(LabelsError, match="no edge"):
        tools.snap(labels, 1, soft(np.eye(20) > 0))
    with pytest.raises(ValueError, match="scores like"):
        tools.snap(labels, 1, np.zeros((3, 3), np.float32))


# -- copy


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 10**6), label=st.sampled_from([3, 6, 9]))
def test_a_copy_replaces_whole_objects_or_leaves_them(
    shape: tuple[int, ...], seed: int, label: int
) -> None:
    labels, target = scattered(shape, seed), scattered(shape, seed + 1)
    kept = np.random.default_rng(seed).random(shape) < 0.001
    try:
        change = tools.copy_object(labels, target, label, 100, kept)
    except LabelsError:
        return
    after, mask = applied(target, change), labels == label
    np.testing.assert_array_equal(after[kept], target[kept])
    assert mask[after == 100].all()
    assert not ((after == 0) & mask & ~kept).any()
    for other in np.unique(target[target > 0]):
        there = target == other
        replaced = 2 * (there & mask).sum() > there.sum() and not (kept & there).any()
        assert (after == other).sum() == (0 if replaced else there.sum())


def test_half_an_object_is_not_yet_replaced() -> None:
    labels, target = np.zeros((2, 20, 30), np.int32)
    labels[5:15, 5:15] = 1
    target[8:12, 10:20] = 4  # half of it lies in the object
    after = applied(target, tools.copy_object(labels, target, 1, 9))
    assert (after == 4).sum() == 40
    assert (after == 9).sum() == 80
    target[8:12, 19] = 0
    after = applied(target, tools.copy_object(labels, target, 1, 9))
    assert not (after == 4).any()
    assert (after == 9).sum() == 100


def test_a_copy_without_room_is_refused() -> None:
    labels = discs((30, 30), 5, [(15, 15)])
    target = np.full((30, 30), 3, np.int32)
    with pytest.raises(LabelsError, match="no room for object 1"):
        tools.copy_object(labels, target, 1, 2)
    with pytest.raises(LabelsError, match="no room for object 1"):
        tools.copy_object(labels, target * 0, 1, 2, kept=target > 0)
    with pytest.raises(ValueError, match="arrays like"):
        tools.copy_object(labels, target[1:], 1, 2)
