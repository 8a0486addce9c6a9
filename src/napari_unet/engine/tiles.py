"""Integer geometry of tiles: what to read, what to keep of it, where to place it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Tile:
    """One piece of an image, in slices over its spatial axes.

    Attributes
    ----------
    core : of the image, what is wanted
    read : of the image, core and halo
    keep : from the network's output for ``read``, the core
    place : in the result, the core; counted from the corner of what is covered
    """

    core: Slices
    read: Slices
    keep: Slices
    place: Slices


@dataclass(frozen=True)
class _Span:
    core: slice
    read: slice
    keep: slice
    place: slice


def plan(
    shape: tuple[int, ...],
    core: int | tuple[int, ...],
    halo: int,
    stride: int,
    region: Slices | None = None,
) -> list[Tile]:
    """Cover an image, or a region of it, with cores that are each computed once.

    A tile starts at a multiple of the stride and reads a halo no smaller than the
    network's receptive field, so that tiled equals whole; at the image's border there
    is no halo, and the network pads as it does for the whole image.

    Parameters
    ----------
    shape : spatial shape of the image
    core : sides of a core in pixels, or one for all; rounded up to the stride
    halo : pixels read around it; a multiple of the stride
    stride : of the network
    region : the part of the image to cover, in slices with start and stop; None: all.
        Halos are read beyond it.

    Returns
    -------
    tiles : along the first axis before the others; their ``place`` slices, counted from
        the region's corner, tile the region without overlap

    Raises
    ------
    ValueError
        If the halo is no multiple of the stride.
    """
    if halo % stride:
        raise ValueError(f"halo {halo} is no multiple of the stride {stride}")
    cores = core if isinstance(core, tuple) else (core,) * len(shape)
    region = region or tuple(slice(0, length) for length in shape)
    axes = [
        _spans(length, part, round_up(side, stride), halo, stride)
        for length, part, side in zip(shape, region, cores, strict=True)
    ]
    return [
        Tile(
            tuple(s.core for s in spans),
            tuple(s.read for s in spans),
            tuple(s.keep for s in spans),
            tuple(s.place for s in spans),
        )
        for spans in (tuple(reversed(each)) for each in product(*reversed(axes)))
    ]


def round_up(length: int, stride: int) -> int:
    """Return the smallest multiple of ``stride`` that is not below ``length``."""
    return -(-length // stride) * stride


def _spans(
    length: int, region: slice, core: int, halo: int, stride: int
) -> list[_Span]:
    """Return the spans along one axis; the last core ends with the region's cell."""
    spans = []
    end = min(round_up(region.stop, stride), length)
    for start in range(region.start // stride * stride, region.stop, core):
        stop = min(start + core, end)
        first, last = max(start - halo, 0), min(stop + halo, length)
        kept = slice(max(start, region.start), min(stop, region.stop))
        spans.append(
            _Span(
                kept,
                slice(first, last),
                slice(kept.start - first, kept.stop - first),
                slice(kept.start - region.start, kept.stop - region.start),
            )
        )
    return spans
