"""What can be changed of what is known of a model, one field each."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_unet.engine.graph import GraphSpec
from napari_unet.engine.normalize import MEASURED
from napari_unet.pixel_sizes import positive, sides_from, sides_in_words
from napari_unet.qt.parts import side_by_side

if TYPE_CHECKING:
    from napari_unet.engine.spec import ModelSpec

ASKED = ("guessed", "chosen")
SCALINGS = {
    "percentile": "percentiles of the image",
    "minmax": "darkest to brightest pixel",
    "zscore": "mean and standard deviation",
    "scale": "divide by a number",
    "none": "intensities as they are",
}
NUMBERS = {"percentile": ("low", "high"), "scale": ("divisor",)}
MEANINGS = {
    "instances": "objects, with boundary distance",
    "foreground": "objects, by a foreground score",
    "classes": "classes that exclude each other",
    "multilabel": "classes that may overlap",
}
ENDS = {
    "sigmoid": "sigmoid, each channel by itself",
    "softmax": "softmax, channels compete",
    "none": "none, they are scores already",
}
ORDERS = {"RGB": "red, green, blue", "BGR": "blue, green, red"}
CHOICES = {
    "reading": (
        "Read as",
        "The ways in which the weights can be understood, the likeliest first",
    ),
    "channel_order": (
        "Colours",
        "The order in which the network expects the colours of an image",
    ),
    "output": ("Channels", "What the channels that the network gives mean"),
    "activation": (
        "Last step",
        "What makes scores from 0 to 1 of what the network gives",
    ),
}
MEASURED_ON = {
    "": "measured on the whole image",
    "T": "each time point (T) on its own",
    "Z": "each slice (Z) on its own",
    "TZ": "each slice of each time point (T and Z)",
    "P": "each position (P) on its own",
}
FACTORS = ("1", "1/255", "255")


class Field(QWidget):
    """A title and what can be set: one or two facts of a ModelSpec."""

    changed = Signal()
    title = ""
    facts: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, Any] = {}

    def setValue(self, spec: ModelSpec) -> None:
        """Show a spec."""
        self.blockSignals(True)
        self.show_spec(spec)
        self.blockSignals(False)
        self._shown = self.value()

    def changes(self) -> dict[str, Any]:
        """Return what the user changed, as for ``revise_model``."""
        value = self.value()
        return {} if value == self._shown else value

    def asked(self, spec: ModelSpec) -> bool:
        """Tell whether the fact was guessed, and there is something to choose."""
        guessed = any(spec.source(fact) in ASKED for fact in self.facts)
        return guessed and self.isEnabled()

    def show_spec(self, spec: ModelSpec) -> None:
        """Show a spec; the widgets' part of it."""
        raise NotImplementedError

    def value(self) -> dict[str, Any]:
        """Return what is shown, as fields of a ModelSpec."""
        raise NotImplementedError

    def _fill(self, *widgets: QWidget) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in widgets:
            layout.addWidget(widget)


