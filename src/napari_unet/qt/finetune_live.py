"""While it trains: previews of what is visible, and corrections that join."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QCheckBox

from napari_unet.errors import UnetError
from napari_unet.learning import Watch
from napari_unet.qt import previews
from napari_unet.qt.layers import camera_of, stroke_goes_on
from napari_unet.steps import DRAFT

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_unet.engine.model import Model
    from napari_unet.learning import PreviewDone
    from napari_unet.qt.bench import Bench
    from napari_unet.steps import Preview, View

VIEW_PAUSE = 300  # milliseconds after the view moved
JOIN_PAUSE = 3000  # milliseconds between corrections sent into a training
LARGEST = 1024  # pixels; of a larger view only the middle is tried


class LiveTraining(QObject):
    """Shows what the model in training finds, and tells it what is corrected.

    Parameters
    ----------
    bench : of the panel
    parent : the panel

    Attributes
    ----------
    box : switches previews on and off
    joined : how often corrections were sent into the training
    """

    def __init__(self, bench: Bench, parent: QObject) -> None:
        super().__init__(parent)
        self._bench = bench
        self._training = False
        self._layer: Image | None = None  # that is watched
        self._known = 0
        self.joined = 0
        self.box = QCheckBox("Preview while training")
        self.box.setObjectName("unet.finetune.preview")
        self.box.setToolTip(
            "Every few seconds, outline what the model in training finds in view; your "
            "labels stay as they are"
        )
        self.box.setChecked(True)
        self.box.toggled.connect(self._on_box_toggled)
        self._look = QTimer(self, singleShot=True, interval=VIEW_PAUSE)
        self._look.timeout.connect(self._watch)
        self._join = QTimer(self, singleShot=True, interval=JOIN_PAUSE)
        self._join.timeout.connect(self._send_corrections)
        viewer = bench.viewer
        camera = camera_of(viewer)
        camera.events.center.connect(self._on_view_moved)
        camera.events.zoom.connect(self._on_view_moved)
        viewer.dims.events.point.connect(self._on_view_moved)
        bench.corrections_changed.connect(self._on_bench_corrections_changed)

    def view(self) -> View | None:
        """Return what is to be watched; None: nothing."""
        model = self._bench.session.model
        if not self.box.isChecked() or model is None:
            self._layer = None
            return None
        try:
            return self.look(model)
        except UnetError:
            return None

    def look(self, model: Model) -> View:
        """Return what is visible, where previews are shown from now on.

        Raises
        ------
        ImageError
            If no image is open.
        """
        self._layer = None
        view, self._layer = previews.visible_view(self._bench, model, LARGEST)
        return view

    def begin(self) -> None:
        """Take note that a training begins."""
        self._training, self.joined = True, 0
        self._known = self._revision()

    def end(self) -> None:
        """Take note that it ended."""
        self._training = False
        self._join.stop()
        self._look.stop()
        self._hide()

    def show(self, done: PreviewDone) -> None:
        """Show a preview, unless it was switched off meanwhile, or a stroke goes on."""
        wanted = self._training and self.box.isChecked()
        if wanted and not stroke_goes_on():
            self._put(done.preview)

    def show_draft(self, preview: Preview) -> None:
        """Show what the draft finds."""
        self._put(preview)

    def hide_draft(self) -> None:
        """Take the preview of a draft away."""
        if previews.shown_as(self._bench.viewer, DRAFT) is not None:
            previews.remove(self._bench.viewer)

    def _put(self, preview: Preview) -> None:
        previews.show(self._bench.viewer, self._layer, preview)

    def _hide(self) -> None:
        """Take the preview away; those of versions stay."""
        if previews.shown_in_training(self._bench.viewer) is not None:
            previews.remove(self._bench.viewer)

    # -- what is sent into the training

    def _on_view_moved(self, _: Any = None) -> None:
        if self._training and self.box.isChecked():
            self._look.start()

    def _on_box_toggled(self, _: bool) -> None:
        if not self.box.isChecked():
            self._hide()
        if self._training:
            self._watch()

    def _watch(self) -> None:
        if self._training:
            self._bench.runner.send(Watch(self.view()))

    def _on_bench_corrections_changed(self) -> None:
        news = self._training and self._revision() != self._known
        if news and not self._join.isActive():
            self._join.start()

    def _send_corrections(self) -> None:
        if not self._training:
            return
        if stroke_goes_on():
            self._join.start()
            return
        self._bench.settle()
        try:
            more = self._bench.session.more_corrections()
        except UnetError:
            return  # all was undone: the training goes on with what it has
        self._known = self._revision()
        self.joined += 1
        self._bench.runner.send(more)

    def _revision(self) -> int:
        return sum(o.corrections.revision for o in self._bench.session.images)
