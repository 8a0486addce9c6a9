"""How far two predictions of one place agree, and which is nearer to corrections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from napari_unet.engine.metrics import count, count_classes, measures, mostly

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pair = tuple[int, int]


@dataclass(frozen=True)
class Truth:
    """What the user corrected in a place.

    Attributes
    ----------
    labels : ([T,] [Z,] Y, X) integers, 0 is background
    supervised : like labels, bool; where they can be trusted
    """

    labels: NDArray[Any]
    supervised: NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """How two versions do where the user corrected; they may have learnt from it.

    Attributes
    ----------
    objects : corrected ones; 0 with classes
    found : of these, by each version, at an IoU above 0.5
    wrong : objects of each version that match none
    scores : of each version, AP at an IoU of 0.5; with classes, Dice
    """

    objects: int
    found: Pair
    wrong: Pair
    scores: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """How two versions differ in one place.

    Attributes
    ----------
    numbers : of the versions
    objects : whether objects are counted below; else pixels that are not background
    counts : of each version
    agreeing : objects matched at an IoU above 0.5; with classes, pixels of one class
    dice : of the pixels that are not background; with classes, of the same class
    scored : where the user corrected; None: nothing is corrected there
    """

    numbers: Pair
    objects: bool
    counts: Pair
    agreeing: int
    dice: float
    scored: Scored | None = None

    @property
    def summary(self) -> str:
        """What differs, for the user."""
        one, other = self.numbers
        if self.objects:
            first, second = self.counts
            text = (
                f"Version {one} finds {_objects(first)}, version {other} finds "
                f"{second:,}; {self.agreeing:,} agree."
            )
        else:
            text = f"Versions {one} and {other} agree with a Dice of {self.dice:.2f}."
        return f"{text} {self._on_corrections(self.scored)}" if self.scored else text

    def _on_corrections(self, scored: Scored) -> str:
        one, other = self.numbers
        if not self.objects:
            first, second = scored.scores
            said = f"Dice {first:.2f} with version {one}, {second:.2f} with {other}."
            return f"On your corrections: {said}"
        first, second = scored.found
        if scored.objects:
            return (
                f"On your corrections: version {one} finds {first} of "
                f"{scored.objects}, version {other} finds {second} of {scored.objects}."
            )
        first, second = scored.wrong
        return (
            f"Where you corrected there is no object: version {one} finds "
            f"{_objects(first)} there, version {other} finds {second:,}."
        )


def _objects(count: int) -> str:
    return f"{count:,} object{'' if count == 1 else 's'}"


def compare(
    numbers: Pair, one: NDArray[Any], other: NDArray[Any], *, objects: bool,
    truth: Truth | None = None,
) -> Comparison:  # fmt: skip
    """Compare the predictions of two versions of a model for the same place.

    Parameters
    ----------
    numbers : of the versions
    one, other : ([T,] [Z,] Y, X) integer labels of one shape, 0 is background
    objects : whether values are objects; else classes, which agree where they are equal
    truth : of the same shape, what is corrected there

    Raises
    ------
    LabelsError
        If the shapes differ or the values are not whole numbers from 0.
    """
    counts = count(one, other) if objects else count_classes(one, other)
    kind = ("predicted", "true", "matched50")
    pixels = ("pixels_predicted", "pixels_true", "pixels_both")
    first, second, agreeing = (counts[key] for key in (kind if objects else pixels))
    scored = None
    if truth is not None and truth.supervised.any():
        scored = _score(one, other, truth, objects)
    return Comparison(
        numbers, objects, (first, second), agreeing, measures(counts)["dice"], scored,
    )  # fmt: skip


def _score(
    one: NDArray[Any], other: NDArray[Any], truth: Truth, objects: bool
) -> Scored:
    """Score both where the truth is known; an object counts that lies mostly there."""
    trusted = truth.supervised
    if not objects:
        classes = [count_classes(p * trusted, truth.labels * trusted)
                   for p in (one, other)]  # fmt: skip
        first, second = (measures(counts)["dice"] for counts in classes)
        return Scored(0, (0, 0), (0, 0), (first, second))
    right = mostly(truth.labels, trusted)
    a, b = (count(mostly(predicted, trusted), right) for predicted in (one, other))
    return Scored(
        a["true"], (a["matched50"], b["matched50"]),
        (a["predicted"] - a["matched50"], b["predicted"] - b["matched50"]),
        (measures(a)["ap50"], measures(b)["ap50"]),
    )  # fmt: skip


def outlines(labels: NDArray[np.int32], width: int, objects: bool) -> NDArray[np.uint8]:
    """Return the edges of objects or classes, plane by plane.

    Parameters
    ----------
    labels : ([T,] [Z,] Y, X) int32, 0 is background
    width : of the edges, which lie inside, in pixels
    objects : whether values are objects; else classes

    Returns
    -------
    edges : like labels, uint8; 1 (with classes, the class, up to 255) on an edge
    """
    size = (1,) * (labels.ndim - 2) + (2 * width + 1,) * 2
    around = (find(labels, size) for find in (minimum_filter, maximum_filter))
    edge = (labels > 0) & np.not_equal(*around)
    values = edge if objects else np.where(edge, labels, 0).clip(0, 255)
    return values.astype(np.uint8)
