"""Sizes of pixels as users write them."""

from __future__ import annotations

from fractions import Fraction

from napari_unet.errors import UnetError

NONE = "none"  # what a user writes who wants pixels to be taken as they are


def sides_in_words(sides: tuple[float, ...] | None) -> str:
    """Return sides as ``sides_from`` reads them: 0.5, or 2 x 0.5 x 0.5."""
    some = sides or ()
    return " x ".join(f"{s:g}" for s in (some[:1] if len(set(some)) == 1 else some))


def sides_from(text: str, dims: int) -> tuple[float, ...]:
    """Read one number for all axes, or one per axis with x between.

    Parameters
    ----------
    text : micrometres; nothing: unknown
    dims : how many axes there are

    Raises
    ------
    UnetError
        If it is none of these.
    """
    text = text.lower().replace("um", "").replace("\u00b5m", "").strip()
    if not text:
        return ()
    sides = tuple(positive(part, "The pixel size") for part in text.split("x"))
    if len(sides) == 1:
        return sides * dims
    if len(sides) != dims:
        raise UnetError(
            f"The pixel size has {len(sides)} numbers, expected 1 or {dims}: give one "
            "per axis, or one for all."
        )
    return sides


def spatial_axes(axes: str) -> int:
    """Return how many axes of an image have a length."""
    return sum(letter in "ZYX" for letter in axes)


def positive(text: str, what: str) -> float:
    """Read a number above 0, or a fraction such as 1/255.

    Raises
    ------
    UnetError
        If it is none.
    """
    try:
        value = float(Fraction(text.strip().replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = 0.0
    if not 0 < value < float("inf"):
        raise UnetError(
            f"{what} is {text.strip()!r}, expected a number above 0: write it like 0.5 "
            "or 1/255."
        )
    return value
