"""Images that are read part by part: dask, zarr, HDF5. Imports no torch."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

SAMPLED_CHUNKS = 64  # of a large image, at most


def opened(image: Any) -> Any:
    """Return an image as a numpy array where it lies in memory, else as a dask array.

    Parameters
    ----------
    image : anything with a shape, a dtype and slices; of a masked array, pixels that
        are masked become the darkest of the others
    """
    if isinstance(image, np.ma.MaskedArray):
        return np.ma.filled(image, image.min() if image.count() else 0)
    if isinstance(image, np.ndarray):
        return image
    if not all(hasattr(image, name) for name in ("shape", "dtype", "__getitem__")):
        return np.asarray(image)
    import dask.array as da

    if isinstance(image, da.Array):
        return image
    return da.from_array(image, chunks=getattr(image, "chunks", None) or "auto")


def is_lazy(image: Any) -> bool:
    """Tell whether an image from ``opened`` is read part by part."""
    return not isinstance(image, np.ndarray)


def read(image: Any, corner: Sequence[int] = ()) -> NDArray[Any]:
    """Return the pixels of an image or of a part of it.

    Parameters
    ----------
    image : from ``opened``, or a part of it
    corner : where the part begins, per axis; nothing: at the image's own corner

    Raises
    ------
    ImageError
        If a chunk cannot be read, naming it.
    """
    if not is_lazy(image):
        return np.asarray(image)
    try:
        return np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise ImageError(
            f"{_unreadable(image, corner)} cannot be read ({said}), expected pixels: "
            "check the file, or predict a part of the image without it."
        ) from error


def _unreadable(image: Any, corner: Sequence[int]) -> str:
    """Return the name of the first chunk that cannot be read."""
    for index in product(*map(range, image.numblocks)):
        try:
            np.asarray(image.blocks[index])
        except Exception:  # noqa: BLE001 - as above
            starts = _corner(image, index, corner)
            shape = image.blocks[index].shape
            ends = [start + n for start, n in zip(starts, shape, strict=True)]
            spans = (f"{a} to {b}" for a, b in zip(starts, ends, strict=True))
            return f"The image's chunk with the pixels ({', '.join(spans)})"
    return "A chunk of the image"


def _corner(
    image: Any, index: tuple[int, ...], corner: Sequence[int]
) -> tuple[int, ...]:
    """Return where a chunk begins."""
    own = (sum(c[:i]) for c, i in zip(image.chunks, index, strict=True))
    begins = corner or (0,) * image.ndim
    return tuple(int(a + b) for a, b in zip(own, begins, strict=True))


def sample(channel: Any, most: int) -> NDArray[Any]:
    """Return values of a large image, from whole chunks spread evenly over it.

    Parameters
    ----------
    channel : a lazy image of one channel
    most : values that are wanted
    """
    if channel.size <= most:
        return read(channel).ravel()
    indices = list(product(*map(range, channel.numblocks)))
    step = max(len(indices) // SAMPLED_CHUNKS, 1)
    chosen = indices[step // 2 :: step]
    return np.concatenate([_thinned(channel, i, most // len(chosen)) for i in chosen])


def _thinned(channel: Any, index: tuple[int, ...], most: int) -> NDArray[Any]:
    values = read(channel.blocks[index], _corner(channel, index, ())).ravel()
    return values[:: max(-(-values.size // max(most, 1)), 1)]


def check_finite(pixels: NDArray[Any], where: Iterable[slice]) -> None:
    """Refuse NaN and infinity in what was read.

    Raises
    ------
    ImageError
        If there are any.
    """
    if pixels.dtype.kind != "f" or np.isfinite(pixels).all():
        return
    bad = int(pixels.size - np.isfinite(pixels).sum())
    place = ", ".join(f"{part.start} to {part.stop}" for part in where)
    raise ImageError(
        f"The image holds NaN or infinity in {bad} pixels of the part {place}; the "
        "model expects finite intensities: replace them, for example with "
        "numpy.nan_to_num."
    )
