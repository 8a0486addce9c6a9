"""The overlay that shows what is edited, accepted and ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.utils import DirectLabelColormap

from napari_unet.qt.correct_words import STATES
from napari_unet.qt.layers import MOVES, lies_at, move_to, transform_of
from napari_unet.qt.overlays import OVERLAY

if TYPE_CHECKING:
    from napari_unet.opened import OpenImage
    from napari_unet.qt.bench import Bench

OPACITY = 0.35
COLORS: dict[int | None, str] = {None: "transparent", 0: "transparent", **STATES}


class Overlay:
    """A layer of states over a labels layer, while the user wants it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._layer: Labels | None = None
        self._labels: Labels | None = None

    def show(self, opened: OpenImage, labels: Labels) -> None:
        """Show the states of an image over its labels layer."""
        self.hide()
        viewer = self._bench.viewer
        active = viewer.layers.selection.active
        layer = Labels(
            opened.corrections.state, name=f"{opened.name} - corrected",
            colormap=DirectLabelColormap(color_dict=COLORS), opacity=OPACITY,
            metadata={OVERLAY: True}, **transform_of(labels),
        )  # fmt: skip
        self._layer, self._labels = layer, labels
        viewer.add_layer(layer)
        layer.editable = False
        if active in viewer.layers:
            viewer.layers.selection.active = active
        for name in MOVES:
            getattr(labels.events, name).connect(self._on_labels_moved)

    def hide(self) -> None:
        """Take the overlay away."""
        if self._labels is not None:
            for name in MOVES:
                getattr(self._labels.events, name).disconnect(self._on_labels_moved)
        layer, self._layer, self._labels = self._layer, None, None
        if layer is not None and layer in self._bench.viewer.layers:
            self._bench.viewer.layers.remove(layer)

    def follows(self, opened: OpenImage | None) -> bool:
        """Draw what changed; tell whether there still is something to show.

        A hidden layer is not drawn; napari draws it when it is made visible.
        """
        layer = self._layer
        if layer is None or opened is None or layer not in self._bench.viewer.layers:
            return False
        if layer.data is not opened.corrections.state:
            return False
        if layer.visible:
            layer.refresh()
        return True

    def _on_labels_moved(self, _: Any) -> None:
        """Lie where the labels lie."""
        if self._layer is not None and self._labels is not None:
            there = transform_of(self._labels)
            if not lies_at(self._layer, there):
                move_to(self._layer, there)
