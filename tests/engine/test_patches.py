"""What a step keeps of the pixels that it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet.engine.blocks import BLOCK, keys_in, shape_of
from napari_unet.engine.patches import (
    edited,
    fill,
    joined,
    marking,
    patches_between,
    short,
)

if TYPE_CHECKING:
    from napari_unet.engine.blocks import Region
    from napari_unet.engine.patches import (
        Patch,
    )

SHAPE = (2, BLOCK + 60, BLOCK + 30)
WINDOW = (slice(0, 2), slice(200, 300), slice(240, 270))  # in four blocks a plane


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two contents of the window that differ somewhere."""
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 3, shape_of(WINDOW)).astype(np.int32)
    after = before.copy()
    after[rng.random(after.shape) < rng.random() ** 2] = rng.integers(0, 9)
    return before, after


def turned(array: np.ndarray, patches: tuple[Patch, ...], side: str) -> np.ndarray:
    """The array with one side of patches written into it."""
    result = array.copy()
    for patch in patches:
        content = result[patch.window].copy()
        fill(content, patch, getattr(patch, side).labels)
        result[patch.window] = content
    return result


@given(st.integers(0, 2**32 - 1))
def test_patches_lead_from_before_to_after_and_back(seed: int) -> None:
    whole = np.zeros(SHAPE, np.int32)
    before, after = draw(seed)
    whole[WINDOW] = before
    patches = patches_between(WINDOW, before, after)
    there = turned(whole, patches, "after")
    np.testing.assert_array_equal(there[WINDOW], after)
    np.testing.assert_array_equal(turned(there, patches, "before"), whole)


@given(st.integers(0, 2**32 - 1))
def test_a_patch_holds_changed_pixels_of_one_block(seed: int) -> None:
    before, after = draw(seed)
    patches = patches_between(WINDOW, before, after)
    sizes = [np.prod(shape_of(p.window)) for p in patches if p.places is None]
    sizes += [patch.places.size for patch in patches if patch.places is not None]
    assert sum(sizes) == (before != after).sum()
    assert all(len(list(keys_in(patch.window))) == 1 for patch in patches)


def test_the_last_pixel_of_a_whole_block_has_a_place() -> None:
    window = (slice(BLOCK, 2 * BLOCK), slice(0, BLOCK))
    before = np.zeros((BLOCK, BLOCK), np.int32)
    after = before.copy()
    after[-1, -1] = 5
    (patch,) = patches_between(window, before, after)
    assert patch.places is not None
    assert patch.places.tolist() == [BLOCK**2 - 1]


def test_a_window_that_changed_as_a_whole_needs_no_places() -> None:
    window = (slice(3, 13), slice(7, 17))
    zeros, ones = np.zeros((10, 10), np.int32), np.ones((10, 10), np.int32)
    (patch,) = patches_between(window, zeros, ones)
    assert patch.places is None
    assert patch.nbytes == 8  # one label before, one after
    np.testing.assert_array_equal(
        turned(np.zeros((20, 20)), (patch,), "after").sum(), 100
    )


def test_nothing_changed_gives_no_patch() -> None:
    labels = np.ones((10, 10), np.int32)
    assert patches_between((slice(0, 10), slice(0, 10)), labels, labels.copy()) == ()


def test_marking_keeps_the_states_that_were_there() -> None:
    window: Region = (slice(250, 262), slice(0, 4))
    before = np.tile(np.array([0, 1, 2, 3], np.uint8), (12, 1))
    patches = marking(window, before, np.where(before == 3, before, 4))
    assert len(patches) == 2
    for patch in patches:
        assert patch.before.labels is patch.after.labels is None
        assert patch.before.states is not None
        assert patch.before.states.tolist() == [0, 1, 2] * 6
        assert patch.after.states is not None
        assert patch.after.states.tolist() == [4]


def test_an_edit_keeps_labels_and_states_of_marked_pixels() -> None:
    window: Region = (slice(0, 2), slice(0, 3))
    before, after = np.zeros((2, 3), np.int32), np.full((2, 3), 4, np.int32)
    states = np.array([[0, 0, 2], [0, 0, 2]], np.uint8)
    where = np.array([[0, 1, 1], [0, 0, 0]], bool)
    (patch,) = edited(window, where, (before, after), (states, np.ones_like(states)))
    assert patch.places is not None
    assert patch.places.tolist() == [1, 2]
    content = states.copy()
    fill(content, patch, patch.after.states)
    np.testing.assert_array_equal(content, [[0, 1, 1], [0, 0, 2]])
    fill(content, patch, patch.before.states)
    np.testing.assert_array_equal(content, states)


@pytest.mark.parametrize(("values", "kept"), [([3, 3, 3], [3]), ([3, 3, 4], [3, 3, 4])])
def test_equal_values_are_kept_once(values: list[int], kept: list[int]) -> None:
    assert short(np.array(values)).tolist() == kept


@given(st.integers(0, 2**32 - 1))
def test_joined_patches_do_at_once_what_several_steps_did(seed: int) -> None:
    rng = np.random.default_rng(seed)
    contents = [np.zeros(SHAPE, np.int32)]
    patches: list[Patch] = []
    for number in range(4):
        starts = rng.integers(200, 270, 2).tolist()
        window = (slice(0, 2), *(slice(at, at + 16) for at in starts))
        after = contents[-1].copy()
        after[window][rng.random((2, 16, 16)) < 0.4] = number
        patches += patches_between(window, contents[-1][window], after[window])
        contents.append(after)
    one = joined(patches)
    blocks = [key for patch in one for key in keys_in(patch.window)]
    assert len(set(blocks)) == len(blocks) == len(one)
    there = turned(contents[0], one, "after")
    np.testing.assert_array_equal(there, contents[-1])
    np.testing.assert_array_equal(turned(there, one, "before"), contents[0])


def test_joined_edits_return_to_the_first_states() -> None:
    window: Region = (slice(0, 2), slice(0, 3))
    blank, where = np.zeros((2, 3), np.int32), np.ones((2, 3), bool)
    states = np.array([[0, 2, 3], [0, 0, 0]], np.uint8)
    done = np.ones_like(states)
    first = edited(window, where, (blank, blank + 4), (states, done))
    second = edited(window, where, (blank + 4, blank + 5), (done, done))
    (patch,) = joined([*first, *second])
    content = np.ones_like(states)
    fill(content, patch, patch.before.states)
    np.testing.assert_array_equal(content, states)
    assert (patch.before.labels, patch.after.labels) == ([0], [5])
