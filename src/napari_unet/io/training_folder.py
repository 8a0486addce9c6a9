"""Corrections as a folder of pairs, for ``train`` and ``finetune``."""

from __future__ import annotations

import csv
import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tifffile

from napari_unet.engine.config import PlaneDone
from napari_unet.errors import ImageError, OutputError, TrainingError
from napari_unet.files import in_words, replacing_folder
from napari_unet.io.images import READABLE
from napari_unet.io.masks import Provenance, write_labels
from napari_unet.io.pairs import read_index
from napari_unet.pixel_sizes import sides_in_words, spatial_axes

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

FORMAT = "napari-unet training folder"
COLUMNS = ("name", "split", "objects", "supervised_pixels", "axes", "pixel_size")
KINDS = ("images", "masks", "supervised")


class Part(NamedTuple):
    """An image with its corrections.

    Attributes
    ----------
    name : as the user calls the image
    image : one axis per letter of ``axes``, raw intensity; only read where needed
    labels : like the image without its channels; integers, 0 is background
    supervised : bool, like labels: where they can be trusted
    axes : letters such as "ZYX", "YXC"
    pixel_size : sides in micrometres along its last spatial axes; None: unknown
    """

    name: str
    image: Any
    labels: Any
    supervised: NDArray[np.bool_]
    axes: str
    pixel_size: tuple[float, ...] | None = None


@dataclass(frozen=True)
class _Piece:
    """One pair to be written, and where it lies in its part."""

    name: str
    part: Part
    index: tuple[int, ...]
    dims: int

    @property
    def axes(self) -> str:
        stack = _stack(self.part.axes, self.dims)
        return "".join(a for a in self.part.axes if a not in stack)

    def image(self) -> NDArray[Any]:
        where = dict(zip(_stack(self.part.axes, self.dims), self.index, strict=True))
        key = tuple(where.get(axis, slice(None)) for axis in self.part.axes)
        return np.asarray(self.part.image[key])


def write_pairs_steps(
    folder: Path | str,
    parts: Iterable[Part],
    *,
    dims: int = 2,
    provenance: Provenance | None = None,
) -> Generator[PlaneDone, None, Path]:
    """Write images, masks and where they can be trusted, for ``napari-unet train``.

    A new folder is whole or not there. Pairs are added to a folder that was written
    so before when all of them are ready; those of the same names are replaced.

    Parameters
    ----------
    folder : new, empty, or written by this function
    parts : images with their corrections
    dims : 2 writes each slice that has supervised pixels, 3 each such volume
    provenance : where the corrections come from

    Yields
    ------
    PlaneDone

    Returns
    -------
    folder : as given

    Raises
    ------
    OutputError
        If the folder holds something else, or cannot be written.
    TrainingError
        If nothing is supervised.
    """
    folder = Path(folder)
    history = _history(folder)
    pieces = _pieces(list(parts), dims)
    if not pieces:
        raise TrainingError(
            "Nothing is corrected yet, so there are no pairs to learn from: paint or "
            "erase some objects, or accept a view that is right."
        )
    entry = (provenance or Provenance()).as_dict()
    history = [*history, {"pairs": [piece.name for piece in pieces], **entry}]
    added = _kept_rows(folder)
    with _staged(folder) as staging:
        for kind in KINDS:
            (staging / kind).mkdir()
        for done, piece in enumerate(pieces, start=1):
            row = _write_pair(staging, piece, provenance)
            added[piece.name] = {"split": "train"} | added.get(piece.name, {}) | row
            yield PlaneDone(done, len(pieces))
        _write_index(staging / "index.csv", added)
        said = {"format": FORMAT, "version": 1, "written": history}
        (staging / "provenance.json").write_text(json.dumps(said, indent=1), "utf-8")
    return folder


