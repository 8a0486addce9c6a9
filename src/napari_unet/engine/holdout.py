"""What is held out: which corrections no training learns from, for ever.

Where something is corrected, every block of 32 x 32 pixels of a plane has a role, given
once and never changed: a network learns from it, it is held out to score results, or it
lies between the two and serves neither. What is held out and what is learnt are further
apart than the network's receptive field, so no pixel that is learnt takes part in a
score. ``engine/sites.py`` gives the roles. Imports no torch.

References
----------
Roberts et al., Cross-validation strategies for data with temporal, spatial,
hierarchical, or phylogenetic structure, Ecography 40 (2017): why blocks, and why apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from napari_unet.engine.blocks import shape_of, window_of
from napari_unet.engine.protect import ACCEPTED, EDITED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Key, Region
    from napari_unet.engine.corrections import Corrections
    from napari_unet.engine.networks.any_network import AnyNetwork
    from napari_unet.engine.zoom import Zoom

BLOCK = 32  # pixels; side of a block, which is one deep along all other axes
NONE, LEARNS, HELD_OUT, BETWEEN = 0, 1, 2, 3
SLICES = 3  # slices of a stack this far apart show other objects
SHARE = 0.2  # of the corrected places that is held out


class Sites(NamedTuple):
    """How many corrected places, each far from all others, learn and are held out."""

    learning: int = 0
    held_out: int = 0

    def plus(self, other: Sites) -> Sites:
        """Return both together."""
        return Sites(self.learning + other.learning, self.held_out + other.held_out)

    def until_held_out(self, share: float) -> int:
        """Return which of the next places is the first to be held out; 1: the next.

        With a share of 0.2 these are the third of all places, the eighth, the
        thirteenth. The very first is never held out.

        Parameters
        ----------
        share : more than 0
        """
        number = max(ceil((self.held_out + 0.5) / share), 2)
        return max(number - self.learning - self.held_out, 1)


@dataclass(frozen=True, eq=False)
class Roles:
    """The roles of an image's blocks. Nobody writes into its arrays.

    Attributes
    ----------
    planes : for the place of a plane along the leading axes, the roles of its blocks,
        (Y, X) in blocks, uint8; planes without any are left out
    sites : how many places they are
    """

    planes: Mapping[Key, NDArray[np.uint8]] = field(default_factory=dict)
    sites: Sites = field(default_factory=Sites)

    def window(self, window: Region) -> NDArray[np.uint8]:
        """Return the roles in a window of blocks, which may reach out of the stack."""
        found = np.zeros(shape_of(window), np.uint8)
        for index in product(*(range(s.start, s.stop) for s in window[:-2])):
            plane = self.planes.get(index)
            if plane is not None:
                at = tuple(i - s.start for i, s in zip(index, window, strict=False))
                found[at] = plane[window[-2:]]
        return found

    def given(
        self, window: Region, roles: NDArray[np.uint8], side: tuple[int, int]
    ) -> Roles:
        """Return these, and roles for blocks of a window that had none.

        Parameters
        ----------
        window : slices over blocks
        roles : of the window
        side : blocks of a whole plane along Y and X
        """
        planes = dict(self.planes)
        for at in np.argwhere(roles.any(axis=(-2, -1))):
            index = tuple(
                int(i) + s.start for i, s in zip(at, window[:-2], strict=True)
            )
            plane = planes.get(index, np.zeros(side, np.uint8)).copy()
            part = plane[window[-2:]]
            np.copyto(part, roles[tuple(at)], where=part == NONE)
            plane.flags.writeable = False
            planes[index] = plane
        return Roles(planes, self.sites)


# -- the grid


def grid(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the number of blocks along each axis of labels."""
    return (*shape[:-2], *(-(-n // BLOCK) for n in shape[-2:]))


def blocks_with(mask: NDArray[np.bool_], window: Region) -> NDArray[np.bool_]:
    """Return which blocks hold a true pixel.

    Parameters
    ----------
    mask : bool, of ``window``
    window : slices over the labels' axes
    """
    margins = [(0, 0)] * (mask.ndim - 2)
    margins += [(s.start % BLOCK, -s.stop % BLOCK) for s in window[-2:]]
    if any(map(any, margins)):
        mask = np.pad(mask, margins)
    *leading, height, width = mask.shape
    cut = mask.reshape(*leading, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(cut.any(axis=(-3, -1)))


def in_blocks(window: Region) -> Region:
    """Return the blocks that a window of pixels reaches into, as slices."""
    flat = [slice(s.start // BLOCK, -(-s.stop // BLOCK)) for s in window[-2:]]
    return (*window[:-2], *flat)


def in_pixels(blocks: NDArray[np.bool_], window: Region) -> NDArray[np.bool_]:
    """Return what is true of blocks for the pixels of a window."""
    pixels = blocks.repeat(BLOCK, axis=-2).repeat(BLOCK, axis=-1)
    starts = [s.start % BLOCK for s in window[-2:]]
    lengths = shape_of(window[-2:])
    y, x = (slice(a, a + n) for a, n in zip(starts, lengths, strict=True))
    return pixels[..., y, x]


def radii(side: tuple[int, ...], dims: int, reach: float) -> tuple[int, ...]:
    """Return along each axis how many blocks away a block is still near.

    Parameters
    ----------
    side : blocks along each axis
    dims : of the network; what comes before are slices, of which those nearer than
        ``SLICES`` show the same objects
    reach : pixels between two blocks that are near each other, at most; see
        ``reach_of``
    """
    found = []
    for axis, count in enumerate(side):
        length = BLOCK if axis >= len(side) - 2 else 1
        if axis < len(side) - dims:
            found.append(SLICES - 1)
        else:
            farthest = min(reach, length * count)  # a number also if all is seen
            found.append(min(int(farthest // length) + 1, count))
    return tuple(found)


def reach_of(network: AnyNetwork, zoom: Zoom | None = None) -> float:
    """Return the pixels of a network's receptive field; infinite if it sees all.

    Of an image that the network sees zoomed, they are the image's own.

    A network that is not ``local`` (instance norm, global pooling) sees whole planes,
    and so only whole planes are far from each other.
    """
    if not network.local:
        return float("inf")
    return (2 * network.halo + 1) / (min(zoom.factors) if zoom else 1.0)


def around(mask: NDArray[np.bool_], near: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the blocks that are near some blocks, these among them.

    Parameters
    ----------
    mask : bool, over blocks
    near : as ``radii`` returns it
    """
    grown = mask
    for axis, radius in enumerate(near):
        grown = ndimage.maximum_filter1d(
            grown, 2 * radius + 1, axis, mode="constant", cval=0
        )
    return np.asarray(grown, bool)


# -- what is corrected


def unassigned(corrections: Corrections, roles: Roles) -> NDArray[np.int64]:
    """Return the blocks that are edited or accepted and have no role yet.

    Only where states changed since this was last asked is looked at.

    Parameters
    ----------
    corrections : of the image
    roles : of the image

    Returns
    -------
    blocks : (N, axes) int64, their places in the grid
    """
    found = [np.zeros((0, len(corrections.shape)), np.int64)]
    for key in sorted(corrections.take_marked()):
        window = window_of(key, corrections.shape)
        state = corrections.state[window]
        marked = blocks_with((state == EDITED) | (state == ACCEPTED), window)
        place = in_blocks(window)
        marked &= roles.window(place) == NONE
        found.append(np.argwhere(marked) + [s.start for s in place])
    return np.concatenate(found)


def role_masks(
    roles: Roles, supervised: NDArray[np.bool_], plane: Region, dims: int, reach: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what to learn from and what to score on.

    Objects are supervised as a whole, so they reach into blocks without a role: such a
    block follows the roles near it if these are of one kind, else nothing is made of
    it. What is held out stays so for every network; what is nearer to it than this
    network's reach is not learnt.

    Parameters
    ----------
    roles : of the image
    supervised : bool, of ``plane``, as ``Snapshot.supervised`` returns it
    plane : whole planes or volumes, slices over the labels' axes
    dims : of the network
    reach : of the network that shall learn, see ``reach_of``

    Returns
    -------
    learnt, held_out : bool, like ``supervised``; some of that may be in neither
    """
    marked = blocks_with(supervised, plane)
    near = radii(marked.shape, dims, reach)
    known, by_learning, by_held = _neighbours(roles, in_blocks(plane), near, dims)
    bare = marked & (known == NONE)
    held = (known == HELD_OUT) | (bare & by_held & ~by_learning)
    learnt = (known == LEARNS) | (bare & by_learning)
    learnt &= ~(by_held | around(held, near))
    return supervised & in_pixels(learnt, plane), supervised & in_pixels(held, plane)


def _neighbours(
    roles: Roles, window: Region, near: tuple[int, ...], dims: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return roles, and what is near learning and near held-out blocks."""
    flat = len(window) - dims
    wide, inner = list(window), [slice(None)] * len(window)
    for axis in range(flat):
        s, margin = window[axis], near[axis]
        wide[axis] = slice(s.start - margin, s.stop + margin)
        inner[axis] = slice(margin, margin + s.stop - s.start)
    known = roles.window(tuple(wide))
    place = tuple(inner)
    by_learning = around(known == LEARNS, near)[place]
    return known[place], by_learning, around(known == HELD_OUT, near)[place]


# -- in words


def needed(
    sites: Sites, share: float, reach: float, shapes: Iterable[tuple[int, ...]],
    dims: int,
) -> str:  # fmt: skip
    """Return one sentence on what is to be corrected until something is held out.

    Parameters
    ----------
    sites : of all images
    share : to hold out, 0 to 1
    reach : of the network in pixels
    shapes : of the labels of the images
    dims : of the network
    """
    if share <= 0:
        return "Nothing is held out, because the share to hold out is 0."
    more = sites.until_held_out(share)
    further = " more" if sites.learning + sites.held_out else ""
    what = f"{more}{further} places, each" if more > 1 else "one more place"
    return (
        f"Nothing is held out yet: correct {what} {_where(reach, list(shapes), dims)}, "
        "so that the result can be scored on what was not learnt."
    )


def _where(reach: float, shapes: list[tuple[int, ...]], dims: int) -> str:
    """Return in words where a place is far from the others."""
    away = reach // BLOCK * BLOCK + 2 * BLOCK  # however they lie on the grid
    ways = []
    if any(max(shape[-2:]) > away for shape in shapes):
        ways.append(f"at least {away:.0f} pixels away from the others")
    if any(max(shape[: len(shape) - dims], default=1) > SLICES for shape in shapes):
        ways.append(f"at least {SLICES} slices away from them")
    return " or ".join([*ways, "in another image"])
