"""What can be shown of a large plane while the rest of it is computed. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_unet.engine.tiles import Slices, Tile

ROWS = 96  # pixels that a part has along the first axis, at least
CONTEXT = 64  # pixels above it in which its objects are seen


@dataclass(frozen=True)
class Part:
    """A part of a plane that is computed, in pixels of what was asked for.

    Attributes
    ----------
    window : the part, and what is computed above it
    region : the part
    """

    window: Slices
    region: Slices


class Growing:
    """Puts tiles together that lie below each other, until they are worth showing.

    Parameters
    ----------
    height : of what was asked for, in pixels of the first axis
    """

    def __init__(self, height: int) -> None:
        self._height = height
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
        if rows.stop - rows.start >= ROWS or rows.stop >= self._height:
            yield from self._rest()

    def _rest(self) -> Iterator[Part]:
        """Yield what is left to be shown."""
        rows = self._rows
        if rows.start < rows.stop:
            above = slice(max(rows.start - CONTEXT, self._top), rows.stop)
            yield Part((above, *self._columns), (rows, *self._columns))
        self._rows = slice(rows.stop, rows.stop)


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
