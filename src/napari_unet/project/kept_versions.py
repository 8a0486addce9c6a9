"""The versions of the model in a project: small files, or where they are from."""

from __future__ import annotations

import hashlib
import math
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from napari_unet.files import replacing
from napari_unet.io.project import VersionEntry, version_path
from napari_unet.io.recipes import recipe_path, write_recipe
from napari_unet.opened_model import KeptRecipe, Opening

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from napari_unet.opened_model import Version

PIECE = 2**24  # bytes


class KeptVersions:
    """What of the versions is on disk.

    Parameters
    ----------
    entries : in project.json, with their versions; None: it could not be opened
    """

    def __init__(
        self, entries: Iterable[tuple[VersionEntry, Version | None]] = ()
    ) -> None:
        # never changed but replaced: two threads read it
        self._kept = {entry.number: (entry, version) for entry, version in entries}

    @property
    def entries(self) -> tuple[VersionEntry, ...]:
        """For project.json, by number."""
        return tuple(self._kept[number][0] for number in sorted(self._kept))

    @property
    def lost(self) -> list[VersionEntry]:
        """Those that could not be opened; they stay in the project."""
        return [entry for entry, version in self._kept.values() if version is None]

    def adopt(self, other: KeptVersions) -> None:
        """List what another project could not open."""
        self._kept = {entry.number: (entry, None) for entry in other.lost}

    def differ(self, versions: Iterable[Version]) -> bool:
        """Tell whether others are to be kept."""
        there = {n: version for n, (_, version) in self._kept.items() if version}
        return there != {each.number: each for each in versions}

    def write_steps(
        self, folder: Path, versions: Iterable[Version]
    ) -> Generator[None, None, list[Path]]:
        """Write what is new.

        Parameters
        ----------
        folder : of the project
        versions : all that are to be kept

        Returns
        -------
        old : files of versions that are no more, to be removed when project.json does
            not name them

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        wanted = {each.number: each for each in versions}
        for number, version in wanted.items():
            if self._kept.get(number, (None, None))[1] is not version:
                entry = _write(folder, version)
                self._kept = {**self._kept, number: (entry, version)}
                yield
        gone = [
            number for number, (_, version) in self._kept.items()
            if version is not None and number not in wanted
        ]  # fmt: skip
        self._kept = {n: pair for n, pair in self._kept.items() if n not in gone}
        return [
            place(folder, number)
            for number in gone
            for place in (version_path, recipe_path)
        ]

    def move(self, folder: Path) -> None:
        """Go on in a copy of the project's folder."""
        for number, (_, version) in self._kept.items():
            if version is not None and isinstance(version.recipe, KeptRecipe):
                version.recipe.path = recipe_path(folder, number)


def _write(folder: Path, version: Version) -> VersionEntry:
    """Write a version's weights, unless they are in a file that it was loaded from."""
    opening, model = version.opening, version.model
    kept = opening is None and model.trainable
    if kept:
        from napari_unet.formats import save_model

        place = version_path(folder, version.number)
        place.parent.mkdir(exist_ok=True)
        save_model(model, place)
    recipe = _write_recipe(folder, version)
    changes: dict[str, Any] = {} if opening is None else dict(opening.changes)
    return VersionEntry(
        number=version.number, note=version.note, made=max(version.made, 0),
        metric=_finite(version.metric), strokes=version.strokes, base=version.base,
        kept=kept,
        source=_source(opening) if opening else None,
        device=opening.device if opening else "auto",
        changes=to_jsonable_python(changes, fallback=str),
        sha256=digest(opening.source) if opening else "", recipe=recipe,
    )  # fmt: skip


def _write_recipe(folder: Path, version: Version) -> bool:
    """Write how a version was fine-tuned; tell whether that is there."""
    place, recipe = recipe_path(folder, version.number), version.recipe
    if isinstance(recipe, KeptRecipe):
        return _copied(recipe.path, place)
    if recipe is None:
        place.unlink(missing_ok=True)  # of a draft of this number that was dropped
        return False
    place.parent.mkdir(exist_ok=True)
    write_recipe(place, recipe)
    return True


def _copied(old: Path, new: Path) -> bool:
    """Copy a recipe from another folder of the project; tell whether it is there."""
    if not old.is_file():
        return False
    if old != new:
        new.parent.mkdir(exist_ok=True)
        with replacing(new) as temporary:
            shutil.copyfile(old, temporary)
    return True


def _finite(metric: float | None) -> float | None:
    return metric if metric is not None and math.isfinite(metric) else None


def _source(opening: Opening) -> str:
    """Return a source that means the same in another working folder."""
    with suppress(OSError, ValueError):
        place = Path(opening.source).expanduser()
        if place.exists():
            return str(place.absolute())
    return opening.source


def digest(source: str) -> str:
    """Return the SHA-256 of a file; "" where it is a folder, a name or gone."""
    total = hashlib.sha256()
    try:
        place = Path(source).expanduser()
        if not place.is_file():  # a device may have no end
            return ""
        with place.open("rb") as file:
            while piece := file.read(PIECE):
                total.update(piece)
    except (OSError, ValueError):
        return ""
    return total.hexdigest()


def opening_of(folder: Path, entry: VersionEntry) -> Opening | None:
    """Return how a version is to be opened; None: nothing of it was kept."""
    if entry.kept:
        return Opening(str(version_path(folder, entry.number)), entry.device)
    if entry.source is None:
        return None
    return Opening(entry.source, entry.device, changes=dict(entry.changes))
