"""A real, shown viewer whose buttons are pressed by their object names."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from _common import stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer

T = TypeVar("T")
PLUGIN, DOCK = "napari-unet-workbench", "U-Net workbench"
SCREEN = "1600x1024x24"
PATIENCE = 600.0  # seconds that a job may take on a loaded machine
POLL = 20  # milliseconds between two looks at a condition


def ensure_display() -> None:
    """Start this program again in a virtual display where there is none."""
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return
    if shutil.which("xvfb-run") is None:
        stop("There is no display, and xvfb-run is not installed: install xvfb.")
    screen = ["xvfb-run", "-a", "-s", f"-screen 0 {SCREEN}", sys.executable]
    os.execvp("xvfb-run", [*screen, *sys.argv])  # noqa: S606, S607 - itself


class Window:
    """A viewer with the workbench."""

    def __init__(self) -> None:
        import napari

        self.viewer: Viewer = napari.Viewer()
        self.viewer.window.resize(1280, 800)
        self.dock: Any = None

    def open_workbench(self) -> None:
        _, self.dock = self.viewer.window.add_plugin_dock_widget(PLUGIN, DOCK)

    def find(self, name: str) -> Any:
        """Return the control of this object name."""
        from qtpy.QtWidgets import QWidget

        found = self.dock.findChild(QWidget, name)
        if found is None:
            stop(f"The workbench has no control {name}.")
        return found

    def press(self, name: str) -> None:
        button = self.find(name)
        if not button.isEnabled():
            stop(f"{name} cannot be pressed: {button.toolTip()}")
        button.click()

    def wait(self, done: Callable[[], bool]) -> None:
        """Run the event loop until something is so."""
        from qtpy.QtCore import QEventLoop, QTimer

        loop, timer = QEventLoop(), QTimer(interval=POLL)
        patience = time.monotonic() + PATIENCE
        timer.timeout.connect(
            lambda: loop.quit() if done() or time.monotonic() > patience else None
        )
        timer.start()
        loop.exec_() if hasattr(loop, "exec_") else loop.exec()
        timer.stop()
        if not done():
            stop(f"Nothing happened in {PATIENCE:.0f} seconds.")

    def rest(self, seconds: float) -> None:
        """Run the event loop for a while."""
        until = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= until)

    def press_and_wait(self, name: str, then: str) -> None:
        """Press a button and wait until another can be pressed."""
        self.press(name)
        self.wait(self.find(then).isEnabled)

    def load(self, model: str) -> None:
        """Load a checkpoint through the Model panel."""
        self.find("unet.model.source").setEditText(model)
        self.press_and_wait("unet.model.load", "unet.predict.run")
        self.check("unet.model.summary")

    def check(self, name: str) -> None:
        """End the program when a summary speaks of a problem."""
        text = self.find(name).text()
        if "failed" in text or "No model" in text:
            stop(text)

    @property
    def labels(self) -> Any:
        """The layer of the last prediction."""
        found = [layer for layer in self.viewer.layers if layer.name.endswith("U-Net")]
        if not found:
            stop(f"Nothing was predicted: {self.find('unet.predict.summary').text()}")
        return found[-1]

    def close(self) -> None:
        self.viewer.close()
