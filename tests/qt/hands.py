"""What a person does with the docks, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QComboBox, QLabel, QLineEdit, QPushButton

from napari_unet.qt.bench import bench_for

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Labels
    from pytestqt.qtbot import QtBot
    from qtpy.QtWidgets import QWidget

    from napari_unet.qt.bench import Bench

PLUGIN = "napari-unet-workbench"
PATIENCE = 60_000  # milliseconds that a job may take on a loaded machine


class NoOtherMouse(QObject):
    """Keeps the pointer of the display off a canvas.

    Windows of tests that run beside come and go under it, so that it seems to leave.
    """

    def eventFilter(self, _: QObject, event: QEvent) -> bool:
        return event.type() in (QEvent.Type.Enter, QEvent.Type.Leave)


class Hands:
    """Presses buttons, chooses layers and reads summaries by object name."""

    def __init__(self, viewer: Viewer, qtbot: QtBot, *docks: str) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        names = docks or ("U-Net workbench",)
        self.docks: list[QWidget] = [self.open(name) for name in names]
        canvas = self.bench.viewer.window._qt_viewer.canvas.native
        canvas.installEventFilter(NoOtherMouse(canvas))

    def open(self, dock: str) -> QWidget:
        return self.viewer.window.add_plugin_dock_widget(PLUGIN, dock)[1]

    @property
    def bench(self) -> Bench:
        return bench_for(self.viewer)

    def find(self, name: str, kind: type = QPushButton) -> Any:
        for dock in self.docks:
            found = dock.findChild(kind, f"unet.{name}")
            if found is not None:
                return found
        raise AssertionError(name)

    def press(self, name: str) -> None:
        button = self.find(name)
        assert button.isEnabled(), f"{name}: {button.toolTip()}"
        button.click()

    def text(self, name: str) -> str:
        return self.find(f"{name}.summary", QLabel).text()

    def wait(self, until: Any) -> None:
        self.qtbot.waitUntil(until, timeout=PATIENCE)

    def wait_idle(self) -> None:
        runner = self.bench.runner
        self.wait(lambda: not runner.busy and runner.running("short") is None)

    def choose(self, name: str, text: str) -> None:
        box = self.find(name, QComboBox)
        assert text in [box.itemText(i) for i in range(box.count())]
        box.setCurrentText(text)

    def type_axes(self, axes: str) -> None:
        line = self.find("predict.axes", QLineEdit)
        line.setText(axes)
        line.editingFinished.emit()

    def load(self, source: object) -> None:
        """Type a path and press Return."""
        box = self.find("model.source", QComboBox)
        box.setEditText(str(source))
        QTest.keyClick(box.lineEdit(), Qt.Key.Key_Return)
        self.wait_idle()

    def predict(self) -> None:
        self.press("predict.run")
        self.wait_idle()

    @property
    def labels(self) -> Labels:
        return next(
            layer for layer in self.viewer.layers if layer.name.endswith(" - U-Net")
        )

    @property
    def pixels(self) -> np.ndarray:
        return np.array(self.labels.data)

    def draw(self) -> None:
        """Let the canvas be drawn, which tells the layers what is in view."""
        self.bench.viewer.window._qt_viewer.canvas.native.repaint()
        QApplication.processEvents()

    def key(
        self, key: Any, modifier: Any = Qt.KeyboardModifier.ControlModifier
    ) -> None:
        """Press a key on the canvas, as a person does after painting."""
        canvas = self.bench.viewer.window._qt_viewer.canvas.native
        canvas.setFocus()
        QTest.keyClick(canvas, key, modifier)
        QApplication.processEvents()
