"""The program: napari with the workbench open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari
from qtpy.QtCore import QTimer

from napari_unet.errors import UnetError
from napari_unet.qt.bench import bench_for
from napari_unet.sample_data import synthetic_nuclei_2d

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.qt.docks import Workbench

SIZE = (1280, 800)  # pixels
PLUGIN = "napari-unet-workbench"
DEMO_MODEL = "nuclei-2d"
REDRAW = 200  # milliseconds until napari knows the new view
SETTLE = 1500  # milliseconds for the last drawing before a screenshot


def open_workbench() -> tuple[napari.Viewer, Workbench]:
    """Open a viewer with the workbench docked."""
    viewer = napari.Viewer(title="napari - U-Net workbench")
    viewer.window.resize(*SIZE)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net workbench")
    return viewer, widget


def run_workbench() -> None:
    """Open napari with the workbench and wait until it is closed."""
    open_workbench()
    napari.run()


def run_demo(screenshot: Path | None, exit_after: bool) -> None:
    """Show a sample image, the bundled model and its prediction, ready to correct.

    Parameters
    ----------
    screenshot : write a picture of the window there
    exit_after : close when that is done
    """
    viewer, _ = open_workbench()
    for data, options, kind in synthetic_nuclei_2d():
        getattr(viewer, f"add_{kind}")(data, **options)
    bench = bench_for(viewer)
    demo = _Demo(viewer, screenshot, exit_after)
    bench.runner.ended.connect(demo.on_ended)
    bench.run("model", lambda: bench.session.load_job(DEMO_MODEL))
    napari.run()
    if demo.problem:
        raise UnetError(demo.problem)


class _Demo:
    """The script of the demo: predict once the model is loaded, then the picture."""

    def __init__(
        self, viewer: napari.Viewer, screenshot: Path | None, exit_after: bool
    ) -> None:
        self.viewer = viewer
        self.screenshot = screenshot
        self.exit_after = exit_after
        self.problem = ""

    def on_ended(self, job: object, problem: str) -> None:
        """Go on with what comes next."""
        title = getattr(job, "title", "")
        if problem:
            self.problem = problem
            self._finish()
        elif title.startswith("Loading"):
            self.viewer.reset_view()  # by now the docks have taken their room
            QTimer.singleShot(REDRAW, lambda: bench_for(self.viewer).request("predict"))
        elif title.startswith("Predicting"):
            QTimer.singleShot(SETTLE, self._finish)

    def _finish(self) -> None:
        if self.screenshot is not None and not self.problem:
            self.viewer.window.screenshot(
                str(self.screenshot), canvas_only=False, flash=False
            )
        if self.exit_after:
            self.viewer.close()
