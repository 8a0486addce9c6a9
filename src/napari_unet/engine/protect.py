"""Merging a prediction under protected pixels, without tearing an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cc3d
import fastremap
import numpy as np

from napari_unet.engine.blocks import relative
from napari_unet.engine.patches import patches_between
from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.patches import Patch

UNTOUCHED, EDITED, ACCEPTED = 0, 1, 2
IGNORED = 4  # added to what a pixel was before
HIGHEST = 2**31 - 1  # label that int32 holds
RIM = 2  # pixels of background around a corrected object


@dataclass(frozen=True)
class Merged:
    """What a prediction changes, ready to be put into the layer.

    Attributes
    ----------
    patches : the changes, under what is protected
    highest : the highest id among them
    revision : of the layer when the snapshot was taken
    """

    patches: tuple[Patch, ...]
    highest: int
    revision: int


@dataclass(frozen=True)
class Snapshot:
    """Whole planes (volumes) of a layer under correction, at one moment.

    Attributes
    ----------
    plane : where in the layer
    labels : int32
    state : uint8, UNTOUCHED or a mark of the user
    dims : 2 when objects are flat, 3 for volumes
    instances : whether values are objects or classes
    first : lowest id above every id ever used
    revision : of the layer at that moment
    """

    plane: Region
    labels: NDArray[np.int32]
    state: NDArray[np.uint8]
    dims: int
    instances: bool
    first: int
    revision: int

    def protected(self) -> NDArray[np.bool_]:
        """Return what no prediction may change.

        Edited, accepted and ignored pixels; with objects, the whole of every object
        that has such a pixel, and the background around it.
        """
        return self._whole(self.state != UNTOUCHED)

    def supervised(self) -> NDArray[np.bool_]:
        """Return what training learns from: what is protected, but for what is ignored.

        An object of which only ignored pixels are marked is not learnt from either.
        """
        marked = (self.state == EDITED) | (self.state == ACCEPTED)
        counted: NDArray[np.bool_] = self._whole(marked) & (self.state < IGNORED)
        return counted

    def _whole(self, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return marked pixels, with objects widened to whole ones and their rim."""
        if not self.instances or not marked.any():
            return marked
        whole = members(self.labels, np.unique(self.labels[marked]))
        around = rim(whole, self.dims) & (self.labels == 0)
        return np.asarray(marked | whole | around)

    def merge(
        self, predicted: NDArray[np.int32], window: Region,
        region: Region | None = None, within: NDArray[np.bool_] | None = None,
    ) -> Merged:  # fmt: skip
        """Return the labels with a prediction put under what is protected.

        Parameters
        ----------
        predicted : labels of ``window``; objects are renumbered above every id ever
            used, one that protected pixels would cut in pieces or of which they take
            more than half is dropped
        window : slices over the layer's axes, inside this snapshot's planes
        region : the part of the window that was asked for; objects that do not touch it
            stay, those that do are replaced as a whole. None: the window
        within : bool, which pixels of the region were asked for, in a shape that goes
            with the region's; None: all
        """
        inner = relative(region or window, self.plane)
        part = self._around(relative(window, self.plane), inner)
        labels = self.labels[part]
        placed = np.zeros(labels.shape, np.int32)
        placed[relative(relative(window, self.plane), part)] = predicted
        asked = np.zeros(labels.shape, bool)
        asked[relative(inner, part)] = True if within is None else within
        merge = merge_instances if self.instances else merge_classes
        merged = merge(labels, self.protected()[part], placed, asked, self.first)
        where = tuple(
            slice(p.start + s.start, p.start + s.stop)
            for p, s in zip(self.plane, part, strict=True)
        )
        patches = patches_between(where, labels, merged)
        return Merged(patches, int(merged.max(initial=0)), self.revision)

    def _around(self, window: Region, region: Region) -> Region:
        """Return a window widened until objects that touch a region lie in it whole.

        Nothing else is changed by a prediction of the region. All in pixels of this
        snapshot.
        """
        touched = fastremap.unique(self.labels[region])
        if not self.instances or not touched.any():
            return window
        mask = members(self.labels, touched)
        wide = []
        for axis, s in enumerate(window):
            others = tuple(other for other in range(mask.ndim) if other != axis)
            found = np.flatnonzero(mask.any(axis=others))
            wide.append(slice(min(s.start, found[0]), max(s.stop, found[-1] + 1)))
        return tuple(wide)


