"""Draw the curves of benchmarks/annotator.py and of benchmarks/remembering.py.

    python benchmarks/annotator.py --json annotator.json
    QT_QPA_PLATFORM=offscreen python docs/make_curves.py annotator.json

Of the annotator it is the score against corrected objects.
Each kind of image has its own picture, ``docs/images/annotator-<kind>.png``: a thin
line for each seed, a thick one for their mean with its 95 % interval shaded, and a
dashed one for the mean of training on all true masks. Of ways to remember it is what
each gains on a new kind of image against what it keeps of the old one, as
``docs/images/remembering-<kind>.png``.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyqtgraph as pg
from pyqtgraph.exporters import ImageExporter
from scipy import stats

FOLDER = Path(__file__).parent / "images"
COLORS = {
    "ours": "#0072b2",
    "random": "#e69f00",
    "plain": "#cc79a7",
    "scratch": "#009e73",
}
WORDS = {
    "ours": "places from Next", "random": "places by chance",
    "scratch": "the same from random weights",
}  # fmt: skip
FAMILIES = {
    "replay+average": "#e69f00",
    "replay": "#0072b2",
    "average": "#cc79a7",
}
SIZE = (640, 400)  # pixels
SHADE = 40  # of 255, opacity of an interval


def main() -> None:
    """Read the figures and draw a picture for each kind of image."""
    application = pg.mkQApp()
    pg.setConfigOptions(background="w", foreground="k", antialias=True)
    drawn: dict[str, list[dict[str, Any]]] = {"annotator": [], "remembering": []}
    for path in sys.argv[1:]:
        told = json.loads(Path(path).read_text())
        drawn[told["benchmark"]] += told["rows"]
    for benchmark, draw in (("annotator", draw_sessions), ("remembering", draw_ways)):
        rows = drawn[benchmark]
        for kind in dict.fromkeys(row["kind"] for row in rows):
            draw(kind, [row for row in rows if row["kind"] == kind])
    application.quit()


def draw_ways(kind: str, rows: list[dict[str, Any]]) -> None:
    """Draw what each way to remember gains on one kind of image, and what it keeps."""
    widget = pg.PlotWidget(title=f"nuclei-2d, four masked images of {kind} learnt")
    widget.resize(*SIZE)
    widget.setLabel("bottom", "AP@0.5 on fluorescence, the old kind")
    widget.setLabel("left", f"AP@0.5 on unseen {kind}")
    for axis in ("left", "bottom"):
        widget.getAxis(axis).enableAutoSIPrefix(False)
    widget.setXRange(-0.05, 1.05)
    widget.setYRange(-0.03, max(row["ap50"] for row in rows) + 0.07)
    at = {row["way"]: (row["known_ap50"], row["ap50"]) for row in rows}
    for family, color in FAMILIES.items():
        its = sorted(point for way, point in at.items() if family_of(way) == family)
        widget.plot(*np.array(its).T, pen=pg.mkPen(color, width=1))
    for way, (x, y) in at.items():
        color = FAMILIES.get(family_of(way), "k")
        dot = pg.ScatterPlotItem([x], [y], size=9, brush=color, pen=None)
        widget.addItem(dot)
        name = pg.TextItem(way, color=color, anchor=(0, 1))
        name.setPos(x, y)
        widget.addItem(name)
    _export(widget, f"remembering-{kind}")


def family_of(way: str) -> str:
    """Return a way without its weight."""
    return way.rsplit(" ", 1)[0]


def _export(widget: pg.PlotWidget, name: str) -> None:
    widget.show()
    ImageExporter(widget.plotItem).export(str(FOLDER / f"{name}.png"))


def draw_sessions(kind: str, rows: list[dict[str, Any]]) -> None:
    """Draw the curves of one kind of image."""
    widget = pg.PlotWidget(title=f"nuclei-2d, corrected on {kind}")
    widget.resize(*SIZE)
    widget.addLegend(offset=(-10, -10))
    widget.setLabel("bottom", "corrected objects")
    widget.setLabel("left", "AP@0.5 on unseen images")
    widget.getAxis("left").enableAutoSIPrefix(False)
    widget.setYRange(0, 0.7)
    for way, color in COLORS.items():
        lines = curves([row for row in rows if row["way"] == way])
        for line in lines:
            widget.plot(
                *line.T,
                pen=pg.mkPen(color, width=1),
                symbol="o",
                symbolSize=5,
                symbolBrush=color,
            )
        if lines:
            at = np.linspace(0, min(line[-1, 0] for line in lines), 50)
            found = np.array([np.interp(at, *line.T) for line in lines])
            mean = found.mean(axis=0)
            if len(lines) > 1:
                half = stats.sem(found) * stats.t.ppf(0.975, len(lines) - 1)
                edges = [
                    pg.PlotCurveItem(at, side, pen=pg.mkPen(None))
                    for side in (np.maximum(mean - half, 0), np.minimum(mean + half, 1))
                ]
                shade = (*pg.mkColor(color).getRgb()[:3], SHADE)
                widget.addItem(pg.FillBetweenItem(*edges, brush=shade))
            widget.plot(
                at, mean, pen=pg.mkPen(color, width=4), name=WORDS.get(way, way)
            )
    everything = [row["ap50"] for row in rows if row["way"] == "all"]
    if everything:
        pen = pg.mkPen("k", width=2, style=pg.QtCore.Qt.PenStyle.DashLine)
        widget.addLine(y=float(np.mean(everything)), pen=pen)
        widget.plot([], [], pen=pen, name="all true masks, as many steps")
    _export(widget, f"annotator-{kind.replace(' ', '-')}")


def curves(rows: list[dict[str, Any]]) -> list[np.ndarray]:
    """Return (rounds, 2) of objects and score for each seed."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        found[row["seed"]].append((row["objects"], row["ap50"]))
    return [np.array(points) for points in found.values()]


if __name__ == "__main__":
    main()
