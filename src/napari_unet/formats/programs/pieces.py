"""Covering an image with pieces of one size, for programs that take no other."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from napari_unet.engine.tiles import Tile

if TYPE_CHECKING:
    from napari_unet.engine.tiles import Slices


def pieces(
    shape: tuple[int, ...], size: tuple[int, ...], halo: int, stride: int
) -> tuple[tuple[int, ...], list[Tile]]:
    """Return what is covered, and the pieces.

    Parameters
    ----------
    shape : of the image, [Z,] Y, X
    size : of a piece
    halo : pixels at a piece's edge that are dropped where another piece has them, as
        far as that is a quarter of the piece
    stride : pieces begin at its multiples

    Returns
    -------
    covered : the shape to which the image must be extended at its end
    tiles : where to read, what to keep of it, and its place
    """
    lengths, axes = [], []
    for length, piece in zip(shape, size, strict=True):
        margin = min(halo, piece // 4 // stride * stride)
        step = max((piece - 2 * margin) // stride * stride, 1)
        count = -(-max(length - piece, 0) // step)
        lengths.append(piece + count * step)
        starts = range(0, (count + 1) * step, step)
        axes.append([_span(n, piece, margin, n == starts[-1]) for n in starts])
    tiles = [Tile(*map(tuple, zip(*spans, strict=True))) for spans in product(*axes)]
    return tuple(lengths), tiles


def _span(begins: int, piece: int, margin: int, last: bool) -> Slices:
    """Return what to read, to keep and to fill along one axis."""
    low = margin if begins else 0
    high = piece if last else piece - margin
    place = slice(begins + low, begins + high)
    return place, slice(begins, begins + piece), slice(low, high), place
