"""Projects and the viewer: opening one brings its images and labels back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.layers import Image
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.errors import ImageError
from napari_unet.io.project import is_there
from napari_unet.jobs import Job
from napari_unet.qt.layer_axes import say_axes, say_channel
from napari_unet.qt.layers import image_data, image_source
from napari_unet.qt.pixel_size import pixel_size_of, say_pixel_size
from napari_unet.session_project import recent_projects, unfinished_projects

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_unet.opened import OpenImage
    from napari_unet.qt.bench import Bench
    from napari_unet.session_project import ProjectInfo, WaitingImage

PANEL = "project"
PROGRAMS = (".py", ".pyw")
BUSY = "A job is running: wait for its end first."


class ProjectDesk(QObject):
    """Opens projects in a viewer and saves them, one job after another.

    Attributes
    ----------
    recent : projects, the last one first; of the last look
    unfinished : those that a crash left, of the last look
    hosted : whether a panel shows them
    """

    changed = Signal()  # what is open, waits, or was saved
    listed = Signal()  # recent and unfinished projects
    began = Signal()  # something new, so that what was said is of the past

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._bench = ref(bench)
        self.recent: list[ProjectInfo] = []
        self.unfinished: list[ProjectInfo] = []
        self.hosted = False
        self._looked = False
        self._job: Job[Any] | None = None  # opening, saving, or finding an image
        self._then: Any = None  # what follows it
        self._todo: list[tuple[WaitingImage, Path | None]] = []
        self._layers: list[Image] = []  # that may show the image that is looked for
        self._added: list[Any] = []  # layers that were opened for it
        bench.runner.ended.connect(self._on_runner_ended)

    @property
    def bench(self) -> Bench:
        """The bench whose desk this is."""
        bench = self._bench()
        if bench is None:
            raise ReferenceError("the viewer is closed")
        return bench

    @property
    def idle(self) -> bool:
        """Whether nothing is being opened, saved or looked for."""
        return self._job is None and not self._todo

    # -- which projects there are

    def look_once(self) -> None:
        """Look for projects, once the first dock is drawn."""
        if not self._looked:
            self._looked = True
            QTimer.singleShot(0, self.look)

    def look(self) -> None:
        """Look for projects, in the background: they may lie on a slow drive."""
        job = Job("Looking for projects", _projects(), 1, self._list, "short")
        self.bench.run(PANEL, lambda: job)

    def _list(self, found: tuple[list[ProjectInfo], list[ProjectInfo]]) -> None:
        fresh = not (self.recent or self.unfinished)
        self.recent, self.unfinished = found
        self.listed.emit()
        if fresh and self.unfinished and not self.hosted:
            show_info(
                f"{self.unfinished[0].name} was not closed properly: open the U-Net "
                "workbench to go on with it."
            )

    # -- opening and saving

    def _start(self, make: Any, then: Any) -> bool:
        """Start a job of the desk; tell whether it runs."""
        bench = self.bench
        if self._job is not None:
            bench.said.emit(PANEL, BUSY)
            return False

        def made() -> Job[Any]:
            self._job = make()
            return self._job

        self._then = then
        self.began.emit()
        started = bench.run(PANEL, made)
        if not started:
            self._job = None
        return started

    def _on_runner_ended(self, job: Job[Any], problem: str) -> None:
        if job is not self._job:
            return
        self._job, then = None, self._then
        if problem:
            self.bench.said.emit(PANEL, problem)
        then(problem)
        self.changed.emit()

    def open(self, folder: Path, *, read_only: bool = False) -> bool:
        """Open a project in the place of what is open; tell whether it is under way.

        Image layers stay; the labels layers of the session go, because what they show
        is kept in the project that was open until now.
        """
        if self.bench.runner.busy:
            self.bench.said.emit(PANEL, BUSY)
            return False
        self.bench.settle()
        self.bench.autosave.keep_now()
        session = self.bench.session
        before = list(session.images)

        def make() -> Job[Any]:
            job = session.open_project_job(folder, read_only=read_only)

            def accept(result: Any) -> None:
                job.accept(result)
                self.bench.leave(each for each in before if each not in session.images)

            return replace(job, accept=accept)

        return self._start(make, self._opened)

    def _opened(self, problem: str) -> None:
        if not problem:
            self.bench.autosave.retry()
            for note in self.bench.session.notes:
                show_warning(note)
            self._todo = [(each, None) for each in self.bench.session.waiting]
            self._next()

    def save_as(self, folder: Path) -> bool:
        """Save what is open as a project of its own; tell whether it is under way."""
        self.bench.settle()
        session = self.bench.session
        return self._start(lambda: session.save_project_as_job(folder), self._saved)

    def _saved(self, problem: str) -> None:
        if not problem:
            self.bench.autosave.retry()
            self.bench.show_editable()
            self.look()

    # -- images that a project waits for

    def find(self, waiting: WaitingImage, path: Path) -> bool:
        """Look for a waiting image in a file; tell whether that is under way."""
        if self._job is not None:
            self.bench.said.emit(PANEL, BUSY)
            return False
        self._todo = [(waiting, path)]
        self._next()
        return True

    def _next(self) -> None:
        """Open the next image, and begin to find out whether it is the right one."""
        while self._todo:
            waiting, path = self._todo.pop(0)
            self._added = []
            try:
                self._layers = self._candidates(waiting, path)
            except ImageError as error:
                self._refuse(waiting, str(error))
                continue
            if self._try(waiting):
                return
        self.look()
        self.changed.emit()

    def _try(self, waiting: WaitingImage) -> bool:
        """Start to compare the next layer that may show a waiting image."""
        if not self._layers:
            return False
        layer = self._layers.pop(0)
        session = self.bench.session
        found: list[OpenImage] = []

        def make() -> Job[Any]:
            source = image_source(layer, waiting.labels_name)
            job = session.find_image_job(
                waiting, image_data(layer), waiting.axes, source
            )

            def accept(opened: OpenImage) -> None:
                job.accept(opened)
                found.extend(each for each in session.images if each is opened)

            return replace(job, accept=accept)

        def then(problem: str) -> None:
            if found and not problem:
                self._place(waiting, layer)
                self.bench.restore(found[0], layer)
            elif self._layers and self._try(waiting):
                return
            else:
                self._refuse(waiting, problem)
            self._next()

        return self._start(make, then)

    def _place(self, waiting: WaitingImage, layer: Image) -> None:
        """Give a layer that was opened for an image the scale that it had."""
        size = waiting.kept.entry.pixel_size
        if size is not None and size != pixel_size_of(layer, waiting.axes):
            say_pixel_size(layer, size)
        say_axes(layer, waiting.axes)
        say_channel(layer, waiting.kept.entry.channel)
        if layer in self._added:
            if len(waiting.scale) == layer.ndim:
                layer.scale = waiting.scale
            if len(waiting.translate) == layer.ndim:
                layer.translate = waiting.translate

    def _refuse(self, waiting: WaitingImage, reason: str) -> None:
        """Say why an image does not come back, and remove what was opened for it."""
        waiting.reason = reason
        self.bench.said.emit(PANEL, reason)
        layers = self.bench.viewer.layers
        for layer in self._added:
            if layer in layers:
                layers.remove(layer)

    def _candidates(self, waiting: WaitingImage, path: Path | None) -> list[Image]:
        """Return image layers that may show a waiting image; open its file if needed.

        Raises
        ------
        ImageError
            If there is none, or the file cannot be read.
        """
        viewer = self.bench.viewer
        if waiting.stored is not None and path is None:
            place = {"scale": waiting.scale, "translate": waiting.translate}
            given = {key: value for key, value in place.items() if value}
            options = {"rgb": True} if self._is_colour(waiting) else given
            layer = viewer.add_image(waiting.stored, name=waiting.name, **options)
            self._added = [layer]
            return [layer]
        path = path or waiting.path
        if path is None:
            raise ImageError(waiting.reason)
        there = self._fitting(self.bench.layers(Image), waiting)
        same = [layer for layer in there if _is_of(layer, path)]
        if same:
            return same
        if not is_there(path):
            raise ImageError(
                f"{path} was not found, expected the image {waiting.name}: choose it "
                "in the list, then press Show to say where it is now."
            )
        if path.suffix.lower() in PROGRAMS:  # napari would run it
            raise ImageError(
                f"{path} is a program, expected the image {waiting.name}: choose it in "
                "the list, then press Show to say where it is now."
            )
        self._added = self._read(path, waiting.reader)
        found = self._fitting(self._added, waiting)
        if not found:
            raise ImageError(
                f"{path} holds no image of the shape {waiting.shape}, expected "
                f"{waiting.name} as it was when it was corrected: choose another file."
            )
        return found

    def _read(self, path: Path, reader: str | None) -> list[Any]:
        """Let napari open a file; readers are plugins, and may raise anything."""
        viewer = self.bench.viewer
        problem: Exception | None = None
        for plugin in dict.fromkeys([reader, None]):  # it may be installed no more
            try:
                return list(viewer.open(str(path), plugin=plugin))
            except Exception as error:  # noqa: BLE001  whatever a plugin may raise
                problem = problem or error
        raise ImageError(
            f"{path} could not be opened by {reader or 'napari'} "
            f"({str(problem)[:120]}), expected the image that was corrected: open it "
            "yourself, then choose it in the list and press Show."
        ) from problem

    @staticmethod
    def _is_colour(waiting: WaitingImage) -> bool:
        colours = waiting.shape[-1] in (3, 4)
        return colours and waiting.axes.endswith("YXC")

    @staticmethod
    def _fitting(layers: list[Any], waiting: WaitingImage) -> list[Image]:
        return [
            layer for layer in layers
            if isinstance(layer, Image)
            and tuple(image_data(layer).shape) == tuple(waiting.shape)
        ]  # fmt: skip


def _is_of(layer: Image, path: Path) -> bool:
    return layer.source.path is not None and Path(layer.source.path).absolute() == path


def _projects() -> Generator[
    None, None, tuple[list[ProjectInfo], list[ProjectInfo]]
]:  # fmt: skip
    yield
    return recent_projects(), unfinished_projects()
