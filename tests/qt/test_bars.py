"""The bars of jobs in napari's activity dialog."""

from __future__ import annotations

from qtpy.QtGui import QMovie
from qtpy.QtWidgets import QLabel, QProgressBar

from napari_unet.jobs import Job
from napari_unet.qt.bars import JobBar


def test_a_bar_is_shown_and_the_picture_beside_it_stands_still(
    make_napari_viewer, qtbot
) -> None:
    window = make_napari_viewer().window._qt_window
    movies = [label.movie() for label in window.statusBar().findChildren(QLabel)]
    (movie,) = [movie for movie in movies if movie is not None]
    before = len(window.findChildren(QProgressBar))
    bar = JobBar(Job("Predicting", iter(()), 3, lambda _: None))
    assert len(window.findChildren(QProgressBar)) == before + 1
    assert movie.state() != QMovie.MovieState.Running
    bar.close()
    qtbot.waitUntil(lambda: len(window.findChildren(QProgressBar)) == before)
