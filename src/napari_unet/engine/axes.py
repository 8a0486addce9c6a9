"""Which axis of an image is what: any array to (C, ..., Y, X) and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_unet.engine import lazy
from napari_unet.errors import ImageError, LabelsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.spec import Architecture

LUMINANCE = np.array([0.2125, 0.7154, 0.0721], np.float32)


@dataclass(frozen=True)
class Arranged:
    """An image in the order that networks take.

    Attributes
    ----------
    image : (C, ..., Y, X), raw intensity; the dots are stack axes, or Z at the end of
        them for a 3D model. A dask array where it is read part by part, see ``lazy``
    notes : sentences for the summary about what was converted
    stack : a letter for each of the stack axes
    """

    image: Any
    notes: tuple[str, ...] = ()
    stack: str = ""


def guess_axes(shape: tuple[int, ...], spec: Architecture) -> str:
    """Return axis letters for an image of this shape.

    A last axis of length 3 or 4 in a 3-dimensional array is colour, unless the model
    is 3D; of other axes, one before the spatial axes that is as long as a multichannel
    model has channels holds those, and the rest are stacks.

    Raises
    ------
    ImageError
        If there are too few or too many axes.
    """
    if len(shape) < spec.dims:
        raise ImageError(
            f"The image has {len(shape)} axes, the model needs at least {spec.dims}: "
            "choose another image or model."
        )
    if len(shape) == 3 and spec.dims == 2 and shape[-1] in (3, 4):
        return "YXC"
    if len(shape) > 6:
        raise ImageError(
            f"The image has {len(shape)} axes, at most 6 are possible: open a part."
        )
    spatial = "ZYX"[-spec.dims :]
    channels = shape[-spec.dims - 1] if len(shape) > spec.dims else 1
    if channels == spec.in_channels > 1:
        stacks = "QSPTZ".removesuffix(spatial[:-2])
        return stacks[len(stacks) - (len(shape) - spec.dims - 1) :] + "C" + spatial
    return "SPTZYX"[-len(shape) :]


def arrange(
    image: Any,
    axes: str | None,
    spec: Architecture,
    channel: int | None = None,
) -> Arranged:
    """Bring an image into the order and number of channels that a network takes.

    Parameters
    ----------
    image : array with one axis per letter of ``axes``, raw intensity; what does not lie
        in memory stays where it is
    axes : letters such as "YX", "ZYX", "YXC", "TCYX"; None to guess them
    spec : the network's architecture
    channel : the channel to take for a one-channel network; None: luminance

    Raises
    ------
    ImageError
        If the image cannot be used; the sentence says why and what to do.
    """
    image = lazy.opened(image)
    _check_usable(image)
    letters = check_axes(axes, image.ndim) if axes else guess_axes(image.shape, spec)
    if len(letters.replace("C", "")) < spec.dims:
        raise ImageError(
            f'The image has the axes "{letters}", the model needs {spec.dims} beside '
            "the channels: choose another image or model."
        )
    place = letters.find("C")
    image = image[np.newaxis] if place < 0 else np.moveaxis(image, place, 0)
    arranged = _match_channels(image, spec.in_channels, channel)
    arranged = replace(arranged, stack=letters.replace("C", "")[: -spec.dims])
    if axes is None and 0 <= place < image.ndim - 1:  # an unusual place: say it
        note = f"axis {place} taken as {spec.in_channels} channels"
        arranged = replace(arranged, notes=(note, *arranged.notes))
    return arranged


def in_channel_order(image: Any, order: Literal["RGB", "BGR"]) -> Any:
    """Return an image (C, ..., Y, X) with its colours in the order that a model takes.

    Only three channels are colours; any other number is left as it is.
    """
    return image[::-1] if order == "BGR" and image.shape[0] == 3 else image


def check_axes(axes: str, ndim: int) -> str:
    """Return ``axes`` in capitals when they can describe an image of ``ndim`` axes.

    Raises
    ------
    ImageError
        If they cannot.
    """
    axes = axes.upper()
    stack = axes.replace("C", "", 1)
    if len(axes) != ndim or len(set(axes)) != ndim or not stack.endswith("YX"):
        raise ImageError(
            f'The axes "{axes}" do not describe an image of {ndim} axes: give one '
            'letter per axis, ending in YX, such as "ZYX" or "YXC".'
        )
    return axes


def _check_usable(image: Any) -> None:
    """Refuse what no network can take; what is read later is checked for NaN then."""
    if image.size == 0:
        raise ImageError(
            f"The image is empty, its shape is {image.shape}: open another."
        )
    if image.dtype == bool:
        raise ImageError(
            "The image is a mask of true and false; the model expects intensities: "
            "choose the image it was made from."
        )
    if image.dtype.kind not in "uif":
        raise ImageError(
            f"The image holds {image.dtype} values; the model expects real numbers: "
            "convert it first, for example to its magnitude."
        )
    if lazy.is_lazy(image):
        return
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        bad = int(image.size - np.isfinite(image).sum())
        raise ImageError(
            f"The image holds NaN or infinity in {bad} pixels; the model expects "
            "finite intensities: replace them, for example with numpy.nan_to_num."
        )


def _match_channels(image: Any, expected: int, channel: int | None) -> Arranged:
    """Return (C, ...) with the number of channels that the network expects."""
    found = image.shape[0]
    if channel is not None and found > 1 and expected == 1:
        if channel >= found:
            raise ImageError(
                f"Channel {channel} was chosen, the image has channels 0 to "
                f"{found - 1}: choose one of those."
            )
        return Arranged(image[channel : channel + 1], (f"channel {channel} only",))
    if found == expected:
        return Arranged(image)
    if expected == 1 and found in (3, 4):
        grey = np.tensordot(LUMINANCE, image[:3].astype(np.float32), axes=1)
        return Arranged(grey[np.newaxis], ("colour turned into luminance",))
    if expected == 3 and found == 4:
        return Arranged(image[:3], ("transparency left out",))
    if expected == 3 and found == 1:
        return Arranged(np.repeat(image, 3, axis=0), ("grey given as three channels",))
    raise ImageError(
        f"The image has {found} channel{'' if found == 1 else 's'}, the model expects "
        f"{expected}: choose a channel, or a model for such images."
    )


def check_labels(labels: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse labels that do not lie on an image of this spatial shape.

    Parameters
    ----------
    labels : integers or bool, 0 is background
    shape : of the image without its channels

    Raises
    ------
    LabelsError
        If the shape differs or the values are not whole numbers from 0.
    """
    if labels.dtype.kind not in "uib":
        raise LabelsError(
            f"The labels hold {labels.dtype} values, expected whole numbers: "
            "convert them to integers."
        )
    if labels.dtype.kind == "i" and labels.min(initial=0) < 0:
        raise LabelsError(
            f"The labels go down to {labels.min()}, expected 0 for background and "
            "numbers above it for objects: replace the negative numbers."
        )
    if labels.shape != shape:
        raise LabelsError(
            f"The labels have the shape {labels.shape}, the image {shape}: choose the "
            "labels that belong to this image."
        )
