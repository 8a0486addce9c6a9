"""Running a generator of steps to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")


def drain(
    steps: Generator[Any, Any, T], on_event: Callable[[Any], Any] | None = None
) -> T:
    """Run a generator of steps to its end and return its result.

    Parameters
    ----------
    steps : yields events
    on_event : called with every one of them
    """
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if on_event is not None:
            on_event(event)
