"""The project folder that keeps what is open."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_unet.errors import OutputError, UnetError
from napari_unet.io.migrations import relative_path
from napari_unet.io.project import (
    ImageEntry,
    Manifest,
    image_folder,
    make_folder,
    new_folder,
    program_version,
    read_manifest,
    remove_project,
    writable,
    write_manifest,
)
from napari_unet.io.project_lock import ProjectLock
from napari_unet.opened import ImageSource
from napari_unet.project.kept_image import KeptImage
from napari_unet.project.kept_versions import KeptVersions

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_unet.engine.corrections import Corrections
    from napari_unet.opened import OpenImage
    from napari_unet.opened_model import Version

LOOKING = 0.5  # seconds that a job looks at images; what is painted waits that long
UNKNOWN = ImageSource(None)


@dataclass(frozen=True)
class Wanted:
    """What beside labels is to be kept; taken on the main thread.

    Attributes
    ----------
    versions : of the model
    current, highest : see ``OpenModel``
    settings : of the panels
    """

    versions: tuple[Version, ...] = ()
    current: int = 0
    highest: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class WaitingImage:
    """An image of a project whose pixels are not there yet.

    Attributes
    ----------
    name, axes, shape, scale, translate, reader, labels_name : as it was open
    path : where it was; None: it came from no file
    stored : its pixels, if the project keeps them
    corrections : restored
    reason : one sentence on what is missing
    kept : what the project knows of it
    """

    name: str
    path: Path | None
    axes: str
    shape: tuple[int, ...]
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    reader: str | None
    labels_name: str
    corrections: Corrections
    reason: str
    kept: KeptImage
    stored: Any = None


class OpenProject:
    """A project that is open; the main thread takes, a worker writes.

    Parameters
    ----------
    folder : of the project, which may not be there yet
    automatic : made by itself, not saved under a name

    Attributes
    ----------
    read_only : nothing is written
    reason : one sentence on why, else ""
    trouble : one sentence on why the last writing failed, else ""
    written : when something was written last, in seconds since the epoch; 0: never
    images : of the project, also those that are not open
    versions : what of the model is on disk
    wanted : what is to be there
    dirty : project.json is not as it should be
    paused : nothing is recorded at present
    """

    def __init__(self, folder: Path, *, automatic: bool = False) -> None:
        self.folder = folder
        self.automatic = automatic
        self.made = time.time()
        self.read_only = False
        self.reason = ""
        self.trouble = ""
        self.written = 0.0
        self.images: list[KeptImage] = []
        self.versions = KeptVersions()
        self.wanted = Wanted()
        self.dirty = True
        self.paused = False
        self.gone: list[int] = []  # images that project.json shall no longer name
        self.lock: ProjectLock | None = None  # held; None: nothing is on disk yet
        self._busy = Lock()  # held during each step of the worker
        self._closed = False

    @property
    def name(self) -> str:
        """As the user calls it."""
        return self.folder.name

    # -- on the main thread

    def kept_of(self, opened: OpenImage) -> KeptImage:
        """Return what is known of an image in the session; it is new at first."""
        found = next((each for each in self.images if each.opened is opened), None)
        if found is None:
            found = KeptImage(self._entry(opened, self.free_number()))
            found.corrections, found.image = opened.corrections, opened.image
            found.opened = opened
            self.images.append(found)
            self.dirty = True
        return found

    def free_number(self) -> int:
        """Return the number for a new image."""
        number = max((each.entry.id for each in self.images), default=0) + 1
        while image_folder(self.folder, number).exists():  # left by a crash
            number += 1
        return number

    def _entry(self, opened: OpenImage, number: int) -> ImageEntry:
        source = opened.source or UNKNOWN
        path = source.path  # one that no text holds cannot be asked for: a copy is kept
        path = path if path and writable(path) == path else None
        return ImageEntry(
            id=number, name=opened.name, path=path, pixel_size=opened.pixel_size,
            channel=opened.channel,
            relative=relative_path(path, self.folder), reader=source.reader,
            axes=opened.axes, shape=tuple(opened.image.shape),
            dtype=str(opened.image.dtype), scale=source.scale,
            translate=source.translate, labels_name=source.labels_name,
            dims=opened.corrections.dims, instances=opened.corrections.instances,
        )  # fmt: skip

    def forget(self, kept: KeptImage) -> None:
        """Take an image out of the project, in which nothing was corrected."""
        self.images = [each for each in self.images if each is not kept]
        self.gone.append(kept.entry.id)
        self.dirty = True

    def observe(self, kept: KeptImage) -> None:
        """Take note of what changed of an image beside its labels."""
        opened = kept.opened
        if opened is not None:
            kept.follow(opened.image)
            if kept.describe(self._entry(opened, kept.entry.id)):
                self.dirty = True

    def want(self, wanted: Wanted) -> None:
        """Take note of what else is to be kept."""
        if wanted != self.wanted:
            self.wanted = wanted
            self.dirty = True

    @property
    def corrected(self) -> bool:
        """Whether anything was ever corrected, or learnt."""
        learnt = any(each.base is not None for each in self.wanted.versions)
        return learnt or any(each.corrected for each in self.images)

    @property
    def pending(self) -> bool:
        """Whether something is not on disk that would be lost."""
        unkept = any(each.pending for each in self.images)
        return unkept or self.dirty or self.versions.differ(self.wanted.versions)

    @property
    def slow(self) -> bool:
        """Whether images themselves are still to be looked at."""
        return any(each.slow for each in self.images)

    def close(self) -> None:
        """Mark the project as closed and let go of it; see ``close_project``.

        Raises
        ------
        OutputError
            If the mark cannot be written; all else is done.
        """
        with self._busy:
            self._closed = True
        for each in self.images:
            each.stop_looking()
        try:
            whole = self.paused or not self.pending
            if self.lock is not None and whole and not self.read_only:
                write_manifest(self.folder, self.manifest(closed=True))
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Give the lock back."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    # -- in the worker

    def keep_steps(self, *, whole: bool = False) -> Generator[None, None, None]:
        """Write what was taken.

        Parameters
        ----------
        whole : look at images to the end too, however long that takes

        Raises
        ------
        OutputError
            If that cannot be; nothing is torn, and nothing that was taken is lost.
        """
        yield  # whoever cancels now cancels before anything was written
        try:
            try:
                yield from self._guarded(self._keep_steps(whole))
            except OSError as error:
                raise OutputError(
                    f"{self.folder} could not be written "
                    f"({error.strerror or error}), expected a writable folder with "
                    "enough free space: save the project in another place."
                ) from error
        except UnetError as error:
            self.trouble = str(error)
            raise
        self.trouble, self.written = "", time.time()

    def _guarded(
        self, steps: Generator[None, None, None]
    ) -> Generator[None, None, None]:
        """Take steps until the main thread closes the project."""
        try:
            while True:
                with self._busy:
                    if self._closed:
                        return
                    try:
                        next(steps)
                    except StopIteration:
                        return
                yield
        finally:
            steps.close()

    def _keep_steps(self, whole: bool) -> Generator[None, None, None]:
        if self.lock is None:
            self._make()
        for kept in list(self.images):
            yield from kept.write_steps(self.folder)
        if self.dirty or any(each.following for each in self.images):
            self._write_manifest()
            yield
        if self.versions.differ(self.wanted.versions):
            yield from self._keep_versions()
        yield from self._look_steps(whole)

    def _make(self) -> None:
        """Make the folder and take its lock."""
        while True:
            try:
                make_folder(self.folder)
                break
            except FileExistsError as error:  # another window was faster
                if not self.automatic:
                    raise OutputError(
                        f"{self.folder} is there already, expected a new name: choose "
                        "another one."
                    ) from error
                self.folder = new_folder(each.entry.name for each in self.images)
        lock = ProjectLock(self.folder)
        try:
            lock.acquire()
            write_manifest(self.folder, self.manifest())
        except BaseException:
            lock.release()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.lock = lock

    def _write_manifest(self) -> None:
        """Replace project.json, and remove what it no longer names."""
        self.dirty = False
        try:
            write_manifest(self.folder, self.manifest())
        except OutputError:
            self.dirty = True
            for each in self.images:
                each.following = None
            raise
        for each in self.images:
            each.settle(self.folder)
        while self.gone:
            place = image_folder(self.folder, self.gone.pop())
            shutil.rmtree(place, ignore_errors=True)

    def _keep_versions(self) -> Generator[None, None, None]:
        self.dirty = True  # also if this fails halfway
        old = yield from self.versions.write_steps(self.folder, self.wanted.versions)
        self._write_manifest()
        for path in old:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _look_steps(self, whole: bool) -> Generator[None, None, None]:
        """Look at images for a while, and write what was found."""
        until = time.monotonic() + (float("inf") if whole else LOOKING)
        found = False
        for each in list(self.images):
            while each.slow and time.monotonic() < until:
                found = each.look_on(self.folder) or found
                yield
        if found:
            self._write_manifest()

    def manifest(self, *, closed: bool = False) -> Manifest:
        """Return what project.json shall hold."""
        entries = [each.listed() for each in self.images]
        return Manifest(
            program=program_version(), closed=closed, automatic=self.automatic,
            made=max(self.made, 0), changed=max(time.time(), 0),
            images=tuple(each for each in entries if each is not None),
            versions=self.versions.entries, current=self.wanted.current,
            highest=self.wanted.highest, settings=self.wanted.settings,
        )  # fmt: skip

    def move(self, folder: Path) -> None:
        """Go on in a copy of the folder; an automatic one is removed.

        Raises
        ------
        OutputError
            If the copy cannot be used; then all goes on where it was.
        """
        with self._busy:
            if self._closed:
                raise OutputError(
                    f"{self.name} was closed while it was being saved: open it, and "
                    "save it again."
                )
            self._move(folder)

    def _move(self, folder: Path) -> None:
        lock = ProjectLock(folder)
        if not lock.acquire():
            raise OutputError(
                f"{folder} is open in another window{lock.holder()}, expected a place "
                "of its own: choose another one."
            )
        entries = [each.entry for each in self.images]
        self.automatic, automatic = False, self.automatic
        try:
            for each in self.images:
                each.move(self.folder, folder)
            write_manifest(folder, self.manifest())
            read_manifest(folder)
        except BaseException:
            self.automatic = automatic
            for each, entry in zip(self.images, entries, strict=True):
                each.move(folder, self.folder)
                each.entry = entry
            lock.release()
            raise
        self.versions.move(folder)
        old, self.folder = self.folder, folder
        self.let_go()
        self.lock = lock
        if automatic:
            remove_project(old)

    def remove(self) -> None:
        """Remove the folder of a project that is closed."""
        remove_project(self.folder)
