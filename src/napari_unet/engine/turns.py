"""Flips and quarter turns of an image, and the way back. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from napari_unet.engine.receptive import Interval

T = TypeVar("T")


@dataclass(frozen=True)
class Turn:
    """One way to lay an image: Y and X may change places, then axes are flipped.

    Attributes
    ----------
    swap : whether Y and X change places
    flips : the spatial axes that are flipped, counted from the end (-1 is X)
    """

    swap: bool = False
    flips: tuple[int, ...] = ()

    def shape(self, shape: tuple[T, ...]) -> tuple[T, ...]:
        """Return one thing per axis in the order of the turned image's axes."""
        return (*shape[:-2], shape[-1], shape[-2]) if self.swap else shape

    def parts(
        self, parts: tuple[Interval, ...], shape: tuple[int, ...]
    ) -> tuple[Interval, ...]:
        """Return where pixels of an image of this shape lie in the turned image."""
        return self._flipped(self.shape(parts), self.shape(shape))

    def parts_back(
        self, parts: tuple[Interval, ...], shape: tuple[int, ...]
    ) -> tuple[Interval, ...]:
        """Return where pixels of the turned image lie in the image of this shape."""
        return self.shape(self._flipped(parts, self.shape(shape)))

    def _flipped(
        self, parts: tuple[Interval, ...], shape: tuple[int, ...]
    ) -> tuple[Interval, ...]:
        turned = list(parts)
        for axis in self.flips:
            start, stop = turned[axis]
            turned[axis] = (shape[axis] - stop, shape[axis] - start)
        return tuple(turned)

    def of(self, x: Any) -> Any:
        """Return a tensor (..., Y, X) turned."""
        x = x.transpose(-1, -2) if self.swap else x
        return x.flip(self.flips) if self.flips else x

    def back(self, x: Any) -> Any:
        """Return a turned tensor (..., Y, X) as it was."""
        x = x.flip(self.flips) if self.flips else x
        return x.transpose(-1, -2) if self.swap else x


def turns(dims: int, *, flips: bool, rotations: bool) -> tuple[Turn, ...]:
    """Return the ways to lay an image, the first as it is.

    Parameters
    ----------
    dims : spatial axes, 2 or 3
    flips : along every axis and any of them together
    rotations : by quarter turns in the plane of Y and X
    """
    axes = range(-dims, 0)
    flipped = [f for n in range(dims + 1) for f in combinations(axes, n)]
    if flips:
        swaps = (False, True) if rotations else (False,)
        return tuple(Turn(swap, f) for swap in swaps for f in flipped)
    if rotations:
        quarters = (False, ()), (True, (-1,)), (False, (-2, -1)), (True, (-2,))
        return tuple(Turn(swap, f) for swap, f in quarters)
    return (Turn(),)
