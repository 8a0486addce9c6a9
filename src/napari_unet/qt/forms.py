"""A form from a Config: one mapping from field to magicgui widget (fact B6)."""

from __future__ import annotations

import math
from types import UnionType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args, get_origin

from magicgui.widgets import CheckBox, ComboBox, FloatSlider, FloatSpinBox, SpinBox
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QWidget

from napari_unet.engine.config import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from magicgui.widgets.bases import ValueWidget
    from pydantic.fields import FieldInfo
    from superqt import QLargeIntSpinBox

C = TypeVar("C", bound=Frozen)
AUTOMATIC = "auto"
SMALLEST = 1e-6  # that a small float can be set to


class ConfigForm(QWidget, Generic[C]):
    """Some fields of a Config as labelled widgets; the other fields stay as they are.

    Parameters
    ----------
    config : where it starts
    names : the fields to show, in order
    panel : for the object names, ``unet.<panel>.<field>``
    aliases : other last parts of object names, by field
    """

    valueChanged = Signal(object)

    def __init__(
        self,
        config: C,
        names: Sequence[str],
        panel: str,
        aliases: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._widgets: dict[str, ValueWidget[Any]] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for name in names:
            field = type(config).model_fields[name]
            widget = widget_for(field, getattr(config, name))
            control = (aliases or {}).get(name, name)
            entry = widget.native.findChild(QDoubleSpinBox) or widget.native
            entry.setObjectName(f"unet.{panel}.{control}")  # a slider's number, too
            if entry is not widget.native:  # the slider follows only what is typed
                entry.valueChanged.connect(entry.editingFinished)
            for each in {entry, widget.native}:
                each.setToolTip(field.description or "")
            widget.changed.connect(self._on_widget_changed)
            layout.addRow(field.title or name, widget.native)
            self._widgets[name] = widget
        self._shown = self._read()

    def _read(self) -> dict[str, Any]:
        return {name: read(widget) for name, widget in self._widgets.items()}

    def value(self) -> C:
        """Return the Config as the user set it."""
        shown = self._read()  # rounded: what was not touched stays as it was set
        touched = {n: v for n, v in shown.items() if v != self._shown[n]}
        config = {**self._config.model_dump(), **touched}
        return type(self._config).model_validate(config)

    def setValue(self, config: C) -> None:
        """Show a Config."""
        self._config = config
        for name, widget in self._widgets.items():
            with widget.changed.blocked():
                write(widget, getattr(config, name))
        self._shown = self._read()
        self.valueChanged.emit(self.value())

    def _on_widget_changed(self, _: object) -> None:
        self.valueChanged.emit(self.value())


def widget_for(field: FieldInfo, value: Any) -> ValueWidget[Any]:
    """Return the widget for one field, showing ``value``."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return ComboBox(choices=list(get_args(kind)), value=value)
    if kind is bool:
        return CheckBox(value=value, text="")
    if kind is float:
        return _float_widget(field, value)
    widget = _int_widget(field)
    write(widget, value)
    return widget


def _int_widget(field: FieldInfo) -> SpinBox:
    low, high = limits(field, 0, 1_000_000)
    if get_origin(field.annotation) is UnionType:  # int or nothing: 0 means nothing
        widget = SpinBox(min=0, max=int(high))
        widget.native.setProperty("lowest", int(low))
        _Automatic(widget.native)
        return widget
    return SpinBox(min=int(low), max=int(high))


class _Automatic(QObject):
    """Shows "auto" instead of 0, and takes nothing for it; superqt's box does not.

    Parameters
    ----------
    box : of which 0 means nothing; it owns this
    """

    def __init__(self, box: QLargeIntSpinBox) -> None:
        super().__init__(box)
        self._box = box
        box.lineEdit().setPlaceholderText(AUTOMATIC)
        box.lineEdit().textChanged.connect(self._on_text_changed)
        self._on_text_changed(box.lineEdit().text())

    def _on_text_changed(self, text: str) -> None:
        if text == "0":
            self._box.lineEdit().clear()
        elif not text and self._box.value():
            self._box.setValue(0)


def _float_widget(field: FieldInfo, value: float) -> ValueWidget[Any]:
    low, high = limits(field, 0.0, 1.0)
    default = field.default or 0.01
    if default < 0.01:  # small numbers need small steps, or they show as 0
        step = 10.0 ** (math.floor(math.log10(default)) - 1)
        widget = FloatSpinBox(min=SMALLEST, max=high, step=SMALLEST)
        widget.native.setSingleStep(step)
        write(widget, value)
        return widget
    return FloatSlider(value=value, min=low, max=high, step=0.01)


def limits(field: FieldInfo, low: float, high: float) -> tuple[float, float]:
    """Return the smallest and largest value that a field allows."""
    for rule in field.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", low))
        high = getattr(rule, "le", getattr(rule, "lt", high))
    return low, high


def read(widget: ValueWidget[Any]) -> Any:
    """Return a widget's value; None where it shows "auto".

    A number being typed may still be below the lowest that is allowed.
    """
    lowest = widget.native.property("lowest")
    if lowest is not None:
        return max(widget.value, lowest) if widget.value else None
    return widget.value


def write(widget: ValueWidget[Any], value: Any) -> None:
    """Show a value, or the nearest that the widget can show."""
    if isinstance(widget, (SpinBox, FloatSpinBox)):
        value = min(max(value or 0, widget.min), widget.max)
    widget.value = value
