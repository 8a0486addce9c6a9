"""napari's File > Close and Exit ask about unsaved corrections too."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox

from napari_unet.qt.bench import bench_for


@pytest.mark.timeout(120)
def test_the_file_menu_asks_before_it_closes(
    make_napari_viewer, monkeypatch, qtbot
) -> None:
    viewer = make_napari_viewer(show=True)
    image = viewer.add_image(np.random.default_rng(0).random((40, 40)), name="cells")
    _, panel = viewer.window.add_plugin_dock_widget("napari-unet-workbench", "Correct")
    qtbot.waitUntil(panel.isVisible)
    qtbot.wait(50)  # the dock is docked by napari in the next turn of the event loop
    mine = viewer.add_labels(np.zeros((40, 40), np.int32))
    bench = bench_for(viewer)
    bench.session.autosave = False
    opened = bench.open(image, "YX", mine)
    mine.paint((10, 10), 3)
    assert opened.unsaved
    asked = []

    def question(*about: object) -> QMessageBox.StandardButton:
        asked.append(about[2])
        return QMessageBox.StandardButton.Cancel

    monkeypatch.setattr(QMessageBox, "question", question)
    window = panel.window()
    assert "close" in vars(window), "the window is not watched"  # else a dialog waits
    assert window.close(quit_app=False, confirm_need=True) is False
    assert "cells" in asked[0]
    assert window.isVisible()
