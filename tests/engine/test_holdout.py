"""What is held out, as masks and in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_unet.engine.blocks import everything
from napari_unet.engine.builder import Builder
from napari_unet.engine.corrections import Corrections
from napari_unet.engine.holdout import (
    BLOCK,
    HELD_OUT,
    LEARNS,
    SLICES,
    Roles,
    Sites,
    blocks_with,
    grid,
    in_blocks,
    in_pixels,
    needed,
    radii,
    reach_of,
    role_masks,
    unassigned,
)
from napari_unet.engine.model import new_model
from napari_unet.engine.sites import Fresh, give_roles
from napari_unet.engine.spec import ModelSpec
from tiny import tiny_model

INFINITE = float("inf")


def roles_at(shape: tuple[int, ...], **places: list[tuple[int, ...]]) -> Roles:
    """Return roles at some blocks, such as learns=[(0, 1)]."""
    side = grid(shape)
    cells = np.zeros(side, np.uint8)
    for name, role in (("learns", LEARNS), ("held_out", HELD_OUT)):
        for place in places.get(name, []):
            cells[place] = role
    window = tuple(slice(0, n) for n in side)
    return Roles().given(window, cells, side[-2:])  # type: ignore[arg-type]  # of two


def masks(
    roles: Roles, supervised: np.ndarray, reach: float = 9, dims: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    return role_masks(roles, supervised, everything(supervised.shape), dims, reach)


# -- the grid


@given(st.data())
def test_blocks_and_pixels_agree_at_any_place(data: st.DataObject) -> None:
    def part() -> slice:
        start = data.draw(st.integers(0, 90))
        return slice(start, start + data.draw(st.integers(1, 90)))

    window = (slice(3, 5), part(), part())
    shape = tuple(s.stop - s.start for s in window)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = rng.random(shape) < 0.003
    marked = blocks_with(mask, window)
    place = in_blocks(window)
    assert marked.shape == tuple(s.stop - s.start for s in place)
    for z, y, x in np.argwhere(mask):
        block = (z, (y + window[1].start) // BLOCK, (x + window[2].start) // BLOCK)
        at = (block[0], block[1] - place[1].start, block[2] - place[2].start)
        assert marked[at]
    spread = in_pixels(marked, window)
    assert spread.shape == shape
    assert spread[mask].all()
    assert marked.sum() <= mask.sum()


def test_a_receptive_field_is_counted_in_blocks_and_slices() -> None:
    assert radii((20, 64, 64), 2, 193) == (SLICES - 1, 7, 7)
    assert radii((20, 64, 64), 3, 9) == (10, 1, 1)
    assert radii((20, 64, 64), 2, INFINITE) == (SLICES - 1, 64, 64)
    assert radii((2, 20, 64, 64), 3, INFINITE) == (SLICES - 1, 20, 64, 64)


def test_a_network_that_measures_all_it_sees_has_no_bounded_reach() -> None:
    network = tiny_model().network
    assert reach_of(network) == 2 * network.halo + 1
    b = Builder(2, 1, None)
    b.conv(b.norm(b.conv(0, "a", 2, 3), "n", "instance"), "head", 1, 1)
    spec = ModelSpec(architecture=b.graph("test", (2,)), output="foreground")
    assert reach_of(new_model(spec).network) == INFINITE


# -- what is corrected


def test_only_what_changed_is_looked_at_and_only_once() -> None:
    corrections = Corrections(np.zeros((3, 300, 300), np.int32))
    corrections.labels[1, 40:60, 260:270] = 1
    corrections.stroke_ends()
    found = unassigned(corrections, Roles())
    assert found.tolist() == [[1, 1, 8]]
    assert unassigned(corrections, Roles()).shape == (0, 3)
    corrections.accept((slice(2, 3), slice(0, 33), slice(0, 20)))
    assert unassigned(corrections, Roles()).tolist() == [[2, 0, 0], [2, 1, 0]]


def test_predicted_ignored_and_undone_places_need_no_role() -> None:
    corrections = Corrections(np.zeros((300, 300), np.int32))
    predicted = np.ones((300, 300), np.int32)
    corrections.merge(predicted, everything((300, 300)))
    assert len(unassigned(corrections, Roles())) == 0
    corrections.ignore((slice(0, 50), slice(0, 50)))
    assert len(unassigned(corrections, Roles())) == 0
    corrections.accept((slice(100, 110), slice(100, 110)))
    corrections.undo()
    assert len(unassigned(corrections, Roles())) == 0


def test_marked_blocks_with_a_role_are_left_out() -> None:
    corrections = Corrections(np.zeros((300, 300), np.int32))
    corrections.accept((slice(0, 32), slice(0, 64)))
    roles = roles_at((300, 300), learns=[(0, 0)])
    assert unassigned(corrections, roles).tolist() == [[0, 1]]


# -- masks


def test_each_block_is_learnt_or_held_out_by_its_role() -> None:
    roles = roles_at((320, 320), learns=[(0, 0)], held_out=[(9, 9)])
    supervised = np.zeros((320, 320), bool)
    supervised[10:20, 10:20] = supervised[300:310, 300:310] = True
    learnt, held = masks(roles, supervised)
    np.testing.assert_array_equal(learnt, supervised & (np.arange(320) < 32))
    np.testing.assert_array_equal(held, supervised & (np.arange(320) >= 288))


def test_the_rest_of_an_object_goes_where_its_marked_part_goes() -> None:
    roles = roles_at((320, 320), learns=[(0, 0)], held_out=[(9, 9)])
    supervised = np.zeros((320, 320), bool)
    supervised[20:50, 20:50] = supervised[270:310, 300:310] = True
    learnt, held = masks(roles, supervised)
    assert learnt.sum() == 30 * 30
    assert held.sum() == 40 * 10


def test_what_is_near_both_or_none_is_left_out() -> None:
    roles = roles_at((320, 320), learns=[(0, 0)], held_out=[(0, 2)])
    supervised = np.zeros((320, 320), bool)
    supervised[10, 40] = supervised[200, 200] = True
    learnt, held = masks(roles, supervised)
    assert not learnt.any()
    assert not held.any()


def test_a_larger_receptive_field_takes_from_what_is_learnt_only() -> None:
    roles = roles_at((640, 640), learns=[(0, 0), (19, 19)], held_out=[(0, 5)])
    supervised = in_pixels(roles.planes[()] > 0, everything((640, 640)))
    _, held = masks(roles, supervised)
    learnt, held_later = masks(roles, supervised, 193)
    np.testing.assert_array_equal(held, held_later)
    assert not learnt[:32, :32].any()
    assert learnt[-32:, -32:].all()


def test_neighbouring_slices_count_as_near_also_outside_of_the_snapshot() -> None:
    shape = (9, 64, 64)
    roles = roles_at(shape, learns=[(3, 0, 0), (5, 0, 0)], held_out=[(2, 0, 0)])
    for z, learns in ((3, False), (5, True)):
        plane = (slice(z, z + 1), slice(0, 64), slice(0, 64))
        learnt, _ = role_masks(roles, np.ones((1, 64, 64), bool), plane, 2, INFINITE)
        assert learnt.any() == learns


@given(st.data())
def test_no_learnt_pixel_is_within_reach_of_a_held_out_one(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape, reach = (5, 150, 170), data.draw(st.integers(1, 70))
    side = grid(shape)
    blocks = np.argwhere(rng.random(side) < data.draw(st.sampled_from([0.02, 0.2])))
    (roles,) = give_roles([Fresh(Roles(), blocks, shape, 2)], 1, share=0.5)
    marked = rng.random(shape) < 0.001
    supervised = ndimage.binary_dilation(marked, np.ones((1, 9, 9), bool))
    learnt, held = masks(roles, supervised, reach)
    field = (2 * SLICES - 1, 2 * reach + 1, 2 * reach + 1)
    close = ndimage.maximum_filter(held, field, mode="constant")
    assert not (learnt & close).any()
    assert not ((learnt | held) & ~supervised).any()


# -- in words


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        (Sites(), "correct 3 places, each at least 256"),
        (Sites(1), "correct 2 more places, each at least 256"),
        (Sites(2), "correct one more place at least 256"),
        (Sites(3, 1), "correct 4 more places, each at least 256"),
    ],
)
def test_what_is_needed_is_said_with_its_place(sites: Sites, said: str) -> None:
    text = needed(sites, 0.2, 193, [(512, 512)], 2)
    assert text.startswith(f"Nothing is held out yet: {said} pixels away")
    assert "or in another image, so that" in text


def test_only_places_that_exist_are_asked_for() -> None:
    small = needed(Sites(2), 0.2, 193, [(256, 256)], 2)
    assert "correct one more place in another image, so" in small
    stack = needed(Sites(2), 0.2, INFINITE, [(10, 900, 900)], 2)
    assert "place at least 3 slices away from them or in another image" in stack
    volume = needed(Sites(2), 0.2, INFINITE, [(10, 900, 900)], 3)
    assert "place in another image" in volume
    assert "share" in needed(Sites(2), 0.0, 9, [(900, 900)], 2)


def test_the_distance_that_is_asked_for_is_enough() -> None:
    for reach in (1, 31, 32, 193, 500):
        text = needed(Sites(2), 0.2, reach, [(9999, 9999)], 2)
        away = int(text.split("at least ")[1].split()[0])
        (radius, _) = radii((400, 400), 2, reach)
        for first in range(BLOCK):
            assert (first + away) // BLOCK - first // BLOCK > radius
            assert away > reach
