"""Images on the grid of a model's pixels, and its scores back on the image's own.

Pixels are squares (or boxes) that begin at the image's corner: of an image zoomed by f,
the centre of pixel i lies at (i + 0.5) f - 0.5 in the model's grid. Imports no torch.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.lazy import check_finite, is_lazy, read
from napari_unet.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.looks import Looks
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.engine.tiles import Slices

ALIKE = 0.05  # sizes that differ by less are the same
FARTHEST = 16.0  # times as large or small; more is a wrong unit
ROWS = 256  # of an image that scores are put back into at once
TRUNCATE = 4.0  # standard deviations of the smoothing before pixels are left out


@dataclass(frozen=True)
class Zoom:
    """How many of a model's pixels lie along one pixel of an image.

    Attributes
    ----------
    factors : one per spatial axis, [Z,] Y, X
    """

    factors: tuple[float, ...]

    def __str__(self) -> str:
        """Say it to a user."""
        some = self.factors[-1:] if len(set(self.factors)) == 1 else self.factors
        return " x ".join(f"{factor:.3g}" for factor in some)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the spatial shape of an image once it is zoomed."""
        pairs = zip(shape, self.factors, strict=True)
        return tuple(max(round(n * f), 1) for n, f in pairs)

    def window(self, region: Slices, shape: tuple[int, ...]) -> Slices:
        """Return the part of the zoomed image that the scores of a region come of.

        Parameters
        ----------
        region : slices over the spatial axes of the image
        shape : of the image, spatial
        """
        zoomed = self.shape(shape)
        return tuple(
            _needed(part, 1 / f, n)
            for part, f, n in zip(region, self.factors, zoomed, strict=True)
        )

    def covered(self, part: Slices, window: Slices, region: Slices) -> Slices:
        """Return the pixels of an image whose centres lie in a part of its window.

        Parts that cover the window side by side give pixels that do so in the region.

        Parameters
        ----------
        part : slices counted from the window's corner
        window : from ``window``
        region : slices over the spatial axes of the image

        Returns
        -------
        pixels : slices counted from the region's corner
        """
        found = []
        for p, w, r, f in zip(part, window, region, self.factors, strict=True):
            ends = []
            for end in (p.start, p.stop):
                pixel = ceil((w.start + end) / f - 0.5) - r.start
                at_end = end == w.stop - w.start
                length = r.stop - r.start
                inside = min(max(pixel, 0), length) if end else 0
                ends.append(length if at_end else inside)
            found.append(slice(*ends))
        return tuple(found)

    def back(
        self, scores: NDArray[Any], window: Slices, shape: tuple[int, ...],
        region: Slices,
    ) -> NDArray[np.float32]:  # fmt: skip
        """Return the scores of a region of an image.

        Parameters
        ----------
        scores : (K, [Z,] Y, X), of the zoomed image in ``window``
        window : holds what ``window(region)`` returns
        shape : of the image, spatial
        region : slices over its spatial axes
        """

        def content(part: Slices) -> NDArray[np.float32]:
            pairs = zip(part, window, strict=True)
            inside = (slice(p.start - w.start, p.stop - w.start) for p, w in pairs)
            return scores[(slice(None), *inside)].astype(np.float32)

        inverse = tuple(1 / factor for factor in self.factors)
        return _resampled(content, self.shape(shape), inverse, region)

    def place(self, pixel: Sequence[int]) -> tuple[int, ...]:
        """Return the pixel of an image in which the centre of a zoomed one lies."""
        pairs = zip(pixel, self.factors, strict=True)
        return tuple(max(ceil((p + 0.5) / f) - 1, 0) for p, f in pairs)


def zoom_for(spec: ModelSpec, pixel_size: tuple[float, ...] | None) -> Zoom | None:
    """Return the zoom of an image for a model; None: its pixels are taken as they are.

    That is so where one of the sizes is not known, or the model's is only a guess.

    Parameters
    ----------
    spec : of the model
    pixel_size : of the image along its last axes, micrometres, as many as the model has
        spatial axes, or more; None: unknown

    Raises
    ------
    ImageError
        If sizes differ so much that one of them must be wrong.
    """
    dims, expected = spec.architecture.dims, spec.pixel_size
    if not expected or not pixel_size or min(len(expected), len(pixel_size)) < dims:
        return None
    if spec.source("pixel_size") == "guessed":
        return None
    given = pixel_size[-dims:]
    factors = tuple(g / e for g, e in zip(given, expected[-dims:], strict=True))
    if not all(1 / FARTHEST <= factor <= FARTHEST for factor in factors):
        one, other = (" x ".join(f"{s:g}" for s in each) for each in (given, expected))
        raise ImageError(
            f"The image's pixels measure {one} um, the model's {other} um, expected at "
            f"most {FARTHEST:g} times the size: correct the pixel size of one of them."
        )
    near = (1 if abs(factor - 1) < ALIKE else factor for factor in factors)
    zoom = Zoom(tuple(map(float, near)))
    return None if set(zoom.factors) == {1.0} else zoom


