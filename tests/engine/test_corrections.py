"""Nothing the user did is ever overwritten, torn or lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_unet.engine.corrections import ACCEPTED, EDITED, Corrections

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
    return np.array(corrections.labels), corrections.state.copy()


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


def test_a_slider_replaces_its_own_last_step() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    stroke(corrections, (slice(5, 9), slice(5, 9)), 3)
    earlier = content(corrections)
    for radius in (4, 5, 6):
        merged = corrections.snapshot().merge(discs((30, 40, radius)), WHOLE)
        corrections.put(merged, again=True)
    corrections.undo()
    assert_same(content(corrections), earlier)


def test_a_stale_merge_is_refused() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32))
    merged = corrections.snapshot().merge(discs((30, 40, 6)), WHOLE)
    stroke(corrections, (slice(5, 9), slice(5, 9)), 3)
    assert corrections.is_stale(merged)
    with pytest.raises(ValueError, match="changed since"):
        corrections.put(merged)


def test_classes_are_merged_pixel_by_pixel() -> None:
    corrections = Corrections(np.zeros(SHAPE, np.int32), instances=False)
    stroke(corrections, (slice(5, 9), slice(5, 9)), 2)
    corrections.merge(np.ones(SHAPE, np.int32), WHOLE)
    assert (corrections.labels == 2).sum() == 16
    assert (corrections.labels == 1).sum() == corrections.labels.size - 16
    assert (corrections.state == EDITED).sum() == 16


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


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["paint", "erase", "new", "predict", "region", "accept", "undo", "redo"]
        ),
        st.integers(0, 2**32 - 1),
    ),
    min_size=3,
    max_size=25,
)


@given(ACTIONS)
def test_random_sequences_never_lose_an_edit(
    actions: list[tuple[str, int]],
) -> None:
    Sequence().run(actions)


@pytest.mark.slow
def test_a_thousand_random_sequences_never_lose_an_edit() -> None:
    rng = np.random.default_rng(0)
    names = ["paint", "erase", "new", "predict", "region", "accept", "undo", "redo"]
    for _ in range(1000):
        kinds = rng.choice(names, rng.integers(5, 40))
        Sequence().run([(str(k), int(rng.integers(2**32))) for k in kinds])


class Sequence:
    """Random work on a layer, checked after every action against what was there."""

    def __init__(self) -> None:
        self.corrections = Corrections(np.zeros(SHAPE, np.int32))
        self.states = [content(self.corrections)]
        self.place = 0

    def run(self, actions: list[tuple[str, int]]) -> None:
        for kind, seed in actions:
            rng = np.random.default_rng(seed)
            if kind in ("predict", "region"):
                self.predict(rng, everywhere=kind == "predict")
            elif kind in ("undo", "redo"):
                self.travel(kind)
            elif kind == "accept":
                self.corrections.accept(random_box(rng, 20))
            else:
                self.paint(kind, rng)
            self.remember(kind)

    def remember(self, kind: str) -> None:
        if kind in ("undo", "redo"):
            return
        now = content(self.corrections)
        if any(
            (a != b).any() for a, b in zip(now, self.states[self.place], strict=True)
        ):
            self.states = [*self.states[: self.place + 1], now]
            self.place += 1

    def travel(self, kind: str) -> None:
        step = -1 if kind == "undo" else 1
        moved = getattr(self.corrections, kind)() is not None
        expected = 0 <= self.place + step < len(self.states)
        assert moved == expected
        self.place += step if moved else 0
        assert_same(content(self.corrections), self.states[self.place])

    def paint(self, kind: str, rng: np.random.Generator) -> None:
        labels = self.corrections.labels
        box = random_box(rng, 9)
        present = np.unique(labels)
        value = {
            "erase": 0,
            "paint": int(rng.choice(present)),
            "new": self.corrections.next_label,
        }[kind]
        stroke(self.corrections, box, value)
        assert (np.asarray(labels)[box] == value).all()

    def predict(self, rng: np.random.Generator, *, everywhere: bool) -> None:
        labels, state = content(self.corrections)
        protected = self.corrections.protected()
        used = self.corrections.next_label
        places = [
            (rng.integers(48), rng.integers(64), rng.integers(2, 8)) for _ in range(6)
        ]
        region = None if everywhere else random_box(rng, 30)
        self.corrections.merge(connected(discs(*places)), WHOLE, region)
        after = np.asarray(self.corrections.labels)
        assert (after[state != 0] == labels[state != 0]).all()
        assert (after[protected] == labels[protected]).all()
        np.testing.assert_array_equal(self.corrections.state, state)
        self.check_objects(labels, after, protected, used)

    def check_objects(
        self, before: np.ndarray, after: np.ndarray, protected: np.ndarray, used: int
    ) -> None:
        """Old objects are whole or gone; new ones are in one piece, newly numbered."""
        for label in np.unique(after[after > 0]):
            if label < used:
                np.testing.assert_array_equal(after == label, before == label)
            else:
                assert ndimage.label(after == label)[1] == 1
                assert not protected[after == label].any()
        for label in np.unique(before[protected & (before > 0)]):
            np.testing.assert_array_equal(after == label, before == label)


def random_box(rng: np.random.Generator, side: int) -> tuple[slice, slice]:
    row, column = rng.integers(0, 40), rng.integers(0, 56)
    height, width = rng.integers(1, side, 2)
    return slice(row, min(row + height, 48)), slice(column, min(column + width, 64))


def connected(labels: np.ndarray) -> np.ndarray:
    """Number pieces separately, as a prediction does."""
    pieces = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        found, _ = ndimage.label(labels == label)
        pieces[found > 0] = found[found > 0] + pieces.max()
    return pieces
