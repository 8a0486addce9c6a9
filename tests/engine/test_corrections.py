"""Nothing the user did is ever overwritten, torn or lost."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from napari_unet.engine import history
from napari_unet.engine.blocks import SparseArray
from napari_unet.engine.corrections import Corrections
from napari_unet.engine.protect import ACCEPTED, EDITED, IGNORED
from napari_unet.errors import LabelsError

SHAPE = (48, 64)
WHOLE = (slice(0, 48), slice(0, 64))


def discs(*places: tuple[int, int, int], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Discs (row, column, radius), numbered from 1."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for number, (r, c, radius) in enumerate(places, start=1):
        labels[(rows - r) ** 2 + (columns - c) ** 2 <= radius**2] = number
    return labels


def stroke(corrections: Corrections, place: tuple[slice, ...], value: int) -> None:
    """Write as napari's tools do, and end the stroke."""
    corrections.labels[place] = value
    corrections.stroke_ends()


def content(corrections: Corrections) -> tuple[np.ndarray, np.ndarray]:
    return np.array(corrections.labels), corrections.state[...]


def assert_same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_prediction_fills_an_empty_layer() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((10, 10, 5), (30, 40, 6)), WHOLE)
    assert set(np.unique(corrections.labels)) == {0, 1, 2}
    assert not corrections.tally()


def test_new_ids_are_above_every_id_ever_used() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((10, 10, 5)), WHOLE)
    stroke(corrections, (slice(40, 44), slice(50, 54)), 70)
    stroke(corrections, (slice(40, 44), slice(50, 54)), 0)
    corrections.merge(discs((30, 20, 5)), WHOLE)
    assert corrections.labels[30, 20] == 71


def test_painted_pixels_survive_predictions() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(5, 15), slice(5, 15)), 9)
    for _ in range(3):
        corrections.merge(discs((10, 10, 8), (30, 40, 6)), WHOLE)
        assert (corrections.labels[5:15, 5:15] == 9).all()


def test_an_erased_object_does_not_come_back() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 20, 6)), WHOLE)
    stroke(corrections, (slice(13, 28), slice(13, 28)), 0)
    corrections.merge(discs((20, 20, 6)), WHOLE)
    assert not corrections.labels.any()


def test_a_touched_object_stays_whole() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 20, 8)), WHOLE)
    before = np.array(corrections.labels)
    stroke(corrections, (slice(19, 22), slice(27, 33)), 1)
    stroke(corrections, (slice(12, 14), slice(18, 22)), 0)
    expected = np.array(corrections.labels)
    corrections.merge(np.zeros(SHAPE, np.int32), WHOLE)
    np.testing.assert_array_equal(corrections.labels, expected)
    assert (before != expected).any()


def test_what_remains_of_a_cut_object_is_protected() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 20, 8)), WHOLE)
    stroke(corrections, (slice(0, 48), slice(20, 22)), 0)
    expected = np.array(corrections.labels)
    corrections.merge(discs((20, 20, 8)), WHOLE)
    np.testing.assert_array_equal(corrections.labels, expected)


def test_an_object_cut_in_pieces_by_an_edit_is_dropped() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(19, 21), slice(0, 64)), 5)
    corrections.merge(discs((20, 20, 8), (40, 50, 5)), WHOLE)
    assert set(np.unique(corrections.labels)) == {0, 5, 6}
    assert corrections.labels[40, 50] == 6


def test_an_object_mostly_under_an_edit_is_dropped() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(10, 22), slice(10, 30)), 5)
    corrections.merge(discs((20, 20, 6)), WHOLE)
    assert set(np.unique(corrections.labels)) == {0, 5}


def test_neighbours_of_an_edit_are_predicted_again() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 10, 6), (20, 23, 6)), WHOLE)
    stroke(corrections, (slice(19, 21), slice(2, 5)), 1)
    corrections.merge(discs((20, 10, 6), (20, 30, 6)), WHOLE)
    assert corrections.labels[20, 30] == 3


