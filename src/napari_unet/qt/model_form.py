"""A form for what a file does not say of its model: guesses, and all else on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_unet.errors import UnetError
from napari_unet.qt.model_facts import heading
from napari_unet.qt.model_fields import (
    ClassesField,
    InputScaleField,
    PixelSizeField,
    ScalingField,
    choice,
)

if TYPE_CHECKING:
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.qt.model_fields import Field


class SpecForm(QWidget):
    """All fields: those that were guessed here, the others in ``rest``."""

    valueChanged = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.rest = QWidget()
        self.fields: tuple[Field, ...] = (
            choice("reading"),
            ScalingField(),
            InputScaleField(),
            choice("channel_order"),
            choice("output"),
            choice("activation"),
            ClassesField(),
            PixelSizeField(),
        )
        self.labels = {field: heading(field.title) for field in self.fields}
        for place in (self, self.rest):
            form = QFormLayout(place)
            form.setContentsMargins(0, 0, 0, 0)
            form.setVerticalSpacing(4)
        for field in self.fields:
            self.rest.layout().addRow(self.labels[field], field)
            field.changed.connect(self.valueChanged)

    def setValue(self, spec: ModelSpec) -> None:
        """Show a spec; what was guessed of it moves to where it is seen."""
        for field in self.fields:
            field.setValue(spec)
        for field in self.fields:
            old = self if field.parent() is self else self.rest
            new = self if field.asked(spec) else self.rest
            old.layout().takeRow(field)
            new.layout().addRow(self.labels[field], field)
        self.valueChanged.emit()

    def changes(self) -> dict[str, Any]:
        """Return what the user changed.

        Raises
        ------
        UnetError
            If a text cannot be understood.
        """
        changes: dict[str, Any] = {}
        for field in self.fields:
            changes |= field.changes()
        return changes

    @property
    def touched(self) -> bool:
        """Tell whether something is other than the model has it."""
        try:
            return bool(self.changes())
        except UnetError:
            return True
