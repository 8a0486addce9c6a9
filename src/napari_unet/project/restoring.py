"""Opening a project: labels with their history, versions, settings."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.corrections import Corrections
from napari_unet.errors import OutputError, ProjectError, UnetError
from napari_unet.io.journal import JournalReader
from napari_unet.io.labels_store import read_base, read_image, remove_generation
from napari_unet.io.project import (
    image_folder,
    is_there,
    journal_path,
    place_of,
    read_manifest,
    stored_image_path,
    write_manifest,
)
from napari_unet.io.project_lock import ProjectLock
from napari_unet.io.recent_projects import remember_project
from napari_unet.io.recipes import recipe_path
from napari_unet.io.roles import unpack_roles
from napari_unet.opened_model import KeptRecipe, OpenModel, Version
from napari_unet.project.kept_image import (
    STORED_IMAGE,
    Generation,
    KeptImage,
)
from napari_unet.project.kept_versions import KeptVersions, digest, opening_of
from napari_unet.project.open_project import OpenProject, WaitingImage, Wanted
from napari_unet.steps import load_from

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_unet.engine.model import Model
    from napari_unet.io.project import ImageEntry, Manifest, VersionEntry
    from napari_unet.opened_model import Opening

# as ``replacing`` names what is not complete
TEMPORARY = re.compile(
    r"\.(project|image|(journal|labels|states|version)-\d+)-\w{8}(\.\w+)?"
)
PER_PIXEL = 14  # bytes that labels and states need while they are restored


@dataclass
class Restored:
    """A project that was opened.

    Attributes
    ----------
    project : itself
    waiting : its images
    model : its versions
    notes : a sentence for each thing that was lost
    """

    project: OpenProject
    waiting: list[WaitingImage] = field(default_factory=list)
    model: OpenModel = field(default_factory=OpenModel)
    notes: list[str] = field(default_factory=list)


def open_steps(
    folder: Path, *, read_only: bool = False
) -> Generator[Any, None, Restored]:
    """Open a project: labels with their history, versions, settings.

    Parameters
    ----------
    folder : of the project
    read_only : write nothing

    Raises
    ------
    ProjectError
        If it cannot be opened at all.
    """
    yield
    folder = folder.expanduser().absolute()
    manifest = read_manifest(folder)
    project = OpenProject(folder, automatic=manifest.automatic)
    _lock(project, read_only=read_only)
    try:
        restored = Restored(project)
        for entry in manifest.images:
            yield from _image_steps(restored, entry)
        yield from _model_steps(restored, manifest)
        _begin(restored, manifest)
    except BaseException:
        project.let_go()
        raise
    return restored


def _lock(project: OpenProject, *, read_only: bool) -> None:
    """Take the project's lock, or make the project read-only and say why."""
    if read_only:
        _only_read(project, "was opened for reading")
        return
    link = _link_in(project.folder)
    if link is not None:
        _only_read(project, f"holds a link to another place ({link.name})")
        return
    lock = ProjectLock(project.folder)
    try:
        if lock.acquire():
            project.lock = lock
        else:
            _only_read(project, f"is open in another window{lock.holder()}")
    except OSError as error:
        _only_read(project, f"cannot be written ({error.strerror or error})")


def _link_in(folder: Path) -> Path | None:
    """Return a link in a project: what is written through it would land elsewhere."""
    patterns = ("lock*", "images", "images/*", "images/*/*", "models", "models/*")
    found = (place for each in patterns for place in folder.glob(each))
    return next((place for place in found if place.is_symlink()), None)


def _only_read(project: OpenProject, why: str) -> None:
    if not project.read_only:
        project.read_only = True
        project.reason = (
            f"{project.name} {why}: what you change here is not kept; save the "
            "project in another place to go on with it."
        )


# -- images