class ScalingField(Field):
    """How intensities are scaled, and the numbers of that."""

    title = "Scaling"
    facts = ("normalization",)

    def __init__(self) -> None:
        super().__init__()
        self.kind = chooser(
            "normalization",
            "How raw intensities become what the network was trained on",
        )
        for kind, text in SCALINGS.items():
            self.kind.addItem(text, kind)
        self.numbers = {
            "low": number(
                "low", "Percentile of the intensities that becomes 0", 0, 100, " %"
            ),
            "high": number(
                "high", "Percentile of the intensities that becomes 1", 0, 100, " %"
            ),
            "divisor": number(
                "divisor", "Intensities are divided by this; 255 for 8-bit images",
                1e-6, 1e9, "", "\u00f7 ",
            ),
        }  # fmt: skip
        self.each = chooser(
            "each",
            "On what intensities are measured: all of an image, or each slice along\n"
            "some of its axes on its own, as where light fades with time or depth",
        )
        for axes, text in MEASURED_ON.items():
            self.each.addItem(text, axes)
        self.negative = QCheckBox("Negative (turn dark and bright over)")
        self.negative.setObjectName("unet.model.negative")
        self.negative.setToolTip(
            "Turn images over before the network sees them: where they show dark\n"
            "objects on bright and it knows bright ones on dark, or the reverse"
        )
        row = QWidget()
        layout = side_by_side(*self.numbers.values())
        layout.setContentsMargins(0, 0, 0, 0)
        row.setLayout(layout)
        self._fill(self.kind, row, self.negative, self.each)
        self.negative.toggled.connect(lambda _: self.changed.emit())
        self.kind.currentIndexChanged.connect(self._on_kind_changed)
        self.each.currentIndexChanged.connect(lambda _: self.changed.emit())
        for box in self.numbers.values():
            box.valueChanged.connect(lambda _: self.changed.emit())

    def _on_kind_changed(self, _: int = 0) -> None:
        used = NUMBERS.get(self.kind.currentData(), ())
        for name, box in self.numbers.items():
            box.setEnabled(name in used)
        self.each.setEnabled(self.kind.currentData() in MEASURED)
        self.changed.emit()

    def show_spec(self, spec: ModelSpec) -> None:
        """Show kind and numbers."""
        shown = spec.normalization
        self.negative.setChecked(shown.negative)
        self.kind.setCurrentIndex(self.kind.findData(shown.kind))
        for name, box in self.numbers.items():
            box.setValue(getattr(shown, name))
        if self.each.findData(shown.each) < 0:  # a file can name any
            self.each.addItem(f"each {' and '.join(shown.each)}", shown.each)
        self.each.setCurrentIndex(self.each.findData(shown.each))
        self._on_kind_changed()

    def value(self) -> dict[str, Any]:
        """Return the normalisation; only what its kind uses."""
        kind = self.kind.currentData()
        numbers: dict[str, Any] = {"negative": self.negative.isChecked()}
        for name in NUMBERS.get(kind, ()):
            numbers[name] = self.numbers[name].value()
        if kind in MEASURED:
            numbers["each"] = self.each.currentData()
        return {"normalization": {"kind": kind, **numbers}}


class ChoiceField(Field):
    """A fact that is one of a few."""

    def __init__(self, fact: str, title: str, tip: str) -> None:
        super().__init__()
        self.title, self.facts = title, (fact,)
        self.box = chooser(fact, tip)
        self._tip = tip
        self._fill(self.box)
        self.box.currentIndexChanged.connect(lambda _: self.changed.emit())

    def show_spec(self, spec: ModelSpec) -> None:
        """Show what can be chosen for this model."""
        options, now = choices(self.facts[0], spec)
        self.box.clear()
        for value, text in options.items():
            self.box.addItem(text, value)
        self.box.setCurrentIndex(self.box.findData(now))
        self.setEnabled(len(options) > 1)
        alone = "" if self.isEnabled() else "\nThis model leaves no choice."
        self.box.setToolTip(self._tip + alone)

    def value(self) -> dict[str, Any]:
        """Return the choice."""
        return {self.facts[0]: self.box.currentData()}


def choices(fact: str, spec: ModelSpec) -> tuple[dict[str, str], str]:
    """Return what a fact can be for a model, in words, and what it is now."""
    network = spec.architecture
    if fact == "output":
        possible = {1: ("foreground", "multilabel"), 2: tuple(MEANINGS)}
        found = possible.get(network.out_channels, ("classes", "multilabel"))
        return {one: MEANINGS[one] for one in found}, spec.output
    if fact == "activation":
        return ENDS, spec.likely_activation
    if fact == "channel_order":
        colour = network.in_channels == 3
        return ORDERS if colour else {"RGB": "not a colour image"}, spec.channel_order
    readings = spec.readings or (spec.reading,)
    return {one: one or "the only one that fits" for one in readings}, spec.reading


def choice(fact: str) -> ChoiceField:
    """Return the field of a fact that is one of a few."""
    title, tip = CHOICES[fact]
    return ChoiceField(fact, title, tip)


