"""Two predictions of one place, compared on cases small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_unet.engine.compare import Truth, compare, outlines
from napari_unet.errors import LabelsError

ONE = np.zeros((12, 30), np.int32)
for number, column in enumerate((1, 11, 21), start=1):
    ONE[2:10, column : column + 8] = number
OTHER = np.where(ONE == 3, 0, ONE * 5)  # two of the three, numbered otherwise
OTHER[:, 29] = 77


def everywhere(labels: np.ndarray) -> Truth:
    return Truth(labels, np.ones(labels.shape, bool))


def test_objects_agree_whatever_their_numbers() -> None:
    found = compare((2, 3), ONE, OTHER, objects=True)
    assert (found.counts, found.agreeing) == ((3, 3), 2)
    assert found.summary == (
        "Version 2 finds 3 objects, version 3 finds 3; 2 agree."
    )  # fmt: skip
    assert found.scored is None


def test_a_small_shift_agrees_and_a_large_one_does_not() -> None:
    for shift, agreeing in ((1, 3), (4, 0)):
        found = compare((1, 2), ONE, np.roll(ONE, shift, axis=1), objects=True)
        assert found.agreeing == agreeing


def test_both_are_scored_where_the_user_corrected() -> None:
    supervised = np.zeros(ONE.shape, bool)
    supervised[:, 10:] = True
    found = compare((2, 3), ONE, OTHER, objects=True, truth=Truth(ONE, supervised))
    assert found.scored is not None
    assert (found.scored.objects, found.scored.found) == (2, (2, 1))
    assert found.scored.wrong == (0, 1)
    assert found.scored.scores == (1.0, pytest.approx(1 / 3))
    assert "version 2 finds 2 of 2, version 3 finds 1 of 2." in found.summary


def test_corrected_background_tells_what_is_found_there() -> None:
    empty = everywhere(np.zeros_like(ONE))
    found = compare((2, 3), ONE == 1, OTHER, objects=True, truth=empty)
    assert "no object: version 2 finds 1 object there, version 3 finds 3." in (
        found.summary
    )


def test_nothing_corrected_is_not_scored() -> None:
    nowhere = Truth(ONE, np.zeros(ONE.shape, bool))
    assert compare((1, 2), ONE, OTHER, objects=True, truth=nowhere).scored is None


def test_classes_agree_where_they_are_the_same() -> None:
    other = ONE.copy()
    other[ONE == 3] = 1  # a third of the foreground is of another class
    found = compare((1, 4), ONE, other, objects=False, truth=everywhere(other))
    assert found.dice == pytest.approx(2 / 3)
    assert (found.counts, found.agreeing) == ((192, 192), 128)
    assert found.scored is not None
    assert found.scored.scores == (pytest.approx(2 / 3), 1.0)
    assert found.summary == (
        "Versions 1 and 4 agree with a Dice of 0.67. "
        "On your corrections: Dice 0.67 with version 1, 1.00 with 4."
    )


def test_two_that_find_nothing_agree_perfectly() -> None:
    empty = np.zeros_like(ONE)
    assert compare((1, 2), empty, empty, objects=True).dice == 1.0
    assert compare((1, 2), empty, empty, objects=False).dice == 1.0


@pytest.mark.parametrize("objects", [True, False])
def test_labels_of_other_shapes_are_refused(objects: bool) -> None:
    with pytest.raises(LabelsError, match="shape"):
        compare((1, 2), ONE, ONE[:5], objects=objects)


def test_outlines_lie_inside_and_part_touching_objects() -> None:
    labels = np.zeros((9, 16), np.int32)
    labels[1:8, 1:8], labels[1:8, 8:15] = 4, 9
    edges = outlines(labels, 1, objects=True)
    assert edges.dtype == np.uint8
    assert set(np.unique(edges[labels > 0])) == {0, 1}
    assert not edges[labels == 0].any()
    assert edges[4, [1, 7, 8, 14]].all()
    assert not edges[4, [2, 6, 9, 13]].any()
    assert outlines(labels, 2, objects=True)[4, [1, 2, 6, 7]].all()


def test_outlines_of_a_stack_are_those_of_its_planes() -> None:
    stack = np.stack([ONE, np.zeros_like(ONE), OTHER])
    edges = outlines(stack, 2, objects=False)
    for plane, expected in zip(edges, stack, strict=True):
        np.testing.assert_array_equal(plane, outlines(expected, 2, objects=False))
    assert set(np.unique(edges)) == {0, 1, 2, 3, 5, 10, 77}