def test_objects_outside_the_region_stay_and_those_at_its_edge_are_replaced_whole() -> (
    None
):
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 10, 5), (20, 32, 6), (20, 54, 5)), WHOLE)
    region = (slice(0, 48), slice(0, 32))
    corrections.merge(discs((20, 10, 4), (20, 32, 5), (20, 54, 4)), WHOLE, region)
    labels = np.asarray(corrections.labels)
    assert labels[20, 54] == 3
    assert set(np.unique(labels)) == {0, 3, 4, 5}
    assert (labels == 5).sum() == (discs((20, 32, 5)) > 0).sum()


def test_accepted_objects_stay_and_can_be_released() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 10, 5), (20, 40, 5)), WHOLE)
    assert corrections.accept((slice(0, 48), slice(0, 20)))
    corrections.merge(np.zeros(SHAPE, np.int32), WHOLE)
    assert set(np.unique(corrections.labels)) == {0, 1}
    assert corrections.unaccept(WHOLE)
    corrections.merge(np.zeros(SHAPE, np.int32), WHOLE)
    assert not corrections.labels.any()


def test_accepting_does_not_turn_edits_into_accepted() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(5, 9), slice(5, 9)), 3)
    corrections.accept(WHOLE)
    assert (corrections.state[5:9, 5:9] == EDITED).all()
    assert corrections.state[40, 40] == ACCEPTED
    assert not corrections.accept(WHOLE)


def test_one_object_can_be_accepted() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 10, 5), (20, 40, 5)), WHOLE)
    corrections.accept_object(2, WHOLE)
    corrections.merge(np.zeros(SHAPE, np.int32), WHOLE)
    assert set(np.unique(corrections.labels)) == {0, 2}


def test_what_the_user_brought_is_protected() -> None:
    mine = discs((20, 20, 6))
    corrections = Corrections(mine)
    corrections.accept_existing()
    corrections.merge(discs((22, 22, 6)), WHOLE)
    np.testing.assert_array_equal(corrections.labels, mine)


def test_a_fill_and_a_drag_are_separate_steps() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.stroke_ends()  # napari reports a fill before its write
    corrections.labels[5:9, 5:9] = 3
    corrections.labels[20, 20] = 4  # a drag: two writes, then the report
    corrections.labels[20, 21] = 4
    corrections.stroke_ends()
    corrections.undo()
    assert not corrections.labels[20, 20:22].any()
    assert (corrections.labels[5:9, 5:9] == 3).all()
    corrections.undo()
    assert not corrections.labels.any()


def test_undo_reaches_across_a_prediction() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    states = [content(corrections)]
    stroke(corrections, (slice(5, 9), slice(5, 9)), 3)
    states.append(content(corrections))
    corrections.merge(discs((30, 40, 6)), WHOLE)
    states.append(content(corrections))
    corrections.undo()
    assert_same(content(corrections), states[1])
    corrections.undo()
    assert_same(content(corrections), states[0])
    corrections.redo()
    corrections.redo()
    assert_same(content(corrections), states[2])
    assert corrections.redo() is None


def test_writes_around_the_array_are_found() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.labels.view(np.ndarray)[10:14, 10:14] = 8
    corrections.merge(discs((12, 12, 5)), WHOLE)
    assert (corrections.labels[10:14, 10:14] == 8).all()


def test_writes_around_the_array_make_a_prediction_stale() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    merged = corrections.snapshot().merge(discs((12, 12, 5)), WHOLE)
    corrections.labels.view(np.ndarray)[10:14, 10:14] = 8
    assert corrections.is_stale(merged)
    with pytest.raises(ValueError, match="changed since"):
        corrections.put(merged)
    corrections.merge(discs((12, 12, 5)), WHOLE)
    assert (corrections.labels[10:14, 10:14] == 8).all()


