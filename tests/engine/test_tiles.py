"""Tile geometry: each pixel once, on the network's grid, with the whole halo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet.engine.tiles import plan, round_up

if TYPE_CHECKING:
    from napari_unet.engine.tiles import Slices


@st.composite
def plans(draw: st.DrawFn) -> tuple[tuple[int, ...], Slices, int, int, int]:
    """Return shape, region, core, halo and stride."""
    shape = draw(st.lists(st.integers(1, 70), min_size=1, max_size=3).map(tuple))
    region = []
    for length in shape:
        start = draw(st.integers(0, length - 1))
        region.append(slice(start, draw(st.integers(start + 1, length))))
    stride = draw(st.sampled_from([1, 2, 4, 8]))
    halo = stride * draw(st.integers(0, 4))
    return shape, tuple(region), draw(st.integers(stride, 90)), halo, stride


@given(plans())
def test_cores_cover_each_pixel_of_the_region_exactly_once(drawn: tuple) -> None:
    shape, region, core, halo, stride = drawn
    times = np.zeros([part.stop - part.start for part in region], int)
    for tile in plan(shape, core, halo, stride, region):
        times[tile.place] += 1
    assert (times == 1).all()


@given(plans())
def test_what_is_kept_of_a_tile_is_what_belongs_in_its_place(drawn: tuple) -> None:
    shape, region, core, halo, stride = drawn
    image = np.arange(np.prod(shape)).reshape(shape)
    for tile in plan(shape, core, halo, stride, region):
        kept = image[tile.read][tile.keep]
        np.testing.assert_array_equal(kept, image[region][tile.place])


@given(plans())
def test_reads_lie_on_the_grid_and_hold_the_halo(drawn: tuple) -> None:
    shape, region, core, halo, stride = drawn
    for tile in plan(shape, core, halo, stride, region):
        for axis, length in enumerate(shape):
            read, keep = tile.read[axis], tile.keep[axis]
            first = (read.start + keep.start) // stride * stride
            last = round_up(read.start + keep.stop, stride)
            assert read.start % stride == 0
            assert read.start <= max(first - halo, 0)
            assert read.stop >= min(last + halo, length)
            assert read.stop == length or read.stop % stride == 0


def test_without_a_region_the_whole_image_is_covered() -> None:
    tiles = plan((5, 9), core=4, halo=2, stride=2)
    assert [tile.place for tile in tiles][:3] == [
        (slice(0, 4), slice(0, 4)),
        (slice(4, 5), slice(0, 4)),
        (slice(0, 4), slice(4, 8)),
    ]
    assert len(tiles) == 6


def test_a_small_region_reads_no_more_than_its_halo() -> None:
    (tile,) = plan((1000,), core=512, halo=8, stride=4, region=(slice(401, 403),))
    assert tile.read == (slice(392, 412),)


def test_a_halo_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="halo 3 is no multiple"):
        plan((10,), core=4, halo=3, stride=2)
