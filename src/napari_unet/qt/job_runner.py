"""The only file that knows threads."""

from __future__ import annotations

import atexit
import gc
import logging
import threading
import time
from collections import deque
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari.qt.threading import GeneratorWorkerSignals, WorkerBase
from napari.utils.notifications import show_error, show_warning
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QThreadPool, QTimer, Signal

from napari_unet.engine.config import (
    BytesDone,
    EpochDone,
    LookDone,
    PartDone,
    PlaneDone,
    Preparing,
    StepDone,
    TileDone,
)
from napari_unet.errors import Interrupted, UnetError
from napari_unet.learning import PreviewDone
from napari_unet.qt.bars import JobBar, close_bars

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet.jobs import Job

log = logging.getLogger(__name__)
SHORTEST_PAUSE = 0.1  # seconds between two progress events (fact F11)
SOON_DONE = 300  # milliseconds before a short job has a bar: to make one takes 25
THREADS = 4  # at least: keeping what was done must not wait behind the other lanes
QUIET = "journal"  # the lane that writes what was done, several times a minute
AHEAD = "ahead"  # the lane that makes ready what a later job needs
UNSEEN = (QUIET, AHEAD)  # lanes without bars and notifications
LONGEST_END = 20_000  # milliseconds that a last step may take when Python exits
KEPT = (EpochDone, PreviewDone, PartDone)  # events that are told however fast they come
COUNTED = (
    TileDone,
    StepDone,
    BytesDone,
    LookDone,
    PlaneDone,
    Preparing,
)  # for the bar
# napari imports the first two for its first Labels layer, the first split the others:
# that would stop the window for 0.5 s
LATE_IMPORTS = (
    "pandas",
    "skimage.color.colorconv",
    "skimage.draw",
    "skimage.segmentation",
)


class _Resting:
    """Lets Python's garbage collector rest until the last of several threads ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0

    def __enter__(self) -> None:
        with self._lock:
            self._threads += 1
            gc.disable()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                gc.enable()


_RESTING = _Resting()


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
    close_bars()


class JobWorker(WorkerBase):
    """Steps a job in a thread; closes its generator there (facts F1 to F3)."""

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(SignalsClass=GeneratorWorkerSignals)
        self.job = job
        self.commands: deque[object] = deque()  # one is handed in at each step
        self.problem = ""
        self.over = threading.Event()
        self._begun = threading.Lock()
        self.more: Job[Any] | None = None  # to be done before the result can be taken
        self.taken = False  # whether the result was handed on, or the error told
        self.accepted = False  # whether nothing is left that could be cancelled
        self.result: Any = None
        self.error: Exception | None = None
        self._reported = 0.0
        self.bar: JobBar | None = None

    def quit(self) -> None:
        """Ask the job to end after its step, or in it where it only waits.

        What is being written is written to its end: napari calls this as it closes.
        """
        if self.job.lane == QUIET:
            return
        super().quit()
        self.problem = "cancelled"
        if self.job.interrupt is not None:
            self.job.interrupt()

    def work(self) -> Any:
        """Return the job's result; None when it was cancelled."""
        if self._begun.acquire(blocking=False):
            self._carry_out()
        self.over.wait()
        if self.error is not None:
            raise self.error
        return self.result

    def begin(self) -> None:
        """Begin now, without the event loop that napari's workers wait for.

        Python ends only after what is made ready ahead: a library that it ended in
        the middle of importing would abort the process.
        """
        if self._begun.acquire(blocking=False):
            daemon = self.job.lane != AHEAD
            threading.Thread(target=self._carry_out, daemon=daemon).start()

    def _carry_out(self) -> None:
        try:
            self.result = self._stepped()
        except Exception as error:  # noqa: BLE001  handed on by work
            self.error = error
        finally:
            self.over.set()

    def _stepped(self) -> Any:
        steps = self.job.steps
        try:
            if not self.abort_requested:
                self._report(self._first(steps))
            while not self.abort_requested:
                command = self.commands.popleft() if self.commands else None
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
        if self.job.lane == QUIET:
            return next(steps)
        with _RESTING:
            for module in LATE_IMPORTS:
                import_module(module)
            return next(steps)  # a fresh generator takes no command

    def _report(self, event: Any) -> None:
        if isinstance(event, KEPT):  # however many: the others keep their turn
            self.yielded.emit(event)
            return
        now = time.monotonic()
        if now - self._reported >= SHORTEST_PAUSE:
            self._reported = now
            self.yielded.emit(event)


