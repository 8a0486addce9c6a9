"""How much is corrected, counted anew only where something changed."""

from __future__ import annotations

import numpy as np

from napari_unet.engine.blocks import BLOCK, SparseArray
from napari_unet.engine.protect import ACCEPTED, EDITED, IGNORED
from napari_unet.engine.tally import Tallies, Tally
from napari_unet.engine.writes import TrackedLabels

SHAPE = (2, 2 * BLOCK, BLOCK + 50)
CORNER = (slice(0, 1), slice(0, 10), slice(0, 10))


def ledger() -> tuple[TrackedLabels, SparseArray, Tallies]:
    labels, state = TrackedLabels(np.zeros(SHAPE, np.int32)), SparseArray(SHAPE, "u1")
    return labels, state, Tallies(labels, state)


def test_nothing_marked_is_nothing_to_learn_from() -> None:
    labels, _, tallies = ledger()
    labels[...] = 4
    assert tallies.total() == Tally(0, 0, 0, 0)
    assert not tallies.total()


def test_an_object_in_several_blocks_counts_once() -> None:
    labels, state, tallies = ledger()
    window = (slice(0, 2), slice(250, 262), slice(250, 262))
    labels[window], state[window] = 7, EDITED
    assert tallies.total() == Tally(1, 2 * 12 * 12, 0, 0)


def test_states_are_counted_apart_and_background_is_no_object() -> None:
    labels, state, tallies = ledger()
    labels[0, :4], labels[0, 4:8] = 1, 2
    state[CORNER] = ACCEPTED
    state[0, 0, :10] = EDITED
    state[0, 9, :10] = IGNORED
    assert tallies.total() == Tally(1, 10, 2, 80, 10)


def test_what_is_ignored_alone_is_nothing_to_learn_from() -> None:
    _, state, tallies = ledger()
    state[CORNER] = IGNORED
    assert tallies.total().ignored_pixels == 100
    assert not tallies.total()


def test_only_forgotten_blocks_are_counted_anew() -> None:
    labels, state, tallies = ledger()
    far = (slice(1, 2), slice(300, 310), slice(0, 10))
    state[CORNER] = state[far] = EDITED
    tallies.total()
    state[CORNER] = state[far] = ACCEPTED
    labels[CORNER] = 3
    tallies.forget(CORNER)
    assert tallies.total() == Tally(0, 100, 1, 100)
    tallies.forget((slice(0, 2), *far[1:]))
    assert tallies.total() == Tally(0, 0, 1, 200)
