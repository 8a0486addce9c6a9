"""How well predicted labels agree with the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

from napari_unet.engine.axes import check_labels
from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Counts = dict[str, int]
OUTLINE = 2  # pixels by which outlines that look right may differ


def count(predicted: NDArray[Any], truth: NDArray[Any]) -> Counts:
    """Count what every measure is made of, so that counts of images can be added.

    Parameters
    ----------
    predicted, truth : integer labels of one shape, 0 is background

    Returns
    -------
    counts : pixels in both, predicted and true foreground; predicted and true objects;
        objects matched at an IoU above 0.5 and 0.75

    Raises
    ------
    LabelsError
        If the shapes differ or the values are not whole numbers from 0.
    """
    if predicted.shape != truth.shape:
        raise LabelsError(
            f"The prediction has the shape {predicted.shape}, the truth {truth.shape}: "
            "compare labels of the same image."
        )
    check_labels(predicted, predicted.shape)
    check_labels(truth, truth.shape)
    both = int(((predicted > 0) & (truth > 0)).sum())
    overlaps, _, (rows, columns) = _overlaps(predicted, truth)
    return {
        "pixels_both": both,
        "pixels_predicted": int((predicted > 0).sum()),
        "pixels_true": int((truth > 0).sum()),
        "predicted": rows,
        "true": columns,
        "matched50": int((overlaps > 0.5).sum()),
        "matched75": int((overlaps > 0.75).sum()),
    }


def matched(
    predicted: NDArray[Any], truth: NDArray[Any], threshold: float = 0.5
) -> NDArray[Any]:
    """Return the true objects that a predicted one matches.

    Parameters
    ----------
    predicted, truth : integer labels of one shape, 0 is background
    threshold : IoU that a match exceeds; from 0.5 on an object has one match at most

    Returns
    -------
    ids : of objects in ``truth``, ascending
    """
    overlaps = _overlaps(predicted, truth)
    return np.unique(overlaps.true[overlaps.ious > threshold])


class _Overlaps(NamedTuple):
    """Every pair of a predicted and a true object that overlap."""

    ious: NDArray[np.float64]
    true: NDArray[Any]  # id of the true object of each pair
    counts: tuple[int, int]  # of predicted and of true objects


def _overlaps(predicted: NDArray[Any], truth: NDArray[Any]) -> _Overlaps:
    ids_p, p = np.unique(predicted, return_inverse=True)
    ids_t, t = np.unique(truth, return_inverse=True)
    p, t = p.ravel(), t.ravel()
    areas_p, areas_t = np.bincount(p), np.bincount(t)
    pairs, shared = np.unique(p * len(ids_t) + t, return_counts=True)
    row, column = np.divmod(pairs, len(ids_t))
    real = (ids_p[row] != 0) & (ids_t[column] != 0)
    row, column, shared = row[real], column[real], shared[real]
    ious = shared / (areas_p[row] + areas_t[column] - shared)
    counts = int((ids_p != 0).sum()), int((ids_t != 0).sum())
    return _Overlaps(ious, ids_t[column], counts)


def count_classes(predicted: NDArray[Any], truth: NDArray[Any]) -> Counts:
    """Count like ``count``, but only pixels of the same class are in both.

    Parameters
    ----------
    predicted, truth : integer labels of one shape, 0 is background

    Raises
    ------
    LabelsError
        If the shapes differ or the values are not whole numbers from 0.
    """
    check_labels(predicted, truth.shape)
    objects = dict.fromkeys(("predicted", "true", "matched50", "matched75"), 0)
    return {
        "pixels_both": int(((predicted == truth) & (truth > 0)).sum()),
        "pixels_predicted": int((predicted > 0).sum()),
        "pixels_true": int((truth > 0).sum()),
        **objects,
    }


def count_trusted(
    predicted: NDArray[Any], truth: NDArray[Any], trusted: NDArray[np.bool_],
    accepted: NDArray[np.bool_] | None = None,
) -> Counts:  # fmt: skip
    """Count objects that lie mostly in trusted pixels, and all trusted pixels.

    What was accepted was found right at a look, and has the outline that a model drew.
    Not to prefer that model, such objects count as matched at 0.75 from an IoU of 0.5
    on, and pixels near an outline do not count.

    Parameters
    ----------
    predicted, truth : ([Z,] Y, X) integers, 0 is background
    trusted : like labels, bool
    accepted : like labels, bool; where the truth was predicted; None: nowhere
    """
    found = mostly(predicted, trusted)
    objects = count(found, mostly(truth, trusted))
    if accepted is not None and accepted.any():
        theirs = mostly(truth, trusted & accepted)
        near, exactly = (len(matched(found, theirs, iou)) for iou in (0.5, 0.75))
        objects["matched75"] += near - exactly
        trusted = trusted & ~(accepted & _near_outlines(truth))
    pixels = count(predicted * trusted, truth * trusted)
    return objects | {key: pixels[key] for key in pixels if key.startswith("pixels")}


def _near_outlines(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where another label is at most ``OUTLINE`` pixels away."""
    side = 2 * OUTLINE + 1
    most, least = (
        each(labels, side, mode="nearest")
        for each in (ndimage.maximum_filter, ndimage.minimum_filter)
    )
    return np.asarray(most != least)


def mostly(labels: NDArray[Any], trusted: NDArray[np.bool_]) -> NDArray[Any]:
    """Return labels with only the objects that lie mostly in trusted pixels.

    Parameters
    ----------
    labels : ([Z,] Y, X) integers, 0 is background
    trusted : like labels, bool
    """
    if trusted.all():
        return labels
    _, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape)
    inside = np.bincount(compact.ravel(), trusted.ravel().astype(float))
    keep = inside > 0.5 * np.bincount(compact.ravel())
    return np.where(keep[compact], labels, 0)


def pooled(counts: Iterable[Counts]) -> Counts:
    """Add the counts of several images."""
    total: Counts = {}
    for one in counts:
        for key, value in one.items():
            total[key] = total.get(key, 0) + value
    return total


def measures(counts: Counts) -> dict[str, float]:
    """Return Dice, IoU, AP, precision and recall from (pooled) counts.

    AP at a threshold is matched / (matched + spurious + missed), as in the 2018 Data
    Science Bowl; two empty images agree perfectly.

    References
    ----------
    Caicedo et al.: Nucleus segmentation across imaging experiments, Nature Methods
    2019.
    """
    both = counts["pixels_both"]
    pixels = counts["pixels_predicted"] + counts["pixels_true"]
    objects = counts["predicted"] + counts["true"]

    def average_precision(matched: int) -> float:
        return _ratio(matched, objects - matched)

    return {
        "dice": _ratio(2 * both, pixels),
        "iou": _ratio(both, pixels - both),
        "ap50": average_precision(counts["matched50"]),
        "ap75": average_precision(counts["matched75"]),
        "precision50": _ratio(counts["matched50"], counts["predicted"]),
        "recall50": _ratio(counts["matched50"], counts["true"]),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def evaluate(predicted: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Compare predicted labels with the truth.

    Parameters
    ----------
    predicted, truth : integer labels of one shape, 0 is background

    Returns
    -------
    measures : dice and iou of the foreground; ap50, ap75, precision50, recall50 of the
        objects (matched at an IoU above 0.5 or 0.75); and the counts behind them

    Raises
    ------
    LabelsError
        If the shapes differ or the values are not whole numbers from 0.
    """
    counts = count(predicted, truth)
    return {**measures(counts), **counts}