def _image_steps(restored: Restored, entry: ImageEntry) -> Generator[Any, None, None]:
    """Restore the labels of one image, as far as they are there."""
    yield
    project = restored.project
    kept = KeptImage(entry)
    project.images.append(kept)
    try:
        _check_memory(entry)
    except ProjectError as error:  # nothing is lost, it is for another day
        restored.notes.append(str(error))
        kept.current = Generation(entry.generation, entry.based, None)
        return
    based, corrections = _based(restored, entry)
    kept.corrections = corrections
    kept.visits.recalled(corrections.visits)
    journal = None
    try:
        at = journal_path(project.folder, entry.id, entry.generation)
        reader = JournalReader(at, entry.labels_shape)
        corrections.replay(reader.records())
        if reader.note:
            restored.notes.append(f"{entry.name}: {reader.note}")
        if not project.read_only:
            journal = reader.writable()
    except ProjectError as error:
        _lose(restored, f"The corrections of {entry.name} are lost: {error}")
    except OutputError as error:
        _only_read(project, f"cannot be written ({error})")
    corrections.take_records()
    _take_roles(restored, kept)
    kept.current = Generation(entry.generation, based, journal)
    restored.waiting.append(_waiting(project, kept))


def _take_roles(restored: Restored, kept: KeptImage) -> None:
    """Restore what of an image is learnt from and what is held out."""
    entry = kept.entry
    try:
        if entry.roles is not None:
            kept.roles = unpack_roles(entry.roles, entry.labels_shape)
    except ValueError as error:
        _lose(
            restored,
            f"What was held out of {entry.name} to score results is lost ({error}), "
            "and is chosen anew.",
        )


def _check_memory(entry: ImageEntry) -> None:
    from napari_unet.engine.device import choose_device, free_memory

    needed = PER_PIXEL * int(np.prod(entry.labels_shape, dtype=np.float64))
    free = free_memory(choose_device("cpu"))
    if needed > free:
        raise ProjectError(
            f"The labels of {entry.name} need {needed / 2**30:.1f} GB, and "
            f"{free / 2**30:.1f} GB are free: close other programs and open the "
            "project again."
        )


def _based(restored: Restored, entry: ImageEntry) -> tuple[bool, Corrections]:
    """Return whether there is a base, and corrections that begin with it."""
    kind = {"dims": entry.dims, "instances": entry.instances}
    shape = entry.labels_shape
    highest = _highest(restored.project.folder, entry)
    if not entry.based:
        zeros = np.zeros(shape, np.int32)
        return False, Corrections(zeros, **kind, highest=highest)  # type: ignore[arg-type]  # two kinds of values
    here = image_folder(restored.project.folder, entry.id)
    try:
        labels, states = read_base(here, entry.generation, shape)
        highest = max(highest, int(labels.max(initial=0)))
        corrections = Corrections(labels, **kind, highest=highest)  # type: ignore[arg-type]  # two kinds of values
        for window, values in states:
            if values.any():
                corrections.state[window] = values
    except ProjectError as error:
        _lose(
            restored,
            f"The labels that {entry.name} began with are lost, only what was changed "
            f"since is shown: {error}",
        )
        zeros = np.zeros(shape, np.int32)
        return True, Corrections(zeros, **kind, highest=highest)  # type: ignore[arg-type]  # two kinds of values
    return True, corrections


def _highest(folder: Path, entry: ImageEntry) -> int:
    """Return the highest label that was used before the journal."""
    try:
        at = journal_path(folder, entry.id, entry.generation)
        return JournalReader(at, entry.labels_shape).begin.highest
    except ProjectError:
        return 0  # it is said when the records are read


def _lose(restored: Restored, note: str) -> None:
    """Say what is lost; what is left is not to be changed."""
    restored.notes.append(note)
    _only_read(restored.project, "is damaged")


def _waiting(project: OpenProject, kept: KeptImage) -> WaitingImage:
    entry = kept.entry
    path, stored, reason = place_of(entry, project.folder), None, ""
    if entry.stored and entry.nbytes <= STORED_IMAGE:
        place = stored_image_path(project.folder, entry.id)
        stored = read_image(place, entry.shape, entry.dtype)
        kept.image = stored
    if stored is None and path is None:
        reason = (
            f"The image {entry.name} came from no file and is not in the project: "
            "open it yourself."
        )
    elif stored is None and path is not None and not is_there(path):
        reason = f"{path} is not there: say where the image {entry.name} is now."
    if kept.corrections is None:
        raise ValueError("labels are restored before images")
    return WaitingImage(
        entry.name, path, entry.axes, entry.shape, entry.scale, entry.translate,
        entry.reader, entry.labels_name, kept.corrections, reason, kept, stored,
    )  # fmt: skip


