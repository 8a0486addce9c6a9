"""Where a command speaks: results on standard output, progress on standard error."""

import json
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import numpy as np

from napari_unet.engine.config import EpochDone, Preparing, StepDone, TileDone

if TYPE_CHECKING:
    from rich.progress import Progress

Result = TypeVar("Result")
Event = TileDone | Preparing | StepDone | EpochDone
COUNTED = (TileDone, Preparing)


class Output:
    """The result of one command, as text or as one JSON object."""

    def __init__(self, stdout: TextIO, as_json: bool) -> None:
        self.stdout = stdout
        self.as_json = as_json

    def result(self, text: str, facts: Mapping[str, Any]) -> None:
        """Print the result, once per command."""
        said = json.dumps(facts, ensure_ascii=False) if self.as_json else text
        self.stdout.write(said + "\n")
        self.stdout.flush()

    def follow(self, steps: Generator[Event, Any, Result], title: str) -> Result:
        """Run a generator of steps to its end and return its result."""
        losses: list[float] = []
        with self._bar() as bar:
            task = bar.add_task(title, total=None)
            while True:
                try:
                    event = next(steps)
                except StopIteration as end:
                    result: Result = end.value
                    return result
                done = event.done if isinstance(event, COUNTED) else event.step
                bar.update(task, completed=done, total=event.total)
                if isinstance(event, StepDone):
                    losses.append(event.loss)
                elif isinstance(event, EpochDone):
                    self._say(bar, _check(event, losses))
                    losses.clear()

    def _bar(self) -> "Progress":
        from rich.console import Console
        from rich.progress import Progress, TimeElapsedColumn

        columns = (*Progress.get_default_columns(), TimeElapsedColumn())
        console = Console(stderr=True)
        return Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )

    def _say(self, bar: "Progress", text: str) -> None:
        if bar.console.is_terminal or not self.as_json:
            bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _check(event: EpochDone, losses: list[float]) -> str:
    loss = f"loss {np.mean(losses):.4f}, " if losses else ""
    best = ", best so far" if event.best else ""
    kind = f" (kind that {event.kind} knows)" if event.kind else ""
    step = f"step {event.step} of {event.total}{kind}"
    return f"{step}: {loss}score {event.score:.4f}{best}"


@contextmanager
def speaking(as_json: bool) -> Iterator[Output]:
    """Give the command its output; what libraries print goes to standard error."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        yield Output(stdout, as_json)


def percentages(measures: Mapping[str, float]) -> str:
    """Return measures in one line, such as "dice 0.912, ap50 0.803"."""
    shown = ("dice", "iou", "ap50", "ap75", "precision50", "recall50")
    return ", ".join(f"{key} {measures[key]:.3f}" for key in shown if key in measures)
