"""The only notion of long work: a generator of steps and what to do with its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from napari_unet.engine.config import PartDone
from napari_unet.engine.drain import drain

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")
Lane = Literal["network", "short", "journal", "ahead"]


@dataclass(frozen=True)
class Job(Generic[T]):
    """Long work that can be stepped, stopped and cancelled.

    Attributes
    ----------
    title : for the progress bar
    steps : yields events and returns the result; runs in a worker thread and touches
        nothing that others write. It may be sent a command, for example to stop early.
    total : number of steps, 0 when unknown
    accept : takes the result, on the main thread; may return a job that has to be done
        before that can be, in the same lane
    lane : one network job runs at a time; short jobs run beside it, one after
        another; what is done is written into the project in the journal lane; what a
        later job will need is made ready in the lane ahead
    interrupt : makes a step that waits for another process end at once, by raising
        Interrupted; called from another thread when the user cancels
    take : takes parts of the result that come before it, on the main thread
    """

    title: str
    steps: Generator[Any, Any, T]
    total: int
    accept: Callable[[T], Job[T] | None]
    lane: Lane = "network"
    interrupt: Callable[[], None] | None = None
    take: Callable[[PartDone], None] | None = None


def run_now(job: Job[T], on_event: Callable[[Any], Any] | None = None) -> T:
    """Run a job to its end in this thread, accept its result and return it."""

    def told(event: Any) -> None:
        if isinstance(event, PartDone) and job.take is not None:
            job.take(event)
        if on_event is not None:
            on_event(event)

    result = drain(job.steps, told)
    more = job.accept(result)
    return result if more is None else run_now(more, on_event)
