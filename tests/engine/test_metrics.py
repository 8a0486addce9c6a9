"""Measures of agreement, on cases small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_unet.engine.metrics import (
    count,
    count_trusted,
    evaluate,
    measures,
    mostly,
    pooled,
)
from napari_unet.errors import LabelsError

TRUTH = np.array([[1, 1, 1, 1, 0, 2, 2, 2, 2, 0]])
HALF = np.array([[3, 3, 0, 0, 0, 9, 9, 9, 0, 0]])  # IoU 2/4 and 3/4


def test_perfect_agreement_is_one_whatever_the_numbers() -> None:
    found = evaluate(TRUTH * 7, TRUTH)
    names = ("dice", "iou", "ap50", "ap75", "precision50", "recall50")
    assert {found[name] for name in names} == {1.0}


def test_a_known_case() -> None:
    found = evaluate(HALF, TRUTH)
    assert found["dice"] == pytest.approx(2 * 5 / 13)
    assert found["iou"] == pytest.approx(5 / 8)
    assert found["matched50"] == 1  # an IoU of exactly one half does not count
    assert found["matched75"] == 0
    assert found["ap50"] == pytest.approx(1 / 3)
    assert found["precision50"] == found["recall50"] == 0.5


def test_nothing_found_and_nothing_there() -> None:
    empty = np.zeros_like(TRUTH)
    assert evaluate(empty, empty)["ap50"] == evaluate(empty, empty)["dice"] == 1
    assert evaluate(empty, TRUTH)["ap50"] == evaluate(TRUTH, empty)["ap50"] == 0
    assert evaluate(empty, TRUTH)["recall50"] == 0


def test_exchanging_prediction_and_truth_exchanges_precision_and_recall() -> None:
    predicted = np.where(TRUTH == 2, 0, TRUTH)
    one, other = evaluate(predicted, TRUTH), evaluate(TRUTH, predicted)
    assert one["dice"] == other["dice"]
    assert one["ap50"] == other["ap50"]
    assert (one["precision50"], one["recall50"]) == (1, 0.5)
    assert (other["precision50"], other["recall50"]) == (0.5, 1)


def test_counts_of_several_images_are_added_before_dividing() -> None:
    counts = [count(TRUTH, TRUTH), count(HALF, TRUTH)]
    assert pooled(counts)["true"] == 4
    assert measures(pooled(counts))["ap50"] == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("predicted", "words"),
    [
        (TRUTH[:, :5], r"shape \(1, 5\), the truth \(1, 10\)"),
        (TRUTH / 2, "float64"),
        (-TRUTH, "go down to -2"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(
    predicted: np.ndarray, words: str
) -> None:
    with pytest.raises(LabelsError, match=words):
        evaluate(predicted, TRUTH)


def test_a_truth_of_fractions_is_refused() -> None:
    with pytest.raises(LabelsError, match="float64"):
        evaluate(TRUTH, TRUTH / 2)


def test_only_objects_mostly_in_trusted_pixels_count() -> None:
    labels = np.array([[1, 1, 1, 0, 2, 2, 2]])
    trusted = np.array([[True, True, False, False, False, False, True]])
    np.testing.assert_array_equal(mostly(labels, trusted), [[1, 1, 1, 0, 0, 0, 0]])
    assert mostly(labels, np.ones_like(trusted)) is labels


def square(low: int, high: int, *, number: int = 1) -> np.ndarray:
    labels = np.zeros((40, 40), np.int32)
    labels[low:high, low:high] = number
    return labels


def test_an_outline_that_was_accepted_need_not_be_drawn_as_exactly() -> None:
    truth, everywhere = square(10, 22), np.ones((40, 40), bool)
    for drawn in (square(10, 22), square(11, 21), square(9, 23)):  # IoU 1, .69, .73
        found = count_trusted(drawn, truth, everywhere, everywhere)
        assert measures(found) == dict.fromkeys(measures(found), 1.0)
    exact = count_trusted(square(11, 21), truth, everywhere, np.zeros((40, 40), bool))
    assert exact == count_trusted(square(11, 21), truth, everywhere)
    assert measures(exact)["ap75"] == 0
    assert measures(exact)["dice"] < 0.9


def test_what_was_accepted_and_is_missed_or_too_much_still_counts() -> None:
    truth, everywhere = square(10, 22), np.ones((40, 40), bool)
    missed = measures(count_trusted(truth * 0, truth, everywhere, everywhere))
    assert missed["dice"] == missed["ap50"] == missed["ap75"] == 0
    more = count_trusted(
        truth + square(25, 35, number=2), truth, everywhere, everywhere
    )
    assert more["predicted"] == 2
    assert measures(more)["dice"] < 0.8
    half = measures(count_trusted(square(10, 17), truth, everywhere, everywhere))
    assert half["ap75"] == half["ap50"] == 0
    edited = square(10, 22) > 0  # an object painted in what was accepted
    drawn = count_trusted(square(11, 21), truth, everywhere, everywhere & ~edited)
    assert measures(drawn)["ap75"] == 0
    assert measures(drawn)["dice"] < 0.9
