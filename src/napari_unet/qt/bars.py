"""napari's progress bars for jobs, without its moving picture (fact F11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.utils import progress
from qtpy.QtWidgets import QApplication, QLabel, QStatusBar

if TYPE_CHECKING:
    from napari_unet.jobs import Job


_open: WeakSet[progress] = WeakSet()


def show_bar(job: Job[Any]) -> progress:
    """Return a new bar of a job in napari's activity dialog; close it at the end.

    The picture beside it changes 33 times a second. Where there is no graphics card
    each change has the whole canvas drawn anew, and a job takes up to twice as long:
    it stands still.
    """
    bar = progress(total=job.total or 0, desc=job.title)
    _open.add(bar)
    for window in QApplication.topLevelWidgets():
        for status in window.findChildren(QStatusBar):
            for label in status.findChildren(QLabel):
                if (movie := label.movie()) is not None:
                    movie.stop()
    return bar


def close_bars() -> None:
    """Close all bars; one that is open when Python ends can crash it."""
    for bar in list(_open):
        bar.close()