@pytest.mark.parametrize("way", ["undo", "redo"])
def test_undo_and_redo_lose_nothing_that_was_written_around_the_array(way: str) -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(5, 20), slice(5, 20)), 3)
    if way == "redo":
        corrections.undo()
    before = np.array(corrections.labels)
    corrections.labels.view(np.ndarray)[10:14, 10:14] = 8
    getattr(corrections, way)()
    if way == "redo":  # what was written came after the undone step
        assert (corrections.labels[10:14, 10:14] == 8).all()
        corrections.undo()
    np.testing.assert_array_equal(corrections.labels, before)
    corrections.redo()
    assert (corrections.labels[10:14, 10:14] == 8).all()


def test_a_slider_replaces_its_own_last_step() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(5, 9), slice(5, 9)), 3)
    earlier = content(corrections)
    for radius in (4, 5, 6):
        merged = corrections.snapshot().merge(discs((30, 40, radius)), WHOLE)
        corrections.put(merged, since=-inf)
    corrections.undo()
    assert_same(content(corrections), earlier)


def test_undo_returns_to_before_a_slider_whatever_memory_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "LIMIT", 6000)  # bytes
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(5, 9), slice(5, 9)), 3)
    corrections.accept((slice(0, 10), slice(0, 10)))
    earlier = content(corrections)
    for number in range(40):
        places = (20 + number % 7, 40, 4 + number % 3), (36, 12, 3 + number % 5)
        merged = corrections.snapshot().merge(discs(*places), WHOLE)
        corrections.put(merged, since=-inf)
        if number % 10 == 5:
            latest = content(corrections)
            corrections.undo()
            assert_same(content(corrections), earlier)
            corrections.redo()
            assert_same(content(corrections), latest)
    assert sum(step.nbytes for step in corrections.history.to_undo()) <= 12_000
    corrections.undo()
    assert_same(content(corrections), earlier)
    corrections.undo()
    corrections.undo()
    assert not corrections.labels.any()


def test_a_stale_merge_is_refused() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    merged = corrections.snapshot().merge(discs((30, 40, 6)), WHOLE)
    stroke(corrections, (slice(5, 9), slice(5, 9)), 3)
    assert corrections.is_stale(merged)
    with pytest.raises(ValueError, match="changed since"):
        corrections.put(merged)


def test_an_object_that_is_predicted_again_keeps_its_number() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((10, 10, 5), (30, 40, 6), (30, 10, 4)), WHOLE)
    before = np.array(corrections.labels)
    assert (
        corrections.merge(discs((30, 10, 4), (10, 10, 5), (30, 40, 6)), WHOLE) is None
    )
    changed = corrections.merge(discs((10, 10, 5), (30, 40, 7), (30, 10, 4)), WHOLE)
    assert changed is not None
    after = np.array(corrections.labels)
    np.testing.assert_array_equal(after[:20], before[:20])
    assert after[30, 10] == before[30, 10]
    assert after[30, 40] == 4  # it grew: another object
    assert corrections.next_label == 5


def bars(shape: tuple[int, int] = (1024, 1024)) -> Corrections:
    """Labels with one long object, one in two pieces, and small ones around."""
    labels = discs((500, 500, 8), (500, 560, 8), shape=shape)
    labels[520:524, 100:900] = 3
    labels[480:490, 505:540] = 4
    labels[900:910, 900:910] = 4
    return Corrections(labels)


def test_a_snapshot_is_as_small_as_what_is_asked_for() -> None:
    window = (slice(480, 520), slice(480, 520))
    small = bars().snapshot(window).window
    assert all(s.stop - s.start <= 40 + 2 * 66 for s in small)


def test_a_snapshot_holds_the_whole_of_a_long_object() -> None:
    corrections = bars()
    window = (slice(500, 530), slice(480, 520))
    snapshot = corrections.snapshot(window)
    assert (snapshot.labels == 3).sum() == 4 * 800
    corrections.merge(np.zeros((30, 40), np.int32), window)
    assert not (corrections.labels == 3).any()
    assert (corrections.labels == 2).any()


