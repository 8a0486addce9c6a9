"""Merging a prediction under protected pixels, without tearing an object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cc3d
import fastremap
import numpy as np

from napari_unet.engine.blocks import everything, relative
from napari_unet.engine.patches import patches_between
from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.patches import Patch
    from napari_unet.engine.writes import Tracked

UNTOUCHED, EDITED, ACCEPTED = 0, 1, 2
IGNORED = 4  # added to what a pixel was before
HIGHEST = 2**31 - 1  # label that int32 holds
RIM = 2  # pixels of background around a corrected object
STEP = 64  # pixels by which a window is widened at first, to hold objects whole


def _nothing() -> NDArray[np.int32]:
    return np.zeros(0, np.int32)


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
    """A part of a layer under correction, at one moment.

    Attributes
    ----------
    window : where in the layer; objects that reach into what was asked for lie in it
        whole
    labels : int32
    state : uint8, UNTOUCHED or a mark of the user
    dims : 2 when objects are flat, 3 for volumes
    instances : whether values are objects or classes
    first : lowest id above every id ever used
    revision : of the layer at that moment
    marked : objects that the user marked, also beyond the window, in its planes
    learnt : those of them that are edited or accepted, not only ignored
    """

    window: Region
    labels: NDArray[np.int32]
    state: NDArray[np.uint8]
    dims: int
    instances: bool
    first: int
    revision: int
    marked: NDArray[np.int32] = field(default_factory=_nothing)
    learnt: NDArray[np.int32] = field(default_factory=_nothing)

    def protected(self) -> NDArray[np.bool_]:
        """Return what no prediction may change.

        Edited, accepted and ignored pixels; with objects, the whole of every object
        that has such a pixel, and the background around it.
        """
        return self._whole(self.state != UNTOUCHED, self.marked)

    def supervised(self) -> NDArray[np.bool_]:
        """Return what training learns from: what is protected, but for what is ignored.

        An object of which only ignored pixels are marked is not learnt from either, and
        one that was accepted for its smaller part, as a view was, no further than that.
        """
        marked = (self.state == EDITED) | (self.state == ACCEPTED)
        counted: NDArray[np.bool_] = self._whole(
            marked, self.learnt, self._barely_accepted()
        ) & (self.state < IGNORED)
        return counted

    def _barely_accepted(self) -> NDArray[np.int32]:
        """Return objects that are not edited, and of which most is not accepted."""
        accepted = self.labels[self.state == ACCEPTED]
        if not self.instances or not accepted.size:
            return _nothing()
        some, their = fastremap.unique(accepted, return_counts=True)
        objects, areas = fastremap.unique(
            self.labels[members(self.labels, some)], return_counts=True
        )
        shares = their[np.searchsorted(some, objects)] / areas
        edited = fastremap.unique(self.labels[self.state == EDITED])
        return np.asarray(np.setdiff1d(objects[shares < 0.5], edited))

    def _whole(
        self, marked: NDArray[np.bool_], beyond: NDArray[np.int32],
        but: NDArray[np.int32] | tuple[()] = (),
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Return marked pixels, with objects ``but`` some widened to whole ones.

        They come with their rim; some may be marked ``beyond`` the window only.
        """
        if not self.instances or not (marked.any() or beyond.any()):
            return marked
        objects = np.union1d(fastremap.unique(self.labels[marked]), beyond)
        objects = np.setdiff1d(objects, but)
        whole = members(self.labels, objects)
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
        window : slices over the layer's axes, inside this snapshot's window
        region : the part of the window that was asked for; objects that do not touch it
            stay, those that do are replaced as a whole. None: the window
        within : bool, which pixels of the region were asked for, in a shape that goes
            with the region's; None: all
        """
        placed = np.zeros(self.labels.shape, np.int32)
        placed[relative(window, self.window)] = predicted
        asked = np.zeros(self.labels.shape, bool)
        inner = relative(region or window, self.window)
        asked[inner] = True if within is None else within
        protected = self.protected()
        if self.instances:
            moved = replaced(self.labels, asked, self.dims)
            merged = merge_instances(
                self.labels, protected, placed, asked, moved, self.first
            )
        else:
            merged = np.where(asked & ~protected, placed, self.labels)
        patches = patches_between(self.window, self.labels, merged)
        return Merged(patches, int(merged.max(initial=0)), self.revision)


def whole_objects(labels: Tracked, window: Region, dims: int) -> Region:
    """Return a window widened until the objects in it lie in it whole, with a rim.

    Pieces of an object that are apart from it may lie beyond.

    Parameters
    ----------
    labels : of the whole layer
    window : slices with numbers over its axes
    dims : 2 when objects are flat, 3 for volumes
    """
    flat = len(window) - dims
    if window[flat:] == everything(labels.shape)[flat:]:
        return window  # nothing to look at, however large it is
    inside = fastremap.unique(labels.now(window))
    inside = inside[inside != 0]
    wide, step = list(near(window, labels.shape, dims)[0]), STEP
    while inside.size:
        ends = [
            (axis, end)
            for axis in range(flat, len(window))
            for end in (-1, 1)
            if _reaches(labels, tuple(wide), (axis, end), inside)
        ]
        if not ends:
            break
        for axis, end in ends:
            start, stop = wide[axis].start, wide[axis].stop
            if end < 0:
                wide[axis] = slice(max(start - step, 0), stop)
            else:
                wide[axis] = slice(start, min(stop + step, labels.shape[axis]))
        step *= 2
    return tuple(wide)


def _reaches(
    labels: Tracked, window: Region, side: tuple[int, int], objects: NDArray[np.int32]
) -> bool:
    """Tell whether some of the objects lie at one side of a window, and may go on."""
    axis, end = side
    edge = window[axis].stop if end > 0 else window[axis].start
    if edge == (labels.shape[axis] if end > 0 else 0):
        return False
    last = slice(edge - 1, edge) if end > 0 else slice(edge, edge + 1)
    face = labels.now((*window[:axis], last, *window[axis + 1 :]))
    return bool(np.isin(face, objects).any())


def accepted(
    state: NDArray[np.uint8], where: NDArray[np.bool_] | bool = True
) -> NDArray[np.uint8]:
    """Return states with the untouched ones, where asked for, accepted."""
    return np.where((state == UNTOUCHED) & where, np.uint8(ACCEPTED), state)


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
    return table.take(labels)


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


def replaced(
    labels: NDArray[np.int32], asked: NDArray[np.bool_], dims: int
) -> NDArray[np.bool_]:
    """Return where the objects lie that reach into what was asked for.

    Of an object in several pieces, only those that reach into it.

    Parameters
    ----------
    labels, asked : alike, of a window in which such objects lie whole
    dims : 2 when objects are flat, 3 for volumes
    """
    found = np.zeros(labels.shape, bool)
    filled = np.flatnonzero(labels)
    values, inside = labels.ravel()[filled], asked.ravel()[filled]
    hit = members(values, fastremap.unique(values[inside]))
    out = hit & ~inside
    some = members(values, fastremap.unique(values[out]))  # all but what lies inside
    found.ravel()[filled] = hit & ~some
    if not some.any():
        return found
    reaching = np.zeros(labels.shape, labels.dtype)
    reaching.ravel()[filled] = values * some
    shape = (-1, *labels.shape[labels.ndim - dims :])
    connectivity = {2: 8, 3: 26}[dims]
    for whole, plane, there in zip(
        *(each.reshape(shape) for each in (found, reaching, asked)), strict=True
    ):
        pieces = cc3d.connected_components(plane, connectivity=connectivity)
        whole |= members(pieces, fastremap.unique(pieces[there]))
    return found


def merge_instances(
    current: NDArray[np.int32], protected: NDArray[np.bool_],
    predicted: NDArray[np.int32], asked: NDArray[np.bool_],
    moved: NDArray[np.bool_], first: int,
) -> NDArray[np.int32]:  # fmt: skip
    """Return the labels with the predicted objects, whole or not at all.

    An object that is there already, to the pixel, keeps its number.

    Parameters
    ----------
    current, predicted : labels of a window in which objects lie whole
    protected : like labels, bool; these pixels keep their value
    asked : like labels, bool, what was asked for; predicted objects outside of it are
        left out, those that touch it are placed as a whole
    moved : like labels, bool, the current objects that make room
    first : the lowest id that may be given

    Raises
    ------
    LabelsError
        If int32 has no numbers left.
    """
    filled = np.flatnonzero(predicted | current)  # elsewhere is and stays background
    old, new = (each.ravel()[filled] for each in (current, predicted))
    marked, there, room = (each.ravel()[filled] for each in (protected, asked, moved))
    fixed = marked | ((old != 0) & ~room)
    new = new * members(new, fastremap.unique(new[there]))
    rest = new * ~fixed
    areas = np.bincount(new, minlength=1)
    left = np.bincount(rest, minlength=len(areas))
    keep = (2 * left >= areas) & (left > 0)
    keep[0] = False
    if (cut := keep & (left < areas)).any():
        torn = np.zeros(predicted.shape, np.int32)
        torn.ravel()[filled] = np.where(cut[rest], rest, 0)
        keep &= ~cut | (pieces(torn, len(areas)) == 1)
    same = _unchanged(rest, left, old * (room & ~marked))
    fresh = keep & (same == 0)
    if first + np.count_nonzero(fresh) - 1 > HIGHEST:
        raise LabelsError(
            f"The labels go up to {first - 1}, expected room for new numbers below "
            f"{HIGHEST + 1}: predict into a new labels layer."
        )
    numbers = np.where(fresh, np.cumsum(fresh) + first - 1, np.where(keep, same, 0))
    merged = np.zeros(current.shape, np.int32)
    merged.ravel()[filled] = np.where(fixed, old, numbers.astype(np.int32)[rest])
    return merged


def _unchanged(
    rest: NDArray[np.int32], areas: NDArray[np.int64], old: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return for each id the number of the old object that is the same, or 0.

    Parameters
    ----------
    rest : the new objects, in one dimension
    areas : pixels of each of them
    old : like ``rest``, the objects that make room for them
    """
    if not old.any():
        return np.zeros(len(areas), np.int32)
    likely = np.zeros(len(areas), np.int32)
    likely[rest] = old  # of one of its pixels
    likely[0] = 0
    alike = np.bincount(rest * (old == likely[rest]), minlength=len(areas))
    known, sizes = fastremap.unique(old, return_counts=True)
    size = sizes[np.searchsorted(known, likely)]
    same = (alike == areas) & (size == areas)
    return np.where(same, likely, 0).astype(np.int32)


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
