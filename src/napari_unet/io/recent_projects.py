"""Projects that can be opened again: those made by themselves, and those saved."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_unet import settings
from napari_unet.errors import ProjectError
from napari_unet.io.project import MANIFEST, projects_folder, read_manifest
from napari_unet.io.project_lock import is_locked

SETTINGS = "projects.json"
MOST = 30


@dataclass(frozen=True)
class ProjectInfo:
    """A project that can be opened.

    Attributes
    ----------
    folder, name : of the project
    when : it was changed, in seconds since the epoch
    images : their names
    closed : whether it was properly closed
    locked : whether a window has it open
    seconds : of work by hand
    """

    folder: Path
    name: str
    when: float
    images: tuple[str, ...]
    closed: bool
    locked: bool
    seconds: float = 0.0


def recent_projects() -> list[ProjectInfo]:
    """Return the projects that can be opened, the latest first.

    Only their project.json is read; those that are damaged or gone are left out.
    """
    here = projects_folder()
    found: list[Path] = []
    with suppress(OSError):
        found = [each for each in here.iterdir() if (each / MANIFEST).is_file()]
    both = dict.fromkeys([*found, *_remembered()])
    infos = [info for each in both if (info := _info(each)) is not None]
    return sorted(infos, key=lambda info: info.when, reverse=True)[:MOST]


def unfinished_projects() -> list[ProjectInfo]:
    """Return the projects with images that a crash left, the latest first."""
    return [
        each
        for each in recent_projects()
        if each.images and not (each.closed or each.locked)
    ]


def _info(folder: Path) -> ProjectInfo | None:
    try:
        manifest = read_manifest(folder)
        journals = folder.glob("images/*/journal-*")
        latest = max([manifest.changed, *(each.stat().st_mtime for each in journals)])
    except (ProjectError, OSError):
        return None
    return ProjectInfo(
        folder, folder.name, latest, tuple(each.name for each in manifest.images),
        manifest.closed, is_locked(folder), sum(e.seconds for e in manifest.images),
    )  # fmt: skip


def _remembered() -> list[Path]:
    found = settings.remembered(SETTINGS)
    names = found if isinstance(found, list) else []
    return [Path(name) for name in names if isinstance(name, str)][:MOST]


def remember_project(folder: Path) -> None:
    """Put a project in front of the recent ones, unless it is found anyway."""
    folder = folder.absolute()
    if folder.parent == projects_folder().absolute():
        return
    others = [each for each in _remembered() if each != folder]
    settings.remember(SETTINGS, [str(each) for each in [folder, *others]][:MOST])
