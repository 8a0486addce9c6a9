"""Ending a wait from another thread."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Interrupt:
    """Ends whatever has said how it can be ended; once called, all that comes later.

    The thread that waits says ``with interrupt.ending(kill): wait()``; another thread
    calls ``interrupt.call()``.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._ends: list[Callable[[], None]] = []
        self._called = False

    def call(self) -> None:
        """End what waits now, and what will."""
        with self._lock:
            self._called = True
            ends = list(self._ends)
        for end in ends:
            end()

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Let ``end`` be called while the block runs; at once if it is too late."""
        with self._lock:
            self._ends.append(end)
            too_late = self._called
        if too_late:
            end()
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)
