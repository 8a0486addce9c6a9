"""What napari's plugin menu opens: classes that are made with the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.qt.actions import register_actions
from napari_unet.qt.bench import bench_for
from napari_unet.qt.correct_panel import CorrectPanel
from napari_unet.qt.finetune_panel import FinetunePanel
from napari_unet.qt.model_panel import ModelPanel
from napari_unet.qt.predict_panel import PredictPanel
from napari_unet.qt.workbench import WorkbenchWidget

if TYPE_CHECKING:
    from napari import Viewer

    from napari_unet.qt.bench import Bench


def _bench(viewer: Viewer) -> Bench:
    register_actions()
    return bench_for(viewer)


class Workbench(WorkbenchWidget):
    """The dock "U-Net workbench"."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(_bench(napari_viewer))


class ModelDock(ModelPanel):
    """The dock "Model"."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(_bench(napari_viewer))
        self.rows.addStretch()


class PredictDock(PredictPanel):
    """The dock "Predict"."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(_bench(napari_viewer))
        self.rows.addStretch()


class CorrectDock(CorrectPanel):
    """The dock "Correct"."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(_bench(napari_viewer))
        self.rows.addStretch()


class FinetuneDock(FinetunePanel):
    """The dock "Fine-tune"."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(_bench(napari_viewer))
        self.rows.addStretch()
