"""Curves and hints, on sequences that were planted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from napari_unet.engine.compare import Truth
from napari_unet.engine.metrics import evaluate
from napari_unet.engine.progress import (
    FEWEST,
    LEAST,
    OVER,
    Visit,
    curve,
    gain,
    hint,
    interval,
    judge,
    summarise,
)

if TYPE_CHECKING:
    from napari_unet.engine.progress import By

HERE = (slice(0, 96), slice(0, 96))
TRUTH = np.zeros((20, 40), np.int32)
TRUTH[2:10, 2:10], TRUTH[2:10, 20:30] = 1, 2
ALL = np.ones(TRUTH.shape, bool)


def visits(
    scores: np.ndarray | list[float], by: By = "user", versions: int = 1,
    known: float = 1.0,
) -> list[Visit]:  # fmt: skip
    """Return visits whose versions follow each other."""
    count = len(scores)
    return [
        Visit(HERE, by, float(i), 1 + i * versions // count, float(score), known)
        for i, score in enumerate(scores)
    ]


def noisy(mean: float, count: int, spread: float = 0.05, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (mean + rng.normal(0, spread, count)).clip(0, 1)


# -- one place


def test_objects_are_judged_by_half_ap_and_half_dice() -> None:
    predicted = np.where(TRUTH == 2, 0, TRUTH)
    score, known = judge(predicted, Truth(TRUTH, ALL), objects=True)
    found = evaluate(predicted, TRUTH)
    assert score == pytest.approx(0.5 * (found["ap50"] + found["dice"]))
    assert known == 1.0


def test_classes_are_judged_by_dice_of_the_same_class() -> None:
    predicted = np.where(TRUTH == 2, 1, TRUTH)
    score, _ = judge(predicted, Truth(TRUTH, ALL), objects=False)
    assert score == pytest.approx(64 / 144)


def test_only_what_is_supervised_is_judged() -> None:
    left = ALL.copy()
    left[:, 15:] = False
    predicted = np.where(TRUTH == 2, 0, TRUTH)
    predicted[15:18, 30:35] = 9
    assert judge(predicted, Truth(TRUTH, left), objects=True) == (1.0, 15 / 40)
    assert judge(predicted, Truth(TRUTH, ~left), objects=True)[0] == 0.0


def test_nothing_in_nothing_says_nothing() -> None:
    empty = np.zeros_like(TRUTH)
    assert judge(empty, Truth(empty, ALL), objects=True) == (0.0, 0.0)
    assert judge(empty, Truth(TRUTH, ALL), objects=True) == (0.0, 1.0)


# -- the curve


def test_the_curve_is_the_running_mean_of_one_kind_of_places() -> None:
    scores = np.linspace(0, 1, 25)
    found = curve(visits(scores) + visits([0.3] * 4, "next"), "user")
    assert found.places.tolist() == list(range(1, 26))
    assert found.means[0] == scores[0]
    assert found.means[-1] == pytest.approx(scores[-OVER:].mean())
    assert ((found.low <= found.means) & (found.means <= found.high)).all()
    assert found.low.min() >= 0
    assert found.high.max() <= 1


def test_places_of_which_little_is_known_are_shown_apart() -> None:
    some = visits([0.8, 0.0, 0.9])
    some[1] = visits([0.1], known=0.1)[0]
    found = curve(some, "user")
    assert found.places.tolist() == [1, 3]
    assert found.partly.tolist() == [[2, 0.1]]
    assert curve([], "next").means.size == 0


def test_the_interval_is_students() -> None:
    scores = [0.2, 0.5, 0.7, 0.6]
    theirs = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    assert interval(scores) == pytest.approx(theirs)
    assert interval([0.9]) == (0.0, 1.0)
    low, high = interval([1.0, 1.0, 1.0])
    assert (high, low) == (1.0, pytest.approx(1 - 4.3027 * LEAST / 3**0.5, abs=1e-4))


def test_the_gain_is_welchs() -> None:
    one, other = noisy(0.5, 6, 0.2), noisy(0.6, 9, 0.2, seed=1)
    theirs = stats.ttest_ind(other, one, equal_var=False).confidence_interval()
    assert gain(one, other) == pytest.approx((other.mean() - one.mean(), theirs.high))


# -- the hint


def test_high_places_that_stay_so_give_a_hint() -> None:
    found = hint(visits([0.9] * 6 + [0.91] * 6))
    assert found == (
        "The last 6 places you chose were 0.91 right before you touched them, the 6 "
        "before 0.90: more strokes gain little; spend them on other images."
    )


def test_worst_places_that_are_high_give_a_stronger_hint() -> None:
    found = hint(visits(noisy(0.6, 20)) + visits(noisy(0.93, 20), "next"))
    assert found.startswith("Even the last 10 places that Next chose were 0.9")


def test_where_next_leads_there_may_be_more_to_gain() -> None:
    found = hint(visits(noisy(0.93, 24)) + visits([0.5] * 6, "next"))
    assert found.endswith("those that Next chose 0.50: spend your strokes where Next "
                          "leads.")  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [12, 18, 24])
def test_while_places_improve_there_is_no_hint(seed: int, count: int) -> None:
    scores = np.linspace(0.4, 0.92, count) + noisy(0, count, 0.07, seed)
    assert hint(visits(scores.clip(0, 1), versions=4)) == ""


def test_low_places_after_several_fine_tunings_ask_for_something_else() -> None:
    flat = visits(noisy(0.4, 24, 0.15), versions=3)
    assert "12 before" in hint(flat)
    assert "3 versions of the model: more strokes alone do not help" in hint(flat)
    assert hint(visits(noisy(0.4, 24, 0.15), versions=2)) == ""
    assert hint(visits(noisy(0.4, 24, 0.15), "next", versions=3)) == ""


def test_too_few_places_give_no_hint() -> None:
    assert hint([]) == ""
    assert hint(visits([0.95] * (2 * FEWEST - 1))) == ""
    assert hint(visits([0.95] * 6) + visits([0.95] * 6, "next")) == ""
    assert hint(visits([0.95] * 24, known=0.3)) == ""


def test_scattered_places_give_no_hint() -> None:
    scores = [1.0, 0.6, 1.0, 0.7, 0.9, 1.0] * 2
    assert hint(visits(scores)) == ""


def test_a_summary_holds_both_curves() -> None:
    found = summarise(visits([0.9] * 3) + visits([0.5] * 2, "next"))
    assert (found.user.means[-1], found.next.means[-1], found.hint) == (
        pytest.approx(0.9), 0.5, "",
    )  # fmt: skip
