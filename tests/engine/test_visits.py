"""Places that were corrected for the first time: when they begin, what they score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from napari_unet.engine import visits as visits_module
from napari_unet.engine.blocks import everything
from napari_unet.engine.corrections import Corrections
from napari_unet.engine.metrics import count_trusted, evaluate, measures
from napari_unet.engine.visits import MOST_CELLS, SIDE
from tiny import discs

if TYPE_CHECKING:
    from napari_unet.engine.visits import Visits

SHAPE = (2 * SIDE, 3 * SIDE)
CENTRES = [(y, x) for y in range(24, 192, 48) for x in range(24, 288, 48)]
PREDICTED = discs(SHAPE, 12, CENTRES)  # 2 x 2 in each place, none at its edge
FIRST = (slice(0, SIDE), slice(0, SIDE))


def predicted(labels: np.ndarray = PREDICTED, version: int = 1, **kind: int) -> Visits:
    """Return the visits of a layer into which a prediction was put."""
    corrections = Corrections(np.zeros(labels.shape, np.int32), **kind)
    predict(corrections, labels, version)
    return corrections.visits


def predict(corrections: Corrections, labels: np.ndarray, version: int) -> None:
    whole = everything(labels.shape)
    corrections.merge(labels, whole)
    corrections.visits.note_prediction(whole, version)


def paint(visits: Visits, y: int, x: int, value: int, side: int = 8) -> None:
    its = visits._ledger
    its.labels[..., y : y + side, x : x + side] = value
    its.stroke_ends()


def erase(visits: Visits, y: int, x: int) -> None:
    """Erase the object at a point, as the tool does."""
    its = visits._ledger
    label = its.labels[y, x]
    its.labels[its.labels == label] = 0
    its.stroke_ends()


# -- when a visit begins


def test_without_a_prediction_there_is_nothing_to_score() -> None:
    visits = Corrections(PREDICTED).visits
    paint(visits, 20, 20, 0)
    visits._ledger.accept(FIRST)
    assert visits.scored() == ()


def test_the_first_correction_of_a_place_begins_a_visit() -> None:
    visits = predicted(version=4)
    erase(visits, 24, 24)
    (visit,) = visits.scored()
    assert (visit.window, visit.by, visit.version) == (FIRST, "user", 4)
    erase(visits, 72, 72)
    assert len(visits.scored()) == 1
    erase(visits, 24, 120)
    assert len(visits.scored()) == 2


def test_a_place_scores_what_metrics_says_before_and_after() -> None:
    visits = predicted()
    erase(visits, 24, 24)
    paint(visits, 40, 60, 99)
    visits._ledger.accept(FIRST)
    (visit,) = visits.scored()
    found = evaluate(PREDICTED[FIRST], np.asarray(visits._ledger.labels)[FIRST])
    assert visit.score == pytest.approx(0.5 * (found["ap50"] + found["dice"]))
    assert visit.known == 1.0


def test_a_place_that_is_partly_corrected_is_scored_there_only() -> None:
    visits = predicted()
    erase(visits, 24, 24)
    visits._ledger.accept_object(int(visits._ledger.labels[72, 72]), FIRST)
    (visit,) = visits.scored()
    its = visits._ledger.snapshot()
    where = its.supervised()[FIRST]
    found = measures(count_trusted(PREDICTED[FIRST], its.labels[FIRST], where))
    assert visit.score == pytest.approx(0.5 * (found["ap50"] + found["dice"]))
    assert visit.known == pytest.approx(where.mean())
    assert not visit.counts


def test_classes_score_dice() -> None:
    labels = (PREDICTED > 0).astype(np.int32)
    visits = predicted(labels, instances=False)
    paint(visits, 20, 20, 2)
    visits._ledger.accept(FIRST)
    (visit,) = visits.scored()
    total = int((labels[FIRST] > 0).sum())
    assert visit.score == pytest.approx(1 - 64 / total)


def test_a_stroke_in_parts_begins_each_place_once() -> None:
    visits = predicted()
    its = visits._ledger
    its.labels[20:28, 20:28] = 0
    its.checkpoint()
    its.labels[20:28, 110:118] = 0
    its.stroke_ends()
    assert [visit.window[1].start for visit in visits.scored()] == [0, SIDE]
    np.testing.assert_array_equal(visits._open[1].predicted, PREDICTED[:SIDE, 96:192])


def test_undo_takes_a_visit_back_and_redo_brings_it_again() -> None:
    visits = predicted()
    erase(visits, 24, 24)
    visits._ledger.undo()
    assert visits.scored() == ()
    visits._ledger.redo()
    assert len(visits.scored()) == 1
    visits._ledger.undo()
    visits.close()
    assert visits.closed == ()
    erase(visits, 72, 72)
    assert len(visits.scored()) == 1


def test_ignoring_and_predictions_begin_none() -> None:
    visits = predicted()
    visits._ledger.ignore(FIRST)
    visits._ledger.unaccept(FIRST)
    predict(visits._ledger, PREDICTED, 2)
    assert visits._open == []


def test_a_place_touched_from_beside_may_be_visited_later() -> None:
    labels = discs(SHAPE, 12, [(24, 86), (24, 150), (72, 150)])
    visits = predicted(labels)
    erase(visits, 24, 86)  # reaches into the next place
    assert [visit.window for visit in visits.scored()] == [FIRST]
    second = (slice(0, SIDE), slice(SIDE, 2 * SIDE))
    erase(visits, 24, 150)
    visits._ledger.accept(second)
    visit = visits.scored()[1]
    assert (visit.window, visit.score) == (second, pytest.approx((1 / 2 + 2 / 3) / 2))
    assert 0.9 < visit.known < 1


def test_next_may_lead_beside_what_was_corrected() -> None:
    visits = predicted(discs(SHAPE, 12, [(24, 86), (24, 150)]))
    erase(visits, 24, 86)
    second = (slice(0, SIDE), slice(SIDE, 2 * SIDE))
    assert visits.begin(second, "next")


def test_of_a_stroke_over_many_places_each_is_visited_that_it_crosses() -> None:
    visits = predicted(np.tile(PREDICTED, (1, 4)))
    paint(visits, 20, 4, 7000, 24)
    visits._ledger.labels[30:36, 100:900] = 7001
    visits._ledger.stroke_ends()
    starts = [visit.window[1].start for visit in visits.scored()]
    assert starts == [0, *range(96, 865, 96)]


def test_accepting_much_begins_a_bounded_number() -> None:
    visits = predicted(np.tile(PREDICTED, (8, 8)))
    its = visits._ledger
    its.accept(everything(its.shape))
    found = visits.scored()
    assert MOST_CELLS / 4 < len(found) <= MOST_CELLS
    assert {visit.score for visit in found} == {1.0}


def test_a_volume_has_deep_places() -> None:
    volume = discs((20, 100, 100), 8, [(10, 40, 40), (10, 70, 70)])
    visits = predicted(volume, dims=3)
    for plane in (8, 12, 18):
        visits._ledger.labels[plane, 20:28, 20:28] = 77
        visits._ledger.stroke_ends()
    assert [visit.window for visit in visits.scored()] == [
        (slice(0, 16), *FIRST), (slice(16, 20), *FIRST),
    ]  # fmt: skip


def test_planes_of_a_stack_are_places_of_their_own() -> None:
    visits = predicted(np.stack([PREDICTED] * 3))
    visits._ledger.labels[1, 20:28, 20:28] = 0
    visits._ledger.stroke_ends()
    assert [visit.window for visit in visits.scored()] == [(slice(1, 2), *FIRST)]


def test_labels_on_disk_are_visited_too() -> None:
    store = zarr.create_array(
        zarr.storage.MemoryStore(), shape=SHAPE, dtype="int32", chunks=(64, 64)
    )
    visits = Corrections(store).visits
    predict(visits._ledger, PREDICTED, 1)
    its = visits._ledger
    its.labels[12:36, 12:36] = 0
    its.stroke_ends()
    its.accept(FIRST)
    (visit,) = visits.scored()
    now = np.where(np.add.outer(*[np.arange(96)] * 2) < 0, 0, PREDICTED[FIRST])
    now[12:36, 12:36] = 0
    found = evaluate(PREDICTED[FIRST], now)
    assert visit.score == pytest.approx(0.5 * (found["ap50"] + found["dice"]))


# -- places that Next chose


def test_a_correction_where_next_led_is_a_visit_of_next() -> None:
    visits = predicted()
    window = (slice(48, 144), slice(48, 144))
    assert visits.begin(window, "next")
    assert visits.scored() == ()
    erase(visits, 72, 72)
    visits._ledger.accept(window)
    erase(visits, 24, 264)
    assert [(visit.window, visit.by) for visit in visits.scored()] == [
        (window, "next"), ((slice(0, SIDE), slice(192, 288)), "user"),
    ]  # fmt: skip


def test_a_place_corrected_before_is_not_new_for_next() -> None:
    visits = predicted()
    erase(visits, 24, 24)
    visits.close()
    assert not visits.begin(FIRST, "next")
    beside = (slice(0, SIDE), slice(80, 176))
    assert visits.begin(beside, "next")
    assert not Corrections(PREDICTED).visits.begin(FIRST, "next")
    assert Corrections(PREDICTED).visits.begin(FIRST, "next", version=2)


def test_a_place_that_next_shows_again_is_one_visit() -> None:
    visits = predicted()
    visits.begin(FIRST, "next")
    visits.begin(FIRST, "next")
    visits._ledger.accept(FIRST)
    assert [visit.by for visit in visits.scored()] == ["next"]


# -- when it ends


def test_a_new_prediction_ends_a_visit_and_the_place_is_new_no_more() -> None:
    visits = predicted()
    erase(visits, 24, 24)
    (before,) = visits.scored()
    predict(visits._ledger, np.roll(PREDICTED, 7, 0), 2)
    assert visits.closed == (before,)
    erase(visits, 70, 70)
    assert visits.scored() == (before,)


def test_where_next_waits_a_new_prediction_is_the_one_that_is_scored() -> None:
    visits = predicted()
    visits.begin(FIRST, "next")
    predict(visits._ledger, np.zeros_like(PREDICTED), 2)
    paint(visits, 20, 20, 500)
    (visit,) = visits.scored()
    assert (visit.by, visit.version, visit.score) == ("next", 2, 0.0)


def test_after_a_prediction_is_undone_its_version_is_not_to_blame() -> None:
    visits = predicted()
    predict(visits._ledger, np.roll(PREDICTED, 7, 0), 2)
    visits._ledger.undo()
    erase(visits, 24, 24)
    assert [visit.version for visit in visits.scored()] == [1]
    visits._ledger.undo()
    visits._ledger.undo()
    assert visits.predicted == ()
    visits._ledger.redo()
    assert [each.version for each in visits.predicted] == [1]


def test_too_many_open_visits_close_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visits_module, "OPEN_PIXELS", 2 * SIDE**2)
    visits = predicted()
    for x in (24, 120, 216):
        erase(visits, 24, x)
    assert [len(visits.closed), len(visits._open)] == [1, 2]
    assert len(visits.scored()) == 3
    assert visits.closed[0].score == visits.scored()[1].score == 0.0


def test_steps_made_again_from_records_begin_none() -> None:
    visits = predicted()
    visits._ledger.accept(FIRST)
    again = predicted()
    again._ledger.replay(visits._ledger.take_records()[1:])
    assert again.scored() == ()
    erase(again, 72, 72)
    assert again.scored() == ()  # it was corrected before, whoever kept no visit


def test_of_many_visits_only_some_are_scored_at_once_and_none_is_forgotten() -> None:
    ledger = Corrections(np.zeros((1024, 1024), np.int32))
    ledger.visits.note_prediction(everything((1024, 1024)), 1)
    for number in range(5):
        first = 2 * SIDE * number + 20
        ledger.labels[20:50, first : first + 30] = number + 1
        ledger.stroke_ends()
    assert len(ledger.visits.scored(2)) == 2
    assert len(ledger.visits.scored(2)) == 4
    everyone = ledger.visits.scored()
    assert len(everyone) == 5
    assert all(visit.known > 0 for visit in everyone)
