"""Which kind of image a picture is of: that of the loaded model, or the user's own.

A model that learnt another kind keeps the loaded network beside the new one, and a gate
that chooses one of them for each image. Imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import FiniteFloat, model_validator
from scipy import ndimage

from napari_unet.engine.config import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

WIDTHS = (2.0, 4.0, 8.0)  # pixels; blobs of these sizes are looked for
LARGEST = 1024  # pixels a side of what is looked at, in the middle of an image
CROP = 128  # pixels; an image of the user tells more than one thing of its kind
SHRINKAGE = 0.1  # of covariances, towards features that are independent
# standard deviations between the two kinds; nearer, there is no gate. Measured against
# synthetic nuclei: fluorescence 1.3 to 2.2, phase contrast from 2.5, tissue from 3.1
APART = 2.4
FEWEST = 3  # images or crops of each kind


class Gate(Frozen):
    """Tells two kinds of image apart by what ``describe`` says of them.

    Attributes
    ----------
    name : of the model that knows the old kind
    middle, weights : an image is of the old kind if the weighted sum of its features,
        counted from the middle, is below 0
    """

    name: str
    middle: tuple[FiniteFloat, ...]
    weights: tuple[FiniteFloat, ...]

    @model_validator(mode="after")
    def _as_many_as_features(self) -> Gate:
        if not len(self.middle) == len(self.weights) == 2 * len(WIDTHS):
            raise ValueError("a gate has another number of features")
        return self

    def is_old(self, features: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell for features (..., F) whether they are of the old kind."""
        return np.asarray((features - np.array(self.middle)) @ self.weights < 0)


def describe(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return features of an image: bright against dark blobs, and structure, by size.

    Parameters
    ----------
    image : (C, [Z,] Y, X) float32, normalised; of a large one the middle counts

    Returns
    -------
    features : (6,) float64
    """
    plane = image.mean(axis=0)
    while plane.ndim > 2:
        plane = plane[len(plane) // 2]
    middle = tuple(
        slice(max(n - LARGEST, 0) // 2, max(n - LARGEST, 0) // 2 + LARGEST)
        for n in plane.shape
    )
    seen = np.clip(plane[middle], 0, 1)
    found = []
    for width in WIDTHS:
        blobs = -ndimage.gaussian_laplace(seen, width) * width**2
        bright, dark = np.maximum(blobs, 0), np.maximum(-blobs, 0)
        found += [_strength(bright) - _strength(dark), float(blobs.std())]
    return np.array(found)


def _strength(blobs: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(blobs**2)))


def gate_between(
    name: str, old: Sequence[NDArray[np.float32]], own: Sequence[NDArray[np.float32]]
) -> Gate | None:
    """Return what tells the user's images from those of the old kind.

    Parameters
    ----------
    name : of the model that knows the old kind
    old, own : normalised images, (C, [Z,] Y, X) float32

    Returns
    -------
    gate : None where the two kinds are too much alike

    References
    ----------
    Linear discriminant: Fisher 1936; shrinkage: Friedman, JASA 1989.
    """
    return gate_of(name, features(old), features(c for i in own for c in crops(i)))


def features(images: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the features of images, (N, F); see ``describe``."""
    found = [describe(image) for image in images]
    return np.array(found).reshape(len(found), 2 * len(WIDTHS))


def gate_of(
    name: str, first: NDArray[np.float64], second: NDArray[np.float64]
) -> Gate | None:
    """Return what tells two kinds apart by their features, as ``gate_between`` does.

    Parameters
    ----------
    name : of the model that knows the first kind
    first, second : (N, F) float64
    """
    if min(len(first), len(second)) < FEWEST:
        return None
    spread = (np.cov(first.T) + np.cov(second.T)) / 2
    spread += SHRINKAGE * np.diag(np.diag(spread)) + 1e-6 * np.eye(len(spread))
    step = second.mean(axis=0) - first.mean(axis=0)
    weights = np.linalg.solve(spread, step)
    if np.sqrt(step @ weights) < APART:
        return None
    middle = first.mean(axis=0) + step / 2
    return Gate(name=name, middle=tuple(middle), weights=tuple(weights))


def crops(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return an image, and half-overlapping crops of its last two axes."""
    height, width = image.shape[-2:]
    return [image] + [
        image[..., y : y + CROP, x : x + CROP]
        for y in range(0, height - CROP + 1, CROP // 2)
        for x in range(0, width - CROP + 1, CROP // 2)
    ]
