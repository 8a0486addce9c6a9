"""A hand that corrects labels as a person does: the worst objects first, in strokes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.metrics import count, measures
from napari_unet.engine.protect import EDITED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.opened import OpenImage

FOUND = 0.5  # IoU from which an object counts as found, however it is drawn
RIGHT = 0.7  # IoU from which a person leaves an object as it is
SEEN = 10  # pixels of an object in a window that a person notices
SHRINK = 16  # pixels a side: a smaller view is accepted where the whole is not right


@dataclass(frozen=True)
class Fault:
    """Something wrong in a place.

    Attributes
    ----------
    truth : number of the true object; 0: there is none
    found : numbers of the predicted objects that are in its way, or that are none
    iou : of the true object and the best of them
    away : pixels from the middle of the place
    """

    truth: int
    found: tuple[int, ...]
    iou: float
    away: float


def faults(labels: NDArray[Any], truth: NDArray[Any], window: Region) -> list[Fault]:
    """Return what is wrong in a window: what is missed, what is too much, and then
    what is found but badly drawn; each from its middle on.
    """
    middle = np.array([(s.start + s.stop) / 2 for s in window])
    wrong = [n for n in _seen(labels, window) if _best(n, labels, truth)[1] < RIGHT]
    found: list[Fault] = []
    taken: set[int] = set()
    for number in _seen(truth, window):
        inside = truth == number
        _, iou = _best(number, truth, labels)
        if iou >= RIGHT:
            continue
        in_way = tuple(n for n in wrong if (inside & (labels == n)).any())
        taken.update(in_way)
        away = float(np.abs(np.argwhere(inside).mean(axis=0) - middle).max())
        found.append(Fault(int(number), in_way, iou, away))
    for number in wrong:
        if number not in taken:
            places = np.argwhere(labels[window] == number) + [s.start for s in window]
            away = float(np.abs(places - middle).max(axis=1).min())
            found.append(Fault(0, (int(number),), 0.0, away))
    return sorted(found, key=lambda f: (f.iou >= FOUND, not f.truth, f.away))


def _seen(labels: NDArray[Any], window: Region) -> list[int]:
    """Return the objects of which something is seen in a window."""
    ids, pixels = np.unique(labels[window], return_counts=True)
    return [int(n) for n, p in zip(ids, pixels, strict=True) if n and p >= SEEN]


def _best(number: int, its: NDArray[Any], others: NDArray[Any]) -> tuple[int, float]:
    """Return the object of ``others`` that is most like one of ``its``, and the IoU."""
    inside = its == number
    ids, shared = np.unique(others[inside], return_counts=True)
    best, iou = 0, 0.0
    for other, common in zip(ids, shared, strict=True):
        both = common / (inside.sum() + (others == other).sum() - common)
        if other and both > iou:
            best, iou = int(other), float(both)
    return best, iou


def seen_as_right(labels: NDArray[Any], truth: NDArray[Any], window: Region) -> float:
    """Return how right labels look in a window, 0 to 1: the objects and their area."""
    measured = measures(count(labels[window], truth[window]))
    return 0.5 * (measured["ap50"] + measured["dice"])


def correct(opened: OpenImage, truth: NDArray[Any], window: Region, most: int) -> int:
    """Correct the worst objects of a place, and accept the view that is right then.

    Parameters
    ----------
    opened : an image of the session
    truth : its true labels
    window : the place
    most : objects that are corrected at most

    Returns
    -------
    corrected : objects painted or deleted
    """
    its = opened.corrections
    todo = faults(np.asarray(its.labels), truth, window)[:most]
    for fault in todo:
        _paint(its, np.isin(np.asarray(its.labels), fault.found), 0)
        if fault.truth:
            _paint(its, truth == fault.truth, its.next_label)
    _vouch_for_no_more(its, truth)
    for margin in range(0, min(s.stop - s.start for s in window) // 2, SHRINK):
        view = tuple(slice(s.start + margin, s.stop - margin) for s in window)
        if not faults(np.asarray(its.labels), truth, view):
            its.accept(view)
            break
    return len(todo)


def _vouch_for_no_more(its: Any, truth: NDArray[Any]) -> None:
    """Draw around objects that a deletion left without a label, to ignore them.

    Where a model takes much for an object that is none, deleting it says that all of it
    is background; what a person sees there and does not paint is not to be learnt so.
    """
    everywhere = tuple(slice(0, n) for n in its.shape)
    unpainted = (np.asarray(its.labels) == 0) & (truth > 0)
    left = unpainted & (its.state[everywhere] == EDITED)
    if left.any():
        its.ignore(everywhere, ndimage.binary_dilation(left, iterations=2) & unpainted)


def _paint(its: Any, where: NDArray[np.bool_], value: int) -> None:
    """Paint as napari's brush does: by coordinates, and then the stroke ends."""
    if where.any():
        its.labels[np.nonzero(where)] = value
        its.stroke_ends()
