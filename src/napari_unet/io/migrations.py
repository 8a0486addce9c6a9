"""Older project.json to that of this version, one format after another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = 2

ALGORITHM = "blake2b-1"  # of fingerprints; another number where it chooses other pieces


def relative_path(path: str | None, folder: Path) -> str | None:
    """Return how an image's file is reached from the folder of its project."""
    if not path:
        return None
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return None


def _to_2(found: dict[str, Any], folder: Path) -> None:
    """Give images a relative path and strokes, name the fingerprint's algorithm."""
    for image in found["images"]:
        image["relative"] = relative_path(image["path"], folder)
        image["strokes"] = 0
        if image["fingerprint"]:
            image["fingerprint"] = f"{ALGORITHM}:{image['fingerprint']}"


# from each format to the next: changes the contents of project.json, writes nothing
MIGRATIONS: dict[int, Callable[[dict[str, Any], Path], None]] = {1: _to_2}


def migrated(found: Any, folder: Path) -> dict[str, Any]:
    """Return the contents of project.json in this version's format.

    Parameters
    ----------
    found : what was read; changed
    folder : of the project

    Raises
    ------
    ProjectError
        If a newer version made it.
    ValueError
        If it is none.
    """
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise ValueError("it states no format")
    if found["format"] > FORMAT:
        raise ProjectError(
            f"{folder} was made by a newer version of this program (format "
            f"{found['format']}, this version knows {FORMAT}): update "
            "napari-unet-workbench."
        )
    while found["format"] < FORMAT:
        step = MIGRATIONS.get(found["format"])
        if step is None:
            raise ValueError(f"there is no format {found['format']}")
        try:
            step(found, folder)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"parts are missing: {error}") from error
        found["format"] += 1
    return found