def _history(folder: Path) -> list[Any]:
    """Return what was written into a folder before; it must be ours or empty."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return []
    try:
        said = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        if said["format"] == FORMAT and isinstance(said["written"], list):
            return list(said["written"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise OutputError(
        f"{folder} holds something else than pairs written by this program: choose a "
        "new or an empty folder."
    )


def _kept_rows(folder: Path) -> dict[str, dict[str, str]]:
    try:
        return read_index(folder / "index.csv")
    except ImageError as error:
        raise OutputError(str(error)) from error


def _pieces(parts: Sequence[Part], dims: int) -> list[_Piece]:
    """Return the slices or volumes that have supervised pixels, each with its name."""
    pieces: list[_Piece] = []
    taken: set[str] = set()
    for part in parts:
        _check(part, dims)
        stack = part.labels.shape[: part.labels.ndim - dims]
        places = [index for index in np.ndindex(stack) if part.supervised[index].any()]
        letters = _stack(part.axes, dims).lower()
        ends = [
            "".join(f"-{a}{n:04}" for a, n in zip(letters, index, strict=True))
            for index in places
        ]
        stem = _free_stem(part.name, ends, taken)
        for index, end in zip(places, ends, strict=True):
            pieces.append(_Piece(stem + end, part, index, dims))
    return pieces


def _check(part: Part, dims: int) -> None:
    letters = part.axes.replace("C", "")
    if not part.labels.ndim == len(letters) >= dims:
        raise ValueError(f"{part.labels.ndim} axes of labels for an image {part.axes}")
    if part.supervised.shape != part.labels.shape:
        raise ValueError(f"{part.supervised.shape} is not {part.labels.shape}")


def _stack(axes: str, dims: int) -> str:
    """Return the letters of the axes along which pairs are cut."""
    return axes.replace("C", "")[:-dims]


def _free_stem(name: str, ends: Sequence[str], taken: set[str]) -> str:
    """Return a start of file names that no other pair has, whatever the disk."""
    stem = re.split(r"[/\\]", name)[-1]
    while Path(stem).suffix.lower() in READABLE:
        stem = Path(stem).stem
    stem = re.sub(r"[^\w.-]+", "_", stem).strip("._") or "image"
    free, number = stem, 2
    while taken & {f"{free}{end}".casefold() for end in ends}:
        free, number = f"{stem}_{number}", number + 1
    taken |= {f"{free}{end}".casefold() for end in ends}
    return free


def _write_pair(
    folder: Path, piece: _Piece, provenance: Provenance | None
) -> dict[str, str]:
    """Write three files and return their row of the index."""
    labels = np.asarray(piece.part.labels[piece.index])
    supervised = np.asarray(piece.part.supervised[piece.index])
    image, axes = piece.image(), piece.axes
    colour = axes.endswith("YXC") and image.shape[-1] in (3, 4)
    tifffile.imwrite(
        folder / "images" / f"{piece.name}.tif",
        image,
        compression="zlib",
        photometric="rgb" if colour and image.dtype.kind == "u" else "minisblack",
        metadata={"axes": axes.replace("C", "S") if colour else axes},
    )
    write_labels(
        folder / "masks" / f"{piece.name}.tif",
        labels,
        axes=axes.replace("C", ""),
        provenance=provenance,
    )
    tifffile.imwrite(
        folder / "supervised" / f"{piece.name}.tif",
        np.where(supervised, np.uint8(255), np.uint8(0)),
        compression="zlib",
        photometric="minisblack",
    )
    return {
        "objects": str(np.count_nonzero(np.unique(labels[supervised]))),
        "supervised_pixels": str(np.count_nonzero(supervised)),
        "axes": axes,
        "pixel_size": _pixel_size(piece),
    }


def _pixel_size(piece: _Piece) -> str:
    """Return what is known of a pair's pixels, if it is known along all of its axes."""
    sides, count = piece.part.pixel_size or (), spatial_axes(piece.axes)
    return sides_in_words(sides[-count:]) if len(sides) >= count else ""


def _write_index(path: Path, rows: dict[str, dict[str, str]]) -> None:
    columns = dict.fromkeys([*COLUMNS, *(key for row in rows.values() for key in row)])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="")
        writer.writeheader()
        writer.writerows({**row, "name": name} for name, row in sorted(rows.items()))


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Give a place to write to, which then becomes the folder or goes into it."""
    if not folder.exists() or not any(folder.iterdir()):
        with replacing_folder(folder) as staging:
            yield staging
        return
    added = folder / ".added"
    with replacing_folder(added) as staging:
        yield staging
    with in_words(folder):
        # the index last: until then it names what was there before
        for path in sorted(added.glob("*/*")):
            path.replace(folder / path.relative_to(added))
        for name in ("index.csv", "provenance.json"):
            (added / name).replace(folder / name)
        shutil.rmtree(added)