class Zoomed:
    """A plane (C, [Z,] Y, X) that is zoomed where it is read.

    Parameters
    ----------
    plane : raw intensity, in memory or read part by part
    zoom : how far

    Attributes
    ----------
    shape, ndim, dtype : as it is read
    """

    def __init__(self, plane: Any, zoom: Zoom) -> None:
        self._plane = plane
        self._zoom = zoom
        self.shape = (plane.shape[0], *zoom.shape(plane.shape[1:]))
        self.ndim = len(self.shape)
        self.dtype = np.result_type(plane.dtype, np.float32)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part: all channels, and slices with start and stop."""

        def content(part: Slices) -> NDArray[Any]:
            found = self._plane[(slice(None), *part)]
            pixels = read(found, [0, *(s.start for s in part)])
            if is_lazy(found):
                check_finite(pixels, part)
            return pixels.astype(self.dtype)

        spans = zip(key[1:], self.shape[1:], strict=True)
        window = tuple(slice(*part.indices(n)[:2]) for part, n in spans)
        return _resampled(content, self._plane.shape[1:], self._zoom.factors, window)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all of it."""
        return np.asarray(self[(slice(None),) * self.ndim], dtype)


class ZoomedLooks:
    """Takes looks at a zoomed plane, and gives them on in the image's own pixels.

    Parameters
    ----------
    looks : at the region
    zoom : of the image
    shape : of the image, spatial
    region : slices with start and stop over its spatial axes

    Attributes
    ----------
    window : the part of the zoomed image to look at
    """

    def __init__(
        self, looks: Looks, zoom: Zoom, shape: tuple[int, ...], region: Slices
    ) -> None:
        self._looks, self._zoom = looks, zoom
        self._shape, self._region = shape, region
        self._scores = np.zeros(0, np.float32)
        self.window = zoom.window(region, shape)

    @contextmanager
    def one(self) -> Iterator[NDArray[Any]]:
        """Take one more look; see ``Looks.one``."""
        extent = tuple(part.stop - part.start for part in self.window)
        self._scores = np.zeros((self._looks.channels, *extent), self._looks.dtype)
        yield self._scores
        length = self._region[0].stop - self._region[0].start
        with self._looks.one() as total:
            for start in range(0, length, ROWS):
                rows = slice(start, min(start + ROWS, length))
                total[:, rows] += self._back((rows, *map(_from_zero, self._region[1:])))

    def so_far(self, part: Slices) -> NDArray[np.float32]:
        """Return the scores of a part of the region; see ``Looks.so_far``."""
        return self._back(part)

    def covered(self, part: Slices) -> Slices:
        """Return the pixels of the region that a tile of the window gives."""
        return self._zoom.covered(part, self.window, self._region)

    def _back(self, part: Slices) -> NDArray[np.float32]:
        pairs = zip(part, self._region, strict=True)
        region = tuple(slice(p.start + r.start, p.stop + r.start) for p, r in pairs)
        return self._zoom.back(self._scores, self.window, self._shape, region)


def _from_zero(part: slice) -> slice:
    return slice(0, part.stop - part.start)


def zoomed(image: NDArray[np.float32], zoom: Zoom | None) -> NDArray[np.float32]:
    """Return an image (C, [Z,] Y, X) zoomed; as it is without a zoom."""
    if zoom is None:
        return image
    return np.asarray(Zoomed(image, zoom), np.float32)


def labels_zoomed(labels: NDArray[Any], zoom: Zoom | None) -> NDArray[Any]:
    """Return labels or a mask, ([Z,] Y, X), zoomed: those of the nearest pixels."""
    if zoom is None:
        return labels
    index = [
        np.clip(np.floor((np.arange(m) + 0.5) / f).astype(np.intp), 0, n - 1)
        for m, f, n in zip(
            zoom.shape(labels.shape), zoom.factors, labels.shape, strict=True
        )
    ]
    return labels[np.ix_(*index)]


def _smoothing(factor: float) -> float:
    """Return the standard deviation, in pixels, of what is lost by leaving some out."""
    return max(1 / factor - 1, 0) / 2


def _needed(part: slice, factor: float, length: int) -> slice:
    """Return the pixels of an axis that pixels of it come of, once it is zoomed."""
    margin = int(TRUNCATE * _smoothing(factor) + 0.5)
    first = floor((part.start + 0.5) / factor - 0.5) - margin
    last = ceil((part.stop - 0.5) / factor - 0.5) + margin
    first = min(max(first, 0), length - 1)
    return slice(first, min(max(last + 1, first + 1), length))


def _resampled(
    content: Callable[[Slices], NDArray[Any]], shape: tuple[int, ...],
    factors: tuple[float, ...], window: Slices,
) -> NDArray[Any]:  # fmt: skip
    """Return a window of a zoomed image, which does not depend on how it is cut.

    Smoothed where pixels are left out, and interpolated linearly.

    Parameters
    ----------
    content : returns a part (C, [Z,] Y, X) of the image, by slices
    shape : of the image, spatial
    factors : by which it is zoomed
    window : slices with start and stop over the zoomed image
    """
    part = tuple(
        _needed(w, f, n) for w, f, n in zip(window, factors, shape, strict=True)
    )
    extent = tuple(w.stop - w.start for w in window)
    pixels = content(part)
    found = np.empty((len(pixels), *extent), pixels.dtype)
    sigma = tuple(map(_smoothing, factors))
    offset = [
        (w.start + 0.5) / f - 0.5 - p.start
        for w, f, p in zip(window, factors, part, strict=True)
    ]
    for channel, out in zip(pixels, found, strict=True):
        smooth = channel
        if any(sigma):
            smooth = ndimage.gaussian_filter(
                channel, sigma, mode="nearest", truncate=TRUNCATE
            )
        ndimage.affine_transform(
            smooth, [1 / f for f in factors], offset, extent, out, 1, "nearest"
        )
    return found
