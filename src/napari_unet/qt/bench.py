"""Bench: what all widgets of one viewer share, and how layers meet the session."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image, Labels
from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QMainWindow, QMessageBox

from napari_unet.engine.config import PredictConfig
from napari_unet.errors import ImageError, UnetError
from napari_unet.qt import layers as layer_tools
from napari_unet.qt.job_runner import JobRunner
from napari_unet.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_unet.engine.protect import Region
    from napari_unet.jobs import Job
    from napari_unet.opened import OpenImage

log = logging.getLogger(__name__)
TALLY_PAUSE = 250  # milliseconds after a stroke before it is counted

_benches: WeakKeyDictionary[Any, Bench] = WeakKeyDictionary()


def bench_for(viewer: Viewer) -> Bench:
    """Return the bench of a viewer; plugins get a fresh proxy each time (fact F8)."""
    real = getattr(viewer, "__wrapped__", viewer)
    if real not in _benches:
        _benches[real] = Bench(real)
    return _benches[real]


class Bench(QObject):
    """The session of a viewer, its jobs, and the pairs of image and labels layers."""

    corrections_changed = Signal()  # strokes, acceptances, predictions, saved
    layers_changed = Signal()
    models_listed = Signal(object)  # entries of the zoo
    said = Signal(str, str)  # panel, one sentence
    requested = Signal(str)  # an action's name, from a shortcut

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = ref(viewer)
        self.session = Session()
        self.runner = JobRunner(self)
        self.predict_config = PredictConfig()
        self._labels: dict[OpenImage, Labels] = {}
        self._images: dict[OpenImage, Image] = {}
        self._tally_timer = QTimer(self, singleShot=True, interval=TALLY_PAUSE)
        self._tally_timer.timeout.connect(self.corrections_changed)
        self._to_show: list[OpenImage] = []
        self._chosen: Callable[[], Image | None] = lambda: None
        self.session.labels_changed.connect(self._on_session_labels_changed)
        self.runner.ended.connect(self._on_runner_ended)
        viewer.layers.events.inserted.connect(self._on_layers_inserted)
        viewer.layers.events.removed.connect(self._on_layers_removed)
        for layer in viewer.layers:
            layer.events.name.connect(self._on_layer_renamed)
        self._window: Callable[[], QObject | None] = lambda: None  # must not live on
        self.answered = False  # one panel answers a shortcut, also if two are open
        self.requested.connect(self._on_requested)

    @property
    def viewer(self) -> Viewer:
        """The viewer, as long as it lives."""
        viewer = self._viewer()
        if viewer is None:
            raise ReferenceError("the viewer is closed")
        return viewer

    # -- layers

    def layers(self, kind: type[Any]) -> list[Any]:
        """Return the viewer's layers of a kind, overlays of ours left out."""
        return [
            layer for layer in self.viewer.layers
            if isinstance(layer, kind) and not layer.metadata.get("unet overlay")
        ]  # fmt: skip

    def choose_image(self, layer: Image | None) -> None:
        """Take note of the image that the user works on."""
        self._chosen = (lambda: None) if layer is None else ref(layer)

    @property
    def image(self) -> Image | None:
        """The image that the user works on: the chosen one, or the last one."""
        images = self.layers(Image)
        chosen = self._chosen()
        if any(layer is chosen for layer in images):
            return chosen
        return images[-1] if images else None

    def opened_of(self, layer: Labels | None) -> OpenImage | None:
        """Return the image whose corrections a labels layer shows."""
        return next((o for o, shown in self._labels.items() if shown is layer), None)

    def labels_of(self, image: Image | None) -> Labels | None:
        """Return the labels layer that predictions of an image last went to."""
        found = [
            self._labels[o]
            for o, i in self._images.items()
            if i is image and o in self._labels
        ]
        return found[-1] if found else None

    def layer_of(self, opened: OpenImage) -> Labels | None:
        """Return the labels layer of an image in the session."""
        return self._labels.get(opened)

    def open(self, image: Image | None, axes: str, into: Labels | None) -> OpenImage:
        """Return the session's image for an image layer and a labels layer.

        Parameters
        ----------
        image : the layer to predict on
        axes : one letter per axis
        into : the labels layer; None: a new one, shown with the first prediction

        Raises
        ------
        UnetError
            If there is no image, or the labels do not lie on it.
        """
        if image is None:
            raise ImageError(
                "No image layer is open; a prediction needs one: open an image, or "
                "File > Open Sample > U-Net workbench."
            )
        if into is None:
            return self._new(image, axes, None)
        opened = self.opened_of(into)
        if opened is not None:
            layer_tools.replaced_data(into, opened)
            self._images[opened] = image
            opened.image, opened.axes = self._fitting(opened, image, axes)
            return opened
        layer_tools.check_same_place(image, into, axes)
        opened = self._new(image, axes, into)
        self._show(opened, into)
        return opened

    def _new(self, image: Image, axes: str, into: Labels | None) -> OpenImage:
        labels = None if into is None else np.asarray(layer_tools.image_data(into))
        opened = self.session.add_image(
            image.name, layer_tools.image_data(image), axes, labels
        )
        if labels is not None:  # what the user brought is the user's work
            opened.corrections.accept_existing()
            opened.saved_revision = opened.corrections.revision
        self._images[opened] = image
        return opened

    def _fitting(self, opened: OpenImage, image: Image, axes: str) -> tuple[Any, str]:
        data = layer_tools.image_data(image)
        layer_tools.check_shapes(
            image.name, data.shape, axes, opened.corrections.labels.shape
        )
        return data, axes

    def _show(self, opened: OpenImage, layer: Labels | None = None) -> Labels:
        """Show the corrections of an image in a layer, a new one unless given."""
        if layer is None:
            image = self._images[opened]
            layer = Labels(
                opened.corrections.labels,
                name=layer_tools.labels_name(image),
                opacity=layer_tools.LABELS_OPACITY,
                **layer_tools.spatial_transform(image, opened.axes),
            )
            self._labels[opened] = layer
            self.viewer.add_layer(layer)
        self._labels[opened] = layer
        session = self.session
        layer_tools.bind(
            layer, opened, partial(session.undo, opened), partial(session.redo, opened)
        )
        layer.events.paint.connect(lambda _: self._tally_timer.start())
        self.layers_changed.emit()
        return layer

    def _on_session_labels_changed(
        self, opened: OpenImage, window: Region | None
    ) -> None:
        layer = self._labels.get(opened)
        if layer is None and opened in self._images and opened in self.session.images:
            self._to_show.append(opened)
            QTimer.singleShot(0, self._show_waiting)
        elif layer is not None and window is not None:
            layer.refresh()
        self._tally_timer.start()

    def _show_waiting(self) -> None:
        """Add layers in a turn of their own: napari takes up to 0.4 s for its first."""
        waiting, self._to_show = self._to_show, []
        for opened in waiting:
            if opened not in self._labels and opened in self._images:
                self._show(opened)
                self.session.labels_changed.emit(opened, None)

    def _on_layers_inserted(self, event: Any) -> None:
        event.value.events.name.connect(self._on_layer_renamed)
        self.layers_changed.emit()

    def _on_layer_renamed(self, _: Any) -> None:
        self.layers_changed.emit()

    def _on_layers_removed(self, event: Any) -> None:
        """Forget a labels layer that the user deleted; its corrections go with it."""
        opened = self.opened_of(event.value)
        if opened is not None:
            del self._labels[opened]
            self._images.pop(opened, None)
            self.session.remove_image(opened)
        self.layers_changed.emit()
        self.corrections_changed.emit()

    def _on_runner_ended(self, job: Job[Any], _: str) -> None:
        """Forget images whose first prediction failed: no layer shows them."""
        if job.lane != "network":
            return
        for opened in [each for each in self._images if each not in self._labels]:
            del self._images[opened]
            self.session.remove_image(opened)

    # -- jobs

    def run(self, panel: str, make: Any, *arguments: Any) -> bool:
        """Make a job and start it; say in a panel why it cannot be made.

        Returns
        -------
        started : whether it runs
        """
        try:
            job: Job[Any] | None = make(*arguments)
            if job is None:
                return False
            self.runner.run(job)
        except UnetError as error:
            self.said.emit(panel, str(error))
            show_warning(str(error))
            return False
        return True

    def try_now(self, panel: str, act: Any) -> None:
        """Do something short; say in a panel why it cannot be done."""
        try:
            act()
        except UnetError as error:
            self.said.emit(panel, str(error))
            show_warning(str(error))

    def request(self, name: str) -> None:
        """Do what a shortcut asks for: press the button that does it."""
        self.answered = False
        self.requested.emit(name)

    def _on_requested(self, name: str) -> None:
        if name == "cancel":
            self.runner.cancel()

    def settle(self) -> None:
        """Count strokes now, and take labels that another plugin assigned as edits."""
        for opened, layer in list(self._labels.items()):
            try:
                if layer_tools.replaced_data(layer, opened):
                    show_warning(
                        f"The labels of {layer.name} were replaced by another tool; "
                        "the differences count as edits and can be undone."
                    )
            except UnetError as error:
                show_warning(str(error))

    # -- closing

    def watch(self, widget: QWidget) -> None:
        """Ask before the window of a widget closes over unsaved corrections."""
        window = widget.window()  # a floating dock is none of napari's
        if isinstance(window, QMainWindow) and window is not self._window():
            self._window = ref(window)
            window.installEventFilter(self)
            window.close = partial(_close, ref(window), ref(self))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Let a window close only after unsaved corrections were asked for."""
        if event.type() == QEvent.Type.Close and watched is self._window():
            if event.spontaneous() and not self.may_close(watched):
                event.ignore()
                return True
            self.runner.cancel_all()
        return False

    def may_close(self, window: Any) -> bool:
        """Ask about unsaved corrections."""
        self.settle()
        names = ", ".join(opened.name for opened in self.session.unsaved)
        if not names:
            return True
        button = QMessageBox.question(
            window, "Unsaved corrections",
            f"The corrected masks of {names} are not saved (Save masks is in the "
            "Correct panel). Close without saving them?",
            QMessageBox.StandardButton.Discard | QMessageBox.StandardButton.Cancel,
            QMessageBox.StandardButton.Cancel,
        )  # fmt: skip
        return bool(button == QMessageBox.StandardButton.Discard)


def _close(
    window: Callable[[], Any], bench: Callable[[], Bench | None], **how: bool
) -> Any:
    """Close a window; ask first when the user does it through napari's File menu.

    napari's menu calls ``close(confirm_need=True)``, a script's ``viewer.close()`` does
    not, and must not wait for a person.
    """
    here, owner = window(), bench()
    if how.get("confirm_need") and owner is not None and not owner.may_close(here):
        return False
    return type(here).close(here, **how)