# -- versions


def _model_steps(restored: Restored, manifest: Manifest) -> Generator[Any, None, None]:
    """Open the versions; one that cannot be opened is named and stays listed."""
    pairs: list[tuple[VersionEntry, Version | None]] = []
    folder = restored.project.folder
    for entry in manifest.versions:
        try:
            version = yield from version_steps(folder, entry)
        except (UnetError, OSError) as error:
            version = None
            restored.notes.append(
                f"Version {entry.number} of the model could not be opened: {error}"
            )
        pairs.append((entry, version))
        if entry.recipe and not recipe_path(folder, entry.number).is_file():
            restored.notes.append(
                f"How version {entry.number} of the model was fine-tuned is lost: it "
                "can be used, but not be repeated."
            )
    versions = [version for _, version in pairs if version is not None]
    numbers = [each.number for each in versions]
    current = manifest.current if manifest.current in numbers else max([0, *numbers])
    highest = max([manifest.highest, *(entry.number for entry, _ in pairs)])
    restored.model = OpenModel(versions, current, highest=highest)
    restored.project.versions = KeptVersions(pairs)


def version_steps(
    folder: Path, entry: VersionEntry, device: str | None = None
) -> Generator[Any, None, Version]:
    """Open a version of the model.

    Parameters
    ----------
    folder : of the project
    entry : of the version
    device : for its network; None: the one that it was opened for

    Raises
    ------
    UnetError
        If it is gone, or another one.
    """
    opening = opening_of(folder, entry)
    if opening is not None and device is not None:
        opening = replace(opening, device=device)
    if opening is None:
        raise ProjectError("it came from no file and could not be kept: load it again.")
    if entry.sha256 and digest(opening.source) not in ("", entry.sha256):
        raise ProjectError(
            f"{opening.source} holds another model than when it was used, expected "
            "the same file: bring it back, or load it as a new version."
        )
    if entry.kept and not Path(opening.source).is_file():
        raise ProjectError(
            f"{opening.source} is gone: bring it back from a copy of the project."
        )
    model = _kept_model(opening) if entry.kept else (yield from load_from(opening))
    return Version(
        entry.number, model, entry.note, entry.made, entry.metric, entry.strokes,
        None if entry.kept else opening, entry.base,
        KeptRecipe(recipe_path(folder, entry.number)) if entry.recipe else None,
    )  # fmt: skip


def _kept_model(opening: Opening) -> Model:
    from napari_unet.formats import load_model

    return load_model(opening.source, device=opening.device)


def _begin(restored: Restored, manifest: Manifest) -> None:
    """Mark the project as open, and remove what crashes left in it."""
    project, model = restored.project, restored.model
    project.made = manifest.made
    project.written = manifest.changed
    project.wanted = Wanted(
        tuple(model.versions), model.current, model.highest, manifest.settings
    )
    project.dirty = False
    if project.read_only:
        project.let_go()
        return
    try:
        write_manifest(project.folder, project.manifest())
    except OutputError as error:
        _only_read(project, f"cannot be written ({error})")
        project.let_go()
        return
    remember_project(project.folder)
    for folder in (project.folder, project.folder / "models"):
        _remove_temporary(folder)
    for kept in project.images:
        _clean(project.folder, kept)


def _clean(folder: Path, kept: KeptImage) -> None:
    """Remove generations and temporary files that project.json does not name."""
    entry = kept.entry
    here = image_folder(folder, entry.id)
    for place in [*here.glob("journal-*"), *here.glob("*-*.zarr")]:
        number = place.stem.rpartition("-")[2]
        if number.isdecimal() and int(number) != entry.generation:
            remove_generation(folder, entry.id, int(number))
    _remove_temporary(here)


def _remove_temporary(folder: Path) -> None:
    """Remove what a crash left half written; what others put there stays."""
    for place in folder.glob(".*"):
        if not TEMPORARY.fullmatch(place.name):
            continue
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            with suppress(OSError):
                place.unlink()
