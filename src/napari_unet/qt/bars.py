"""napari's progress bars for jobs, without its moving picture (fact F11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.utils import progress
from qtpy.QtWidgets import QApplication, QLabel, QStatusBar

if TYPE_CHECKING:
    from napari_unet.jobs import Job


_open: WeakSet[progress] = WeakSet()


class JobBar:
    """A job's bar in napari's activity dialog; close it at the end.

    The picture beside it changes 33 times a second. Where there is no graphics card
    each change has the whole canvas drawn anew, and a job takes up to twice as long:
    it stands still.
    """

    def __init__(self, job: Job[Any]) -> None:
        self._bar = progress(total=job.total or 0, desc=job.title)
        self._newest: tuple[int, int] | None = None
        self._drawing = False
        _open.add(self._bar)
        for window in QApplication.topLevelWidgets():
            for status in window.findChildren(QStatusBar):
                for label in status.findChildren(QLabel):
                    if (movie := label.movie()) is not None:
                        movie.stop()

    def __str__(self) -> str:
        return str(self._bar)

    def show(self, done: int, total: int) -> None:
        """Draw how many of how many steps (or bytes) are done.

        napari works off events while it draws. One that comes here then only leaves
        its numbers to be drawn next: else many that came in quick succession would be
        worked off each inside the one before.
        """
        self._newest = done, total
        if self._drawing:
            return
        self._drawing = True
        try:
            while self._newest is not None and not self._bar.disable:
                newest, self._newest = self._newest, None
                self._draw(*newest)
        finally:
            self._drawing = False

    def _draw(self, done: int, total: int) -> None:
        if done < self._bar.n:  # something else is counted from now on
            self._bar.reset(total)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away; a second time does nothing."""
        self._bar.close()


def close_bars() -> None:
    """Close all bars; one that is open when Python ends can crash it."""
    for bar in list(_open):
        bar.close()
