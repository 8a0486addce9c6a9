"""Step 2: predict labels for an image."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Shapes
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QProgressBar,
)

from napari_unet.engine.config import BlockDone, LabelsConfig, PartDone, TileDone
from napari_unet.errors import ImageError, UnetError
from napari_unet.qt.forms import ConfigForm
from napari_unet.qt.image_facts import ImageFacts
from napari_unet.qt.layer_axes import channel_for, layer_axes
from napari_unet.qt.layers import (
    NEARLY_ALL,
    check_in_view,
    current_slice,
    visible_region,
    without_channels,
)
from napari_unet.qt.outlines import drawn_region
from napari_unet.qt.parts import LayerChooser, Panel, enable, side_by_side
from napari_unet.session import SOON, Several

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.opened import OpenImage

NEW = "new layer"
ALL_IMAGES = "all images"
SCOPES = {
    "view": "what is visible now (all of an axis if most of it is)",
    "slice": "the whole of the current slice",
    "region": "what is drawn in a shapes layer (rectangles, polygons, ellipses)",
    "everything": "all slices; what is in view first",
    ALL_IMAGES: "everything of every open image, one after another",
}
SMALL_PART = 0.3  # of everything; so much in view is predicted first
MOST_SAID = 3  # images that could not be predicted
READY = "Ready to predict."
PARTLY = (
    "Cancelled: what was predicted by then stays; objects may be cut where its parts "
    "met, and of several looks it may be the first alone. Undo takes it back."
)


class PredictPanel(Panel):
    """Choose an image, press Predict, adjust the labels."""

    name = "predict"
    title = "Predict"

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self._opened: OpenImage | None = None
        self._state = ""  # the last sentence about what is missing
        self._began_with: LabelsConfig | None = None  # of this panel's prediction
        self._kept: Any = None  # scores that were there before it
        self._partly = False  # whether parts of it are shown
        self._several: Several | None = None  # images that it is a part of
        self.image = LayerChooser(
            bench, Image, "unet.predict.image", "The image layer to predict on"
        )
        self.labels = LayerChooser(
            bench, Labels, "unet.predict.labels",
            "The labels layer that takes the prediction; edits and accepted places in "
            "it are kept",
            first=NEW,
        )  # fmt: skip
        self.shapes = LayerChooser(
            bench, Shapes, "unet.predict.region",
            "The shapes layer with the region: its selected shapes, or all of them",
        )  # fmt: skip
        self.facts = ImageFacts(bench, self.image, self.summary.setText)
        self._make_inputs()
        self.run = self.button(
            "run", "Predict", "Run the network (Shift+R)", self._on_run_clicked
        )
        self.cancel = self.button(
            "cancel", "Cancel",
            "Stop; of large images, what was predicted by then stays, and one Undo\n"
            "takes it back (Shift+Escape)",
            bench.runner.cancel,
        )  # fmt: skip
        self.row(self.run, self.cancel)
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.bar.hide()
        self.rows.addWidget(self.bar)
        self.settings: ConfigForm[LabelsConfig] = ConfigForm(
            LabelsConfig(), ("threshold", "split", "smallest", "fill_holes"), "predict",
            {"fill_holes": "holes"},
        )  # fmt: skip
        self.rows.addWidget(self.settings)
        self.rows.addWidget(self.summary)
        self._connect()
        self._on_image_changed()
        self._update_buttons()

    def _make_inputs(self) -> None:
        self.scope = QComboBox()
        self.scope.setObjectName("unet.predict.scope")
        self.scope.setToolTip("Where to predict: " + "; ".join(
            f"{name}: {text}" for name, text in SCOPES.items()
        ))  # fmt: skip
        self.scope.addItems(list(SCOPES))
        self.scope.currentTextChanged.connect(self._on_scope_changed)
        self._on_scope_changed(self.scope.currentText())
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Image", self.image.native)
        self.facts.add_to(form)
        where = side_by_side(self.scope, QLabel("in"), self.shapes.native)
        where.setStretch(0, 1)
        where.setStretch(2, 1)
        form.addRow("Where", where)
        form.addRow("Into", self.labels.native)
        self.rows.addLayout(form)

    def _connect(self) -> None:
        bench = self.bench
        self.image.box.changed.connect(self._on_image_changed)
        self.settings.valueChanged.connect(self._on_settings_changed)
        self.settings.valueChanged.connect(self._share_config)
        self.facts.channel_changed.connect(self._share_config)
        bench.layers_changed.connect(self._on_bench_layers_changed)
        bench.restored.connect(self._on_image_changed)
        bench.session.model_changed.connect(self._on_session_model_changed)
        bench.session.labels_changed.connect(self._on_session_labels_changed)
        bench.session.place_reached.connect(self._on_session_place_reached)
        bench.runner.busy_changed.connect(self._on_runner_busy_changed)
        bench.runner.progressed.connect(self._on_runner_progressed)
        bench.runner.ended.connect(self._on_runner_ended)

    # -- what the user does

    def _on_run_clicked(self) -> None:
        self._partly = False
        if self.bench.run(self.name, self._make_job):
            self.summary.setText("Predicting ...")
        elif not self.bench.runner.busy:
            self._several = None

    def _make_job(self) -> Any:
        bench = self.bench
        bench.settle()
        if bench.session.model is None:
            raise UnetError("No model is loaded: choose one in the Model panel first.")
        if self.scope.currentText() == ALL_IMAGES:
            return self._make_several()
        opened = self._open_chosen()
        region, within = self._asked(opened)
        first = self._first(opened, region)
        return bench.session.predict_job(
            opened, bench.predict_config, region, within, first
        )

    def _open_chosen(self) -> OpenImage:
        bench = self.bench
        opened = bench.open(self.image.layer, self.facts.axes, self.labels.layer)
        self.facts.show_pixel_size()  # the layer may have got another scale
        self._opened, opened.channel = opened, self.facts.channel
        self._began_with, self._kept = self.settings.value(), opened.kept
        self._share_config()
        return opened

    def _make_several(self) -> Any:
        """Return a job for all images, the chosen one first."""
        bench, chosen = self.bench, self.image.layer
        others = [each for each in bench.layers(Image) if each is not chosen]
        images = [(chosen.name, self._open_chosen)]
        images += [(each.name, partial(self._open_other, each)) for each in others]
        self._several = several = Several(len(images))
        self._share_config()
        job = bench.session.predict_several_job(images, bench.predict_config, several)
        if job is None:
            self._several = None
            name, why = several.left_out[0]
            raise UnetError(f"No image can be predicted; {name}: {why}")
        return job

    def _open_other(self, layer: Image) -> OpenImage:
        """Return an image as it would be predicted if it were chosen."""
        bench = self.bench
        if layer not in bench.layers(Image):
            raise ImageError("it was closed meanwhile")
        bench.settle()
        model = bench.session.model
        axes = layer_axes(layer, model.spec.architecture if model else None)
        opened: OpenImage = bench.open(layer, axes, bench.labels_of(layer))
        opened.channel = channel_for(bench, layer, axes)
        return opened

    def _share_config(self, _: Any = None) -> None:
        """Let the bench know the settings; previews of versions use them too."""
        chosen = {**self.settings.value().model_dump(), "channel": self.facts.channel}
        bench = self.bench
        bench.predict_config = bench.predict_config.model_copy(update=chosen)

    def _asked(
        self, opened: OpenImage
    ) -> tuple[Region | None, NDArray[np.bool_] | None]:
        """Return the part of the labels that the chosen scope means, and its pixels."""
        scope, layer = self.scope.currentText(), self.image.layer
        if scope == "everything":
            return None, None
        viewer, ndim, within = self.bench.viewer, layer.ndim, None
        if scope == "region":
            region, within = drawn_region(viewer, self.shapes.layer, layer, ndim)
        elif scope == "view":
            check_in_view(viewer, layer)
            region = visible_region(viewer, layer, ndim, NEARLY_ALL)
        else:
            region = current_slice(viewer, layer, ndim)
        region = without_channels(region, layer, opened.axes)
        if within is not None:  # a channel axis was one long
            within = within.reshape([s.stop - s.start for s in region])
        return region, within

    def _first(self, opened: OpenImage, region: Region | None) -> Region | None:
        """Return what is in view, where that is a small part of all that is asked for.

        It is predicted first, so that the user sees something soon.
        """
        viewer, layer = self.bench.viewer, self.image.layer
        if region is not None or viewer.dims.ndisplay == 3:
            return None
        view = visible_region(viewer, layer, layer.ndim)
        view = without_channels(view, layer, opened.axes)
        pixels = prod(s.stop - s.start for s in view)
        whole = prod(opened.corrections.shape)
        return view if pixels < SMALL_PART * whole and whole > SOON else None

    def _on_scope_changed(self, scope: str) -> None:
        self.shapes.native.setEnabled(scope == "region")

    def _on_settings_changed(self, config: LabelsConfig) -> None:
        """Make the labels again from the kept scores, without the network."""
        opened = self._opened
        if opened is not None and opened.kept is not None:
            self.bench.run(self.name, self.bench.session.relabel_job, opened, config)

    # -- what changes

    def _on_image_changed(self, _: Any = None) -> None:
        layer = self.image.layer
        self.bench.choose_image(layer)
        self.labels.box.value = self.bench.labels_of(layer)
        self.facts.show_image()
        self._update_buttons()

    def _on_bench_layers_changed(self) -> None:
        if self.facts.axes == "" or self.image.layer is None:
            self._on_image_changed()
        self._update_buttons()

    def _on_session_model_changed(self) -> None:
        self._on_image_changed()

    def _on_session_labels_changed(self, opened: OpenImage, _: Any) -> None:
        if opened is self._opened:
            layer = self.bench.layer_of(opened)
            if layer is not None:
                self.labels.choose(layer)
            self.summary.setText(opened.summary)

    def _on_session_place_reached(self, opened: OpenImage, _: Any) -> None:
        """Follow the user to another image."""
        self.image.choose(self.bench.image_of(opened))

    def _on_runner_busy_changed(self, _: bool) -> None:
        self._update_buttons()

    def _update_buttons(self) -> None:
        busy = self.bench.runner.busy
        reason = ""
        if busy:
            reason = "another job is running"
        elif self.bench.session.model is None:
            reason = "no model is loaded"
        elif self.image.layer is None:
            reason = "no image layer is open"
        enable(self.run, reason)
        enable(self.cancel, "" if busy else "nothing is running")
        if not busy:
            self.bar.hide()
        self._say_state("" if busy else reason)

    def _say_state(self, reason: str) -> None:
        """Say what is missing; replaces only what was said of the same."""
        text = f"{reason.capitalize()}." if reason else READY
        if self.summary.text() in ("", self._state):
            self.summary.setText(text)
        self._state = text

    def _on_runner_progressed(self, _: Any, event: Any) -> None:
        self._partly = self._partly or isinstance(event, PartDone)
        if isinstance(event, TileDone):
            making = isinstance(event, BlockDone)
            text = "making labels: %p%" if making else "%p%"
            if (several := self._several) is not None:
                number = several.predicted + len(several.left_out) + 1
                text = f"image {number} of {several.total}: {text}"
            self.bar.setFormat(text)
            self.bar.setRange(0, event.total)
            self.bar.setValue(event.done)
            self.bar.show()

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        if not self.bench.runner.busy:  # labels of a large plane show it, too
            self.bar.hide()
        if not job.title.startswith("Predicting"):
            return
        opened, began_with = self._opened, self._began_with
        several, self._several, self._began_with = self._several, None, None
        if several is not None:
            self.summary.setText(several_in_words(several, problem))
        elif opened is None:
            return
        elif problem:
            shown = self._partly or opened.kept is not self._kept
            if problem == "cancelled":
                problem = PARTLY if shown else "Cancelled"
            self.summary.setText(problem)
        elif began_with not in (None, self.settings.value()):  # moved meanwhile
            self._on_settings_changed(self.settings.value())


def several_in_words(several: Several, problem: str) -> str:
    """Say what became of several images.

    Parameters
    ----------
    several : those that were to be predicted
    problem : what ended it before its time, or ""
    """
    done = several.predicted + len(several.left_out)
    if problem == "cancelled":
        return (
            f"Cancelled after {done} of {several.total} images; what was predicted by "
            "then stays."
        )
    text = f"{several.predicted} of {several.total} images predicted."
    left_out = [f"{name}: {why}" for name, why in several.left_out]
    if problem:
        left_out.append(problem)
    if len(left_out) > MOST_SAID:
        more = len(left_out) - MOST_SAID
        left_out[MOST_SAID:] = [f"and {more} more"]
    return "\n".join([text, *left_out])
