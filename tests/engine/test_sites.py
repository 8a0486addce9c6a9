"""Which corrections learn and which are held out, from the first one on."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet.engine.holdout import (
    BETWEEN,
    HELD_OUT,
    LEARNS,
    NONE,
    Roles,
    Sites,
    grid,
    radii,
)
from napari_unet.engine.sites import Fresh, give_roles
from napari_unet.io.roles import pack_roles, unpack_roles

WIDE = (4096, 4096)
INFINITE = float("inf")


def all_of(roles: Roles, shape: tuple[int, ...]) -> np.ndarray:
    return roles.window(tuple(slice(0, n) for n in grid(shape)))


@dataclass
class Images:
    """Images of which blocks are corrected one call after another."""

    shapes: list[tuple[int, ...]]
    dims: int = 2
    reach: float = 193
    share: float = 0.2
    roles: list[Roles] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.roles = [Roles() for _ in self.shapes]

    @property
    def sites(self) -> Sites:
        total = Sites()
        for each in self.roles:
            total = total.plus(each.sites)
        return total

    def correct(self, *blocks: np.ndarray | list[tuple[int, ...]]) -> None:
        """Correct some blocks of each image."""
        fresh = [
            Fresh(roles, np.array(each, int).reshape(-1, len(s)), s, self.dims)
            for roles, each, s in zip(self.roles, blocks, self.shapes, strict=True)
        ]
        self.roles = give_roles(fresh, self.reach, share=self.share, sites=self.sites)

    def role(self, *place: int, image: int = 0) -> int:
        return int(all_of(self.roles[image], self.shapes[image])[place])

    def share_of(self, role: int, image: int = 0) -> float:
        return float((all_of(self.roles[image], self.shapes[image]) == role).mean())


def reopened(images: Images) -> None:
    for at, shape in enumerate(images.shapes):
        entry = pack_roles(images.roles[at])
        images.roles[at] = unpack_roles(entry, shape) if entry else Roles()


def assert_apart(images: Images) -> None:
    """Compare every held-out block with every learning one."""
    for roles, shape in zip(images.roles, images.shapes, strict=True):
        cells = all_of(roles, shape)
        near = np.array(radii(cells.shape, images.dims, images.reach))
        learning, held = np.argwhere(cells == LEARNS), np.argwhere(cells == HELD_OUT)
        distances = np.abs(learning[:, np.newaxis] - held[np.newaxis])
        assert (distances > near).any(axis=-1).all()


# -- what always holds


KINDS = [(2, (700, 900)), (2, (8, 300, 400)), (3, (30, 300, 400)), (2, (2, 7, 90, 300))]


@given(st.data())
def test_held_out_and_learning_blocks_stay_apart_and_as_they_are(
    data: st.DataObject,
) -> None:
    dims, shape = data.draw(st.sampled_from(KINDS))
    images = Images(
        [shape, shape], dims, data.draw(st.sampled_from([0, 9, 40, 100, INFINITE])),
        data.draw(st.sampled_from([0.0, 0.1, 0.2, 0.5])),
    )  # fmt: skip
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    for density in data.draw(
        st.lists(st.sampled_from([0.002, 0.02, 0.3, 1.0]), max_size=6)
    ):
        before = [all_of(roles, shape) for roles in images.roles]
        marked = [rng.random(grid(shape)) < density for _ in images.shapes]
        images.correct(*map(np.argwhere, marked))
        after = [all_of(roles, shape) for roles in images.roles]
        for one, other, asked in zip(before, after, marked, strict=True):
            np.testing.assert_array_equal(one[one != NONE], other[one != NONE])
            np.testing.assert_array_equal(other != NONE, (one != NONE) | asked)
        assert_apart(images)
        reopened(images)
        for one, other in zip(images.roles, after, strict=True):
            np.testing.assert_array_equal(all_of(one, shape), other)


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_blocks_in_a_call_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = np.argwhere(rng.random(grid((3, 900, 900))) < 0.02)
    one, other = Images([(3, 900, 900)]), Images([(3, 900, 900)])
    one.correct(blocks)
    other.correct(rng.permutation(blocks))
    np.testing.assert_array_equal(
        all_of(one.roles[0], (3, 900, 900)), all_of(other.roles[0], (3, 900, 900))
    )
    assert one.sites == other.sites


# -- small sites


def test_the_third_and_the_eighth_place_are_held_out() -> None:
    images = Images([(100, 64, 64)])
    for z in range(0, 100, 8):
        images.correct([(z, 0, 0)])
    found = [images.role(z, 0, 0) for z in range(0, 100, 8)]
    assert [n for n, role in enumerate(found, 1) if role == HELD_OUT] == [3, 8, 13]
    assert images.sites == Sites(10, 3)


def test_places_are_counted_over_images_also_within_one_call() -> None:
    images = Images([(64, 64)] * 4)
    images.correct(*[[(0, 0)]] * 4)
    assert [images.role(0, 0, image=n) for n in range(4)] == [
        LEARNS, LEARNS, HELD_OUT, LEARNS
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5])
def test_the_first_place_always_learns(share: float) -> None:
    images = Images([WIDE], share=share)
    images.correct([(0, 0)])
    assert images.role(0, 0) == LEARNS


def test_nothing_is_held_out_of_a_share_of_none() -> None:
    images = Images([WIDE], share=0.0)
    images.correct([(0, x) for x in range(0, 128, 10)])
    images.correct(np.argwhere(np.ones(grid(WIDE))))
    assert images.share_of(LEARNS) == 1


def placed(images: Images) -> None:
    """Correct three places; the third is held out."""
    for x in (0, 40, 80):
        images.correct([(0, x)])
    assert images.role(0, 80) == HELD_OUT


def test_a_place_near_one_role_takes_it_and_is_no_new_one() -> None:
    images = Images([WIDE])
    placed(images)
    images.correct([(7, 40), (0, 87)])
    assert (images.role(7, 40), images.role(0, 87)) == (LEARNS, HELD_OUT)
    assert images.sites == Sites(2, 1)


def test_a_place_near_both_serves_neither() -> None:
    images = Images([WIDE])
    placed(images)
    images.correct([(0, 47), (0, 54), (0, 61), (0, 74)])
    images.correct([(0, 67)])
    roles = [images.role(0, x) for x in (47, 54, 61, 67, 74)]
    assert roles == [LEARNS, LEARNS, LEARNS, BETWEEN, HELD_OUT]
    assert images.sites == Sites(2, 1)


def test_one_stroke_from_one_role_to_the_other_is_parted() -> None:
    images = Images([WIDE])
    placed(images)
    images.correct([(0, x) for x in range(48, 80)])
    assert_apart(images)
    roles = [images.role(0, x) for x in range(40, 81)]
    changes = [one for one, other in pairwise([*roles, NONE]) if one != other]
    assert changes == [LEARNS, NONE, LEARNS, BETWEEN, HELD_OUT]


def test_slices_next_to_each_other_show_the_same_objects() -> None:
    images = Images([(20, 64, 64)], share=0.5)
    images.correct([(4, 0, 0)])
    images.correct([(6, 0, 0)])
    images.correct([(9, 0, 0)])
    assert [images.role(z, 0, 0) for z in (4, 6, 9)] == [LEARNS, LEARNS, HELD_OUT]


def test_a_network_that_sees_all_holds_out_whole_images_only() -> None:
    images = Images([WIDE] * 3, reach=INFINITE)
    images.correct(*[[(0, 0), (100, 100)]] * 3)
    images.correct(*[[(50, 120)]] * 3)
    assert [images.role(50, 120, image=n) for n in range(3)] == [
        LEARNS, LEARNS, HELD_OUT
    ]  # fmt: skip
    assert images.sites == Sites(2, 1)


@given(
    st.integers(0, 60), st.integers(0, 20), st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5])
)
def test_the_place_that_is_announced_is_the_first_that_keeps_the_share(
    learning: int, held: int, share: float
) -> None:
    count = learning + held
    places = range(max(count + 1, 2), 2000)
    first = next(n for n in places if held + 1 <= share * n + 0.5 + 1e-9)
    assert Sites(learning, held).until_held_out(share) == first - count


# -- large sites


def test_an_accepted_plane_is_cut_in_two_with_a_band_between() -> None:
    images = Images([(2048, 2048)])
    images.correct(np.argwhere(np.ones((64, 64))))
    assert images.share_of(HELD_OUT) == pytest.approx(0.2, abs=0.02)
    assert images.share_of(BETWEEN) == pytest.approx(7 / 64, abs=0.001)
    assert images.sites == Sites(1, 1)
    assert_apart(images)


def test_a_plane_accepted_around_a_learning_place_is_cut_elsewhere() -> None:
    images = Images([(2048, 2048)])
    images.correct([(5, 5)])
    images.correct(np.argwhere(np.ones((64, 64))))
    assert images.role(5, 5) == LEARNS
    assert images.share_of(HELD_OUT) == pytest.approx(0.2, abs=0.02)
    assert images.sites == Sites(1, 1)


def test_an_accepted_stack_is_cut_between_slices() -> None:
    images = Images([(50, 256, 256)])
    images.correct(np.argwhere(np.ones((50, 8, 8))))
    found = [images.role(z, 0, 0) for z in range(50)]
    assert found == [LEARNS] * 38 + [BETWEEN] * 2 + [HELD_OUT] * 10


def test_one_object_is_never_cut_however_small_the_receptive_field() -> None:
    images = Images([WIDE], reach=1)
    images.correct([(0, x) for x in range(8)])
    assert {images.role(0, x) for x in range(8)} == {LEARNS}


def test_what_lies_far_apart_in_a_huge_stack_costs_little() -> None:
    shape = (100_000, 4096, 4096)
    images = Images([shape])
    images.correct([(0, 0, 0), (50_000, 127, 127), (99_999, 0, 127)])
    assert sorted(images.roles[0].planes) == [(0,), (50_000,), (99_999,)]
    assert images.sites == Sites(2, 1)
