"""Small pieces that several panels are made of."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible, QElidingLabel

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet.qt.bench import Bench

UNLIMITED = 2**24 - 1  # pixels; the largest height that Qt knows
ACTION_BUTTONS = {
    "predict": "unet.predict.run",
    **{
        name: f"unet.correct.{name}"
        for name in (
            "accept_view",
            "accept_object",
            "unaccept",
            "split",
            "merge",
            "ignore",
            "delete",
            "fill_holes",
            "smooth",
            "snap",
            "copy",
            "new_label",
        )
    },
    "finetune": "unet.finetune.start",
}


class Summary(QLabel):
    """A label that tells others what it shows."""

    def __init__(self, changed: Any) -> None:
        super().__init__("")
        self._changed = changed

    def setText(self, text: str) -> None:
        """Show a text and tell."""
        super().setText(text)
        self._changed.emit(text)


class Panel(QWidget):
    """One step of the work: rows of controls under a bench.

    Attributes
    ----------
    name : the middle part of its controls' object names
    title : what its dock and its step are called
    """

    name = ""
    title = ""
    summary_changed = Signal(str)

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.rows = QVBoxLayout(self)
        self.rows.setContentsMargins(6, 4, 6, 4)
        self.rows.setSpacing(6)
        self.summary = Summary(self.summary_changed)
        self.summary.setObjectName(f"unet.{self.name}.summary")
        self.summary.setWordWrap(True)
        self.summary.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        bench.said.connect(self._on_bench_said)
        bench.requested.connect(self._on_bench_requested)

    def _on_bench_said(self, panel: str, sentence: str) -> None:
        if panel == self.name:
            self.summary.setText(sentence)

    def _on_bench_requested(self, action: str) -> None:
        """Press the button of a shortcut, if it is this panel's and can be pressed."""
        if action not in ACTION_BUTTONS:
            return
        button = self.findChild(QPushButton, ACTION_BUTTONS[action])
        if button is not None and button.isEnabled() and not self.bench.answered:
            self.bench.answered = True
            button.click()

    def button(
        self, control: str, text: str, tip: str, pressed: Callable[[], Any]
    ) -> QPushButton:
        """Return a button of this panel."""
        button = QPushButton(text)
        button.setObjectName(f"unet.{self.name}.{control}")
        button.setToolTip(tip)
        button.clicked.connect(lambda _=False: pressed())
        button.setProperty("tip", tip)
        return button

    def row(self, *widgets: QWidget) -> QHBoxLayout:
        """Append widgets side by side."""
        layout = side_by_side(*widgets)
        self.rows.addLayout(layout)
        return layout

    def showEvent(self, event: Any) -> None:
        """Watch the window as soon as there is one."""
        super().showEvent(event)
        self.bench.watch(self)


class LayerChooser:
    """A chooser among the viewer's layers of a kind, following the layer list.

    Parameters
    ----------
    bench : of the viewer
    kind : the class of layers
    object_name, tip : of the QComboBox
    first : a first choice that is no layer, such as "new layer"
    """

    def __init__(
        self, bench: Bench, kind: type[Any], object_name: str, tip: str,
        first: str | None = None,
    ) -> None:  # fmt: skip
        self._bench, self._kind, self._first = bench, kind, first
        self.box = ComboBox(choices=self._choices, nullable=False)
        self.native = self.box.native
        self.native.setObjectName(object_name)
        self.native.setToolTip(tip)
        self.native.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed
        )  # long layer names must not widen the dock
        bench.layers_changed.connect(self.box.reset_choices)

    def _choices(self, _: Any) -> list[tuple[str, Any]]:
        layers = [(layer.name, layer) for layer in self._bench.layers(self._kind)]
        return [(self._first, None), *layers] if self._first else layers

    @property
    def layer(self) -> Any:
        """The chosen layer; None when there is none."""
        return self.box.value if self.box.choices else None

    def choose(self, layer: Any) -> None:
        """Choose a layer that is in the list."""
        if layer in self.box.choices:
            self.box.value = layer


def side_by_side(*widgets: QWidget) -> QHBoxLayout:
    """Return widgets in a row."""
    layout = QHBoxLayout()
    layout.setSpacing(6)
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def enable(button: QPushButton, reason: str = "") -> None:
    """Enable a button, or disable it with the reason as its tooltip."""
    button.setEnabled(not reason)
    tip = button.property("tip")
    button.setToolTip(f"{tip}\nNot now: {reason}" if reason else tip)


def folded(title: str, content: QWidget) -> QCollapsible:
    """Return a folded section."""
    section = folding(title, content)
    section.content().layout().setContentsMargins(8, 2, 0, 2)
    return section


def folding(title: str, content: QWidget) -> QCollapsible:
    """Return a section that folds, and gives its content all the height it needs.

    A QCollapsible limits it to the size hint, which knows nothing of wrapped text: what
    is in it would be drawn over each other. So it must not watch its content either.
    """
    section = QCollapsible(title)
    section.setDuration(0)
    section.setSizePolicy(*2 * [QSizePolicy.Policy.Preferred])
    section.layout().setContentsMargins(0, 0, 0, 0)
    inside = section.content()
    inside.layout().setContentsMargins(0, 0, 0, 0)
    inside.layout().addWidget(content)
    section.toggled.connect(
        lambda shown: inside.setMaximumHeight(UNLIMITED if shown else 0)
    )
    return section


def eliding(text: str = "") -> QElidingLabel:
    """Return a label that shortens its text instead of widening the dock."""
    label = QElidingLabel(text)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def ask_save(parent: QWidget, title: str, suggested: str, kinds: str) -> Path | None:
    """Ask where to save; None when the user thinks better of it.

    A name without an ending gets the first one of the kind that was chosen.
    """
    chosen, kind = QFileDialog.getSaveFileName(parent, title, suggested, kinds)
    ending = re.search(r"\*(\.[\w.]+)", kind)
    if chosen and ending and not Path(chosen).suffix:
        chosen += ending[1]
    return Path(chosen) if chosen else None


def duration(seconds: float) -> str:
    """Return a time in words, such as "4 min 10 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def when(seconds: float) -> str:
    """Return a moment in words: the time of today, else the day too.

    Parameters
    ----------
    seconds : since the epoch
    """
    moment = time.localtime(seconds)
    today = time.strftime("%Y-%m-%d", moment) == time.strftime("%Y-%m-%d")
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", moment)
