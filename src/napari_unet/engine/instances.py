"""Scores to labels, and labels to what a network is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cc3d
import edt
import fastremap
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.config import LabelsConfig
    from napari_unet.engine.spec import Output

FACES = {2: 4, 3: 6}  # cc3d's names for connectivity through faces
SHALLOWEST = 0.02  # of the distance; less separates grain
SMOOTHING = 1.0  # pixels; removes the grain of the predicted distance


def boundary_distance(labels: NDArray[Any]) -> NDArray[np.float32]:
    """Return each pixel's distance to its object's boundary, 1 at its deepest.

    Parameters
    ----------
    labels : ([Z,] Y, X) integers, 0 is background

    Returns
    -------
    distance : like labels, float32, 0 (background) to 1; the same for small and large
        objects, so that seeds do not depend on size
    """
    compact, count = _compact(labels)
    distance: NDArray[np.float32] = edt.edt(compact)
    distance[np.isinf(distance)] = 1  # an object that fills the array has no boundary
    deepest = np.zeros(count + 1, np.float32)
    deepest[1:] = ndimage.maximum(distance, compact, np.arange(1, count + 1))
    deepest[deepest == 0] = 1
    return np.asarray(distance / deepest[compact], np.float32)


def targets_from_labels(labels: NDArray[Any], output: Output) -> NDArray[np.float32]:
    """Return what a network with this output is trained to give.

    Parameters
    ----------
    labels : ([Z,] Y, X) integers, 0 is background
    output : the meaning of the network's channels

    Returns
    -------
    targets : (foreground, boundary distance), (foreground,) or (class number,), each
        ([Z,] Y, X) float32
    """
    if output in ("classes", "multilabel"):
        return labels[np.newaxis].astype(np.float32)
    foreground = (labels > 0).astype(np.float32)
    if output == "foreground":
        return foreground[np.newaxis]
    return np.stack([foreground, boundary_distance(labels)])


def labels_from_scores(
    scores: NDArray[np.float32], output: Output, config: LabelsConfig
) -> NDArray[np.int32]:
    """Turn the scores of one image into labels.

    Parameters
    ----------
    scores : (K, [Z,] Y, X) float32, 0 to 1
    output : the meaning of the K channels
    config : threshold, splitting, smallest object in pixels, holes

    Returns
    -------
    labels : ([Z,] Y, X) int32; 1 to n, each connected through pixel faces, or class
        numbers
    """
    if output == "classes":
        return np.asarray(scores.argmax(axis=0), np.int32)
    if output == "multilabel":
        strongest = scores.argmax(axis=0).astype(np.int32) + 1
        return np.where(scores.max(axis=0) > config.threshold, strongest, 0)
    mask = scores[0 if output == "instances" else -1] > config.threshold
    if output == "instances" and config.split > 0 and mask.any():
        labels = _split(
            mask, scores[1], depth=max(0.2 * (1.0 - config.split), SHALLOWEST)
        )
    else:
        labels = _components(mask)
    if config.fill_holes:
        labels = fill_holes(labels)
    return without_small(labels, config.least)


def _components(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    if not mask.size:
        return np.zeros(mask.shape, np.int32)
    found = cc3d.connected_components(mask, connectivity=FACES[mask.ndim])
    return np.asarray(found, np.int32)


def _split(
    mask: NDArray[np.bool_], distance: NDArray[np.float32], depth: float
) -> NDArray[np.int32]:
    """Separate touching objects by a watershed of the boundary distance.

    Objects are the maxima that stand out by ``depth`` of the distance, which is 1 at
    the centre of small and large objects alike.
    """
    smooth = ndimage.gaussian_filter(distance, SMOOTHING)
    basins, summits = _basins(mask, smooth)
    return _merge_shallow(basins, smooth, summits, depth)


def _basins(
    mask: NDArray[np.bool_], height: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Give each pixel of the mask to the maximum that steepest ascent leads to.

    Returns
    -------
    basins : like ``mask``, 1 to n, each connected through pixel faces; and the height
        of each one's maximum, by number
    """
    padded = np.pad(np.where(mask, height, -np.inf), 1, constant_values=-np.inf)
    flat = padded.ravel()
    pixels = np.flatnonzero(np.pad(mask, 1))
    highest, aim = flat[pixels], pixels
    for stride in padded.strides:
        for step in (stride // padded.itemsize, -stride // padded.itemsize):
            there = flat[pixels + step]
            aim = np.where(there > highest, pixels + step, aim)
            np.maximum(highest, there, out=highest)
    peaks = np.zeros(padded.shape, bool)
    peaks.ravel()[pixels[aim == pixels]] = True
    rank = np.zeros(flat.size, np.int32)
    rank[pixels] = np.arange(len(pixels), dtype=np.int32)
    path = rank[aim]
    while not np.array_equal(further := path[path], path):
        path = further
    plateaus = _components(peaks).ravel()
    summits = np.zeros(int(plateaus.max(initial=0)) + 1, np.float32)
    summits[plateaus[peaks.ravel()]] = flat[peaks.ravel()]
    basins = np.zeros(mask.shape, np.int32)
    basins[mask] = plateaus[pixels][path]
    return basins, summits


def _merge_shallow(
    basins: NDArray[np.int32],
    height: NDArray[np.float32],
    summits: NDArray[np.float32],
    depth: float,
) -> NDArray[np.int32]:
    """Join basins whose maximum rises less than ``depth`` above its highest pass.

    From the highest pass down, the lower of two maxima gives way: what remains are the
    h-maxima, without the greyscale reconstruction that finds them ten times slower.

    References
    ----------
    Najman and Schmitt: Geodesic saliency of watershed contours and hierarchical
    segmentation, IEEE TPAMI 1996.
    """
    peaks = summits.tolist()
    parent = list(range(len(peaks)))

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    for one, other, saddle in _passes(basins, height):
        low, high = sorted((root(one), root(other)), key=peaks.__getitem__)
        if peaks[low] - saddle < depth:
            parent[low] = high
    return np.array([root(basin) for basin in parent], np.int32).take(basins)


def _passes(
    basins: NDArray[np.int32], height: NDArray[np.float32]
) -> list[tuple[int, int, float]]:
    """Return (basin, basin, height of the pass) of neighbours, the highest first."""
    pairs, heights = [], []
    for axis in range(basins.ndim):
        near, far = _neighbours(axis)[0]
        border = (basins[near] != basins[far]) & (basins[near] > 0) & (basins[far] > 0)
        pairs.append(np.stack([basins[near][border], basins[far][border]]))
        heights.append(np.minimum(height[near][border], height[far][border]))
    one, other = np.sort(np.concatenate(pairs, axis=1), axis=0)
    saddles = np.concatenate(heights)
    order = np.argsort(-saddles, kind="stable")
    one, other, saddles = one[order], other[order], saddles[order]
    first = np.unique(
        one * np.int64(basins.max(initial=0) + 1) + other, return_index=True
    )[1]
    first.sort()
    return list(
        zip(
            one[first].tolist(),
            other[first].tolist(),
            saddles[first].tolist(),
            strict=True,
        )
    )


def fill_holes(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return labels with the holes closed that lie inside one single object.

    Parameters
    ----------
    labels : ([Z,] Y, X) int32, 0 is background

    Returns
    -------
    labels : like ``labels``; a gap that touches the border of the array, or two
        objects, is no hole
    """
    if not labels.any():
        return labels
    gaps = _components(labels == 0)
    count = int(gaps.max(initial=0))
    enclosed = np.ones(count + 1, bool)
    enclosed[0] = False
    enclosed[_on_border(gaps)] = False
    if not enclosed.any():
        return labels
    padded = np.pad(labels, 1)
    flat = padded.ravel()
    pixels = np.flatnonzero(np.pad(enclosed[gaps], 1))
    gap = np.pad(gaps, 1).ravel()[pixels]
    lowest = np.full(count + 1, np.iinfo(np.int32).max, np.int32)
    highest = np.zeros(count + 1, np.int32)
    for stride in padded.strides:
        for step in (stride // padded.itemsize, -stride // padded.itemsize):
            beside = flat[pixels + step]
            touching = beside > 0
            np.minimum.at(lowest, gap[touching], beside[touching])
            np.maximum.at(highest, gap[touching], beside[touching])
    filling = np.where(enclosed & (lowest == highest), highest, 0).astype(np.int32)
    flat[pixels] = filling[gap]
    return np.ascontiguousarray(padded[(slice(1, -1),) * labels.ndim])


def _neighbours(axis: int) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Return the two ways to slice pixels against their neighbours along an axis."""
    before = (slice(None),) * axis + (slice(None, -1),)
    after = (slice(None),) * axis + (slice(1, None),)
    return [(before, after), (after, before)]


def _on_border(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the labels that touch the border of the array."""
    faces = [labels.take((0, -1), axis=axis).ravel() for axis in range(labels.ndim)]
    return np.unique(np.concatenate(faces)).astype(np.int64)


def without_small(labels: NDArray[np.int32], smallest: int) -> NDArray[np.int32]:
    """Return labels 1 to n without the objects of fewer pixels than ``smallest``.

    Parameters
    ----------
    labels : ([Z,] Y, X) int32, 0 is background
    smallest : in pixels

    Returns
    -------
    labels : like ``labels``, in the old order
    """
    if not labels.any():
        return labels
    areas = np.bincount(labels[labels > 0])
    numbers = numbers_without_small(areas, smallest)
    return numbers.take(labels)


def numbers_without_small(areas: NDArray[np.intp], smallest: int) -> NDArray[np.int32]:
    """Return the new number of each object, 0 for those that are too small.

    Parameters
    ----------
    areas : (n + 1,) pixels of each number, 0 is background
    smallest : in pixels
    """
    keep = areas >= max(smallest, 1)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)


def as_objects(labels: NDArray[Any]) -> NDArray[Any]:
    """Return integer labels; a mask of true and false becomes its connected parts."""
    return _components(labels) if labels.dtype == bool else labels


def _compact(labels: NDArray[Any]) -> tuple[NDArray[np.uint32], int]:
    """Return labels renumbered 1 to n as uint32, and n."""
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    compact, mapping = fastremap.renumber(np.ascontiguousarray(labels))
    return compact.astype(np.uint32), len([old for old in mapping if old])