def test_a_piece_far_from_what_is_asked_for_stays() -> None:
    corrections = bars()
    corrections.merge(np.zeros((40, 40), np.int32), (slice(470, 510), slice(500, 540)))
    assert not corrections.labels[480:490, 505:540].any()
    assert (corrections.labels[900:910, 900:910] == 4).all()


def test_an_object_that_is_marked_far_away_is_protected_here_too() -> None:
    corrections = bars()
    corrections.accept((slice(900, 905), slice(900, 905)))
    window = (slice(470, 510), slice(480, 520))
    snapshot = corrections.snapshot(window)
    here = snapshot.labels == 4
    assert here.any()
    assert snapshot.protected()[here].all()
    assert snapshot.supervised()[here].all()
    corrections.merge(np.zeros((40, 40), np.int32), window)
    assert (corrections.labels[480:490, 505:540] == 4).all()
    corrections.ignore((slice(900, 905), slice(900, 905)))
    snapshot = corrections.snapshot(window)
    assert snapshot.protected()[snapshot.labels == 4].all()
    assert not snapshot.supervised().any()


def test_numbers_that_end_are_told_of_before_they_turn_negative() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(5, 9), slice(5, 9)), 2**31 - 2)
    corrections.merge(discs((30, 40, 6)), WHOLE)
    assert corrections.labels[30, 40] == 2**31 - 1
    with pytest.raises(LabelsError, match="go up to 2147483647"):
        corrections.merge(discs((30, 40, 7)), WHOLE)
    assert corrections.labels[30, 40] == 2**31 - 1


def test_writes_far_apart_mark_what_is_beside_each_of_them() -> None:
    corrections = Corrections(np.stack([discs((20, 20, 8)), 2 * discs((20, 40, 8))]))
    corrections.labels[0, 19:22, 20:30] = 0
    corrections.labels[1, 19:22, 40:50] = 0
    corrections.stroke_ends()
    for label, column in ((1, 22), (2, 42)):
        assert corrections.labels[label - 1, 18, column] == label
        assert corrections.state[label - 1, 18, column] == EDITED


def test_two_writes_far_apart_are_one_step_and_what_is_between_is_not_read() -> None:
    class Store:
        """Zeros that remember how much of them was read at once."""

        shape, largest = (300, 4096, 4096), 0

        def __init__(self) -> None:
            self.held = SparseArray(self.shape, np.int32)

        def __getitem__(self, key: object) -> np.ndarray:
            found: np.ndarray = self.held[key]
            self.largest = max(self.largest, found.size)
            return found

        def __setitem__(self, key: object, value: object) -> None:
            self.held[key] = value

    store = Store()
    corrections = Corrections(store, dims=3, highest=0)
    corrections.labels[0, :9, :9] = 1
    corrections.labels[299, 4000:4010, 4000:4010] = 2
    corrections.stroke_ends()
    assert corrections.tally().edited_objects == 2
    corrections.undo()
    assert not corrections.tally()
    assert store.largest <= 5 * 256**2


def test_classes_are_merged_pixel_by_pixel() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32), instances=False)
    stroke(corrections, (slice(5, 9), slice(5, 9)), 2)
    corrections.merge(np.ones(SHAPE, np.int32), WHOLE)
    assert (corrections.labels == 2).sum() == 16
    assert (corrections.labels == 1).sum() == corrections.labels.size - 16
    assert (corrections.state[...] == EDITED).sum() == 16


@pytest.mark.parametrize("shape", [(3, 48, 64), (2, 3, 32, 40)])
def test_stacks_are_corrected_slice_by_slice(shape: tuple[int, ...]) -> None:
    corrections = Corrections(np.zeros(shape, np.int32))
    first = (0,) * (len(shape) - 2)
    everything = tuple(slice(0, n) for n in shape)
    stroke(corrections, (*first, slice(5, 15), slice(5, 15)), 9)
    predicted = np.zeros(shape, np.int32)
    predicted[..., 3:20, 3:20] = np.arange(1, 1 + int(np.prod(shape[:-2]))).reshape(
        *shape[:-2], 1, 1
    )
    corrections.merge(predicted, everything)
    labels = np.asarray(corrections.labels)
    assert (labels[first][5:15, 5:15] == 9).all()
    assert labels[(*first[:-1], 1)][10, 10] > 9


