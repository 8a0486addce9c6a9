"""The grid of blocks, and arrays that hold only what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet.engine.blocks import (
    BLOCK,
    SparseArray,
    bounded,
    common,
    everything,
    grid,
    keys_in,
    overlap,
    pieces_of,
    relative,
    shape_of,
    union,
    window_of,
)

if TYPE_CHECKING:
    from napari_unet.engine.blocks import (
        Region,
    )

SHAPE = (3, 2 * BLOCK + 40, BLOCK + 7)
KEYS = [
    (),
    ...,
    slice(None),
    1,
    -1,
    np.int64(2),
    (1, ...),
    (..., 5),
    (..., slice(250, 260), slice(None)),
    (slice(None), 300, 200),
    (0, 300, 200),
    (np.int32(-1), np.array(-3), -2),
    (1, slice(-10, None), slice(None, -10)),
    (slice(1, 2), slice(255, 513), slice(255, 257)),
    (slice(None), slice(None, None, 2), slice(3, None, 5)),
    (slice(None, None, -1), slice(400, 100, -7), 4),
    (slice(2, 1), slice(None), slice(None)),
    (slice(0, 9), slice(500, 9999), slice(300, 400)),
    (slice(None, None, 4), slice(0, 1), slice(256, 255)),
]


def filled(rng: np.random.Generator) -> tuple[SparseArray, np.ndarray]:
    """A sparse array with some written windows, and the same as an array."""
    sparse, dense = SparseArray(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    for _ in range(4):
        window = random_window(rng)
        values = rng.integers(0, 4, shape_of(window), np.uint8)
        sparse[window] = dense[window] = values
    return sparse, dense


def random_window(rng: np.random.Generator) -> Region:
    starts = [int(rng.integers(n)) for n in SHAPE]
    lengths = [int(rng.integers(1, 90)) for _ in SHAPE]
    parts = zip(starts, lengths, SHAPE, strict=True)
    return tuple(slice(at, min(at + length, n)) for at, length, n in parts)


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_every_index_reads_what_an_array_would_give(key: Any) -> None:
    sparse, dense = filled(np.random.default_rng(0))
    found = sparse[key]
    assert np.shape(found) == np.shape(dense[key])
    assert np.asarray(found).dtype == np.uint8
    np.testing.assert_array_equal(found, dense[key])


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_every_index_writes_what_an_array_would_take(key: Any) -> None:
    rng = np.random.default_rng(1)
    sparse, dense = filled(rng)
    for values in (7, rng.integers(0, 3, dense[key].shape, np.uint8)):
        sparse[key] = values
        dense[key] = values
        np.testing.assert_array_equal(sparse[...], dense)


@given(st.integers(0, 2**32 - 1))
def test_random_windows_are_written_and_read_as_in_an_array(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sparse, dense = filled(rng)
    np.testing.assert_array_equal(np.asarray(sparse), dense)
    window = random_window(rng)
    np.testing.assert_array_equal(sparse[window], dense[window])
    held = {tuple(key) for key in sparse.written()}
    for key in keys_in(everything(SHAPE)):
        assert key in held or not dense[window_of(key, SHAPE)].any()


@pytest.mark.parametrize("key", [3, -4, (0, 9999), (0, 0, 0, 0), np.arange(3), "a"])
def test_an_index_that_does_not_fit_is_refused(key: Any) -> None:
    with pytest.raises((IndexError, TypeError, ValueError)):
        SparseArray(SHAPE, np.uint8)[key]


def test_what_is_read_is_a_copy() -> None:
    sparse, dense = filled(np.random.default_rng(2))
    sparse[...][...] = 9
    np.testing.assert_array_equal(sparse[...], dense)


def test_an_array_of_twenty_gigabytes_holds_what_was_written() -> None:
    state = SparseArray((300, 4096, 4096), np.int32)
    assert (state.ndim, state.size, state.nbytes) == (3, 300 * 4096**2, 0)
    state[150, 2000:2040, 2000:2040] = 1
    state[200, :10, :10] = 0  # nothing that would have to be held
    assert state.nbytes == 4 * BLOCK**2
    assert state[:, 2010, 2010].sum() == 1
    assert state[140:160, 2000:2041, 2000:2041].sum() == 40 * 40


def test_the_grid_covers_every_pixel_once() -> None:
    count = np.zeros(SHAPE, int)
    keys = list(keys_in(everything(SHAPE)))
    for key in keys:
        count[window_of(key, SHAPE)] += 1
    assert (count == 1).all()
    assert len(keys) == np.prod(grid(SHAPE))


@given(st.integers(0, 2**32 - 1))
def test_pieces_cover_a_window_once_and_lie_in_one_block_each(seed: int) -> None:
    window = random_window(np.random.default_rng(seed))
    count = np.zeros(SHAPE, int)
    for piece in pieces_of(window, SHAPE):
        count[piece] += 1
        assert len(list(keys_in(piece))) == 1
    assert (count[window] == 1).all()
    assert count.sum() == count[window].size


def test_windows_are_intersected_shifted_and_joined() -> None:
    one, other = (slice(2, 9), slice(0, 5)), (slice(4, 20), slice(3, 4))
    assert common(one, other) == (slice(4, 9), slice(3, 4))
    assert relative(common(one, other), one) == (slice(2, 7), slice(3, 4))
    assert union([one, other]) == (slice(2, 20), slice(0, 5))
    assert union([]) is None
    assert overlap(one, other)
    assert not overlap(one, (slice(9, 12), slice(0, 5)))


def test_a_region_gets_numbers_inside_of_the_shape() -> None:
    region = (slice(None), slice(-5, 99), slice(8, 3))
    assert bounded(region, (4, 10, 10)) == (slice(0, 4), slice(5, 10), slice(8, 8))
