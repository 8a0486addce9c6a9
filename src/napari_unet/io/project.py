"""The project folder: what lies where, and project.json, which names all of it."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import platformdirs
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from napari_unet.engine.visits import MOST_PREDICTED, MOST_VISITS
from napari_unet.errors import OutputError, ProjectError
from napari_unet.files import replacing
from napari_unet.io.migrations import FORMAT, migrated, relative_path

if TYPE_CHECKING:
    from collections.abc import Iterable

MANIFEST = "project.json"
LARGEST = 2**26  # bytes of project.json
LONGEST_NAME = 60  # letters of an image's name in a project's
MOST_BYTES = 180  # of that name: file systems take 255 in all
Length = Annotated[int, Field(ge=1, le=2**31)]
Number = Annotated[int, Field(ge=1, le=2**31)]  # part of a file's name
Count = Annotated[int, Field(ge=0, le=2**53)]
Moment = Annotated[float, Field(ge=0, le=1e11)]  # seconds since 1970 that have a date
Share = Annotated[float, Field(ge=0, le=1)]
Window = tuple[tuple[Count, Count], ...]  # start and stop along each axis of the labels


class Stored(BaseModel):
    """A part of project.json."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _writable(cls, value: Any) -> Any:
        return writable(value) if isinstance(value, str) else value


class RolesEntry(Stored):
    """Where an image's corrections are learnt from and held out; see ``Roles``.

    Attributes
    ----------
    learning, held_out : places
    planes : with roles
    packed : their roles, see ``io/roles.py``
    """

    learning: Count = 0
    held_out: Count = 0
    planes: Number
    packed: str


class VisitEntry(Stored):
    """One place that was corrected for the first time; see ``Visit``."""

    window: Window = Field(max_length=12)
    by: Literal["next", "user"]
    made: Moment = 0.0
    version: Count = 0
    score: Share = 0.0
    known: Share = 0.0


class PredictedEntry(Stored):
    """Where a version of the model predicted; see ``Predicted``."""

    window: Window = Field(max_length=12)
    version: Count = 0


class ImageEntry(Stored):
    """One image of a project; its labels lie in ``images/<id>``.

    Attributes
    ----------
    path, relative : of its file when it was last open, as it is and from the project's
        folder; None: it came from no file
    reader : napari's plugin that read it
    shape, dtype : of the image, its axes as in ``axes``
    fingerprint : see ``fingerprint_steps``; "": not taken yet
    scale, translate : of its layer
    pixel_size, channel : as for ``predict``
    generation : of its base and journal
    based, stored : whether there is a base (else all was 0); the image itself
    seconds, strokes, roles : of work by hand; of corrected places, if any were given
    visits, predicted : see ``Visits``; the oldest first
    """

    id: Number
    name: str
    path: str | None = None
    relative: str | None = None
    reader: str | None = None
    axes: str
    shape: tuple[Length, ...] = Field(min_length=2, max_length=12)
    dtype: str
    fingerprint: str = ""
    scale: tuple[float, ...] = ()
    translate: tuple[float, ...] = ()
    pixel_size: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    channel: Count | None = None
    labels_name: str = ""
    dims: int = Field(2, ge=2, le=3)
    instances: bool = True
    generation: Number = 1
    based: bool = False
    stored: bool = False
    seconds: float = Field(0.0, ge=0)
    strokes: Count = 0
    roles: RolesEntry | None = None
    visits: tuple[VisitEntry, ...] = Field((), max_length=MOST_VISITS)
    predicted: tuple[PredictedEntry, ...] = Field((), max_length=MOST_PREDICTED)

    @model_validator(mode="after")
    def _axes_fit(self) -> ImageEntry:
        if len(self.axes) != len(self.shape):
            raise ValueError("axes and shape differ in length")
        if len(set(self.axes)) < len(self.axes) or len(self.labels_shape) < 2:
            raise ValueError(f"{self.axes[:20]!r} are no axes of an image")
        if np.dtype(self.dtype).kind not in "biufc":
            raise ValueError(f"{self.dtype[:20]!r} is no kind of numbers")
        return self

    @model_validator(mode="after")
    def _windows_fit(self) -> ImageEntry:
        windows = [each.window for each in self.visits]
        windows += [each.window for each in self.predicted]
        if not all(_fits(each, self.labels_shape) for each in windows):
            raise ValueError("a place lies outside the image")
        return self

    @property
    def nbytes(self) -> int:
        """Bytes of the image."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def labels_shape(self) -> tuple[int, ...]:
        """Shape of its labels."""
        pairs = zip(self.shape, self.axes, strict=True)
        return tuple(n for n, axis in pairs if axis != "C")


def _fits(window: Window, shape: tuple[int, ...]) -> bool:
    return len(window) == len(shape) and all(
        start < stop <= length
        for (start, stop), length in zip(window, shape, strict=True)
    )


class VersionEntry(Stored):
    """One version of the model; see ``Version``.

    Attributes
    ----------
    kept, recipe : whether its weights lie in ``models``, else it is in ``source``; and
        how its fine-tuning can be repeated
    source, device, changes : how its file was opened; never whether it was trusted
    sha256 : of that file; "": it is none
    """

    number: Number
    note: str = ""
    made: Moment = 0.0
    metric: float | None = None
    strokes: Count = 0
    base: int | None = None
    kept: bool = False
    recipe: bool = False
    source: str | None = None
    device: str = "auto"
    changes: dict[str, Any] = Field(default_factory=dict)
    sha256: str = ""


class Manifest(Stored):
    """All of project.json.

    Attributes
    ----------
    made, changed : seconds since the epoch
    closed : whether it was properly closed
    automatic : whether the user has not yet saved it under a name
    current : number of the version in use; 0: none
    highest : number of a version ever given
    settings : of the panels
    """

    format: int = FORMAT
    program: str = ""
    made: Moment = 0.0
    changed: Moment = 0.0
    closed: bool = False
    automatic: bool = False
    images: tuple[ImageEntry, ...] = ()
    versions: tuple[VersionEntry, ...] = ()
    current: Count = 0
    highest: Count = 0
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _numbered_apart(self) -> Manifest:
        for numbers in ([e.id for e in self.images], [e.number for e in self.versions]):
            if len(set(numbers)) < len(numbers):
                raise ValueError("two images or two versions have the same number")
        return self


def writable(text: str) -> str:
    """Return a text with what UTF-8 cannot hold, as in some file names, as "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace project.json.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read project.json, also that of an older version; nothing is written.

    Raises
    ------
    ProjectError
        If it is absent, damaged, or made by a newer version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ProjectError(
            f"{folder} holds no {MANIFEST}, expected the folder of a project: choose "
            "another folder."
        )
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is far too large")
        found = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest.model_validate(migrated(found, folder))
        manifest.model_dump_json()  # what cannot be written again is not taken
        return manifest
    except ProjectError:
        raise
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(map(str, what["loc"]))
        raise _damaged(path, f"{where}: {what['msg']}") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> ProjectError:
    return ProjectError(
        f"{path} is damaged ({why[:120]}), expected the contents of a project: bring "
        "it back from a copy of the project."
    )


