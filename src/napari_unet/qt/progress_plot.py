"""How right predictions were before they were corrected: two curves and a hint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_unet.qt.parts import folded
from napari_unet.qt.plot import ThemedPlot
from napari_unet.qt.previews import COLORS

if TYPE_CHECKING:
    from napari_unet.engine.progress import Curve, Progress
    from napari_unet.qt.bench import Bench

TITLE = "How right predictions are before you correct them"
HEIGHT, LOW = 150, 120  # pixels
BAND = 60  # opacity of a band, of 255
FEWEST_PLACES = 5  # that the axis is long
CHOSEN = {
    "user": "places you chose",
    "next": "places Next chose (doubtful or typical ones)",
}
SIGNS = {"user": "&#9679;", "next": "&#9650;"}  # as pyqtgraph draws "o" and "t1"
COLORED = {"user": COLORS["blue"], "next": COLORS["orange"]}
LEGEND = "<br>".join(
    f'<span style="color: {COLORED[name]}">{SIGNS[name]}</span> {CHOSEN[name]}'
    for name in CHOSEN
)
TIP = (
    "Each sign is a place that you corrected for the first time: how right the "
    "prediction was before, 0 to 1 (with objects, half the share of objects found and "
    "half the overlap, that is AP at an IoU of 0.5 and Dice; with classes, Dice).\n"
    "Line and band: mean of the last 10 places, and where it lies for 95 %.\n"
    "A hollow sign does not count: less than half of its place is edited or accepted, "
    "and where only mistakes are mended nothing is known of the rest."
)
EMPTY = (  # in lines, because a folding section gives wrapped text too little room
    "Nothing counts yet. A place counts once half of it is\n"
    "edited or accepted: mend it, then press Accept view."
)


class CurveItems:
    """What one curve is drawn with: a band, a line, full and hollow signs."""

    def __init__(self, plot: pg.PlotWidget, symbol: str, style: Qt.PenStyle) -> None:
        self._style = style
        self._low, self._high = (pg.PlotCurveItem(pen=None) for _ in range(2))
        self._band = pg.FillBetweenItem(self._low, self._high)
        plot.addItem(self._band)
        self._line = plot.plot()
        self._full = plot.plot(pen=None, symbol=symbol, symbolSize=6)
        self._hollow = plot.plot(
            pen=None, symbol=symbol, symbolSize=6, symbolBrush=None
        )

    def use_color(self, color: QColor) -> None:
        """Draw all of it in a colour."""
        pale = QColor(color)
        pale.setAlpha(BAND)
        self._band.setBrush(pale)
        self._line.setPen(pg.mkPen(color, width=2, style=self._style))
        self._full.setSymbolBrush(color)
        for points in (self._full, self._hollow):
            points.setSymbolPen(color)

    def draw(self, curve: Curve) -> None:
        """Show a curve."""
        self._low.setData(curve.places, curve.low)
        self._high.setData(curve.places, curve.high)
        self._line.setData(curve.places, curve.means)
        self._full.setData(curve.places, curve.scores)
        self._hollow.setData(*curve.partly.T)


class ProgressPlot(ThemedPlot):
    """Scores of newly corrected places, oldest first."""

    def __init__(self) -> None:
        super().__init__("unet.finetune.progress", TIP)
        self.setMinimumHeight(LOW)  # where wrapped texts around it take its room
        self.setMaximumHeight(HEIGHT)
        self.setYRange(0, 1)
        self.curves = {
            "next": CurveItems(self, "t1", Qt.PenStyle.DashLine),
            "user": CurveItems(self, "o", Qt.PenStyle.SolidLine),
        }
        for name, curve in self.curves.items():
            curve.use_color(QColor(COLORED[name]))
        self._made = True

    def draw(self, progress: Progress) -> None:
        """Show both curves."""
        shown = {"user": progress.user, "next": progress.next}
        for name, curve in shown.items():
            self.curves[name].draw(curve)
        longest = max(len(curve.places) + len(curve.partly) for curve in shown.values())
        self.setXRange(1, max(longest, FEWEST_PLACES))


class ProgressView(QWidget):
    """A folded plot of how right predictions were, and the hint, which is not folded.

    Parameters
    ----------
    bench : of the viewer
    """

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._session = bench.session
        self.plot = ProgressPlot()
        self.legend, self.note, self.hint = QLabel(LEGEND), QLabel(EMPTY), QLabel()
        self.hint.setObjectName("unet.finetune.hint")
        self.hint.setToolTip("Compares the last places with those before them")
        self.hint.setWordWrap(True)
        self.hint.hide()
        self.section = folded(TITLE, self._content())
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.section)
        rows.addWidget(self.hint)
        bench.corrections_changed.connect(self.update_progress)
        self._session.progress_changed.connect(self.update_progress)
        self._session.images_changed.connect(self.update_progress)
        self._session.project_changed.connect(self.update_progress)
        self.section.toggled.connect(self.update_progress)
        self.update_progress()

    def _content(self) -> QWidget:
        content = QWidget()
        rows = QVBoxLayout(content)
        rows.setContentsMargins(0, 0, 0, 0)
        for widget in (self.legend, self.plot, self.note):
            rows.addWidget(widget)
        return content

    def update_progress(self, _: object = None) -> None:
        """Show what is known by now."""
        progress = self._session.progress
        self.plot.draw(progress)
        counted = progress.user.places.size + progress.next.places.size
        if self.note.isHidden() != bool(counted):
            self.note.setVisible(not counted)
            self._refit()
        self.hint.setText(progress.hint)
        self.hint.setVisible(bool(progress.hint))

    def _refit(self) -> None:
        """Give the unfolded section the room that its content needs now."""
        if self.section.isExpanded():
            self.section.expand(animate=False)