def members(labels: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where labels are among the wanted ones, background left out."""
    wanted = wanted[wanted != 0]
    if not wanted.size:
        return np.zeros(labels.shape, bool)
    highest = int(labels.max(initial=0))
    if labels.min(initial=0) < 0 or highest > 64 * max(labels.size, 2**20):
        found: NDArray[np.bool_] = np.isin(labels, wanted)
        return found
    table = np.zeros(highest + 1, bool)
    table[wanted[wanted <= highest]] = True
    return np.asarray(table[labels])


def near(window: Region, shape: tuple[int, ...], dims: int) -> tuple[Region, Region]:
    """Return a window widened by the rim, and the old window's place in it."""
    wide, inner = [], []
    for axis, (s, n) in enumerate(zip(window, shape, strict=True)):
        margin = RIM if axis >= len(shape) - dims else 0
        start, stop = max(s.start - margin, 0), min(s.stop + margin, n)
        wide.append(slice(start, stop))
        inner.append(slice(s.start - start, s.stop - start))
    return tuple(wide), tuple(inner)


def rim(mask: NDArray[np.bool_], dims: int) -> NDArray[np.bool_]:
    """Return the pixels around a mask, RIM pixels wide along the last axes."""
    grown = mask.copy()
    for _ in range(RIM):
        source = grown.copy()
        for axis in range(mask.ndim - dims, mask.ndim):
            before = (slice(None),) * axis + (slice(None, -1),)
            after = (slice(None),) * axis + (slice(1, None),)
            grown[before] |= source[after]
            grown[after] |= source[before]
    return grown & ~mask


def merge_classes(
    current: NDArray[np.int32], protected: NDArray[np.bool_],
    predicted: NDArray[np.int32], asked: NDArray[np.bool_], first: int,
) -> NDArray[np.int32]:  # fmt: skip
    """Return the labels with the predicted classes where asked for and unprotected."""
    del first  # classes are not renumbered
    return np.where(asked & ~protected, predicted, current)


def merge_instances(
    current: NDArray[np.int32], protected: NDArray[np.bool_],
    predicted: NDArray[np.int32], asked: NDArray[np.bool_], first: int,
) -> NDArray[np.int32]:  # fmt: skip
    """Return the labels with the predicted objects, whole or not at all.

    Parameters
    ----------
    current, predicted : labels of whole planes or volumes
    protected : like labels, bool; these pixels keep their value
    asked : like labels, bool, what was asked for; current objects outside of it stay,
        predicted objects outside of it are left out, those that touch it are placed as
        a whole
    first : the lowest id that may be given

    Raises
    ------
    LabelsError
        If int32 has no numbers left.
    """
    replaced = fastremap.unique(current[asked])
    fixed = protected | ((current != 0) & ~members(current, replaced))
    wanted = fastremap.unique(predicted[asked])
    predicted = np.where(members(predicted, wanted), predicted, 0)
    rest = np.where(fixed, 0, predicted)
    keep = _survivors(predicted, rest)
    if first + np.count_nonzero(keep) - 1 > HIGHEST:
        raise LabelsError(
            f"The labels go up to {first - 1}, expected room for new numbers below "
            f"{HIGHEST + 1}: predict into a new labels layer."
        )
    numbers = np.where(keep, np.cumsum(keep) + first - 1, 0).astype(np.int32)
    return np.where(fixed, current, numbers[rest])


def _survivors(
    predicted: NDArray[np.int32], rest: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Tell for each id whether half of it is left, and that in one piece."""
    areas = np.bincount(predicted.ravel(), minlength=1)
    left = np.bincount(rest.ravel(), minlength=len(areas))
    keep = (2 * left >= areas) & (left > 0)
    keep[0] = False
    cut = keep & (left < areas)
    if cut.any():
        keep &= ~cut | (pieces(np.where(cut[rest], rest, 0), len(areas)) == 1)
    return keep


def pieces(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return for each id below ``count`` in how many pieces it lies.

    Pieces are connected through faces; ids of different slices of a stack differ.
    """
    volumes = labels.reshape(-1, *labels.shape[-3:]) if labels.ndim > 3 else [labels]
    total = np.zeros(count, np.int64)
    for volume in volumes:
        connectivity = 4 if volume.ndim == 2 else 6
        components = cc3d.connected_components(volume, connectivity=connectivity)
        owner = np.zeros(int(components.max(initial=0)) + 1, np.int64)
        owner[components.ravel()] = volume.ravel()
        total += np.bincount(owner, minlength=count)
    return total