class TextField(Field):
    """A fact that is typed."""

    def __init__(self, fact: str, title: str, line: QWidget) -> None:
        super().__init__()
        self.title, self.facts, self.line = title, (fact,), line
        self._fill(line)
        entry = line.lineEdit() if isinstance(line, QComboBox) else line
        self.entry: QLineEdit = entry
        entry.textChanged.connect(lambda _: self.changed.emit())

    def value(self) -> dict[str, Any]:
        """Return the text; ``changes`` says what it means."""
        return {self.facts[0]: self.entry.text().strip()}

    def changes(self) -> dict[str, Any]:
        """Return what was typed, understood."""
        said = super().changes()
        return self.understood(said[self.facts[0]]) if said else {}

    def understood(self, text: str) -> dict[str, Any]:
        """Return the fields of a ModelSpec that a text stands for."""
        raise NotImplementedError


class ClassesField(TextField):
    """The names of the classes."""

    def __init__(self) -> None:
        tip = "Names of the classes, the background first, with commas between"
        super().__init__("classes", "Classes", line("classes", tip, "background, ..."))

    def show_spec(self, spec: ModelSpec) -> None:
        """Show the names, numbered where there are none."""
        has_classes = spec.output in ("classes", "multilabel")
        self.entry.setText(", ".join(one.name for one in spec.classes))
        self.setEnabled(has_classes)

    def understood(self, text: str) -> dict[str, Any]:
        """Split at the commas."""
        names = [name.strip() for name in text.split(",") if name.strip()]
        return {"classes": [{"name": name} for name in names]}


class PixelSizeField(TextField):
    """The pixel size of the training images."""

    def __init__(self) -> None:
        tip = (
            "Side of a pixel of the images that the network was trained on, in "
            "micrometres;\none number, or one per axis with x between: 2 x 0.5 x 0.5"
        )
        super().__init__(
            "pixel_size", "Pixel size", line("pixel_size", tip, "not given (um)")
        )
        self._dims = 2

    def show_spec(self, spec: ModelSpec) -> None:
        """Show the sides."""
        self._dims = spec.architecture.dims
        self.entry.setText(sides_in_words(spec.pixel_size))

    def understood(self, text: str) -> dict[str, Any]:
        """Read one number, or one per axis."""
        return {"pixel_size": list(sides_from(text, self._dims)) or None}


class InputScaleField(TextField):
    """A factor inside the network, such as that of a Lambda layer."""

    def __init__(self) -> None:
        tip = (
            "The network multiplies its input by this first, after the scaling above;"
            "\n1 where the file holds no such layer"
        )
        box = chooser("input_scale", tip)
        box.setEditable(True)
        box.addItems(FACTORS)
        super().__init__("input_scaling", "In network", box)

    def show_spec(self, spec: ModelSpec) -> None:
        """Show the factor, as a fraction of 255 where it is one."""
        factor = getattr(spec.architecture, "input_scale", 1.0)
        known = {one: float(Fraction(one)) for one in FACTORS}
        near = [one for one, value in known.items() if abs(factor / value - 1) < 1e-6]
        self.entry.setText(near[0] if near else f"{factor:.9g}")
        self.setEnabled(isinstance(spec.architecture, GraphSpec))

    def understood(self, text: str) -> dict[str, Any]:
        """Read a number or a fraction."""
        factor = positive(text, "The factor in the network")
        return {"architecture": {"input_scale": factor}}


# -- small pieces


class _Number(QDoubleSpinBox):
    """A number without zeros at its end."""

    def textFromValue(self, value: float) -> str:
        """Write a number as short as it is."""
        return f"{value:.9g}"


def chooser(control: str, tip: str) -> QComboBox:
    """Return a combo box that does not widen the dock."""
    box = QComboBox()
    box.setObjectName(f"unet.model.{control}")
    box.setToolTip(tip)
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return box


def line(control: str, tip: str, empty: str) -> QLineEdit:
    """Return a line to type in."""
    entry = QLineEdit()
    entry.setObjectName(f"unet.model.{control}")
    entry.setToolTip(tip)
    entry.setPlaceholderText(empty)
    return entry


def number(
    control: str, tip: str, low: float, high: float, unit: str, sign: str = ""
) -> QDoubleSpinBox:
    """Return a field for a number."""
    box = _Number()
    box.setObjectName(f"unet.model.{control}")
    box.setToolTip(tip)
    box.setDecimals(6)
    box.setRange(low, high)
    box.setSuffix(unit)
    box.setPrefix(sign)
    box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return box
