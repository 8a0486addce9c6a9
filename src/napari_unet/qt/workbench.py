"""The workbench: all steps in one dock, in the order of the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_unet.qt.correct_panel import CorrectPanel
from napari_unet.qt.finetune_panel import FinetunePanel
from napari_unet.qt.model_panel import ModelPanel
from napari_unet.qt.parts import eliding, folding
from napari_unet.qt.predict_panel import PredictPanel
from napari_unet.qt.project_panel import ProjectPanel
from napari_unet.qt.versions_panel import VersionsPanel

if TYPE_CHECKING:
    from napari_unet.qt.bench import Bench
    from napari_unet.qt.parts import Panel

WIDTH = 400  # pixels
STEPS = (ModelPanel, PredictPanel, CorrectPanel, FinetunePanel, VersionsPanel)
OPEN_AT_START = ("model", "predict", "correct")


class Step(QWidget):
    """A panel that folds; folded, it still shows its summary."""

    def __init__(self, panel: Panel, number: int | None = None) -> None:
        super().__init__()
        self.panel = panel
        title = panel.title if number is None else f"{number}  {panel.title}"
        self.section = folding(title, panel)
        self.line = eliding()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.section)
        layout.addWidget(self.line)
        self.section.toggled.connect(self._on_section_toggled)
        panel.summary_changed.connect(self.line.setText)

    def _on_section_toggled(self, expanded: bool) -> None:
        self.line.setVisible(not expanded)
        self.line.setText(self.panel.summary.text())

    def expand(self, expanded: bool) -> None:
        """Unfold or fold."""
        if expanded:
            self.section.expand(animate=False)
        else:
            self.section.collapse(animate=False)
        self._on_section_toggled(expanded)


class WorkbenchWidget(QScrollArea):
    """The project, and Model to Versions under each other."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(WIDTH)
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        self.steps: dict[str, Step] = {}
        for number, make in enumerate((ProjectPanel, *STEPS)):
            step = Step(make(bench), number or None)
            step.expand(make.name in OPEN_AT_START)
            self.steps[make.name] = step
            layout.addWidget(step)
        project = self.steps["project"]
        project.panel.attention.connect(project.expand)
        layout.addStretch(1)  # of what is folded, nothing grows
        self.setWidget(content)

    def sizeHint(self) -> Any:
        """Prefer the standard width."""
        hint = super().sizeHint()
        hint.setWidth(WIDTH)
        return hint
