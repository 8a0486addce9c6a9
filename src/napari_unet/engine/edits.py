"""What was written into labels since they were settled, as patches of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet.engine.blocks import overlap, union
from napari_unet.engine.patches import edited
from napari_unet.engine.protect import EDITED, IGNORED, members, near, rim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region, SparseArray
    from napari_unet.engine.patches import Patch
    from napari_unet.engine.writes import Tracked


def changed_windows(labels: Tracked, windows: list[Region]) -> list[Region]:
    """Return the smallest windows with all pixels that changed in some windows."""
    found = []
    for window in windows:
        differs = labels.now(window) != labels.before(window)
        if differs.any():
            found.append(_around(differs, window))
    return found


def _around(mask: NDArray[np.bool_], window: Region) -> Region:
    """Return the smallest window with all true pixels of a window's mask."""
    found = []
    for axis, outer in enumerate(window):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        places = np.flatnonzero(mask.any(axis=others))
        start, stop = int(places[0]), int(places[-1]) + 1
        found.append(slice(outer.start + start, outer.start + stop))
    return tuple(found)


def edit_patches(
    labels: Tracked, state: SparseArray, changed: list[Region], dims: int, *,
    instances: bool, vouched: bool,
) -> tuple[tuple[Patch, ...], int]:  # fmt: skip
    """Return the patches of an edit, and its highest label; what they hold is settled.

    With objects, what remains of an erased one and the background around the edit are
    marked too: an object is corrected as a whole, with its rim. What remains of an
    object that was painted over is kept, but ignored: nobody has said that it is right.

    Parameters
    ----------
    labels : written to
    state : of the ledger, before the edit
    changed : windows with all pixels that changed
    dims, instances : of the ledger
    vouched : whether all objects that changed are meant as they are now, as of a split
    """
    if instances:
        changed = _apart([near(each, labels.shape, dims)[0] for each in changed])
    parts = [(each, labels.before(each), labels.now(each)) for each in changed]
    objects, rests = _objects_in(parts)
    if vouched:
        objects, rests = np.union1d(objects, rests), rests[:0]
    patches: list[Patch] = []
    highest = 0
    for window, before, after in parts:
        touched = before != after
        old = state[window]
        new = np.where(touched, np.uint8(EDITED), old)
        if instances:
            edge = rim(touched, dims)
            theirs = edge & (members(after, objects) | (after == 0))
            rest = edge & members(after, rests)
            new[theirs] = EDITED
            new[rest] |= IGNORED
            touched |= theirs | rest
        patches += edited(window, touched, (before, after), (old, new))
        highest = max(highest, int(after.max(initial=0)))
        labels.write(window, np.array(after))
    return tuple(patches), highest


def _apart(windows: list[Region]) -> list[Region]:
    """Return windows that hold all of these and do not overlap.

    Two writes far from each other would else be read with all that lies between them.
    """
    found: list[Region] = []
    for window in windows:
        whole = window
        while touching := [each for each in found if overlap(each, whole)]:
            found = [each for each in found if each not in touching]
            whole = union([whole, *touching]) or whole
        found.append(whole)
    return found


def _objects_in(
    parts: list[tuple[Region, NDArray[np.int32], NDArray[np.int32]]],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the labels that were painted or erased, and those only painted over."""
    meant, over = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for _, before, after in parts:
        was, now = before[before != after], after[before != after]
        meant += [np.unique(now), np.unique(was[now == 0])]
        over.append(np.unique(was))
    objects = np.unique(np.concatenate(meant))
    return objects, np.setdiff1d(np.concatenate(over), objects)