def program_version() -> str:
    """Return the version of this program."""
    try:
        return version("napari-unet-workbench")
    except PackageNotFoundError:
        return ""


# -- what lies where


def image_folder(folder: Path, number: int) -> Path:
    """Return the folder of an image."""
    return folder / "images" / str(number)


def journal_path(folder: Path, number: int, generation: int) -> Path:
    """Return the journal of an image."""
    return image_folder(folder, number) / f"journal-{generation}"


def stored_image_path(folder: Path, number: int) -> Path:
    """Return where an image is kept that came from no file."""
    return image_folder(folder, number) / "image.zarr"


def version_path(folder: Path, number: int) -> Path:
    """Return the file of a version's weights."""
    return folder / "models" / f"version-{number}.safetensors"


def place_of(entry: ImageEntry, folder: Path) -> Path | None:
    """Return where an image's file is or was; None: it came from no file.

    A project that was moved together with its images finds them from its own folder.
    """
    if not entry.path:
        return None
    place = Path(entry.path)
    beside = folder / entry.relative if entry.relative else place
    return beside if not is_there(place) and is_there(beside) else place


def relocated(entry: ImageEntry, old: Path, new: Path) -> ImageEntry:
    """Return the entry of an image whose project goes to another folder."""
    place = place_of(entry, old)
    path = str(place) if place else None
    update = {"path": path, "relative": relative_path(path, new)}
    return entry.model_copy(update=update)


def is_there(place: Path) -> bool:
    """Tell whether a file or folder exists, as far as one may look."""
    try:
        return place.exists()
    except (OSError, ValueError):
        return False


# -- where projects are made


def projects_folder() -> Path:
    """Return the folder in which projects are made by themselves."""
    named = os.environ.get("NAPARI_UNET_PROJECTS")
    if named:
        return Path(named)
    return platformdirs.user_data_path("napari-unet-workbench") / "projects"


def new_folder(names: Iterable[str]) -> Path:
    """Return a name for a new project that nothing has yet.

    Parameters
    ----------
    names : of its images
    """
    first = next(iter(names), "")
    plain = re.sub(r"[^\w .()+-]", "_", writable(first)).strip(" .")[:LONGEST_NAME]
    plain = plain.encode()[:MOST_BYTES].decode("utf-8", "ignore").strip(" .")
    stem = f"{time.strftime('%Y-%m-%d %H.%M')} {plain or 'project'}"
    around = projects_folder()
    place, count = around / stem, 1
    while place.exists():
        count += 1
        place = around / f"{stem} ({count})"
    return place


def remove_project(folder: Path) -> None:
    """Remove a project; what a kill leaves of it is no project any more."""
    with suppress(OSError):
        (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make the folders of a new project.

    Raises
    ------
    FileExistsError
        If something of this name is there.
    OutputError
        If that is not allowed.
    """
    try:
        folder.mkdir(parents=True)
        for name in ("images", "models"):
            (folder / name).mkdir()
    except FileExistsError:
        raise
    except OSError as error:
        raise OutputError(
            f"{folder} could not be made ({error.strerror or error}), expected a place "
            "for the project that can be written: save the project in another place."
        ) from error
