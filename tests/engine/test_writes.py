"""Every write is marked, whatever way it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from napari_unet.engine.blocks import BLOCK, union
from napari_unet.engine.corrections import Corrections
from napari_unet.engine.writes import TrackedLabels, TrackedStore, tracked

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (2 * BLOCK + 40, 3 * BLOCK)
LAST = 3 * BLOCK - 1


def inside(window: tuple[slice, ...], place: tuple[int, ...]) -> bool:
    return all(s.start <= p < s.stop for s, p in zip(window, place, strict=True))


def test_nothing_is_written_at_first_and_the_labels_are_a_copy() -> None:
    mine = np.ones(SHAPE, np.uint8)
    labels = TrackedLabels(mine)
    assert labels.written() == []
    labels[0, 0] = 7
    assert labels.dtype == np.int32
    assert mine[0, 0] == 1


def test_a_write_marks_its_block_alone() -> None:
    labels = TrackedLabels(np.zeros(SHAPE, np.int32))
    labels[BLOCK + 3, 5] = 1
    assert labels.written() == [(slice(BLOCK, 2 * BLOCK), slice(0, BLOCK))]
    labels.settle()
    assert labels.written() == []


def test_the_window_ends_with_the_array() -> None:
    labels = TrackedLabels(np.zeros(SHAPE, np.int32))
    labels[-1, -1] = 1
    assert labels.written() == [
        (slice(2 * BLOCK, 2 * BLOCK + 40), slice(2 * BLOCK, 3 * BLOCK))
    ]


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
    labels = TrackedLabels(np.zeros(SHAPE, np.int32))
    labels[key] = 1
    window = union(labels.written())
    assert window is not None
    changed = np.argwhere(labels.view(np.ndarray))
    assert len(changed)
    assert inside(window, tuple(changed.min(axis=0)))
    assert inside(window, tuple(changed.max(axis=0)))


def test_slices_of_a_stack_are_marked_one_by_one() -> None:
    labels = TrackedLabels(np.zeros((4, 10, 10), np.int32))
    labels[2, 3:5, 3:5] = 1
    assert labels.written() == [(slice(2, 3), slice(0, 10), slice(0, 10))]


def test_views_and_copies_do_not_track() -> None:
    labels = TrackedLabels(np.zeros((4, 10, 10), np.int32))
    for other in (labels[0], labels.copy(), labels + 1):
        other[0] = 5
        assert getattr(other, "marked", None) is None
    assert labels.written() == []


def test_the_owner_is_told_once_it_asked_for_the_next_write() -> None:
    labels = TrackedLabels(np.zeros((10, 10), np.int32))
    told: list[int] = []
    labels.on_write_done = lambda: told.append(int(labels[1, 1]))
    labels[0, 0] = 1
    assert told == []
    labels.close_after_write = True
    labels[1, 1] = 2
    assert told == [2]


def test_labels_on_disk_keep_what_was_there_before_the_first_write(
    tmp_path: Path,
) -> None:
    labels = tracked(store(tmp_path, (2, BLOCK + 10, BLOCK)))
    assert isinstance(labels, TrackedStore)
    labels[1, 5:8, 5:8] = 3
    labels[1, 6:9, 6:9] = 4
    window = (slice(1, 2), slice(0, 20), slice(0, 20))
    assert labels.written() == [(slice(1, 2), slice(0, BLOCK), slice(0, BLOCK))]
    assert not labels.before(window).any()
    assert labels.now(window)[0, 6, 6] == 4
    labels.settle()
    assert labels.before(window)[0, 6, 6] == 4


def test_labels_on_disk_take_arrays_of_places_as_napari_writes_them(
    tmp_path: Path,
) -> None:
    labels = tracked(store(tmp_path, (3, BLOCK + 10, BLOCK)))
    labels[1, np.array([2, BLOCK + 1]), np.array([3, 4])] = 9
    assert len(labels.written()) == 2
    assert labels[1, 2, 3] == 9
    assert labels[1, BLOCK + 1, 4] == 9


def test_twenty_gigabytes_of_labels_cost_what_is_edited(tmp_path: Path) -> None:
    shape = (300, 4096, 4096)  # 20 GB of int32
    corrections = Corrections(store(tmp_path, shape), dims=3, highest=0)
    corrections.labels[150, 2000:2040, 2000:2040] = 1
    corrections.stroke_ends()
    assert corrections.tally().edited_objects == 1
    assert corrections.state.nbytes <= 20 * BLOCK**2
    corrections.undo()
    assert not corrections.labels[150, 2000:2040, 2000:2040].any()


def store(folder: Path, shape: tuple[int, ...]) -> Any:
    chunks = (*(1,) * (len(shape) - 2), BLOCK, BLOCK)
    return zarr.create_array(
        folder / "labels.zarr", shape=shape, chunks=chunks, dtype="int32"
    )
