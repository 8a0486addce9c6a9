"""Intensities to what the network was trained on, by the whole image's statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.lazy import is_lazy, sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.spec import Normalization

SAMPLE = 2**22
MEASURED = ("percentile", "minmax", "zscore")  # kinds that depend on the image


@dataclass(frozen=True)
class Statistics:
    """Per channel: normalised = (raw - offset) / scale, both (C,) float64.

    The scale is below 0 where the image is turned over, so that dark becomes bright.

    ``clip`` (2, C) holds what raw intensities are limited to before, where they are.
    The result is multiplied by ``gain``, ``shift`` is added, and it is limited to
    ``limits``, where there are any. ``sampled`` counts the pixels per channel that were
    measured where not all were; 0: all.
    """

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    clip: NDArray[np.float64] | None = None
    gain: float = 1.0
    shift: float = 0.0
    limits: tuple[float, float] | None = None
    sampled: int = 0

    @property
    def constant(self) -> bool:
        """Tell whether every channel has one value everywhere."""
        return bool((self.scale == 0).all())


def statistics(image: Any, normalization: Normalization) -> Statistics:
    """Measure a whole image once.

    Parameters
    ----------
    image : (C, ..., Y, X), raw intensity; of more than 4 million pixels per channel, a
        regular sample is measured, of what is read part by part some whole chunks
    normalization : what to measure
    """
    needed = normalization.kind in MEASURED or normalization.negative
    samples = [_sample(c) if needed else np.zeros(1) for c in image]
    measured = _turned_over if normalization.negative else _plainly
    return replace(
        measured(samples, normalization),
        gain=normalization.gain, shift=normalization.shift, limits=normalization.limits,
        sampled=samples[0].size if needed and samples[0].size < image[0].size else 0,
    )  # fmt: skip


class Measured:
    """The statistics of an image, for each of its planes.

    Parameters
    ----------
    image : (C, ..., Y, X), raw intensity
    normalization : what to measure, and along which axes each slice on its own
    stack : a letter for each of the stack axes
    """

    def __init__(self, image: Any, normalization: Normalization, stack: str) -> None:
        self._image, self._normalization = image, normalization
        own = normalization.each if normalization.kind in MEASURED else ""
        self._own = tuple(letter in own for letter in stack)
        self._known: dict[tuple[int, ...], Statistics] = {}

    def of(self, index: tuple[int, ...]) -> Statistics:
        """Return the statistics for a plane, by its place along the stack axes."""
        pairs = list(zip(index, self._own, strict=True))
        key = tuple(i for i, own in pairs if own)
        if key not in self._known:
            place = tuple(i if own else slice(None) for i, own in pairs)
            part = self._image[(slice(None), *place)]
            self._known[key] = statistics(part, self._normalization)
        return self._known[key]

    @property
    def constant(self) -> bool:
        """Tell whether all that was measured is constant."""
        known = self._known.values()
        return bool(known) and all(each.constant for each in known)

    @property
    def sampled(self) -> int:
        """Pixels per channel that were measured, where not all were; 0: all."""
        return max((each.sampled for each in self._known.values()), default=0)


def _measured(
    samples: list[NDArray[Any]], normalization: Normalization
) -> list[tuple[float, float]]:
    """Return offset and scale of each channel."""
    if normalization.together:
        pair = _offset_and_scale(np.concatenate(samples), normalization)
        return [pair] * len(samples)
    return [_offset_and_scale(sample, normalization) for sample in samples]


def _fixed(normalization: Normalization, channels: int) -> Statistics:
    """Return what is the same for every image."""
    clip = np.array(normalization.clip, np.float64).T
    return Statistics(
        np.broadcast_to(np.array(normalization.means, np.float64), channels),
        np.broadcast_to(np.array(normalization.deviations, np.float64), channels),
        np.broadcast_to(clip, (2, channels)) if clip.size else None,
    )


def _turned_over(
    samples: list[NDArray[Any]], normalization: Normalization
) -> Statistics:
    """Return what normalises an image as the others would its negative.

    That is measured on the negative too; else its range is that of the image.
    """
    if normalization.kind in MEASURED:
        negatives = [-sample.astype(np.float64) for sample in samples]
        offset, scale = np.array(_measured(negatives, normalization), np.float64).T
        return Statistics(-offset, -scale)
    if normalization.together:
        samples = [np.concatenate(samples)] * len(samples)
    ends = np.array([float(s.min()) + float(s.max()) for s in samples])
    plain = _plainly(samples, normalization)
    clip = None if plain.clip is None else ends - plain.clip[::-1]
    return Statistics(ends - plain.offset, -plain.scale, clip)


def _plainly(samples: list[NDArray[Any]], normalization: Normalization) -> Statistics:
    if normalization.kind == "fixed":
        return _fixed(normalization, len(samples))
    offset, scale = np.array(_measured(samples, normalization), np.float64).T
    return Statistics(offset, scale)


def _sample(channel: Any) -> NDArray[Any]:
    """Return the values, or a regular sample of a large channel, one-dimensional."""
    if is_lazy(channel):
        return sample(channel, SAMPLE)
    step = -(-channel.size // SAMPLE)
    while gcd(step, channel.shape[-1]) > 1:  # else some columns would never be seen
        step += 1
    values: NDArray[Any] = channel.reshape(-1)[::step]
    return values


def _offset_and_scale(
    values: NDArray[Any], normalization: Normalization
) -> tuple[float, float]:
    offset, scale = _plain_pair(values, normalization)
    return offset, scale and scale + normalization.eps  # a constant one stays so


def _plain_pair(
    values: NDArray[Any], normalization: Normalization
) -> tuple[float, float]:
    if normalization.kind == "percentile":
        low, high = np.percentile(values, (normalization.low, normalization.high))
        if high == low:  # fewer bright pixels than the percentile leaves out
            low, high = values.min(), values.max()
        return float(low), float(high) - float(low)
    if normalization.kind == "minmax":
        return float(values.min()), float(values.max()) - float(values.min())
    if normalization.kind == "zscore":
        return float(values.mean(dtype=float)), float(values.std(dtype=float))
    return 0.0, normalization.divisor if normalization.kind == "scale" else 1.0


def normalize(tile: NDArray[Any], stats: Statistics) -> NDArray[np.float32]:
    """Bring a tile into the network's range.

    Parameters
    ----------
    tile : (C, ..., Y, X), raw intensity
    stats : of the whole image

    Returns
    -------
    normalised : like ``tile``, float32; a constant channel is 0 before gain and shift
    """
    column = (-1,) + (1,) * (tile.ndim - 1)
    # 32-bit integers and doubles lose their last digits in float32: subtract first
    exact = np.result_type(tile.dtype, np.float32)
    scale = np.where(stats.scale == 0, 1.0, stats.scale).astype(exact)
    tile = tile.astype(exact)
    if stats.clip is not None:
        tile = tile.clip(*(limit.astype(exact).reshape(column) for limit in stats.clip))
    shifted = tile - stats.offset.astype(exact).reshape(column)
    scaled = shifted / scale.reshape(column)
    if (stats.gain, stats.shift) != (1.0, 0.0):
        scaled = scaled * stats.gain + stats.shift
    if stats.limits is not None:
        scaled = scaled.clip(*stats.limits)
    return np.asarray(scaled, np.float32)
