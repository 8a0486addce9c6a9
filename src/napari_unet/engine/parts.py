"""What can be shown of a large plane or volume while the rest is computed. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_unet.engine.tiles import Slices, Tile

# By the axes of what is computed. Objects in volumes reach far into all directions, and
# parts are merged with all of them, so parts of volumes are small.
ROWS = {2: 96, 3: 16}  # pixels that a part has along the first axis, at least
SIDE = {2: 2**31, 3: 64}  # pixels that it has along others, at most
CONTEXT = {2: 64, 3: 8}  # pixels around it, where computed, in which objects are seen


@dataclass(frozen=True)
class Part:
    """A part that is computed, in pixels of what was asked for.

    Attributes
    ----------
    window : the part, and what is computed around it
    region : the part
    """

    window: Slices
    region: Slices


class Growing:
    """Puts tiles together that follow each other, until they are worth showing.

    Parameters
    ----------
    sides : of what was asked for, in pixels
    """

    def __init__(self, sides: tuple[int, ...]) -> None:
        self._end = sides[0]
        dims = len(sides)
        self._least, self._side, self._context = ROWS[dims], SIDE[dims], CONTEXT[dims]
        self._top = 0  # of the column
        self._rows = slice(0, 0)
        self._columns: Slices = ()

    def add(self, tile: Slices) -> Iterator[Part]:
        """Take a tile that is computed; yield what can be shown by now."""
        if any(part.start >= part.stop for part in tile):
            return
        if tile[1:] != self._columns or tile[0].start != self._rows.stop:
            yield from self._rest()
            self._columns, self._rows = tile[1:], tile[0]
            self._top = tile[0].start
        rows = self._rows = slice(self._rows.start, tile[0].stop)
        if rows.stop - rows.start >= self._least or rows.stop >= self._end:
            yield from self._rest()

    def _rest(self) -> Iterator[Part]:
        """Yield what is left to be shown."""
        rows = self._rows
        for part in _pieces(rows, (rows.stop - rows.start) // self._least):
            seen = slice(max(part.start - self._context, self._top), part.stop)
            sides = (
                _pieces(side, -(-(side.stop - side.start) // self._side))
                for side in self._columns
            )
            for others in product(*sides):
                around = (
                    slice(max(s.start - self._context, side.start),
                          min(s.stop + self._context, side.stop))
                    for s, side in zip(others, self._columns, strict=True)
                )  # fmt: skip
                yield Part((seen, *around), (part, *others))
        self._rows = slice(rows.stop, rows.stop)


def _pieces(part: slice, many: int) -> list[slice]:
    """Return slices of about the same length; one at least, if there is anything."""
    length, many = part.stop - part.start, max(many, 1)
    ends = [part.start + length * number // many for number in range(many + 1)]
    return [slice(*pair) for pair in pairwise(ends) if pair[0] < pair[1]]


def nearest_first(tiles: Sequence[Tile], near: Slices | None) -> list[Tile]:
    """Return tiles column by column, that which is nearest to a place first.

    Parameters
    ----------
    tiles : along the first axis before the others
    near : slices over the spatial axes of the image; None: in the order given
    """
    if near is None:
        return list(tiles)
    middles = [place.start + place.stop for place in near[1:]]

    def away(tile: Tile) -> int:
        pairs = zip(tile.core[1:], middles, strict=True)
        return max(int(abs(c.start + c.stop - middle)) for c, middle in pairs)

    return sorted(tiles, key=away)
