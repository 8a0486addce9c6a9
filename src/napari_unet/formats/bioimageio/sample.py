"""A test image for a package, and the picture on its cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

COVER = 256  # pixels, of each of the two halves
BRIGHTEST = 200.0


def made_up_image(
    channels: int, size: tuple[int, ...], seed: int = 0
) -> NDArray[np.float32]:
    """Return bright blobs on a dark, noisy ground.

    Parameters
    ----------
    channels, size : of the result
    seed : of the random numbers

    Returns
    -------
    image : (C, [Z,] Y, X) float32, whole numbers from 0 to 255
    """
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=size), 6.0, mode="wrap")
    smooth /= max(float(smooth.std()), 1e-12)
    blobs = BRIGHTEST / (1 + np.exp(-6 * (smooth - 0.7)))
    noise = rng.normal(20, 5, (channels, *size))
    return np.asarray((blobs + noise).clip(0, 255).round(), np.float32)


def cropped(image: NDArray[Any], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the middle of an image (C, [Z,] Y, X), mirrored where it is too small."""
    for axis, wanted in enumerate(size, start=1):
        have = image.shape[axis]
        start = max((have - wanted) // 2, 0)
        image = image.take(range(start, min(start + wanted, have)), axis)
    missing = [w - n for w, n in zip(size, image.shape[1:], strict=True)]
    padded = np.pad(image, [(0, 0), *((0, n) for n in missing)], "symmetric")
    return np.asarray(padded, np.float32)


def write_cover(
    path: Path, image: NDArray[np.float32], scores: NDArray[np.float32]
) -> None:
    """Write the image and, right of it, the largest score of what is no background.

    Parameters
    ----------
    path : ending in .png
    image : (C, [Z,] Y, X), raw
    scores : (K, [Z,] Y, X)
    """
    import imageio.v3 as iio

    left = _as_colour(_plane(image))
    shown = scores[1:] if _first_is_background(scores) else scores[:1]
    right = _as_colour(_plane(shown.max(axis=0, keepdims=True)))
    iio.imwrite(path, np.concatenate([left, right], axis=1))


def _first_is_background(scores: NDArray[np.float32]) -> bool:
    return len(scores) > 1 and bool(np.allclose(scores.sum(axis=0), 1, atol=1e-3))


def _plane(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the middle plane (C, Y, X), scaled to the size of half a cover."""
    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    rows, columns = (np.arange(COVER) * n // COVER for n in image.shape[1:])
    return image[:, rows][:, :, columns]


def _as_colour(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (Y, X, 3): three channels as colour, else the first as grey."""
    shown = plane if len(plane) == 3 else plane[:1].repeat(3, axis=0)
    low, high = float(shown.min()), float(shown.max())
    grey = (shown - low) / max(high - low, 1e-12) * 255
    return np.asarray(grey.transpose(1, 2, 0).round(), np.uint8)
