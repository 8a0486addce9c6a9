"""Lines for what an image is: its axes, the channel that counts, its pixel size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QLabel, QLineEdit

from napari_unet.errors import UnetError
from napari_unet.qt.layer_axes import channel_for, layer_axes, say_axes, say_channel
from napari_unet.qt.layers import image_data
from napari_unet.qt.parts import side_by_side
from napari_unet.qt.pixel_size import (
    pixel_size_of,
    said_of,
    say_pixel_size,
    shown_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QFormLayout

    from napari_unet.opened import OpenImage
    from napari_unet.qt.bench import Bench
    from napari_unet.qt.parts import LayerChooser

ALL = "all"


class ImageFacts(QObject):
    """What is known of the chosen image, to be changed by the user.

    Parameters
    ----------
    bench : of the viewer
    image : which image is chosen
    say : tells the user what is wrong with an entry
    """

    channel_changed = Signal()

    def __init__(
        self, bench: Bench, image: LayerChooser, say: Callable[[str], None]
    ) -> None:
        super().__init__(image.native)
        self._bench, self._image, self._say = bench, image, say
        self._shown = ""  # axes, as nobody has typed them
        self._axes = QLineEdit()
        self._axes.setObjectName("unet.predict.axes")
        self._axes.setToolTip(
            "One letter per axis of the image, such as YX, ZYX, TYX, CYX or YXC.\n"
            "Nothing: as the layer or its file says, else a guess"
        )
        self._channels = QComboBox()
        self._channels.setObjectName("unet.predict.channels")
        self._channels.setToolTip(
            "The channel for a one-channel model, to predict and to learn from; at\n"
            "first the one in view. all: colour becomes luminance"
        )
        self._pixel_size = QLineEdit()
        self._pixel_size.setObjectName("unet.predict.pixel_size")
        self._pixel_size.setPlaceholderText("unknown (um)")
        self._pixel_size.setToolTip(
            "Side of the image's pixels in micrometres: one number, or one per axis\n"
            "with x between: 2 x 0.5 x 0.5. Where the model's is known too, and\n"
            "another, the network sees the image scaled to it.\n"
            "none: it is taken as it is; nothing: as the layer or its file says"
        )
        self._axes.editingFinished.connect(self._on_axes_edited)
        self._channels.currentTextChanged.connect(self._on_channels_changed)
        self._channels.activated.connect(self._on_channel_chosen)
        self._pixel_size.editingFinished.connect(self._on_pixel_size_edited)
        bench.viewer.dims.events.current_step.connect(self._on_dims_step_changed)

    def add_to(self, form: QFormLayout) -> None:
        """Put the lines into a form."""
        row = side_by_side(self._axes, QLabel("Channel"), self._channels)
        form.addRow("Axes", row)
        form.addRow("Pixel size", self._pixel_size)

    @property
    def axes(self) -> str:
        """What the line says, in capitals; it may be wrong."""
        return str(self._axes.text()).upper()

    @property
    def channel(self) -> int | None:
        """The channel that a one-channel model takes; None: all."""
        text = self._channels.currentText()
        return int(text) if text.isdecimal() else None

    def show_image(self) -> None:
        """Show what is known of the image that is chosen now."""
        self._show_axes()
        self._show_channels()
        self.show_pixel_size()

    def show_pixel_size(self) -> None:
        """Show the size that the layer has now."""
        self._pixel_size.setText(shown_text(self._image.layer, self.axes))

    # -- what the user does

    def _on_axes_edited(self) -> None:
        """Take what the user says of the axes; cleared, they are guessed again."""
        layer = self._image.layer
        if layer is None:
            return
        if self.axes != self._shown:
            try:
                say_axes(layer, self.axes)
            except UnetError as error:
                self._say(str(error))
            else:
                self._show_axes()
        self._show_channels()
        self.show_pixel_size()

    def _on_pixel_size_edited(self) -> None:
        """Take what the user says of the pixels; say what is wrong with it."""
        layer, text = self._image.layer, self._pixel_size.text()
        if layer is None or text == shown_text(layer, self.axes):
            return
        try:
            say_pixel_size(layer, said_of(text, self.axes))
        except UnetError as error:
            self._say(str(error))
        else:
            if (opened := self._opened()) is not None:
                opened.pixel_size = pixel_size_of(layer, self.axes)
        self.show_pixel_size()

    def _on_channel_chosen(self, _: int) -> None:
        if self._image.layer is not None:
            say_channel(self._image.layer, self.channel)
            self._take_channel()

    # -- what changes

    def _on_channels_changed(self, _: str) -> None:
        self.channel_changed.emit()

    def _on_dims_step_changed(self, _: Any) -> None:
        """Follow the channel in view until something was predicted."""
        if isalive(self) and "C" in self.axes and self._opened() is None:
            self._show_channels()

    def _show_axes(self) -> None:
        layer, model = self._image.layer, self._bench.session.model
        self._shown = ""
        if layer is not None:
            try:
                spec = model.spec.architecture if model else None
                self._shown = layer_axes(layer, spec)
            except UnetError as error:  # the model cannot take it
                self._say(str(error))
        self._axes.setText(self._shown)

    def _show_channels(self) -> None:
        layer, model = self._image.layer, self._bench.session.model
        self._channels.clear()
        self._channels.addItem(ALL)
        if layer is None or (model and model.spec.architecture.in_channels != 1):
            return
        shape = image_data(layer).shape
        if "C" in self.axes and len(self.axes) == len(shape):
            many = shape[self.axes.index("C")]
            self._channels.addItems([str(i) for i in range(many)])
            channel = channel_for(self._bench, layer, self.axes)
            self._channels.setCurrentText(ALL if channel is None else str(channel))
        self._take_channel()

    def _take_channel(self) -> None:
        """Let an image that is worked on be learnt from as it is shown here."""
        opened = self._opened()
        if opened is not None and opened.axes == self.axes:
            opened.channel = self.channel

    def _opened(self) -> OpenImage | None:
        """Return the image that is worked on, if the chosen one is."""
        return self._bench.opened_of(self._bench.labels_of(self._image.layer))
