"""Giving roles to what is newly corrected: what learns, and what is held out.

Blocks near each other form a site. One that is near blocks of one role takes that role,
and what is near both lies between. One that is far from all is new, and every fifth or
so is held out. A large site, such as an accepted plane, is cut in two.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_unet.engine.holdout import (
    BETWEEN,
    HELD_OUT,
    LEARNS,
    NONE,
    SHARE,
    Roles,
    Sites,
    around,
    grid,
    radii,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region

LARGE = 8  # blocks along Y or X; smaller sites, such as one object, are never cut


@dataclass(frozen=True)
class Fresh:
    """What is newly corrected in an image.

    Attributes
    ----------
    roles : given until now
    blocks : (N, axes) int64, places in the grid
    shape : of the labels
    dims : of the network, 2 or 3
    """

    roles: Roles
    blocks: NDArray[np.int64]
    shape: tuple[int, ...]
    dims: int


def give_roles(
    images: Sequence[Fresh],
    reach: float,
    *,
    share: float = SHARE,
    sites: Sites | None = None,
) -> list[Roles]:
    """Return the roles of images in which something is newly corrected.

    Parameters
    ----------
    images : each with its blocks; they are taken in this order, and by place
    reach : of the network in pixels, see ``holdout.reach_of``
    share : of the new sites to hold out, and of the area of a large one; 0 to 0.5
    sites : that there are in all images, also those that are not given; None: none

    Returns
    -------
    roles : for each image; roles that were given before are the same
    """
    giver = _Giver(share, sites or Sites())
    return [giver.roles_of(fresh, reach) for fresh in images]


class _Giver:
    """Gives roles to one site after another, and counts.

    Parameters
    ----------
    share : to hold out
    sites : that there are
    """

    def __init__(self, share: float, sites: Sites) -> None:
        self.share = share
        self.sites = sites

    def roles_of(self, fresh: Fresh, reach: float) -> Roles:
        """Return the roles of an image."""
        roles, side, start = fresh.roles, grid(fresh.shape), self.sites
        near = radii(side, fresh.dims, reach)
        for blocks in sorted(_groups(fresh.blocks, near), key=_place):
            window = _window(blocks, near, side)
            given = self._group(roles.window(window), blocks - _starts(window), near)
            roles = roles.given(window, given, (side[-2], side[-1]))
        gained = Sites(
            self.sites.learning - start.learning, self.sites.held_out - start.held_out
        )
        return Roles(roles.planes, roles.sites.plus(gained))

    def _group(
        self, known: NDArray[np.uint8], blocks: NDArray[np.int64], near: tuple[int, ...]
    ) -> NDArray[np.uint8]:
        """Return new roles for blocks in a window that holds all that is near."""
        new = np.zeros(known.shape, bool)
        new[tuple(blocks.T)] = True
        new &= known == NONE
        by_learning, by_held = (around(known == r, near) for r in (LEARNS, HELD_OUT))
        given = np.zeros_like(known)
        for place, site in _sites(new, near):
            roles = self._site(site, by_learning[place], by_held[place], near)
            given[place][site] = roles[site]
        return given

    def _site(
        self, site: NDArray[np.bool_], by_learning: NDArray[np.bool_],
        by_held: NDArray[np.bool_], near: tuple[int, ...],
    ) -> NDArray[np.uint8]:  # fmt: skip
        """Return roles for the blocks of one site, and count it.

        Parameters
        ----------
        site : bool, its blocks, in the smallest window that holds them
        by_learning, by_held : near blocks of these roles that were given before
        near : see ``radii``
        """
        beside = bool(by_learning[site].any()), bool(by_held[site].any())
        held = site & by_held & ~by_learning
        axis = _axis_to_cut(site, near)
        if axis is not None:
            wanted = ceil(self.share * site.sum()) - int(held.sum())
            held |= _end_of(site & ~by_learning & ~by_held, axis, wanted)
        elif beside == (False, True) or (beside == (False, False) and self._turn()):
            held = site
        learning = site & ~by_held & ~around(held, near)
        gained = learning.any() and not beside[0], held.any() and not beside[1]
        self.sites = self.sites.plus(Sites(*map(int, gained)))
        roles = np.full(site.shape, BETWEEN, np.uint8)
        roles[learning], roles[held] = LEARNS, HELD_OUT
        return roles

    def _turn(self) -> bool:
        """Tell whether a new site is to be held out."""
        return self.share > 0 and self.sites.until_held_out(self.share) == 1


def _groups(
    blocks: NDArray[np.int64], near: tuple[int, ...]
) -> list[NDArray[np.int64]]:  # fmt: skip
    """Part blocks wherever a gap along one axis keeps them far from each other."""
    if not len(blocks):
        return []
    for axis, radius in enumerate(near):
        ordered = blocks[np.argsort(blocks[:, axis], kind="stable")]
        cuts = np.flatnonzero(np.diff(ordered[:, axis]) > radius) + 1
        if cuts.size:
            parts = np.split(ordered, cuts)
            return [group for part in parts for group in _groups(part, near)]
    return [blocks]


def _place(blocks: NDArray[np.int64]) -> tuple[int, ...]:
    """Return a block's place to sort groups by."""
    return min(map(tuple, blocks.tolist()))


def _window(
    blocks: NDArray[np.int64], near: tuple[int, ...], side: tuple[int, ...]
) -> Region:
    """Return the window with some blocks and all that is near them."""
    lowest, highest = blocks.min(axis=0).tolist(), blocks.max(axis=0).tolist()
    return tuple(
        slice(max(low - r, 0), min(high + r + 1, n))
        for low, high, r, n in zip(lowest, highest, near, side, strict=True)
    )


def _starts(window: Region) -> NDArray[np.int64]:
    return np.array([s.start for s in window], np.int64)


def _sites(
    new: NDArray[np.bool_], near: tuple[int, ...]
) -> Iterator[tuple[Region, NDArray[np.bool_]]]:
    """Yield each set of blocks that are near each other, with its smallest window."""
    grown = new
    for axis, radius in enumerate(near):  # boxes of this size touch where near
        grown = ndimage.maximum_filter1d(grown, radius, axis, mode="constant", cval=0)
    numbers, _ = ndimage.label(grown, np.ones((3,) * new.ndim))
    numbers[~new] = 0
    for number, place in enumerate(ndimage.find_objects(numbers), start=1):
        yield place, numbers[place] == number


def _axis_to_cut(site: NDArray[np.bool_], near: tuple[int, ...]) -> int | None:
    """Return the axis along which a site is long enough to be cut; None for none."""
    spans = [n / r for n, r in zip(site.shape, near, strict=True)]
    axis = int(np.argmax(spans))
    small = axis >= site.ndim - 2 and site.shape[axis] <= LARGE
    return None if small or spans[axis] <= 3 else axis


def _end_of(free: NDArray[np.bool_], axis: int, wanted: int) -> NDArray[np.bool_]:
    """Return the last of some blocks along an axis, in the last third at most.

    Parameters
    ----------
    free : bool, the blocks that can be taken
    axis : along which
    wanted : how many
    """
    found = np.zeros_like(free)
    if wanted > 0:
        others = tuple(a for a in range(free.ndim) if a != axis)
        counts = free.sum(axis=others)[::-1].cumsum()
        depth = min(int(np.searchsorted(counts, wanted)) + 1, free.shape[axis] // 3)
        end = (*(slice(None),) * axis, slice(free.shape[axis] - depth, None))
        found[end] = free[end]
    return found
