"""The part of the session about the project: all that is done is kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from psygnal import Signal

from napari_unet.errors import UnetError
from napari_unet.io.project import new_folder, relocated
from napari_unet.io.recent_projects import (
    ProjectInfo,
    recent_projects,
    unfinished_projects,
)
from napari_unet.jobs import Job
from napari_unet.opened import OpenImage
from napari_unet.project.kept_image import KeptImage
from napari_unet.project.open_project import OpenProject, WaitingImage, Wanted
from napari_unet.project.restoring import open_steps
from napari_unet.project.steps import check_free, find_steps, save_as_steps
from napari_unet.session_model import ModelSession

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.opened import ImageSource
    from napari_unet.project.restoring import Restored

__all__ = [
    "OpenProject", "ProjectInfo", "ProjectSession", "WaitingImage", "recent_projects",
    "unfinished_projects",
]  # fmt: skip


class ProjectSession(ModelSession):
    """What is open, and the project that keeps it; the base of Session.

    Attributes
    ----------
    images : open in the session
    waiting : images of the project whose pixels are not there yet
    settings : of the panels, as plain values; kept with the project
    notes : a sentence for each thing that was lost of the project that was opened
    """

    images_changed = Signal()
    project_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.images: list[OpenImage] = []
        self.waiting: list[WaitingImage] = []
        self.settings: dict[str, Any] = {}
        self.notes: list[str] = []
        self._project: OpenProject | None = None
        self._autosave = True
        self._blank: WeakSet[OpenImage] = WeakSet()  # began with no labels at all
        self._unrecorded: WeakSet[OpenImage] = WeakSet()  # changed while not recording
        self._seen: WeakKeyDictionary[OpenImage, int] = WeakKeyDictionary()
        self._told: object = None
        self.images_changed.connect(self._note_blank)

    def _note_blank(self) -> None:
        for opened in self.images:
            its = opened.corrections
            if its.revision == 0 and its.next_label == 1:
                self._blank.add(opened)

    # -- state

    @property
    def project(self) -> OpenProject | None:
        """The project that is open; None: nothing was to be kept yet."""
        return self._project

    @property
    def autosave(self) -> bool:
        """Whether all is recorded from the first change of labels on."""
        return self._autosave

    @autosave.setter
    def autosave(self, value: bool) -> None:
        self._autosave = value
        self.project_changed.emit()

    def unkept(self) -> bool:
        """Tell whether something is not on disk that would be lost."""
        project = self._gather()
        if project is not None and project.read_only:
            return False
        if any(opened in self._unrecorded for opened in self.images):
            return True
        return project is not None and not project.paused and project.pending

    def hand_seconds(self) -> float:
        """Return the seconds of work by hand, in all images of the project."""
        total = sum(opened.corrections.work.seconds for opened in self.images)
        open_now = {id(opened) for opened in self.images}
        for kept in self._project.images if self._project else ():
            if id(kept.opened) not in open_now:
                its = kept.corrections
                total += its.work.seconds if its else kept.entry.seconds
        return total

    def _tell_project(self) -> None:
        """Tell what became of the project, if that is news."""
        project = self._project
        now = project and (
            project, project.folder, project.trouble, project.automatic,
            project.read_only,
        )  # fmt: skip
        if now != self._told:
            self._told = now
            self.project_changed.emit()

    # -- taking what is to be written

    def _gather(self) -> OpenProject | None:
        """Take all that happened since the last time."""
        if self._project is None and not self._begin():
            return None
        project = self._project
        if project is None or project.read_only:
            return project
        project.paused = project.automatic and not self._autosave
        if not project.paused:
            for opened in self.images:
                self._gather_image(project, opened)
        for kept in list(project.images):
            self._gather_rest(project, kept)
        project.want(self._wanted())
        return project

    def _wanted(self) -> Wanted:
        its = self._state
        return Wanted(
            tuple(its.to_keep), its.current, its.highest, dict(self.settings)
        )  # fmt: skip

    def _begin(self) -> bool:
        """Make a project if labels changed; without one, drop what happened."""
        changed = []
        for opened in self.images:
            opened.corrections.checkpoint()
            news = opened.corrections.revision != self._seen.get(opened, 0)
            if news or (self._autosave and opened in self._unrecorded):
                changed.append(opened)
        if changed and self._autosave:
            names = [opened.name for opened in changed]
            self._project = OpenProject(new_folder(names), automatic=True)
            return True
        for opened in changed:
            self._drop(opened)
        return False

    def _drop(self, opened: OpenImage) -> None:
        """Take note that an image changed and no project knows."""
        if opened.corrections.take_records():
            self._unrecorded.add(opened)
            self._blank.discard(opened)
        self._seen[opened] = opened.corrections.revision

    def _gather_image(self, project: OpenProject, opened: OpenImage) -> None:
        fresh = all(each.opened is not opened for each in project.images)
        kept = project.kept_of(opened)
        project.observe(kept)
        taken = kept.take()
        if fresh and opened in self._blank and taken == opened.corrections.revision:
            kept.begin(blank=True)
        elif kept.outgrown:
            if kept.current is None:
                kept.drop()  # the base holds it
            kept.begin()
        self._unrecorded.discard(opened)
        self._blank.discard(opened)

    def _gather_rest(self, project: OpenProject, kept: KeptImage) -> None:
        """Attend to an image that is not recorded, or was taken out of the session."""
        if kept.opened is None:
            return
        if project.paused:
            if kept.take():
                kept.drop()
                self._unrecorded.add(kept.opened)
        elif all(kept.opened is not opened for opened in self.images):
            kept.take()
            if not kept.corrected:
                project.forget(kept)
            elif not kept.pending:
                kept.release()
                project.dirty = True

    def keep_job(self, *, whole: bool = False) -> Job[None] | None:
        """Write what happened since the last time; None when there is nothing.

        Parameters
        ----------
        whole : also what may take long, such as an image that came from no file: before
            the window closes

        Returns
        -------
        job : what it could not write is written by the next one
        """
        project = self._gather()
        self._tell_project()
        if project is None or project.read_only or project.paused:
            return None
        if not (project.pending or project.slow):
            return None
        return Job(
            "Keeping the project", project.keep_steps(whole=whole), 0,
            lambda _: self._tell_project(), "journal",
        )  # fmt: skip

    # -- opening

    def open_project_job(self, folder: Path, *, read_only: bool = False) -> Job[Any]:
        """Open a project in the place of that which is open.

        Parameters
        ----------
        folder : of the project
        read_only : write nothing

        Raises
        ------
        UnetError
            If something that is open is not on disk yet.
        """
        self._check_kept()
        if self._project is not None and self._project.folder == folder.absolute():
            raise UnetError(
                f"{folder.name} is open in this window already: go on with it."
            )
        return Job(
            f"Opening {folder.name}", open_steps(folder, read_only=read_only), 0,
            self._take_project, "short",
        )  # fmt: skip

    def _check_kept(self) -> None:
        if self.unkept():
            raise UnetError(
                "There are corrections that are not on disk yet, expected all to be "
                "kept before another project opens: wait a moment, or save the project."
            )
        if self.draft is not None:
            raise UnetError(
                "A finished fine-tuning is neither kept nor dropped: keep or revert it "
                "before another project opens."
            )

    def _take_project(self, restored: Restored) -> None:
        try:
            self._check_kept()
        except UnetError:
            restored.project.let_go()
            raise
        self.close_project()
        self._project = restored.project
        self.waiting, self.notes = list(restored.waiting), list(restored.notes)
        self.settings = dict(restored.project.wanted.settings)
        self.images = []
        if restored.model.versions:
            self._state = restored.model
        self.images_changed.emit()
        self._tell()
        self._tell_project()

    def find_image_job(
        self, waiting: WaitingImage, image: Any, axes: str, source: ImageSource
    ) -> Job[OpenImage]:
        """Go on with an image of the project whose pixels are there again.

        Parameters
        ----------
        waiting : one of ``waiting``
        image, axes : as for ``add_image``; must be the image that was corrected
        source : where it is now
        """
        opened = OpenImage(
            waiting.name, image, axes, waiting.corrections, source=source,
            roles=waiting.kept.roles, pixel_size=waiting.kept.entry.pixel_size,
            channel=waiting.kept.entry.channel,
        )  # fmt: skip

        def accept(_: OpenImage) -> None:
            if waiting not in self.waiting:
                return  # found or skipped meanwhile, or another project is open
            self.skip_image(waiting)
            waiting.kept.opened, waiting.kept.image = opened, image
            self.images.append(opened)
            self.images_changed.emit()

        steps = find_steps(waiting, opened)
        return Job(f"Checking {waiting.name}", steps, 0, accept, "short")

    def skip_image(self, waiting: WaitingImage) -> None:
        """Leave an image of the project alone; it stays there as it is."""
        self.waiting = [each for each in self.waiting if each is not waiting]
        self.project_changed.emit()

    # -- saving under a name, closing

    def save_project_as_job(self, folder: Path) -> Job[Path]:
        """Write the project in another place and go on there.

        Parameters
        ----------
        folder : a new name, or an empty folder; an automatic project is removed from
            its old place when the new one is complete

        Raises
        ------
        OutputError
            If the place is taken.
        """
        folder = folder.expanduser().absolute()
        check_free(folder)
        old = self._gather()
        healthy = old is not None and not (
            old.read_only or old.paused or old.trouble or old.lock is None
        )
        afresh = None if healthy else self._afresh(old, folder)

        def accept(_: Path) -> None:
            if afresh is not None and self._project is old:
                self._go_on_with(old, afresh)
            self._tell_project()

        return Job(
            f"Saving {folder.name}", save_as_steps(old, folder, afresh), 0, accept,
            "journal",
        )  # fmt: skip

    def _afresh(self, old: OpenProject | None, folder: Path) -> OpenProject:
        """Return a project made anew of all that is open."""
        project = OpenProject(folder)
        for opened in self.images:
            its = project.kept_of(opened)
            its.revision = opened.corrections.revision
            its.begin()
        for kept in old.images if old else ():
            if kept.corrections is not None and kept.opened is None:
                number = project.free_number()
                update = {"id": number, "stored": False}
                entry = relocated(kept.entry, old.folder, folder) if old else kept.entry
                copy = KeptImage(entry.model_copy(update=update), kept.corrections)
                copy.image, copy.roles = kept.image, kept.roles
                copy.begin()
                project.images.append(copy)
        if old is not None:
            project.versions.adopt(old.versions)
        project.want(self._wanted())
        return project

    def _go_on_with(self, old: OpenProject | None, afresh: OpenProject) -> None:
        """Use the project that was made anew; what happened meanwhile is not in it."""
        for opened in self.images:
            its = afresh.kept_of(opened)
            if its.revision != opened.corrections.revision:
                its.broken = True
            self._unrecorded.discard(opened)
        for each in self.waiting:
            each.kept = next(
                its for its in afresh.images if its.corrections is each.corrections
            )
        if old is not None:
            old.let_go()
            if old.automatic and not old.read_only:
                old.remove()
        self._project = afresh

    def close_project(self) -> None:
        """Mark the project as closed and let go of it.

        What is not on disk yet (see ``unkept``) stays so, and the project counts as
        unfinished. An automatic project in which nothing was corrected is removed.

        Raises
        ------
        OutputError
            If the mark cannot be written; all else is done.
        """
        project = self._gather()
        if project is None:
            return
        empty = project.automatic and not (project.read_only or project.corrected)
        for opened in self.images:
            self._drop(opened)
            self._unrecorded.discard(opened)
        self._project, self.waiting, self.notes = None, [], []
        try:
            project.close()
        finally:
            if empty:
                project.remove()
            self._tell_project()
