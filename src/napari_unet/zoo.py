"""Where models are found: bundled, opened before, in a folder, in BioImage.IO's zoo.

Imports no torch. What is remembered lies in one small JSON file of the user's settings.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_unet import settings
from napari_unet.formats.bundled import bundled_models
from napari_unet.formats.sniff import SUFFIXES, looks_like_checkpoint
from napari_unet.jobs import Job
from napari_unet.zoo_download import known_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

Kind = Literal["bundled", "recent", "folder", "BioImage.IO"]

MOST_RECENT = 15
MOST_LISTED = 500  # models of a folder
MOST_VISITED = 2000  # folders in a folder
DEEPEST = 6  # folders in folders
SETTINGS = "models.json"
PACKAGES = ({"rdf.yaml"}, {"bioimageio.yaml"}, {"plans.json", "dataset.json"})
COMMON = (".zip", ".bin", ".h5", ".hdf5")  # endings of much else: their bytes decide


@dataclass(frozen=True)
class Entry:
    """A model that can be opened.

    Attributes
    ----------
    name : short, as shown
    source : what ``load_model`` or the zoo takes: a name, a path, an id
    kind : where it was found
    """

    name: str
    source: str
    kind: Kind


# -- what is remembered


def _remembered() -> dict[str, Any]:
    """Return recent files and the folder of models, as far as they are remembered."""
    found = settings.remembered(SETTINGS)
    return found if isinstance(found, dict) else {}


def _remember(**known: Any) -> None:
    settings.remember(SETTINGS, {**_remembered(), **known})


def recent_files() -> list[Path]:
    """Return the files and folders that were opened, the latest first.

    Those that are no longer there are left out, not forgotten: a drive may come back.
    """
    return [place for place in _listed() if _exists(place)]


def _listed() -> list[Path]:
    found = _remembered().get("recent")
    names = found if isinstance(found, list) else []
    return [Path(name) for name in names if isinstance(name, str)][:MOST_RECENT]


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):
        return False


def remember(source: str | Path) -> None:
    """Put a file that was opened in front of the recent ones; names are not files."""
    place = Path(source).expanduser()
    if str(source) in bundled_models() or not _exists(place):
        return
    place = place.absolute()
    others = [each for each in _listed() if each != place]
    _remember(recent=[str(each) for each in [place, *others]][:MOST_RECENT])


def chosen_folder() -> Path | None:
    """Return the folder of models that the user chose."""
    name = _remembered().get("folder")
    return Path(name) if isinstance(name, str) and name else None


def choose_folder(folder: Path) -> None:
    """Remember the folder of models."""
    _remember(folder=str(folder))


# -- what can be opened


def models_in(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder and in folders of it, by their names.

    A folder that is a model as a whole (nnU-Net, BioImage.IO) is one. At most 500
    models of at most 2000 folders are listed, and links to folders are not followed.
    """
    found: list[Path] = []
    for visited, (here, folders, files) in enumerate(os.walk(folder)):
        if visited >= MOST_VISITED or len(found) >= MOST_LISTED:
            break
        place = Path(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(place.relative_to(folder).parts) >= DEEPEST:
            folders.clear()
        if any(marks <= set(files) for marks in PACKAGES):
            found.append(place)
            folders.clear()
            continue
        found += [place / name for name in sorted(files) if _is_model(place / name)]
    return found[:MOST_LISTED]


def _is_model(place: Path) -> bool:
    name = place.name.lower()
    if name.startswith(".") or not name.endswith(SUFFIXES):
        return False
    return not name.endswith(COMMON) or looks_like_checkpoint(place)


def entries(
    folder: Path | None = None,
    listed: Iterable[Path] = (),
) -> list[Entry]:
    """Return what can be opened, each once: bundled, recent, of a folder, of the zoo.

    Parameters
    ----------
    folder, listed : a folder and what ``models_in`` found in it
    """
    found = [Entry(name, name, "bundled") for name in bundled_models()]
    found += [Entry(each.name, str(each), "recent") for each in recent_files()]
    seen = {entry.source for entry in found}
    for place in listed:
        if str(place) not in seen:
            inside = place.relative_to(folder) if folder else place
            found.append(Entry(str(inside), str(place), "folder"))
    return found + [Entry(name, name, "BioImage.IO") for name in known_ids()]


def search(found: Iterable[Entry], text: str) -> list[Entry]:
    """Return the entries whose name, path or kind holds every word of a text."""
    words = text.lower().split()
    return [
        entry
        for entry in found
        if all(
            word in f"{entry.name} {entry.source} {entry.kind}".lower()
            for word in words
        )
    ]


def entries_job(
    folder: Path | None, accept: Callable[[list[Entry]], None]
) -> Job[list[Entry]]:
    """Return a job that lists what can be opened; drives may be slow.

    Parameters
    ----------
    folder : of models, remembered from now on; None: the remembered one
    accept : takes the entries
    """

    def steps() -> Generator[None, None, list[Entry]]:
        yield
        if folder is not None:
            choose_folder(folder)
        place = folder or chosen_folder()
        return entries(place, models_in(place) if place else ())

    return Job("Looking for models", steps(), 0, accept, "short")
