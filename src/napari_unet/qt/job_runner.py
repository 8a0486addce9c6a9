"""The only file that knows threads and progress bars."""

from __future__ import annotations

import atexit
import gc
import logging
import time
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari.qt.threading import GeneratorWorkerSignals, WorkerBase
from napari.utils import progress
from napari.utils.notifications import show_error, show_warning
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.engine.config import (
    BytesDone,
    EpochDone,
    LookDone,
    StepDone,
    TileDone,
)
from napari_unet.errors import Interrupted, UnetError

if TYPE_CHECKING:
    from napari_unet.jobs import Job

log = logging.getLogger(__name__)
SHORTEST_PAUSE = 0.1  # seconds between two progress events (fact F11)
LONGEST_END = 20_000  # milliseconds that a last step may take when Python exits
# napari imports these for its first Labels layer, which would stop the window for 0.5 s
LATE_IMPORTS = ("pandas", "skimage.color.colorconv")


@cache
def _wait_at_exit() -> None:
    """Let jobs end before Python does; napari waits only where its event loop quits.

    A thread that tells a deleted object of its progress would abort the process.
    """
    atexit.register(_end_all)


def _end_all() -> None:
    try:
        WorkerBase.await_workers(LONGEST_END)
    except RuntimeError:
        log.warning("a job did not end in time")


class JobWorker(WorkerBase):
    """Steps a job in a thread; closes its generator there (facts F1 to F3)."""

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(SignalsClass=GeneratorWorkerSignals)
        self.job = job
        self.command: object = None
        self._reported = 0.0

    def quit(self) -> None:
        """Ask the job to end after its step, or in it where it only waits."""
        super().quit()
        if self.job.interrupt is not None:
            self.job.interrupt()

    def work(self) -> Any:
        """Return the job's result; None when it was cancelled."""
        steps = self.job.steps
        try:
            if not self.abort_requested:
                self._report(self._first(steps))
            while not self.abort_requested:
                command, self.command = self.command, None
                self._report(steps.send(command))
        except StopIteration as end:
            return end.value
        except Interrupted:
            if not self.abort_requested:
                raise
        finally:
            steps.close()
        return None

    def _first(self, steps: Any) -> Any:
        """Take the first step, in which libraries are imported.

        Imports make so many objects that the garbage collector would hold the
        interpreter lock for up to 0.4 s at a time, several times.
        """
        gc.disable()
        try:
            for module in LATE_IMPORTS:
                import_module(module)
            return next(steps)  # a fresh generator takes no command
        finally:
            gc.enable()

    def _report(self, event: Any) -> None:
        now = time.monotonic()
        if now - self._reported >= SHORTEST_PAUSE or isinstance(event, EpochDone):
            self._reported = now
            self.yielded.emit(event)


class JobRunner(QObject):
    """Runs jobs; every signal is emitted on the main thread.

    One network job runs at a time; short jobs run one after another beside it.
    """

    busy_changed = Signal(bool)
    progressed = Signal(object, object)  # job, event
    ended = Signal(object, str)  # job, what went wrong or ""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workers: dict[str, JobWorker] = {}
        self._waiting: list[Job[Any]] = []

    @property
    def busy(self) -> bool:
        """Tell whether a network job runs."""
        return "network" in self._workers

    def running(self, lane: str = "network") -> Job[Any] | None:
        """Return the job that runs in a lane."""
        worker = self._workers.get(lane)
        return worker.job if worker else None

    def run(self, job: Job[Any]) -> None:
        """Start a job; a short one waits for the short ones before it.

        Of several waiting jobs of one title only the latest is done.
        """
        if job.lane in self._workers:
            if job.lane == "network":
                raise UnetError(
                    f"{self._workers['network'].job.title} is still running: wait for "
                    "it or cancel it."
                )
            others = [each for each in self._waiting if each.title != job.title]
            self._waiting = [*others, job]
            return
        self._start(job)

    def _start(self, job: Job[Any]) -> None:
        _wait_at_exit()
        worker = JobWorker(job)
        self._workers[job.lane] = worker
        bar = progress(total=job.total or 0, desc=job.title)
        worker.yielded.connect(lambda event: self._on_yielded(job, event, bar))
        worker.returned.connect(lambda result: self._on_returned(worker, result))
        worker.errored.connect(lambda error: self._on_errored(worker, error))
        worker.finished.connect(  # after what accepting left for the next turn
            lambda: QTimer.singleShot(0, lambda: self._on_finished(worker, bar))
        )
        worker.problem = ""
        worker.start()
        if job.lane == "network":
            self.busy_changed.emit(True)

    def cancel(self, lane: str = "network") -> None:
        """Ask the running job to end; the session stays as it was."""
        if lane in self._workers:
            self._workers[lane].problem = "cancelled"
            self._workers[lane].quit()

    def send(self, command: object) -> None:
        """Hand a command to the running network job."""
        if self.busy:
            self._workers["network"].command = command

    def cancel_all(self) -> None:
        """End everything, for a window that closes."""
        self._waiting = []
        for lane in list(self._workers):
            self.cancel(lane)

    def _on_yielded(self, job: Job[Any], event: Any, bar: progress) -> None:
        if not isalive(self):  # the window was closed with this on its way
            return
        if isinstance(event, (TileDone, StepDone, BytesDone, LookDone)):
            done, total = fraction_of(event)
            bar.total = total
            bar.update(done - bar.n)
        self.progressed.emit(job, event)

    def _on_returned(self, worker: JobWorker, result: Any) -> None:
        if worker.problem or not isalive(self):  # cancelled with the result on its way
            return
        try:
            worker.job.accept(result)
        except UnetError as error:
            self._on_errored(worker, error)

    def _on_errored(self, worker: JobWorker, error: Exception) -> None:
        """Tell the user; a mistake that is not the user's goes to the log in full."""
        worker.problem = str(error) or type(error).__name__
        if not isalive(self):
            return
        if isinstance(error, UnetError):
            show_warning(worker.problem)
            return
        log.error("%s failed", worker.job.title, exc_info=error)
        worker.problem = f"{worker.job.title} failed unexpectedly: {worker.problem}"
        show_error(worker.problem)

    def _on_finished(self, worker: JobWorker, bar: progress) -> None:
        bar.close()
        if not isalive(self):
            return
        job = worker.job
        self._workers.pop(job.lane, None)
        if job.lane == "network":
            self.busy_changed.emit(False)
        self.ended.emit(job, worker.problem)
        if job.lane == "short" and self._waiting:
            self._start(self._waiting.pop(0))


def fraction_of(
    event: TileDone | StepDone | BytesDone | LookDone,
) -> tuple[int, int]:
    """Return how many steps (or bytes) are done, and of how many."""
    done = event.step if isinstance(event, StepDone) else event.done
    return done, event.total
