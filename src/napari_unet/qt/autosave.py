"""Keeping what was done, all the time and when the window goes."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.errors import UnetError
from napari_unet.jobs import run_now
from napari_unet.qt.layers import stroke_goes_on

if TYPE_CHECKING:
    from napari_unet.jobs import Job
    from napari_unet.opened import OpenImage
    from napari_unet.qt.job_runner import JobRunner
    from napari_unet.session import Session

log = logging.getLogger(__name__)
PAUSE = 500  # milliseconds between two looks at what was done
FIRST_RETRY = 2.0  # seconds after a writing that failed; then twice as long each time
LAST_RETRY = 30.0  # seconds
PATIENCE = 20.0  # seconds that a window waits for its last writing


class Autosave(QObject):
    """Writes the project in the journal lane, a moment after something was done.

    Attributes
    ----------
    problem : why the last writing failed, else ""
    """

    changed = Signal()  # whether all is kept, or why it cannot be
    looks = Signal()  # it is about to look at what was done
    recorded = Signal()  # something that was painted was found

    def __init__(
        self, session: Session, runner: JobRunner, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._runner = session, runner
        self._job: Job[Any] | None = None
        self._retry = 0.0
        self._due = 0.0  # by time.monotonic
        self._ended = False
        self.problem = ""
        self._timer = QTimer(self, interval=PAUSE)
        self._timer.timeout.connect(self.tick)
        self._timer.start()
        runner.ended.connect(self._on_runner_ended)

    def tick(self) -> None:
        """Record what was painted, and write what is not written yet."""
        self.looks.emit()
        stroke = stroke_goes_on()
        found = [self._record(each, stroke) for each in self._session.images]
        if any(found):
            self.recorded.emit()
        if time.monotonic() >= self._due:
            self._keep()

    def _record(self, opened: OpenImage, stroke: bool) -> bool:
        """Take what was painted; a stroke that goes on stays one step of undo."""
        corrections = opened.corrections
        return corrections.checkpoint() if stroke else corrections.commit()

    def _keep(self, *, whole: bool = False) -> None:
        if self._runner.running("journal") is not None:
            return
        try:
            self._job = self._session.keep_job(whole=whole)
        except UnetError as error:
            self._failed(str(error))
            return
        if self._job is not None:
            self._runner.run(self._job)

    def _on_runner_ended(self, job: Job[Any], problem: str) -> None:
        if job is not self._job:
            return
        self._job = None
        project = self._session.project
        problem = problem or (project.trouble if project is not None else "")
        if problem:
            self._failed(problem)
        else:
            self._worked()

    def _failed(self, problem: str) -> None:
        """Tell once, and try again after a pause that grows."""
        if not self.problem:
            show_warning(problem)
        self.problem = problem
        self._retry = min(max(2 * self._retry, FIRST_RETRY), LAST_RETRY)
        self._due = time.monotonic() + self._retry
        self.changed.emit()

    def _worked(self) -> None:
        if self.problem:
            show_info("Your corrections can be kept again, and all of them are.")
        self.retry()

    def retry(self) -> None:
        """Forget what went wrong, and write as soon as there is something to."""
        self.problem, self._retry, self._due = "", 0.0, 0.0
        self.changed.emit()

    def keep_now(self) -> bool:
        """Write what is not written yet, and wait for it.

        Returns
        -------
        kept : whether all that was done is on the disk
        """
        for opened in self._session.images:
            opened.corrections.commit()
        if not self._runner.finish("journal", PATIENCE):
            return False
        self._keep(whole=True)
        if not self._runner.finish("journal", PATIENCE):
            return False
        if self._job is not None:
            self._on_runner_ended(self._job, "")
        return not self._session.unkept()

    def close(self) -> None:
        """Write what is not written, and close the project, once.

        Also called when the viewer is gone or Python exits: uses nothing of Qt.
        """
        if self._ended:
            return
        self._ended = True
        if not self._runner.finish("journal", PATIENCE):
            return  # whoever opens it next goes on with what is on the disk
        try:
            job = self._session.keep_job(whole=True)
            if job is not None:
                run_now(job)
        except UnetError as error:
            log.warning("%s", error)
        try:
            self._session.close_project()
        except UnetError as error:
            log.warning("%s", error)

    def stop(self) -> None:
        """Close the project, and look no more."""
        self._timer.stop()
        self.close()