def test_volumes_are_corrected_as_volumes() -> None:
    corrections = Corrections(np.zeros((12, 32, 32), np.int32), dims=3)
    ball = np.zeros((12, 32, 32), np.int32)
    ball[2:10, 5:15, 5:15] = 1
    everything = tuple(slice(0, n) for n in ball.shape)
    corrections.merge(ball, everything)
    stroke(corrections, (4, slice(5, 8), slice(5, 8)), 0)
    expected = np.array(corrections.labels)
    corrections.merge(np.roll(ball, 1, axis=1), everything)
    assert (np.asarray(corrections.labels)[expected == 1] == 1).all()


def test_an_edit_that_was_ignored_is_an_edit_again() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(5, 9), slice(5, 9)), 3)
    before = content(corrections)
    assert corrections.ignore(WHOLE)
    assert not corrections.snapshot().supervised().any()
    assert corrections.unaccept(WHOLE)
    assert_same(content(corrections), before)


def test_what_is_left_of_an_object_painted_over_stays_and_is_not_learnt() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 20, 9)), WHOLE)
    stroke(corrections, (slice(8, 34), slice(22, 40)), 2)
    expected = np.array(corrections.labels)
    corrections.merge(np.zeros(SHAPE, np.int32), WHOLE)
    np.testing.assert_array_equal(corrections.labels, expected)
    learnt = corrections.snapshot().supervised()
    assert learnt[expected == 2].all()
    assert not learnt[expected == 1].any()
    assert (corrections.state[8:34, 21][expected[8:34, 21] == 1] == IGNORED).all()
    assert corrections.tally().edited_objects == 1


@pytest.mark.parametrize("way", ["eraser", "brush", "accept"])
def test_a_rest_that_is_touched_itself_is_learnt(way: str) -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 20, 9)), WHOLE)
    stroke(corrections, (slice(8, 34), slice(22, 40)), 2)
    if way == "accept":
        corrections.accept_object(1, WHOLE)
    else:
        stroke(corrections, (slice(19, 22), slice(9, 13)), int(way == "brush"))
    rest = np.array(corrections.labels) == 1
    learnt = corrections.snapshot().supervised()
    assert learnt[rest & (corrections.state[...] < IGNORED)].all()
    assert learnt[rest].mean() > 0.6


def test_halves_of_a_split_are_both_learnt() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 20, 9)), WHOLE)
    halves = np.array(corrections.labels)
    halves[:, 20:][halves[:, 20:] == 1] = 2
    assert corrections.edit("split", WHOLE, halves)
    assert corrections.snapshot().supervised()[halves > 0].all()


def test_a_rest_is_undone_with_the_stroke() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 20, 9)), WHOLE)
    before = content(corrections)
    stroke(corrections, (slice(8, 34), slice(22, 40)), 2)
    after = content(corrections)
    corrections.undo()
    assert_same(content(corrections), before)
    corrections.redo()
    assert_same(content(corrections), after)


def test_an_object_mostly_beyond_an_accepted_view_is_learnt_no_further() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    corrections.merge(discs((20, 20, 6), (20, 40, 6)), WHOLE)
    labels = np.array(corrections.labels)
    view = (slice(8, 32), slice(12, 37))  # a fifth of the second
    corrections.accept(view)
    snapshot = corrections.snapshot()
    learnt = snapshot.supervised()
    assert learnt[view].all()
    assert not learnt[:, 37:].any()
    assert snapshot.protected()[labels == 2].all()
    stroke(corrections, (slice(19, 22), slice(46, 48)), 2)
    assert corrections.snapshot().supervised()[labels == 2].all()
