"""Bench: what all widgets of one viewer share: its session, layers and jobs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize, ref

from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, Signal
from qtpy.QtWidgets import QMainWindow

from napari_unet.engine.config import PredictConfig
from napari_unet.errors import UnetError
from napari_unet.qt import uncertainty_map
from napari_unet.qt.autosave import Autosave
from napari_unet.qt.closing import asks_to_lose, close_window
from napari_unet.qt.job_runner import JobRunner
from napari_unet.qt.layer_bench import LayerBench
from napari_unet.qt.layers import unwrapped
from napari_unet.qt.project_desk import ProjectDesk

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from qtpy.QtCore import QObject
    from qtpy.QtWidgets import QWidget

    from napari_unet.jobs import Job
    from napari_unet.opened import OpenImage, UncertaintyMap

_benches: WeakKeyDictionary[Any, Bench] = WeakKeyDictionary()


def bench_for(viewer: Viewer) -> Bench:
    """Return the bench of a viewer; plugins get a fresh proxy each time (fact F8)."""
    real = unwrapped(viewer)
    if real not in _benches:
        _benches[real] = Bench(real)
    return _benches[real]


class Bench(LayerBench):
    """The session of a viewer, its layers, its jobs and its project."""

    models_listed = Signal(object)  # entries of the zoo
    said = Signal(str, str)  # panel, one sentence
    requested = Signal(str)  # an action's name, from a shortcut

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.runner = JobRunner(self)
        self.predict_config = PredictConfig()
        self.runner.ended.connect(self._on_runner_ended)
        self.session.uncertainty_found.connect(self._on_session_uncertainty_found)
        self.autosave = Autosave(self.session, self.runner, self)
        self.autosave.looks.connect(self.settle)  # a replaced array is not tracked
        self.autosave.recorded.connect(self._tally_timer.start)
        self.autosave.changed.connect(self._tally_timer.start)  # panels say if kept
        # whatever becomes of the window: when the viewer goes, or Python exits
        finalize(viewer, self.autosave.close)
        self.desk = ProjectDesk(self)
        self._window: Callable[[], QObject | None] = lambda: None  # must not live on
        self._closes = False
        self.answered = False  # one panel answers a shortcut, also if two are open
        self.requested.connect(self._on_requested)

    def _on_runner_ended(self, job: Job[Any], _: str) -> None:
        if job.lane == "network":
            self.forget_unshown()

    def _on_session_uncertainty_found(
        self, opened: OpenImage, found: UncertaintyMap
    ) -> None:
        image = self.image_of(opened)
        if image is not None:
            uncertainty_map.show(self.viewer, image, opened.axes, found)

    # -- jobs

    def run(self, panel: str, make: Any, *arguments: Any) -> bool:
        """Make a job and start it; say in a panel why it cannot be made.

        Returns
        -------
        started : whether it runs
        """
        try:
            job: Job[Any] | None = make(*arguments)
            if job is None:
                return False
            self.runner.run(job)
        except UnetError as error:
            self.said.emit(panel, str(error))
            show_warning(str(error))
            return False
        return True

    def try_now(self, panel: str, act: Any) -> None:
        """Do something short; say in a panel why it cannot be done."""
        try:
            act()
        except UnetError as error:
            self.said.emit(panel, str(error))
            show_warning(str(error))

    def request(self, name: str) -> None:
        """Do what a shortcut asks for: press the button that does it."""
        self.answered = False
        self.requested.emit(name)

    def _on_requested(self, name: str) -> None:
        if name == "cancel":
            self.runner.cancel()

    # -- what is kept

    def kept_text(self, opened: OpenImage) -> str:
        """Say in a few words whether an image's corrections are on the disk."""
        project = self.session.project
        if project is not None and project.read_only:
            return "read-only"
        if self.session.autosave and not self.autosave.problem:
            return "kept in the project"
        if not self.session.unkept():
            return "kept in the project"
        if not opened.unsaved:
            return "masks saved"
        return f"not kept: {self.why_unkept()}"

    def why_unkept(self) -> str:
        """Say in a sentence why corrections are not kept."""
        project = self.session.project
        if project is not None and project.read_only:
            return project.reason
        if self.autosave.problem:
            return self.autosave.problem
        if not self.session.autosave:
            return "keeping them automatically is switched off."
        return "they are not written yet."

    def unkept_names(self) -> list[str]:
        """Return the names of the images whose corrections would be lost now."""
        if not self.session.unkept():
            return []
        return [opened.name for opened in self.session.unsaved]

    # -- closing

    def watch(self, widget: QWidget) -> None:
        """Keep all, or ask, before the window of a widget closes."""
        window = widget.window()  # a floating dock is none of napari's
        if isinstance(window, QMainWindow) and window is not self._window():
            self._window = ref(window)
            window.installEventFilter(self)
            window.close = partial(close_window, ref(window), ref(self))
            self.desk.look_once()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Let a window close when all is kept, or was asked for."""
        if watched is not self._window():
            return False
        if event.type() == QEvent.Type.Close:
            if event.spontaneous() and not self.may_close(watched):
                event.ignore()
                return True
            self.runner.cancel_all()
            self.settle()
            self.autosave.keep_now()
            self._closes = True
        hidden = event.type() == QEvent.Type.Hide and not event.spontaneous()
        if hidden and self._closes:  # a window that is made an icon hides too
            self.autosave.stop()
        return False

    def may_close(self, window: Any) -> bool:
        """Keep all; ask about what cannot be kept."""
        self.settle()
        self.autosave.keep_now()
        names = self.unkept_names()
        return not names or asks_to_lose(window, names, self.why_unkept())
