"""Step 3: see what is corrected, accept what is right, save the masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from napari.utils import DirectLabelColormap
from qtpy.QtWidgets import QCheckBox, QFormLayout

from napari_unet.engine.corrections import ACCEPTED, EDITED
from napari_unet.qt.layers import current_slice, visible_region
from napari_unet.qt.parts import LayerChooser, Panel, ask_save, enable

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet.opened import OpenImage

COLORS = {None: "transparent", 0: "transparent", EDITED: "orange", ACCEPTED: "lime"}
MASKS = "TIFF (*.tif *.tiff);;PNG, one plane (*.png)"


class CorrectPanel(Panel):
    """Paint with napari's own tools; accept, undo, save here."""

    name = "correct"
    title = "Correct"

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self._overlay: Any = None
        self.labels = LayerChooser(
            bench, Labels, "unet.correct.labels",
            "The labels layer under correction; paint on it with napari's own tools",
        )  # fmt: skip
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Labels", self.labels.native)
        self.rows.addLayout(form)
        self._make_buttons()
        self.rows.addWidget(self.summary)
        bench.session.labels_changed.connect(self._on_session_labels_changed)
        bench.corrections_changed.connect(self._on_bench_corrections_changed)
        bench.layers_changed.connect(self._on_bench_corrections_changed)
        bench.runner.ended.connect(self._on_runner_ended)
        self.labels.box.changed.connect(self._on_bench_corrections_changed)
        self._on_bench_corrections_changed()

    def _make_buttons(self) -> None:
        make, session = self.button, self.bench.session
        self.accept_view = make(
            "accept_view", "Accept view",
            "Mark all that is visible now as right: it is protected, and fine-tuning "
            "learns from it (Shift+A)",
            lambda: self._on_region_clicked(session.accept, visible_region),
        )  # fmt: skip
        self.accept_slice = make(
            "accept_slice", "Accept slice", "Mark all of the current slice as right",
            lambda: self._on_region_clicked(session.accept, current_slice),
        )  # fmt: skip
        self.accept_object = make(
            "accept_object", "Accept object",
            "Mark the object with the selected label as right, in the current slice; "
            "pick it with the layer's colour picker",
            self._on_accept_object_clicked,
        )  # fmt: skip
        self.unaccept = make(
            "unaccept", "Un-accept",
            "Take back what was accepted in the visible part; edits stay",
            lambda: self._on_region_clicked(session.unaccept, visible_region),
        )  # fmt: skip
        self.undo = make(
            "undo", "Undo",
            "Take back the last stroke, prediction or acceptance (Ctrl+Z)",
            lambda: self._on_history_clicked("undo"),
        )  # fmt: skip
        self.redo = make(
            "redo", "Redo", "Do again what was undone (Ctrl+Shift+Z)",
            lambda: self._on_history_clicked("redo"),
        )  # fmt: skip
        self.save = make(
            "save", "Save masks...", "Write the labels as TIFF or PNG",
            self._on_save_clicked,
        )  # fmt: skip
        self.show_edited = QCheckBox("Show what is edited and accepted")
        self.show_edited.setObjectName("unet.correct.show_edited")
        self.show_edited.setToolTip("An overlay: edited orange, accepted green")
        self.show_edited.toggled.connect(self._on_show_edited_toggled)
        self.row(self.accept_view, self.accept_slice)
        self.row(self.accept_object, self.unaccept)
        self.row(self.undo, self.redo, self.save)
        self.rows.addWidget(self.show_edited)

    @property
    def opened(self) -> OpenImage | None:
        """The image whose labels layer is chosen."""
        layer = self.labels.layer
        return None if layer is None else self.bench.opened_of(layer)

    # -- what the user does

    def _on_region_clicked(
        self, act: Callable[[OpenImage, Any], None], region: Callable[..., Any]
    ) -> None:
        opened = self.opened
        if opened is not None:
            self.bench.settle()
            layer = self.labels.layer
            act(opened, region(self.bench.viewer, layer, layer.ndim))

    def _on_accept_object_clicked(self) -> None:
        opened, layer = self.opened, self.labels.layer
        if opened is None:
            return
        here = current_slice(self.bench.viewer, layer, layer.ndim)
        label = int(layer.selected_label)
        if label == 0 or not (opened.corrections.labels[here] == label).any():
            self.summary.setText(
                f"Label {label} is no object in this slice: pick one with the layer's "
                "colour picker first."
            )
            return
        self.bench.session.accept_object(opened, label, here)

    def _on_history_clicked(self, way: str) -> None:
        opened = self.opened
        if opened is not None:
            getattr(self.bench.session, way)(opened)

    def _on_save_clicked(self) -> None:
        opened = self.opened
        if opened is None:
            return
        self.bench.settle()
        path = ask_save(self, "Save masks", f"{opened.name}_labels.tif", MASKS)
        if path is not None:
            self.bench.run(self.name, self.bench.session.save_labels_job, opened, path)

    def _on_show_edited_toggled(self, shown: bool) -> None:
        viewer = self.bench.viewer
        if self._overlay in viewer.layers:
            viewer.layers.remove(self._overlay)
        self._overlay = None
        opened, layer = self.opened, self.labels.layer
        if shown and opened is not None:
            active = viewer.layers.selection.active
            self._overlay = Labels(
                opened.corrections.state, name=f"{opened.name} - corrected",
                colormap=DirectLabelColormap(color_dict=COLORS), opacity=0.25,
                scale=layer.scale, translate=layer.translate,
                metadata={"unet overlay": True},
            )  # fmt: skip
            viewer.add_layer(self._overlay)
            self._overlay.editable = False
            viewer.layers.selection.active = active

    # -- what changes

    def _on_session_labels_changed(self, opened: OpenImage, _: Any) -> None:
        """Follow the prediction to its layer."""
        layer = self.bench.layer_of(opened)
        if layer is not None and self.opened is None:
            self.labels.choose(layer)

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        if job.title.startswith("Saving masks") and problem:
            self.summary.setText(problem)

    def _on_bench_corrections_changed(self, _: Any = None) -> None:
        opened = self.opened
        reason = "" if opened else "predict first, then correct the labels layer"
        for button in (
            self.accept_view, self.accept_slice, self.accept_object, self.unaccept,
            self.save,
        ):  # fmt: skip
            enable(button, reason)
        history = opened.corrections.history if opened else None
        enable(self.undo, "" if history and history.last else "nothing to undo")
        enable(self.redo, "" if history and history.next else "nothing to redo")
        self._update_overlay(opened)
        self.summary.setText(summary_of(opened) if opened else self._advice())

    def _update_overlay(self, opened: OpenImage | None) -> None:
        """Draw the overlay anew; hide it when it is of labels no longer chosen."""
        if self._overlay is None:
            return
        gone = self._overlay not in self.bench.viewer.layers
        if gone or opened is None or self._overlay.data is not opened.corrections.state:
            self.show_edited.setChecked(False)
        else:
            self._overlay.refresh()

    def _advice(self) -> str:
        if not self.bench.layers(Image):
            return "Nothing to correct yet: open an image and predict."
        return "Nothing to correct yet: predict first."


def summary_of(opened: OpenImage) -> str:
    """Say how much of an image is corrected, and whether it is saved."""
    tally = opened.corrections.tally()
    if not tally:
        return "Nothing corrected yet: paint on the layer, or accept what is right."
    corrected = tally.edited_pixels + tally.accepted_pixels
    share = percent(corrected, opened.corrections.labels.size)
    saved = "not saved yet" if opened.unsaved else "saved"
    return (
        f"{tally.edited_objects:,} edited and {tally.accepted_objects:,} accepted "
        f"objects ({share} of the pixels); {saved}"
    )


def percent(part: int, whole: int) -> str:
    """Return a share in per cent, never 0 for something."""
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
