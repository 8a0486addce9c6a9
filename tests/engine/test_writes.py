"""Every write is marked, whatever way it is made."""

from __future__ import annotations

import numpy as np
import pytest

from napari_unet.engine.writes import BLOCK, TrackedLabels

SHAPE = (2 * BLOCK + 40, 3 * BLOCK)
LAST = 3 * BLOCK - 1


def inside(window: tuple[slice, ...], place: tuple[int, ...]) -> bool:
    return all(s.start <= p < s.stop for s, p in zip(window, place, strict=True))


def test_nothing_is_written_at_first_and_the_labels_are_a_copy() -> None:
    mine = np.ones(SHAPE, np.uint8)
    tracked = TrackedLabels(mine)
    assert tracked.written() is None
    tracked[0, 0] = 7
    assert tracked.dtype == np.int32
    assert mine[0, 0] == 1


def test_a_write_marks_its_block_alone() -> None:
    tracked = TrackedLabels(np.zeros(SHAPE, np.int32))
    tracked[BLOCK + 3, 5] = 1
    assert tracked.written() == (slice(BLOCK, 2 * BLOCK), slice(0, BLOCK))
    tracked.forget_writes()
    assert tracked.written() is None


def test_the_window_ends_with_the_array() -> None:
    tracked = TrackedLabels(np.zeros(SHAPE, np.int32))
    tracked[-1, -1] = 1
    assert tracked.written() == (
        slice(2 * BLOCK, 2 * BLOCK + 40), slice(2 * BLOCK, 3 * BLOCK),
    )  # fmt: skip


@pytest.mark.parametrize(
    "key",
    [
        (slice(BLOCK - 1, BLOCK + 1), slice(None)),
        (np.array([3, 2 * BLOCK]), np.array([LAST, 4])),
        (np.array([-1, 0]), np.array([-1, 0])),
        (slice(None, None, 2), slice(0, 3)),
        (..., slice(0, 3)),
        (slice(-10, None), slice(-10, None)),
        np.zeros(SHAPE, bool) | (np.arange(3 * BLOCK) > 2 * BLOCK),
        7,
        ([1, 2 * BLOCK], [3, LAST]),
        (np.int64(4), np.array(LAST)),
    ],
)
def test_every_written_pixel_lies_in_the_window(key: object) -> None:
    tracked = TrackedLabels(np.zeros(SHAPE, np.int32))
    tracked[key] = 1
    window = tracked.written()
    assert window is not None
    changed = np.argwhere(tracked.view(np.ndarray))
    assert len(changed)
    assert inside(window, tuple(changed.min(axis=0)))
    assert inside(window, tuple(changed.max(axis=0)))


def test_slices_of_a_stack_are_marked_one_by_one() -> None:
    tracked = TrackedLabels(np.zeros((4, 10, 10), np.int32))
    tracked[2, 3:5, 3:5] = 1
    assert tracked.written() == (slice(2, 3), slice(0, 10), slice(0, 10))


def test_views_and_copies_do_not_track() -> None:
    tracked = TrackedLabels(np.zeros((4, 10, 10), np.int32))
    for other in (tracked[0], tracked.copy(), tracked + 1):
        other[0] = 5
        assert getattr(other, "marked", None) is None
    assert tracked.written() is None


def test_the_owner_is_told_once_it_asked_for_the_next_write() -> None:
    tracked = TrackedLabels(np.zeros((10, 10), np.int32))
    told: list[int] = []
    tracked.on_write_done = lambda: told.append(int(tracked[1, 1]))
    tracked[0, 0] = 1
    assert told == []
    tracked.close_after_write = True
    tracked[1, 1] = 2
    assert told == [2]
