"""Every dock opens, and nothing of it outlives the viewer."""

from __future__ import annotations

import numpy as np
import pytest

DOCKS = ("U-Net workbench", "Model", "Predict", "Correct", "Fine-tune")


@pytest.mark.parametrize("name", DOCKS)
def test_a_dock_opens_and_leaves_nothing_behind(
    make_napari_viewer_proxy, qtbot, name
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(np.zeros((30, 30)))
    _, widget = viewer.window.add_plugin_dock_widget("napari-unet-workbench", name)
    qtbot.waitUntil(widget.isVisible)
