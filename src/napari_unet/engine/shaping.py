"""Geometry of single objects: lines, cuts, growth, outlines; on masks of one crop."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cc3d
import edt
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

FACES = {2: 4, 3: 6}  # cc3d's names for connectivity through faces
SMALLEST = 3  # pixels; less beside a cut is a fragment of a curved outline,
FRAGMENT = 0.01  # and so is less than this share of the object
GRAIN = 1.0  # pixels; smoothing that removes the grain of distances and scores
EDGE = 0.03  # of the score, per pixel; what falls off less is no edge
HOLD = 0.05  # of the strongest edge; where edges are weaker, the drawn outline holds
NECK = 0.6  # of its half width; so far may the border between two parts move to a neck
NARROWER = 0.9  # of the border's pixels; a border that saves less stays where it is


# -- lines


def path_of(line: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the pixels of a polyline, each touching the next with a face.

    Parameters
    ----------
    line : (N, ndim) float points, N at least 2, in pixels; may leave the array
    shape : of the array

    Returns
    -------
    path : (M, ndim), in order, inside the array; empty if the line lies outside

    Raises
    ------
    ValueError
        If the line is no such array of points.
    """
    points = np.asarray(line, float)
    if points.ndim != 2 or len(points) < 2 or points.shape[1] != len(shape):
        raise ValueError(f"a line of {len(shape)}D points expected: {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("a line of finite points expected")
    segments = [_segment(start, stop, shape) for start, stop in pairwise(points)]
    steps = np.concatenate(segments)
    inside = ((steps >= 0) & (steps < shape)).all(axis=1)
    steps = steps[inside]
    fresh = np.ones(len(steps), bool)
    fresh[1:] = (np.diff(steps, axis=0) != 0).any(axis=1)
    return np.asarray(steps[fresh])


def _segment(
    start: NDArray[np.float64], stop: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return the pixels of a straight line, as far as it is near the array."""
    along = stop - start
    enter, leave = 0.0, 1.0  # shares of the segment
    bounds = zip(start.tolist(), along.tolist(), shape, strict=True)
    for begin, length, n in bounds:
        if length:
            near, far = sorted([(-1 - begin) / length, (n - begin) / length])
            enter, leave = max(enter, near), min(leave, far)
        elif not -1 < begin < n:
            leave = -1.0
    if enter > leave:
        return np.zeros((0, len(shape)), np.int64)
    first, last = np.clip([start + enter * along, start + leave * along], -1, shape)
    count = int(np.ceil(np.abs(last - first).max())) + 1
    return _through_faces(np.rint(np.linspace(first, last, count)).astype(np.int64))


def _through_faces(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn diagonal steps into one step per axis."""
    ndim = steps.shape[1]
    done = np.tri(ndim, ndim, -1, dtype=bool)  # which axes have moved in each substep
    between = np.where(done, steps[1:, np.newaxis], steps[:-1, np.newaxis])
    return np.concatenate([between.reshape(-1, ndim), steps[-1:]])


def longer(line: NDArray[Any], reach: float) -> NDArray[np.float64]:
    """Return a polyline made longer at both ends, ``reach`` pixels each."""
    points = np.asarray(line, float)
    return np.stack([_beyond(points, reach), *points, _beyond(points[::-1], reach)])


def _beyond(points: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Return where a polyline would start if it was longer."""
    away = points[0] - points
    length = np.sqrt((away**2).sum(axis=1))
    if not length.any():
        return np.asarray(points[0])
    other = np.flatnonzero(length)[0]
    return np.asarray(points[0] + reach * away[other] / length[other], float)


# -- pieces


def components(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return pieces of equal labels connected through faces, numbered from 1."""
    found = cc3d.connected_components(labels, connectivity=FACES[labels.ndim])
    return np.asarray(found, np.int64)


def _through_corners(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the pieces of a mask (Y, X) that are connected through corners.

    Not by cc3d 4.1.1, which numbers some of the background of boolean masks too.
    """
    found, _ = ndimage.label(mask, np.ones((3, 3), int))
    return np.asarray(found, np.int64)


def largest_pieces(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the largest piece of each label lies, connected through faces."""
    pieces = components(labels)
    sizes = np.bincount(pieces.ravel())
    owner = np.zeros(len(sizes), np.int64)
    owner[pieces.ravel()] = labels.ravel()
    best = np.zeros(int(owner.max(initial=0)) + 1, np.int64)
    order = np.argsort(-sizes, kind="stable")[::-1]  # of several writes the last counts
    best[owner[order]] = order
    return np.asarray((best[owner] == np.arange(len(sizes)))[pieces] & (labels != 0))


def parts_beside(mask: NDArray[np.bool_], cut: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the parts into which a cut separates what was connected.

    Parameters
    ----------
    mask : (Y, X), an object
    cut : like mask, a line whose pixels touch each other with faces

    Returns
    -------
    parts : like mask, 1 to n, each connected through faces; 0 if nothing is separated,
        and for fragments that a curved outline leaves beside the cut
    """
    whole = _through_corners(mask)
    beside = _through_corners(mask & ~cut)
    sizes = np.bincount(beside.ravel())
    owner = np.zeros(len(sizes), np.int64)
    owner[beside.ravel()] = whole.ravel()
    owner[0] = 0
    areas = np.bincount(whole.ravel())
    big = sizes >= np.maximum(SMALLEST, FRAGMENT * areas[owner])
    big[0] = False
    big &= np.bincount(owner[big], minlength=len(areas))[owner] > 1
    parts = np.where(big, np.cumsum(big), 0).astype(np.int32)[beside]
    return np.where(largest_pieces(parts), parts, 0)


def spread(
    seeds: NDArray[np.int32],
    mask: NDArray[np.bool_],
    height: NDArray[Any] | None = None,
) -> NDArray[np.int32]:
    """Give every pixel of a mask to a seed.

    Parameters
    ----------
    seeds : numbers inside the mask, 0 elsewhere
    mask : bool, like seeds
    height : float, like seeds: the lowest is flooded first. None: the nearest seed
        wins, counted in steps inside the mask

    Returns
    -------
    numbers : like seeds, nowhere 0 in the mask; connected to the seed through faces
        where the mask is. Pieces of the mask without a seed go as a whole to the
        nearest.
    """
    from skimage.segmentation import watershed  # 0.2 s, paid at the first use

    level = np.zeros(mask.shape, np.uint8) if height is None else height
    numbers = np.asarray(watershed(level, seeds, connectivity=1, mask=mask), np.int32)
    left = mask & (numbers == 0)
    if not left.any():
        return numbers
    islands = components(left)
    far, nearest = ndimage.distance_transform_edt(numbers == 0, return_indices=True)
    count = int(islands.max())
    shores = np.transpose(ndimage.minimum_position(far, islands, range(1, count + 1)))
    owner = np.zeros(count + 1, np.int32)
    owner[1:] = numbers[tuple(nearest[(slice(None), *shores)])]
    return np.where(left, owner[islands], numbers)


def spread_from_slice(
    seeds: NDArray[np.int32], mask: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Give every pixel of a volume to one of the parts seen in one of its slices.

    The nearest part wins, so that the cut goes straight through the other slices; but
    where the object has a neck beside that, the cut follows the neck.

    Parameters
    ----------
    seeds : (Z, Y, X), the parts in their slice, 0 elsewhere
    mask : (Z, Y, X), the object
    """
    straight = spread(seeds, mask)
    border = _border(straight)
    if mask.shape[0] == 1 or not border.any():
        return straight
    depth = _depth(mask)
    near = np.asarray(edt.edt(~border)) <= NECK * depth[border].max()
    bent = spread(np.where(near, seeds, straight), mask, -depth)
    if _border(bent).sum() > NARROWER * border.sum():
        return straight
    torn = largest_pieces(bent).sum() < largest_pieces(straight).sum()
    return straight if torn else bent


def _border(sides: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels that touch another side with a face."""
    border = np.zeros(sides.shape, bool)
    for axis in range(sides.ndim):
        before = (slice(None),) * axis + (slice(None, -1),)
        after = (slice(None),) * axis + (slice(1, None),)
        one, other = sides[before], sides[after]
        met = (one != other) & (one > 0) & (other > 0)
        border[before] |= met
        border[after] |= met
    return border


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance to the outline in pixels, without grain; -1 outside."""
    distance = np.asarray(edt.edt(mask, black_border=True), np.float32)
    return np.where(mask, ndimage.gaussian_filter(distance, GRAIN), np.float32(-1))


def split_at_neck(
    mask: NDArray[np.bool_], one: tuple[int, ...], other: tuple[int, ...]
) -> NDArray[np.int32]:
    """Separate two places of an object where it is narrowest between them.

    Both places lead, uphill on the distance to the outline, to the middle of a part;
    the watershed from there runs through the neck. If both lead to the same middle,
    there is no neck, and each pixel goes to the nearer place.

    Returns
    -------
    sides : like mask, 1 where ``one`` lies, 2 where ``other`` lies, 0 outside
    """
    depth = _depth(mask)
    ways = _uphill(depth, one), _uphill(depth, other)
    seeds = np.zeros(mask.shape, np.int32)
    if ways[0][-1] == ways[1][-1]:
        seeds[one], seeds[other] = 1, 2
        return spread(seeds, mask)
    for number, way in enumerate(ways, start=1):
        seeds[tuple(np.transpose(way))] = number
    return spread(seeds, mask, -depth)


def _uphill(
    height: NDArray[np.float32], start: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Return the way of steepest ascent to a maximum, through faces."""
    way = [start]
    while True:
        here = np.array(way[-1])
        around = [tuple(here + step) for step in _faces(here.size)]
        inside = [p for p in around if _is_in(p, height.shape)]
        best = max(inside, key=lambda p: float(height[p]), default=way[-1])
        if not height[best] > height[way[-1]]:
            return way
        way.append(tuple(int(n) for n in best))


def _faces(ndim: int) -> NDArray[np.int64]:
    unit = np.eye(ndim, dtype=np.int64)
    return np.concatenate([unit, -unit])


def _is_in(point: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return all(0 <= p < n for p, n in zip(point, shape, strict=True))


# -- outlines


def smoothed(
    mask: NDArray[np.bool_], free: NDArray[np.bool_], sigma: float
) -> NDArray[np.bool_]:
    """Return the mask blurred and cut at half height: its largest piece, or nothing.

    Parameters
    ----------
    mask : ([Z,] Y, X), with some background around it
    free : like mask, where the object may be
    sigma : pixels
    """
    blurred = ndimage.gaussian_filter(mask.astype(np.float32), sigma, mode="nearest")
    return largest_pieces((blurred > 0.5) & free)


def snapped(
    mask: NDArray[np.bool_],
    free: NDArray[np.bool_],
    scores: NDArray[np.float32],
    reach: int,
) -> NDArray[np.bool_] | None:
    """Return the mask with its outline on the nearest edges of the scores.

    The outline is the watershed between what is surely inside and surely outside, on
    how steeply scores fall off outwards. Scores that rise outwards are the edge of
    another object, and count nothing. Where there is next to no edge, the drawn outline
    holds.

    Parameters
    ----------
    mask : ([Z,] Y, X), drawn roughly, with a margin above ``reach`` around it
    free : like mask, where the object may be
    scores : like mask, float32, foreground 0 to 1 or logits; nan where unknown
    reach : pixels

    Returns
    -------
    snapped : one piece connected through faces; None without an edge within reach
    """
    known = np.isfinite(scores)
    outer = np.asarray(edt.edt(~mask), np.float32)  # infinite without any background
    if not (known & (outer <= reach)).any() or mask.all():
        return None
    inner = np.asarray(edt.edt(mask), np.float32)
    band = free & (outer <= reach) & (inner <= reach)
    smooth = ndimage.gaussian_filter(_foreground(scores, known), GRAIN)
    fall = _fall_outwards(smooth, outer - inner)
    steepest = float(fall[band].max(initial=0))
    if steepest < EDGE:
        return None
    barrier = fall / steepest
    barrier -= HOLD * (outer + inner) / reach
    seeds = np.where(free & (outer < min(reach, outer.max())), 0, 2).astype(np.int32)
    seeds[mask & (inner >= min(reach, inner.max()))] = 1
    sides = spread(seeds, np.ones(mask.shape, bool), barrier)
    return largest_pieces((sides == 1) & free)


def _foreground(
    scores: NDArray[np.float32], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return scores from 0 to 1; unknown ones are those of the nearest known pixel."""
    if not known.all():
        nearest = ndimage.distance_transform_edt(
            ~known, return_distances=False, return_indices=True
        )
        scores = scores[tuple(np.asarray(nearest))]
    scores = scores.astype(np.float32)
    if scores.min() < -0.05 or scores.max() > 1.05:  # regressed scores overshoot a bit
        scores = 0.5 * (1 + np.tanh(0.5 * scores))
    return scores


def _fall_outwards(
    height: NDArray[np.float32], distance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return by how much heights fall per pixel, away from where distance is low."""
    guide = ndimage.gaussian_filter(distance, 2 * GRAIN)
    slope, length = np.zeros_like(height), np.zeros_like(height)
    for axis in range(height.ndim):
        outwards = np.asarray(np.gradient(guide, axis=axis))
        slope += np.asarray(np.gradient(height, axis=axis)) * outwards
        length += outwards**2
    return np.asarray(np.maximum(-slope / np.sqrt(np.maximum(length, 1e-12)), 0))
