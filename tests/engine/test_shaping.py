"""Lines become pixels that touch with faces; seeds become sides that fill a mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet.engine.shaping import (
    largest_pieces,
    longer,
    parts_beside,
    path_of,
    spread,
)


@pytest.mark.parametrize("shape", [(20, 30), (5, 20, 30)])
@given(st.data())
def test_a_path_inside_is_connected_through_faces_and_near_its_line(
    shape: tuple[int, ...], data: st.DataObject
) -> None:
    points = st.tuples(*(st.floats(0, n - 1) for n in shape))
    line = np.array(data.draw(st.lists(points, min_size=2, max_size=5)))
    path = path_of(line, shape)
    assert (np.abs(np.diff(path, axis=0)).sum(axis=1) == 1).all()
    np.testing.assert_array_equal(path[[0, -1]], np.rint(line[[0, -1]]))


@given(st.lists(st.tuples(*[st.floats(-1e12, 1e12)] * 2), min_size=2, max_size=4))
def test_a_path_stays_in_the_array_however_far_its_line_goes(line: list) -> None:
    path = path_of(np.array(line), (20, 30))
    assert ((path >= 0) & (path < (20, 30))).all()
    assert len(path) < 300


def test_a_longer_line_goes_on_in_its_direction() -> None:
    line = longer(np.array([[5.0, 5.0], [5.0, 5.0], [5.0, 9.0]]), 2)
    np.testing.assert_array_equal(line[[0, -1]], [[5, 3], [5, 11]])
    np.testing.assert_array_equal(longer(np.ones((2, 2)), 2), np.ones((4, 2)))


def test_parts_do_not_number_the_background() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        mask = rng.random((17, 19)) < 0.5
        cut = np.zeros(mask.shape, bool)
        cut[:, int(rng.integers(19))] = True
        parts = parts_beside(mask, cut)
        assert not parts[~mask | cut].any()
        assert (largest_pieces(parts) == (parts > 0)).all()


def test_pieces_without_a_seed_go_as_a_whole_to_the_nearest() -> None:
    mask = np.zeros((10, 30), bool)
    mask[2:8, 1:8] = mask[2:8, 20:28] = mask[4:6, 10:19] = True
    seeds = np.zeros(mask.shape, np.int32)
    seeds[4, 3], seeds[4, 24] = 1, 2
    sides = spread(seeds, mask)
    assert (sides[mask] > 0).all()
    assert (sides[4:6, 10:19] == 2).all()
