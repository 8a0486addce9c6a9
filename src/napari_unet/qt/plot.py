"""The live curve of a fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, Qt

from napari_unet.engine.config import StepDone
from napari_unet.qt.previews import COLORS

if TYPE_CHECKING:
    from qtpy.QtGui import QColor, QPalette

    from napari_unet.engine.config import EpochDone

SMOOTH = 10  # steps averaged for the line
HEIGHT = 150  # pixels
TIP = (
    "Line: loss, lower is better. Points: held-out score, 0 to 1. Dotted line and "
    "squares: of the network that stays with images of the kind that the loaded model "
    "knows."
)
LEGEND = "line: loss, points: held-out score"


class ThemedPlot(pg.PlotWidget):
    """A plot without menu, which cannot be moved, in the theme's colours.

    Subclasses set ``_made`` at the end of their making: Qt tells of changes before.
    """

    _made = False

    def __init__(self, name: str, tip: str) -> None:
        super().__init__(background=None)
        self.setObjectName(name)
        self.setToolTip(tip)
        self.setMenuEnabled(False)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme, which is not known before the plot is shown."""
        super().changeEvent(event)
        kinds = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if self._made and event.type() in kinds:
            self._follow()

    def showEvent(self, event: Any) -> None:
        """Draw in the theme's colours."""
        super().showEvent(event)
        self._follow()

    def _follow(self) -> None:
        self.use_palette(self.palette())
        self.resetCachedContent()  # the background is drawn once and kept
        self.viewport().update()

    def use_palette(self, palette: QPalette) -> None:
        """Draw the axes in the theme's colour."""
        text = palette.windowText().color()
        for side in ("bottom", "left"):
            self.getAxis(side).setPen(text)
            self.getAxis(side).setTextPen(text)


class CurvePlot(ThemedPlot):
    """Loss (line) and held-out score (points) against the step."""

    def __init__(self) -> None:
        super().__init__("unet.finetune.plot", TIP)
        self.setFixedHeight(HEIGHT)
        self._learning = _Curve(self, "o", Qt.PenStyle.SolidLine)
        self._staying = _Curve(self, "s", Qt.PenStyle.DotLine)
        self._made = True

    def use_palette(self, palette: QPalette) -> None:
        """Draw axes, lines and points in the theme's colours."""
        super().use_palette(palette)
        text = palette.windowText().color()
        self.setTitle(LEGEND, size="9pt", color=text)
        for curve in (self._learning, self._staying):
            curve.use(text)

    def clear_curve(self) -> None:
        """Start a new curve."""
        for curve in (self._learning, self._staying):
            curve.clear()

    def add(self, event: StepDone | EpochDone) -> None:
        """Add what a step reported."""
        curve = self._staying if event.kind else self._learning
        curve.add(event)


class _Curve:
    """Loss and held-out score of one network."""

    def __init__(self, plot: CurvePlot, symbol: str, style: Qt.PenStyle) -> None:
        self._style = style
        self._line = plot.plot()
        self._points = plot.plot(pen=None, symbol=symbol, symbolSize=7)
        self.clear()

    def use(self, color: QColor) -> None:
        self._line.setPen(pg.mkPen(color, width=1, style=self._style))
        self._points.setSymbolBrush(COLORS["blue"])
        self._points.setSymbolPen(color)

    def clear(self) -> None:
        self._losses: list[tuple[int, float]] = []
        self._scores: list[tuple[int, float]] = []
        self._draw()

    def add(self, event: StepDone | EpochDone) -> None:
        if isinstance(event, StepDone):
            self._losses.append((event.step, event.loss))
        else:
            self._scores.append((event.step, event.score))
        self._draw()

    def _draw(self) -> None:
        steps, losses = np.array(self._losses or np.empty((0, 2))).T
        self._line.setData(steps, smoothed(losses))
        self._points.setData(*np.array(self._scores or np.empty((0, 2))).T)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the running mean of up to SMOOTH values."""
    if values.size == 0:
        return values
    total = np.cumsum(np.insert(values, 0, 0.0))
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(stop - SMOOTH, 0)
    return np.asarray((total[stop] - total[start]) / (stop - start))
