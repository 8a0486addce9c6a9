"""What is protected, and how a prediction is put under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_unet.engine.patches import fill
from napari_unet.engine.protect import (
    ACCEPTED,
    EDITED,
    IGNORED,
    RIM,
    Snapshot,
    members,
    near,
    pieces,
    rim,
)
from tiny import discs

if TYPE_CHECKING:
    from napari_unet.engine.protect import Merged

SHAPE = (40, 60)


def snapshot(labels: np.ndarray, state: np.ndarray, **fields: object) -> Snapshot:
    settings = {"dims": 2, "instances": True, "first": 100, "revision": 0, **fields}
    plane = tuple(slice(0, n) for n in labels.shape)
    return Snapshot(plane, labels, state, **settings)  # type: ignore[arg-type]


def placed(labels: np.ndarray, merged: Merged) -> np.ndarray:
    """The labels with what a merge changes."""
    result = labels.copy()
    for patch in merged.patches:
        content = result[patch.window].copy()
        fill(content, patch, patch.after.labels)
        result[patch.window] = content
    return result


def test_one_marked_pixel_protects_its_object_and_the_rim() -> None:
    labels = discs(SHAPE, 5, [(15, 15), (15, 45)])
    state = np.zeros(SHAPE, np.uint8)
    state[15, 15] = 1
    protected = snapshot(labels, state).protected()
    assert protected[labels == 1].all()
    assert not protected[labels == 2].any()
    assert protected[15, 20 + RIM - 1]
    assert not protected[15, 20 + RIM + 1]


def test_the_rim_spares_neighbouring_objects() -> None:
    labels = np.zeros(SHAPE, np.int32)
    labels[10:20, 10:20], labels[10:20, 20:30] = 1, 2
    state = (labels == 1).astype(np.uint8)
    protected = snapshot(labels, state).protected()
    assert not protected[labels == 2].any()


def test_of_classes_only_the_marked_pixels_are_protected() -> None:
    labels = np.ones(SHAPE, np.int32)
    state = np.zeros(SHAPE, np.uint8)
    state[3:5, 3:5] = 1
    protected = snapshot(labels, state, instances=False).protected()
    np.testing.assert_array_equal(protected, state > 0)


def test_objects_get_the_ids_from_first_on() -> None:
    empty = np.zeros(SHAPE, np.int32)
    merged = snapshot(empty, empty.astype(np.uint8)).merge(
        discs(SHAPE, 5, [(10, 10), (20, 40)]) * 7, (slice(0, 40), slice(0, 60))
    )
    np.testing.assert_array_equal(np.unique(placed(empty, merged)), [0, 100, 101])
    assert merged.highest == 101


def test_a_window_and_a_plane_may_start_anywhere() -> None:
    labels = np.zeros((1, 40, 60), np.int32)
    plane = (slice(3, 4), slice(0, 40), slice(0, 60))
    shot = Snapshot(plane, labels, labels.astype(np.uint8), 2, True, 1, 0)
    window = (slice(3, 4), slice(10, 30), slice(20, 40))
    merged = shot.merge(discs((20, 20), 4, [(10, 10)])[np.newaxis], window)
    stack = placed(np.zeros((5, 40, 60), np.int32), merged)
    assert stack[3, 20, 30] == 1
    assert (stack > 0).sum() == (discs((20, 20), 4, [(10, 10)]) > 0).sum()


def test_exactly_half_of_an_object_is_enough_to_stay() -> None:
    labels = np.zeros(SHAPE, np.int32)
    state = np.zeros(SHAPE, np.uint8)
    labels[10:14, 10:14], state[10:14, 10:14] = 1, 1
    shot = snapshot(labels, state, instances=True)
    covered = shot.protected()
    predicted = np.zeros(SHAPE, np.int32)
    row = np.flatnonzero(covered[12])
    predicted[12, row[-3] : row[-3] + 6] = 1  # three pixels protected, three free
    whole = (slice(0, 40), slice(0, 60))
    assert (placed(labels, shot.merge(predicted, whole)) == 100).sum() == 3
    predicted[12, row[-3] - 1] = 1  # now four of seven
    assert not (placed(labels, shot.merge(predicted, whole)) == 100).any()


def test_members_leave_out_background_and_unknown_ids() -> None:
    labels = np.array([[0, 1, 2], [3, 2, 0]])
    np.testing.assert_array_equal(
        members(labels, np.array([0, 2, 99])), [[0, 0, 1], [0, 1, 0]]
    )
    huge = np.array([0, 2**31 - 1, 5])
    np.testing.assert_array_equal(members(huge, np.array([2**31 - 1])), [0, 1, 0])
    assert not members(labels, np.array([], int)).any()


def test_pieces_are_counted_through_faces_and_per_slice() -> None:
    diagonal = np.array([[1, 0, 2], [0, 1, 2]], np.int32)
    np.testing.assert_array_equal(pieces(diagonal, 3)[1:], [2, 1])
    stack = np.zeros((2, 2, 3, 4, 4), np.int32)
    stack[0, 0, :, 0, 0] = 1
    stack[1, 1, 0, 0, 0] = stack[1, 1, 2, 0, 0] = 2
    np.testing.assert_array_equal(pieces(stack, 3)[1:], [1, 2])


@pytest.mark.parametrize("dims", [2, 3])
def test_rim_and_near_stay_in_their_dimensions(dims: int) -> None:
    mask = np.zeros((7, 9, 9), bool)
    mask[3, 4, 4] = True
    grown = rim(mask, dims)
    assert grown[3, 4, 4 + RIM]
    assert not grown[3, 4, 4]
    assert grown[3 + RIM, 4, 4] == (dims == 3)
    window = (slice(3, 4), slice(0, 1), slice(8, 9))
    wide, inner = near(window, mask.shape, dims)
    assert mask[wide][inner].shape == (1, 1, 1)
    assert wide[1].start == 0
    assert wide[2].stop == 9
    assert (wide[0] == slice(3, 4)) == (dims == 2)


def test_what_is_ignored_is_protected_but_not_learnt_from() -> None:
    labels = discs(SHAPE, 5, [(15, 15), (15, 45)])
    state = np.zeros(SHAPE, np.uint8)
    state[15, 15], state[10:20, 38:46] = EDITED, IGNORED
    shot = snapshot(labels, state)
    assert shot.protected()[labels == 2].all()
    assert not shot.supervised()[labels == 2].any()
    assert shot.supervised()[labels == 1].all()


def test_an_ignored_part_of_an_accepted_object_is_not_learnt_from() -> None:
    labels = discs(SHAPE, 5, [(15, 15)])
    state = np.zeros(SHAPE, np.uint8)
    state[labels == 1] = ACCEPTED
    state[:15] = IGNORED
    supervised = snapshot(labels, state).supervised()
    assert not supervised[:15].any()
    assert supervised[15:][labels[15:] == 1].all()
