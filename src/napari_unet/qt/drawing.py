"""Drawing for a tool: a layer that is there while the user draws, and then gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet.qt.layers import camera_of, transform_of
from napari_unet.qt.overlays import OVERLAY

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_unet.qt.bench import Bench

COLOR = "#ffe119"
WIDTH = 4  # pixels of the screen
WAYS = {"line": "add_line", "outline": "add_polygon_lasso"}  # napari's own tools
PANNING = "pan_zoom"  # napari's mode while the space bar is held


class Drawing(QObject):
    """Lets the user draw one shape after the other over a labels layer.

    It ends by itself when the user turns to another layer or to another of the Shapes
    layer's tools, presses Escape, or shows the volume in 3D.
    """

    drawn = Signal(object)  # (N, number of the labels' axes) points, in their pixels
    ended = Signal()

    def __init__(self, bench: Bench, parent: QObject) -> None:
        super().__init__(parent)
        self._bench = bench
        self._labels: Labels | None = None
        self._shapes: Shapes | None = None
        self._mode = ""
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._take)
        self._left = QTimer(self, singleShot=True, interval=0)
        self._left.timeout.connect(self._stop_if_left)

    @property
    def on(self) -> bool:
        """Tell whether the user is asked to draw."""
        return self._shapes is not None

    def start(self, way: str, name: str, labels: Labels) -> None:
        """Let the user draw.

        Parameters
        ----------
        way : "line" or "outline"
        name : of the layer, such as "draw a line across the object"
        labels : the layer over which it lies
        """
        self.stop()
        viewer = self._bench.viewer
        shapes = Shapes(
            ndim=labels.ndim, name=name, edge_color=COLOR, face_color="transparent",
            opacity=1, metadata={OVERLAY: True}, **transform_of(labels),
        )  # fmt: skip
        self._labels, self._mode = labels, str(labels.mode)
        viewer.add_layer(shapes)
        viewer.layers.selection.active = shapes
        shapes.current_edge_color, shapes.current_face_color = COLOR, "transparent"
        shapes.mode = WAYS[way]
        self._shapes = shapes
        self._bind_keys(shapes, labels)
        self._connect(True)
        self._on_camera_zoomed()

    def _bind_keys(self, shapes: Shapes, labels: Labels) -> None:
        """Let Escape end, and undo and redo do on the labels what they always do."""
        shapes.bind_key("Escape", lambda _: self.stop(), overwrite=True)
        shapes.bind_key("Control-Z", lambda _: labels.undo(), overwrite=True)
        shapes.bind_key("Control-Shift-Z", lambda _: labels.redo(), overwrite=True)

    def _connect(self, on: bool) -> None:
        """Follow the viewer, or do so no longer."""
        viewer, shapes = self._bench.viewer, self._shapes
        if shapes is None:
            return
        for event, slot in (
            (shapes.events.data, self._on_shapes_data),
            (shapes.events.mode, self._on_shapes_mode),
            (viewer.layers.selection.events.active, self._on_active_changed),
            (viewer.dims.events.ndisplay, self._on_ndisplay_changed),
            (camera_of(viewer).events.zoom, self._on_camera_zoomed),
        ):
            (event.connect if on else event.disconnect)(slot)

    def stop(self) -> None:
        """Take the layer away; the labels layer is as it was before."""
        if self._shapes is None:
            return
        self._connect(False)
        self._soon.stop()
        self._left.stop()
        shapes, self._shapes = self._shapes, None
        layers = self._bench.viewer.layers
        active = layers.selection.active
        if shapes in layers:
            layers.remove(shapes)
        if self._labels in layers:
            if active in (shapes, None):
                layers.selection.active = self._labels
            if self._labels is not None and self._labels.editable:
                self._labels.mode = self._mode
        self._labels = None
        self.ended.emit()

    # -- what the user does

    def _on_shapes_data(self, event: Any) -> None:
        """Take a finished shape, in a turn of its own: napari is not done with it."""
        if event.action == "added":
            self._soon.start()

    def _take(self) -> None:
        shapes = self._shapes
        if shapes is None or not len(shapes.data):
            return
        points = np.array(shapes.data[-1], float)
        shapes.selected_data = set(range(shapes.nshapes))
        shapes.remove_selected()
        self.drawn.emit(points)

    def _on_shapes_mode(self, event: Any) -> None:
        if str(event.mode) not in (PANNING, *WAYS.values()):
            self.stop()

    def _on_active_changed(self, _: Any) -> None:
        """See in a turn of its own whether the user turned to another layer.

        A layer that is added is the active one for a moment.
        """
        self._left.start()

    def _stop_if_left(self) -> None:
        if self._bench.viewer.layers.selection.active is not self._shapes:
            self.stop()

    def _on_ndisplay_changed(self, _: Any) -> None:
        self.stop()

    def _on_camera_zoomed(self, _: Any = None) -> None:
        """Draw lines of the same width on the screen, however near the user is."""
        if self._shapes is not None:
            zoom = camera_of(self._bench.viewer).zoom * float(self._shapes.scale[-1])
            self._shapes.current_edge_width = WIDTH / max(zoom, 1e-6)