class JobRunner(QObject):
    """Runs jobs; every signal is emitted on the main thread.

    One network job runs at a time; short jobs run one after another beside it, and so
    does what is written into the project, of which nobody is told but by ``ended``.
    """

    busy_changed = Signal(bool)
    progressed = Signal(object, object)  # job, event
    ended = Signal(object, str)  # job, what went wrong or ""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workers: dict[str, JobWorker] = {}
        self._waiting: list[Job[Any]] = []
        pool = QThreadPool.globalInstance()
        pool.setMaxThreadCount(max(pool.maxThreadCount(), THREADS))

    @property
    def busy(self) -> bool:
        """Tell whether a network job runs."""
        return "network" in self._workers

    def running(self, lane: str = "network") -> Job[Any] | None:
        """Return the job that runs in a lane."""
        worker = self._workers.get(lane)
        return worker.job if worker else None

    def run(self, job: Job[Any]) -> None:
        """Start a job; unless it is a network job, it waits for those before it.

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
        if job.lane not in UNSEEN:
            soon = 0 if job.lane == "network" else SOON_DONE
            QTimer.singleShot(soon, lambda: self._show_bar(worker))
        worker.yielded.connect(lambda event: self._on_yielded(worker, event))
        worker.returned.connect(lambda _: self._on_over(worker))
        worker.errored.connect(lambda _: self._on_over(worker))
        worker.finished.connect(  # after what accepting left for the next turn
            lambda: QTimer.singleShot(0, lambda: self._on_finished(worker))
        )
        if job.lane == AHEAD:
            worker.begin()
        worker.start()
        if job.lane == "network":
            self.busy_changed.emit(True)

    def _show_bar(self, worker: JobWorker) -> None:
        """Show napari's progress bar of a job that still runs."""
        lane = worker.job.lane
        if isalive(self) and self._workers.get(lane) is worker:
            worker.bar = JobBar(worker.job)  # napari works off events meanwhile
            if self._workers.get(lane) is not worker:
                worker.bar.close()

    def cancel(self, lane: str = "network") -> None:
        """Ask the running job to end; the session stays as it was."""
        if lane in self._workers:
            self._workers[lane].quit()

    def send(self, command: object) -> None:
        """Hand a command to the running network job."""
        if self.busy:
            self._workers["network"].commands.append(command)

    def finish(self, lane: str, seconds: float) -> bool:
        """Wait for the running job of a lane, and take its result here and now.

        For a window that closes; its event loop may not turn again.

        Returns
        -------
        ended : whether nothing runs in the lane any more
        """
        self._waiting = [each for each in self._waiting if each.lane != lane]
        worker = self._workers.get(lane)
        if worker is None:
            return True
        worker.begin()
        if not worker.over.wait(seconds):
            return False
        del self._workers[lane]
        self._take(worker)
        return True

    def cancel_all(self) -> None:
        """End everything but what is being written, for a window that closes."""
        self._waiting = []
        for lane in list(self._workers):
            if lane != QUIET:
                self.cancel(lane)

    def _on_yielded(self, worker: JobWorker, event: Any) -> None:
        if not isalive(self) or worker.taken:  # closed, or ended, with this on its way
            return
        job = worker.job
        if isinstance(event, PartDone) and job.take is not None:
            self._take_part(worker, job.take, event)
        self.progressed.emit(job, event)
        if worker.bar and not worker.taken and isinstance(event, COUNTED):
            worker.bar.show(*fraction_of(event))  # last: napari works off events

    def _take_part(
        self, worker: JobWorker, take: Callable[[PartDone], None], part: PartDone
    ) -> None:
        """Take a part of a result, unless the job was cancelled with it on its way."""
        if worker.problem:
            return
        try:
            take(part)
        except UnetError as error:
            worker.quit()
            self._tell(worker, error)

    def _on_over(self, worker: JobWorker) -> None:
        if isalive(self):
            self._take(worker)

    def _take(self, worker: JobWorker) -> None:
        """Accept a result once, unless it was cancelled with the result on its way."""
        if worker.taken:
            return
        worker.taken = True
        if worker.error is not None:
            self._tell(worker, worker.error)
        elif not worker.problem:
            try:
                worker.more = worker.job.accept(worker.result)
                worker.accepted = worker.more is None
            except UnetError as error:
                self._tell(worker, error)

    def _tell(self, worker: JobWorker, error: Exception) -> None:
        """Tell the user; a mistake that is not the user's goes to the log in full."""
        worker.problem = str(error) or type(error).__name__
        quiet = worker.job.lane in UNSEEN
        if isinstance(error, UnetError):
            if not quiet:
                show_warning(worker.problem)
            return
        log.error("%s failed", worker.job.title, exc_info=error)
        worker.problem = f"{worker.job.title} failed unexpectedly: {worker.problem}"
        if not quiet:
            show_error(worker.problem)

    def _on_finished(self, worker: JobWorker) -> None:
        if worker.bar is not None:
            worker.bar.close()
        if not isalive(self):
            return
        job = worker.job
        if self._workers.get(job.lane) is worker:
            del self._workers[job.lane]
        if worker.more is not None and not worker.problem:
            self._start(worker.more)
            return
        if job.lane == "network":
            self.busy_changed.emit(False)
        self.ended.emit(job, "" if worker.accepted else worker.problem)
        self._start_waiting(job.lane)

    def _start_waiting(self, lane: str) -> None:
        """Start the first that waits for a lane, if the lane is free."""
        first = next((each for each in self._waiting if each.lane == lane), None)
        if first is not None and lane not in self._workers:
            self._waiting = [each for each in self._waiting if each is not first]
            self._start(first)


def fraction_of(
    event: TileDone | StepDone | BytesDone | LookDone | PlaneDone | Preparing,
) -> tuple[int, int]:
    """Return how many steps (or bytes) are done, and of how many."""
    done = event.step if isinstance(event, StepDone) else event.done
    return done, event.total
