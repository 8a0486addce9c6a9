"""Folders of images and masks, in the layouts that people have."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.errors import ImageError
from napari_unet.io.images import READABLE, pixel_size_in, read_image
from napari_unet.pixel_sizes import sides_from, spatial_axes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Pair:
    """An image file, its mask file or files, and what the index says of it.

    Several mask files hold one object each. Where the masks can be trusted is in the
    file ``supervised``, above 0; without one they can be everywhere.
    """

    name: str
    image: Path
    masks: tuple[Path, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    supervised: Path | None = None

    @property
    def axes(self) -> str | None:
        """One letter per axis of the image, if the index says it."""
        return self.facts.get("axes") or None

    @property
    def pixel_size(self) -> tuple[float, ...] | None:
        """Sides of the image's pixels in micrometres, [Z,] Y, X, as far as known.

        As the index says, else the image file (TIFF).

        Raises
        ------
        UnetError
            If the index says something that is no size.
        """
        said = self.facts.get("pixel_size") or ""
        sides = sides_from(said, spatial_axes(self.axes or "ZYX"))
        return sides or pixel_size_in(self.image)

    def read(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return image and labels.

        Raises
        ------
        ImageError
            If a file cannot be read, or the masks differ in shape.
        """
        if len(self.masks) == 1:
            return read_image(self.image), read_image(self.masks[0])
        objects = [read_image(path) for path in self.masks]
        if len({mask.shape[:2] for mask in objects}) > 1:
            raise ImageError(
                f"The {len(objects)} masks of {self.name} differ in shape, expected "
                "one shape: correct them."
            )
        labels = np.zeros(objects[0].shape[:2], np.int32)
        for number, mask in enumerate(objects, start=1):
            labels[(mask if mask.ndim == 2 else mask[..., 0]) > 0] = number
        return read_image(self.image), labels

    def read_supervised(self) -> NDArray[np.bool_] | None:
        """Return where the labels can be trusted; None: everywhere.

        Raises
        ------
        ImageError
            If the file cannot be read.
        """
        if self.supervised is None:
            return None
        return np.asarray(read_image(self.supervised) > 0)


def find_pairs(
    folder: Path, where: Mapping[str, tuple[str, ...]] | None = None
) -> list[Pair]:
    """Find the pairs in a folder.

    Parameters
    ----------
    folder : ``images/`` and ``masks/`` with equal stems, and ``supervised/`` for masks
        that can be trusted in places only; the same with an ``index.csv`` (columns
        name, split, axes, pixel_size and others); or the layout of the 2018 Data
        Science Bowl, a folder per image with ``images/`` and ``masks/`` in it
    where : keep the pairs whose index column holds one of these values

    Returns
    -------
    pairs : in order of names

    Raises
    ------
    ImageError
        If there are none, or the index cannot be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is no folder: give one with images/ and masks/.")
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        pairs = _equal_stems(folder)
    else:
        pairs = _data_science_bowl(folder)
    known = {column for pair in pairs for column in pair.facts}
    for column, values in (where or {}).items():
        if pairs and column not in known:
            raise ImageError(
                f'{folder} has no index with a column "{column}" (columns: '
                f"{', '.join(sorted(known)) or 'none'}): filter by another one."
            )
        pairs = [pair for pair in pairs if pair.facts.get(column) in values]
    if not pairs:
        raise ImageError(
            f"{folder} holds no image with a mask; expected images/ and masks/ with "
            "equal file names, or a folder per image: check the place and the filter."
        )
    return pairs


def _equal_stems(folder: Path) -> list[Pair]:
    masks = {path.stem: path for path in _images_in(folder / "masks")}
    images = {path.stem: path for path in _images_in(folder / "images")}
    trusted = {path.stem: path for path in _images_in(folder / "supervised")}
    facts = read_index(folder / "index.csv")
    names = facts or {key: {} for key in images}
    lost = [n for n in names if names[n].get("supervised_pixels") and n not in trusted]
    if lost:
        raise ImageError(
            f"{folder} says of {lost[0]} that its mask can be trusted in places, but "
            f"supervised/ has no file of this name: write the pairs again."
        )
    return [
        Pair(name, images[name], (masks[name],), row, trusted.get(name))
        for name, row in sorted(names.items())
        if name in images and name in masks
    ]


def read_index(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of an index.csv by name; empty when there is none.

    Raises
    ------
    ImageError
        If it cannot be read, or has no column "name".
    """
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, ValueError, csv.Error) as error:
        raise ImageError(
            f"{path} could not be read ({error}), expected comma-separated UTF-8 "
            "text: save it again as such."
        ) from error
    if rows and "name" not in rows[0]:
        raise ImageError(
            f"{path} has the columns {', '.join(map(str, rows[0]))}, expected a column "
            '"name": add it.'
        )
    return {_stem(row["name"]): row for row in rows if row["name"]}


def _stem(name: str) -> str:
    """Return a file's name without the ending of an image."""
    path = Path(name)
    return path.stem if path.suffix.lower() in READABLE else path.name


def _data_science_bowl(folder: Path) -> list[Pair]:
    pairs = []
    for one in sorted(path for path in folder.iterdir() if path.is_dir()):
        images, masks = _images_in(one / "images"), _images_in(one / "masks")
        if images and masks:
            pairs.append(Pair(one.name, images[0], tuple(masks)))
    return pairs


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in READABLE)
