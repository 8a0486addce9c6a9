"""What a file of masks holds, whatever its format."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet import __version__
from napari_unet.engine.protect import HIGHEST
from napari_unet.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PROGRAM = f"napari-unet-workbench {__version__}"
LETTERS = "QSPTZYX"  # of axes that have no names, from the last
UNITS = {
    "nm": "nanometer", "um": "micrometer", "\N{MICRO SIGN}m": "micrometer",
    "\N{GREEK SMALL LETTER MU}m": "micrometer", "micron": "micrometer",
    "mm": "millimeter",
}  # fmt: skip
MICROMETRES = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where masks come from.

    Attributes
    ----------
    image : name of the image
    model : name of the model that predicted; "" if none did
    version : of the model
    summary : what was done, in words
    edited_objects, accepted_objects : how many
    hand_seconds : time of hand work, without pauses
    made : when, ISO 8601
    program : name and version of the program
    """

    image: str = ""
    model: str = ""
    version: int | None = None
    summary: str = ""
    edited_objects: int = 0
    accepted_objects: int = 0
    hand_seconds: float = 0.0
    made: str = ""
    program: str = PROGRAM

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Masks:
    """Labels, and what a file shall say of them.

    Attributes
    ----------
    labels : (..., Y, X) integers, 0 is background; in memory or on disk
    axes : one letter per axis, such as "TZYX"
    scale : size of a pixel along each axis, above 0
    unit : of the scale along Z, Y and X, such as "micrometer"; "pixel" if unknown
    provenance : where they come from
    """

    labels: Any
    axes: str
    scale: tuple[float, ...]
    unit: str
    provenance: Provenance | None

    def planes(self) -> Iterator[tuple[tuple[int, ...], NDArray[np.int32]]]:
        """Yield every plane with its place in the stack, in the order of the stack.

        Only one is in memory at a time.

        Raises
        ------
        ImageError
            If a number is no label.
        """
        for index in np.ndindex(self.shape[:-2]):
            plane = np.asarray(self.labels[(*index, ...)])
            _check_numbers(plane)
            yield index, plane.astype(np.int32, copy=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the labels."""
        return tuple(self.labels.shape)

    @property
    def count(self) -> int:
        """How many planes there are."""
        return math.prod(self.shape[:-2])

    def place(self, index: tuple[int, ...]) -> dict[str, int]:
        """Return the position of a plane by the small letters of its axes."""
        return dict(zip(self.axes[:-2].lower(), index, strict=True))

    @property
    def micrometres(self) -> tuple[float, ...] | None:
        """Size of a pixel in micrometres; None if unknown."""
        factor = MICROMETRES.get(self.unit)
        return None if factor is None else tuple(s * factor for s in self.scale)

    def facts(self) -> dict[str, Any]:
        """Return axes, pixel size and provenance, for JSON."""
        made = self.provenance or Provenance()
        return {
            "axes": self.axes,
            "scale": list(self.scale),
            "unit": self.unit,
            "provenance": made.as_dict(),
        }


def masks_of(
    labels: Any,
    axes: str | None,
    scale: Sequence[float] | None,
    units: str,
    provenance: Provenance | None,
) -> Masks:
    """Check what shall be written.

    Raises
    ------
    ImageError
        If the labels are no labels.
    ValueError
        If axes or scale do not fit them.
    """
    shape = _checked_shape(labels)
    axes = (axes or LETTERS[-len(shape) :]).upper()
    if not len(set(axes)) == len(axes) == len(shape) or axes[-2:] != "YX":
        raise ValueError(f"axes {axes!r} for labels of shape {shape}")
    sizes = [1.0] * len(shape) if scale is None else [abs(float(s)) for s in scale]
    if len(sizes) != len(shape) or not all(math.isfinite(s) and s for s in sizes):
        raise ValueError(f"scale {scale} for labels of shape {shape}")
    unit = UNITS.get(units, units)
    return Masks(labels, axes, tuple(sizes), unit, provenance)


def _checked_shape(labels: Any) -> tuple[int, ...]:
    shape, kind = tuple(labels.shape), np.dtype(labels.dtype)
    if not 2 <= len(shape) <= len(LETTERS) or not all(shape):
        raise ImageError(
            f"The labels have the shape {shape}, expected planes or stacks with up to "
            f"{len(LETTERS)} axes: choose other labels."
        )
    if kind.kind not in "uib":
        raise ImageError(
            f"The labels hold {kind} values, expected whole numbers: convert them to "
            "integers."
        )
    return shape


def _check_numbers(plane: NDArray[Any]) -> None:
    lowest, highest = int(plane.min()), int(plane.max())
    if lowest < 0 or highest > HIGHEST:
        raise ImageError(
            f"The labels go from {lowest} to {highest}, expected 0 to {HIGHEST}: "
            "undo the strokes that painted other numbers, or renumber them."
        )
