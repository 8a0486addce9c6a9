"""Finding a project's images again, and saving it in another place: the steps."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from napari_unet.errors import ImageError, OutputError
from napari_unet.files import replacing_folder
from napari_unet.io.fingerprint import fingerprint_steps
from napari_unet.io.labels_store import UNREADABLE
from napari_unet.io.project import MANIFEST, image_folder, read_manifest, relocated
from napari_unet.io.recent_projects import remember_project
from napari_unet.project.kept_image import Generation, KeptImage
from napari_unet.project.kept_versions import digest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_unet.opened import OpenImage
    from napari_unet.project.open_project import OpenProject, WaitingImage

# -- an image that is there again


def find_steps(
    waiting: WaitingImage, opened: OpenImage
) -> Generator[None, None, OpenImage]:
    """Check that an image is the one that a project asks for.

    Parameters
    ----------
    waiting : what the project knows
    opened : with the image that was found

    Returns
    -------
    opened : as given

    Raises
    ------
    ImageError
        If it is another image.
    """
    yield
    entry = waiting.kept.entry
    image, axes = opened.image, opened.axes
    found = f"{tuple(image.shape)} {axes} {np.dtype(image.dtype).name}"
    wanted = f"{entry.shape} {entry.axes} {np.dtype(entry.dtype).name}"
    if found != wanted:
        raise ImageError(
            f"This image is {found}, and {waiting.name} was {wanted}: open the image "
            "that was corrected, or skip it."
        )
    try:
        fingerprint = yield from fingerprint_steps(image)
    except UNREADABLE as error:
        raise ImageError(
            f"{waiting.name} could not be read ({error}), expected the image that was "
            "corrected: open another copy of it."
        ) from error
    if entry.fingerprint and fingerprint != entry.fingerprint:
        raise ImageError(
            f"The pixels of this image differ from those of {waiting.name} when it was "
            "corrected: open the unchanged image, or skip it."
        )
    waiting.kept.fingerprint = fingerprint
    return opened


# -- saving in another place


def save_as_steps(
    project: OpenProject | None, folder: Path, afresh: OpenProject | None
) -> Generator[None, None, Path]:
    """Write a project in another place, check that, and go on there.

    Parameters
    ----------
    project : with all taken
    folder : where it shall be
    afresh : the project made anew, where its folder cannot be copied

    Raises
    ------
    OutputError
        If the place is taken or cannot be written; all goes on where it was.
    """
    yield
    folder = folder.expanduser().absolute()
    check_free(folder)
    if afresh is not None or project is None:
        if afresh is not None:
            make_parent(folder)
            with suppress(OSError):
                folder.rmdir()  # an empty one is in the way
            yield from _write_afresh(project, afresh)
        return folder
    yield from project.keep_steps(whole=True)
    old = project.folder
    make_parent(folder)
    with replacing_folder(folder) as temporary:
        for place in _files_of(old):
            copy = temporary / place.relative_to(old)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(place, copy)
            if digest(str(place)) != digest(str(copy)):
                raise OutputError(
                    f"{folder} did not keep what was written to it "
                    f"({place.name} differs): choose another place."
                )
            yield
        for name in ("images", "models"):
            (temporary / name).mkdir(exist_ok=True)
    remember_project(folder)  # the old one may go with the next line
    project.move(folder)
    return folder


def check_free(folder: Path) -> None:
    """Refuse a place where something is.

    Raises
    ------
    OutputError
        If it is not a new name or an empty folder.
    """
    with suppress(OSError):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
    raise OutputError(
        f"{folder} is there already, expected a new name or an empty folder: choose "
        "another one."
    )


def make_parent(folder: Path) -> None:
    """Make the folder around a new one."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder.parent} could not be made ({error.strerror or error}), expected "
            "a place that can be written: choose another one."
        ) from error


def _files_of(folder: Path) -> list[Path]:
    """Return the files of a project, without locks and temporary ones."""
    found = [folder / MANIFEST]
    for name in ("images", "models"):
        found += [
            place
            for place in (folder / name).rglob("*")
            if place.is_file()
            and not any(p.startswith(".") for p in place.relative_to(folder).parts)
        ]
    return found


def _write_afresh(
    project: OpenProject | None, afresh: OpenProject
) -> Generator[None, None, None]:
    """Write all that the session holds, and copy what only the old folder holds."""
    try:
        yield from afresh.keep_steps(whole=True)
        for kept in project.images if project else ():
            if project is not None and kept.corrections is None:
                _adopt(project, afresh, kept)
        afresh.dirty = True
        yield from afresh.keep_steps(whole=True)
        read_manifest(afresh.folder)
    except BaseException:
        afresh.let_go()
        afresh.remove()
        raise
    remember_project(afresh.folder)


def _adopt(project: OpenProject, afresh: OpenProject, kept: KeptImage) -> None:
    """Copy the folder of an image whose labels are on disk only."""
    number = afresh.free_number()
    here = image_folder(project.folder, kept.entry.id)
    try:
        shutil.copytree(here, image_folder(afresh.folder, number))
    except (OSError, shutil.Error) as error:
        raise OutputError(
            f"{here} could not be copied ({error}), expected labels of "
            f"{kept.entry.name}: bring it back, or save the masks themselves."
        ) from error
    entry = relocated(kept.entry, project.folder, afresh.folder)
    copy = KeptImage(entry.model_copy(update={"id": number}))
    if kept.current is not None:
        copy.current = Generation(kept.current.number, kept.current.based, None)
    afresh.images.append(copy)
