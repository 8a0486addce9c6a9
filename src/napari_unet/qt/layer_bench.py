"""The half of the bench about layers: which labels layer shows which image."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image, Labels
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.errors import ImageError, ProjectError, UnetError
from napari_unet.handover import provenance_of
from napari_unet.qt import layers as layer_tools
from napari_unet.qt.layer_axes import channel_for
from napari_unet.qt.overlays import OVERLAY, undisturbed
from napari_unet.qt.pixel_size import pixel_size_of
from napari_unet.qt.refresh import refresh_part
from napari_unet.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari import Viewer

    from napari_unet.engine.blocks import Region
    from napari_unet.io.masks import Provenance
    from napari_unet.opened import OpenImage

TALLY_PAUSE = 250  # milliseconds after a stroke before it is counted


class LayerBench(QObject):
    """The session of a viewer, and the pairs of image and labels layers in it.

    A pair is known by its layers themselves, whatever they are called. An image whose
    labels layer was deleted stays in the session, not shown.
    """

    corrections_changed = Signal()  # strokes, acceptances, predictions, saved
    layers_changed = Signal()
    restored = Signal()  # an image came back with its labels

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = ref(viewer)
        self.session = Session()
        self._labels: dict[OpenImage, Labels] = {}
        self._images: dict[OpenImage, Image] = {}
        self._places: dict[OpenImage, dict[str, Any]] = {}
        self._releases: dict[OpenImage, Callable[[], None]] = {}
        self._removed: WeakKeyDictionary[Labels, OpenImage] = WeakKeyDictionary()
        self._tally_timer = QTimer(self, singleShot=True, interval=TALLY_PAUSE)
        self._tally_timer.timeout.connect(self._on_tally_due)
        self._to_show: list[OpenImage] = []
        self._chosen: Callable[[], Image | None] = lambda: None
        self.session.labels_changed.connect(self._on_session_labels_changed)
        viewer.layers.events.inserted.connect(self._on_layers_inserted)
        viewer.layers.events.removed.connect(self._on_layers_removed)
        for layer in viewer.layers:
            layer.events.name.connect(self._on_layer_renamed)

    @property
    def viewer(self) -> Viewer:
        """The viewer, as long as it lives."""
        viewer = self._viewer()
        if viewer is None:
            raise ReferenceError("the viewer is closed")
        return viewer

    def layers(self, kind: type[Any]) -> list[Any]:
        """Return the viewer's layers of a kind, overlays of ours left out."""
        return [
            layer for layer in self.viewer.layers
            if isinstance(layer, kind) and not layer.metadata.get(OVERLAY)
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
        layer = layer_tools.unwrapped(layer)
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

    def image_of(self, opened: OpenImage) -> Image | None:
        """Return the image layer of an image in the session; None if it was removed."""
        layer = self._images.get(opened)
        return layer if layer in self.viewer.layers else None

    # -- pairs

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
            If there is no image, the labels do not lie on it, or the project is
            read-only.
        """
        if image is None:
            raise ImageError(
                "No image layer is open; a prediction needs one: open an image, or "
                "File > Open Sample > U-Net workbench."
            )
        image, into = layer_tools.unwrapped(image), layer_tools.unwrapped(into)
        self.check_writable()
        if into is None:
            return self._new(image, axes, None)
        opened = self.opened_of(into)
        if opened is not None:
            layer_tools.replaced_data(into, opened)
            layer_tools.check_same_place(image, into, axes)
            opened.name, opened.axes = image.name, axes
            opened.image = layer_tools.image_data(image)
            self._pair(opened, image)
            return opened
        layer_tools.check_same_place(image, into, axes)
        opened = self._new(image, axes, into)
        self._show(opened, into)
        return opened

    def check_writable(self) -> None:
        """Refuse to change labels of a project that another window writes.

        Raises
        ------
        ProjectError
            Saying why it is read-only.
        """
        project = self.session.project
        if project is not None and project.read_only:
            raise ProjectError(project.reason)

    def _new(self, image: Image, axes: str, into: Labels | None) -> OpenImage:
        labels = None if into is None else np.asarray(layer_tools.image_data(into))
        opened = self.session.add_image(
            image.name, layer_tools.image_data(image), axes, labels
        )
        if labels is not None:  # what the user brought is the user's work
            opened.corrections.accept_existing()
            opened.saved_revision = opened.corrections.revision
        opened.channel = channel_for(self, image, axes)
        self._pair(opened, image)
        return opened

    def _pair(self, opened: OpenImage, image: Image) -> None:
        """Take note of the layer that shows an image, and follow its place."""
        self._images[opened] = image
        self._places[opened] = layer_tools.spatial_transform(image, opened.axes)
        for name in layer_tools.MOVES:
            getattr(image.events, name).connect(self._on_image_moved)
        self._describe(opened)

    def _describe(self, opened: OpenImage) -> None:
        """Tell the session how an image and its labels are shown, for the project."""
        layer, image = self._labels.get(opened), self._images.get(opened)
        if layer is not None:
            name = layer.name
        else:
            name = opened.source.labels_name if opened.source else ""
        if image is not None:
            opened.source = layer_tools.image_source(image, name)
            opened.pixel_size = pixel_size_of(image, opened.axes)

    def restore(self, opened: OpenImage, image: Image) -> None:
        """Show an image that a project brought back, on its layer."""
        self._pair(opened, image)
        self._show(opened)
        self.restored.emit()

    def show(self, opened: OpenImage) -> None:
        """Show the labels of an image again whose layer was deleted."""
        if opened not in self._labels:
            opened.shown = True
            self._show(opened)
            self.session.images_changed.emit()

    def _show(self, opened: OpenImage, layer: Labels | None = None) -> Labels:
        """Show the corrections of an image in a layer, a new one unless given."""
        if layer is None:
            image = self._images[opened]
            named = opened.source.labels_name if opened.source else ""
            layer = Labels(
                opened.corrections.labels,
                name=named or layer_tools.labels_name(image),
                opacity=layer_tools.LABELS_OPACITY,
                **self._places[opened],
            )
            self._labels[opened] = layer
            mine = image is layer_tools.unwrapped(
                self.image
            )  # else the user may draw elsewhere
            with nullcontext() if mine else undisturbed(self.viewer):
                self.viewer.add_layer(layer)
        self._labels[opened] = layer
        session = self.session
        self._releases[opened] = layer_tools.bind(
            layer, opened,
            partial(step_unless_read_only, session, session.undo, opened),
            partial(step_unless_read_only, session, session.redo, opened),
        )  # fmt: skip
        layer.metadata[layer_tools.PROVENANCE] = partial(provenance, session, opened)
        layer.events.paint.connect(self._on_layer_painted)
        layer.events.editable.connect(self._on_layer_editable)
        self._on_layer_editable()
        self._describe(opened)
        self.layers_changed.emit()
        return layer

    def _on_session_labels_changed(
        self, opened: OpenImage, window: Region | None
    ) -> None:
        layer = self._labels.get(opened)
        if layer is None and self._awaits_layer(opened):
            self._to_show.append(opened)
            QTimer.singleShot(0, self._show_waiting)
        elif layer is not None and window is not None:
            refresh_part(layer, window)
        self._tally_timer.start()

    def _awaits_layer(self, opened: OpenImage) -> bool:
        """Tell whether an image was never shown; of a deleted layer it was."""
        known = opened in self._images and opened in self.session.images
        return known and opened.shown and opened not in self._labels

    def _show_waiting(self) -> None:
        """Add layers in a turn of their own: napari takes up to 0.4 s for its first."""
        waiting, self._to_show = self._to_show, []
        for opened in waiting:
            if self._awaits_layer(opened):
                self._show(opened)
                self.session.labels_changed.emit(opened, None)

    def forget_unshown(self) -> None:
        """Forget images whose first prediction failed: no layer shows them."""
        for opened in [each for each in self._images if self._awaits_layer(each)]:
            self.forget(opened)

    def forget(self, opened: OpenImage) -> None:
        """Forget an image and its corrections."""
        self.leave([opened])
        self.session.remove_image(opened)

    def leave(self, images: Iterable[OpenImage]) -> None:
        """Show images no longer that the session has let go of."""
        for opened in images:
            layer = self._labels.get(opened)
            if layer is not None:
                self._part(opened, layer)
                self.viewer.layers.remove(layer)
            for known in (self._images, self._places):
                known.pop(opened, None)

    def _part(self, opened: OpenImage, layer: Labels) -> None:
        """Take a layer from the corrections that it shows; they stay in the session."""
        self._take_replaced(opened, layer)
        opened.corrections.commit()
        del self._labels[opened]
        layer.events.paint.disconnect(self._on_layer_painted)
        layer.events.editable.disconnect(self._on_layer_editable)
        self._releases.pop(opened)()
        layer.metadata.pop(layer_tools.PROVENANCE, None)

    # -- what people and plugins do to layers

    def settle(self) -> None:
        """Count strokes now, and take labels that another plugin assigned as edits."""
        for opened, layer in list(self._labels.items()):
            self._take_replaced(opened, layer)

    def _take_replaced(self, opened: OpenImage, layer: Labels) -> None:
        try:
            if layer_tools.replaced_data(layer, opened):
                show_warning(
                    f"The labels of {layer.name} were replaced by another tool; "
                    "the differences count as edits and can be undone."
                )
        except UnetError as error:
            show_warning(str(error))

    def _on_layers_inserted(self, event: Any) -> None:
        layer = event.value
        layer.events.name.connect(self._on_layer_renamed)
        opened = self._removed.pop(layer, None)
        if opened in self.session.images and opened not in self._labels:
            opened.shown = True  # what was painted on it elsewhere is taken as an edit
            self._labels[opened] = layer
            self._take_replaced(opened, layer)
            self._show(opened, layer)
        self.layers_changed.emit()

    def _on_layers_removed(self, event: Any) -> None:
        """Keep the corrections of a labels layer that the user deleted."""
        layer = event.value
        opened = self.opened_of(layer)
        if opened is not None:
            self._part(opened, layer)
            opened.shown = False
            self._removed[layer] = opened
            self.session.images_changed.emit()
        self.layers_changed.emit()
        self.corrections_changed.emit()

    def _on_layer_renamed(self, event: Any) -> None:
        opened = self.opened_of(event.source)
        if opened is not None:
            self._describe(opened)
        self.layers_changed.emit()

    def _on_tally_due(self) -> None:
        if layer_tools.stroke_goes_on():
            self._tally_timer.start()
        else:
            self.corrections_changed.emit()

    def _on_layer_painted(self, _: Any) -> None:
        self._tally_timer.start()

    def _on_layer_editable(self, _: Any = None) -> None:
        """Let nobody paint where nothing is kept; new data let them again."""
        if self._read_only:
            self.show_editable()

    @property
    def _read_only(self) -> bool:
        project = self.session.project
        return project is not None and project.read_only

    def show_editable(self) -> None:
        """Let napari's tools work on labels layers unless the project is read-only."""
        for layer in self._labels.values():
            if layer.editable == self._read_only:
                layer.editable = not self._read_only

    def _on_image_moved(self, event: Any) -> None:
        """Let labels follow an image on which they lay, to its new scale or place."""
        for opened, image in list(self._images.items()):
            layer = self._labels.get(opened)
            if image is not event.source:
                continue
            there = layer_tools.spatial_transform(image, opened.axes)
            if layer is not None and layer_tools.lies_at(layer, self._places[opened]):
                layer_tools.move_to(layer, there)
            self._places[opened] = there
            self._describe(opened)


def provenance(session: Session, opened: OpenImage, labels: Any) -> Provenance | None:
    """Return where labels come from; None unless they are the corrections themselves.

    A duplicate of a layer takes the metadata along, and is then changed elsewhere.
    """
    if labels is not opened.corrections.labels:
        return None
    return provenance_of(opened, session.version)


def step_unless_read_only(
    session: Session, step: Callable[[OpenImage], None], opened: OpenImage
) -> None:
    """Undo or redo by a key of napari, unless another window writes the project."""
    project = session.project
    if project is not None and project.read_only:
        show_warning(project.reason)
    else:
        step(opened)
