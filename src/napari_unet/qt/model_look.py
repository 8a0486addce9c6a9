"""A quick look at the open image: whether what was guessed of the model is likely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_unet.errors import UnetError
from napari_unet.qt.layer_axes import channel_for, layer_axes
from napari_unet.qt.layers import image_data
from napari_unet.qt.parts import enable, side_by_side
from napari_unet.qt.pixel_size import pixel_size_of

if TYPE_CHECKING:
    from qtpy.QtWidgets import QPushButton

    from napari_unet.jobs import Job
    from napari_unet.qt.bench import Bench

TITLE = "Checking "


class LookRow(QWidget):
    """What a quick look found, a button to look again, one to take the better guess."""

    suggested = Signal(object)  # changes, as for revise_model

    def __init__(self, bench: Bench, look: QPushButton, use: QPushButton) -> None:
        super().__init__()
        self._bench, self._look, self._use = bench, look, use
        self.found = QLabel()
        self.found.setObjectName("unet.model.look_found")
        self.found.setWordWrap(True)
        self.found.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(side_by_side(look, use))
        layout.addWidget(self.found)
        look.clicked.connect(lambda _=False: self._on_look_clicked())
        use.clicked.connect(lambda _=False: self._on_use_clicked())
        bench.session.look_changed.connect(self._on_session_look_changed)
        bench.session.model_changed.connect(self._update)
        bench.layers_changed.connect(self._on_bench_layers_changed)
        bench.runner.ended.connect(self._on_runner_ended)
        self._on_session_look_changed()

    def _make(self) -> Job[Any]:
        session, layer = self._bench.session, self._bench.image
        if session.model is None or layer is None:
            raise UnetError("A look needs a model and an open image: load both first.")
        axes = layer_axes(layer, session.model.spec.architecture)
        return session.look_job(
            layer.name, image_data(layer), axes, pixel_size_of(layer, axes),
            channel_for(self._bench, layer, axes),
        )  # fmt: skip

    def _on_look_clicked(self) -> None:
        if self._bench.run("model", self._make):
            self.found.setText("Looking ...")

    def look_quietly(self) -> None:
        """Look, if an image is open; nobody asked, so nothing pops up."""
        session = self._bench.session
        runner = self._bench.runner
        running = runner.running("short")
        if session.model is None or self._bench.image is None:
            return
        if running is not None and running.title.startswith(TITLE):
            return  # another panel of the same viewer asked for it
        try:
            runner.run(self._make())
        except UnetError as error:
            self.found.setText(str(error))

    def _on_bench_layers_changed(self) -> None:
        """Look at the first image, where the model was loaded before it was opened."""
        self._update()
        session, image = self._bench.session, self._bench.image
        loaded = session.version is not None and session.version.base is None
        if loaded and session.look is None and image is not None:
            self.look_quietly()

    def _on_use_clicked(self) -> None:
        look = self._bench.session.look
        if look is not None and look.best is not None:
            self.suggested.emit(dict(look.best.changes))

    def _on_session_look_changed(self) -> None:
        look = self._bench.session.look
        self.found.setText(look.sentence if look else "")
        self._update()

    def _update(self) -> None:
        session = self._bench.session
        reason = "" if session.model else "no model is loaded"
        if not reason and self._bench.image is None:
            reason = "no image layer is open"
        enable(self._look, reason)
        better = session.look is not None and session.look.best is not None
        enable(self._use, "" if better else "no look found a better setting")

    def _on_runner_ended(self, job: Job[Any], problem: str) -> None:
        if job.title.startswith(TITLE) and problem:
            self.found.setText(problem)
