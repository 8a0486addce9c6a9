"""Step 3: correct with tools, accept what is right, save the masks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.compat import isalive
from qtpy.QtWidgets import QCheckBox, QFormLayout

from napari_unet.jobs import run_now
from napari_unet.qt import layers as layer_tools
from napari_unet.qt.actions import ACTIONS, keys_of
from napari_unet.qt.correct_overlay import Overlay
from napari_unet.qt.correct_words import (
    CLASSES,
    DRAWN,
    NOT_3D,
    ON_OBJECT,
    WHICH,
    summary_of,
    with_key,
)
from napari_unet.qt.drawing import Drawing
from napari_unet.qt.next_place import NextPlace
from napari_unet.qt.parts import LayerChooser, Panel, enable, side_by_side
from napari_unet.qt.saving import save_masks, save_pairs
from napari_unet.qt.tool_choice import AT_ONCE, use_of_line, use_on_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from qtpy.QtWidgets import QPushButton

    from napari_unet.jobs import Job
    from napari_unet.opened import OpenImage
    from napari_unet.tool_steps import ToolUse


class CorrectPanel(Panel):
    """Paint with napari's own tools; split, merge, accept, undo, save here."""

    name = "correct"
    title = "Correct"

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self._overlay = Overlay(bench)
        self._drawing = Drawing(bench, self)
        self._drawn_for = ""  # the tool that the user draws for
        self._jobs: list[Job[Any]] = []  # of tools, that run
        self._said_at: object = None  # what there was when a problem was told
        self._why_not: dict[str, str] = {}
        self._buttons: dict[str, QPushButton] = {}
        self.labels = LayerChooser(
            bench, Labels, "unet.correct.labels",
            "The labels layer under correction; paint on it with napari's own tools",
        )  # fmt: skip
        self._make_tools()
        self._make_rest()
        self._next = NextPlace(self, self.labels, self._drawing.stop)
        self._lay_out()
        self._connect()
        self._on_bench_corrections_changed()

    def _make(self, control: str, text: str, tip: str, pressed: Any) -> None:
        keys = keys_of(control) if control in ACTIONS else ""
        self._buttons[control] = self.button(
            control, text, with_key(tip, keys), pressed
        )

    def _make_tools(self) -> None:
        for control, (_, text, tip) in ON_OBJECT.items():
            on_object = partial(self._on_object_tool_clicked, control)
            keys = with_key(tip, keys_of(control))
            self._buttons[control] = self.button(
                control, text, f"{keys}.\n{WHICH}", on_object
            )
        for control, tool in DRAWN.items():
            self._make(
                control, tool.text, tool.tip,
                partial(self._on_draw_tool_clicked, control),
            )  # fmt: skip
            self._buttons[control].setCheckable(True)
        self._make(
            "new_label", "New label",
            "Paint a new object: takes the brush and a number that was never used",
            self._on_new_label_clicked,
        )  # fmt: skip

    def _make_rest(self) -> None:
        session, on_region = self.bench.session, self._on_region_clicked
        view, whole = layer_tools.visible_region, layer_tools.current_slice
        self._make(
            "accept_view", "Accept view",
            "Mark all that is visible now as right: it is protected, and fine-tuning "
            "learns from it",
            lambda: on_region(session.accept, view),
        )  # fmt: skip
        self._make(
            "accept_slice", "Accept slice", "Mark all of the current slice as right",
            lambda: on_region(session.accept, whole),
        )  # fmt: skip
        self._make(
            "unaccept", "Un-accept",
            "Take back what was accepted or ignored in the visible part; edits stay",
            lambda: on_region(session.unaccept, view),
        )  # fmt: skip
        self._make("undo", "Undo", "", partial(self._on_history_clicked, "undo"))
        self._make("redo", "Redo", "", partial(self._on_history_clicked, "redo"))
        self._make(
            "save", "Save masks...",
            "Write the labels as TIFF, PNG, OME-Zarr, ImageJ ROIs or COCO JSON",
            self._on_save_clicked,
        )  # fmt: skip
        self._make(
            "save_pairs", "Save pairs...",
            "Write all corrected images as a folder from which napari-unet train "
            "learns, only where they were corrected",
            lambda: save_pairs(self),
        )  # fmt: skip
        self.show_edited = QCheckBox("Show what is edited and accepted")
        self.show_edited.setObjectName("unet.correct.show_edited")
        self.show_edited.setToolTip(
            "An overlay: edited orange, accepted green, ignored blue"
        )

    def _lay_out(self) -> None:
        def row(*controls: str) -> Any:
            return side_by_side(*(self._buttons[control] for control in controls))

        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(6)
        chosen = side_by_side(self.labels.native, self._buttons["new_label"])
        chosen.setStretch(0, 1)
        form.addRow("Labels", chosen)
        form.addRow("Where", self._next.button)
        form.addRow("Draw", row("split", "merge", "ignore"))
        form.addRow("Object", row("delete", "fill_holes", "smooth"))
        form.addRow("", row("snap", "copy"))
        form.addRow("Right", row("accept_view", "accept_slice"))
        form.addRow("", row("accept_object", "unaccept"))
        form.addRow("Step", row("undo", "redo"))
        form.addRow("Hand on", row("save", "save_pairs"))
        self.rows.addLayout(form)
        self.rows.addWidget(self.show_edited)
        self.rows.addWidget(self.summary)

    def _connect(self) -> None:
        bench = self.bench
        bench.session.labels_changed.connect(self._on_session_labels_changed)
        bench.session.tool_used.connect(self._on_session_tool_used)
        bench.corrections_changed.connect(self._on_bench_corrections_changed)
        bench.layers_changed.connect(self._on_bench_corrections_changed)
        bench.runner.ended.connect(self._on_runner_ended)
        bench.viewer.dims.events.ndisplay.connect(self._on_dims_ndisplay_changed)
        self.labels.box.changed.connect(self._on_labels_chosen)
        self.show_edited.toggled.connect(self._on_show_edited_toggled)
        self._drawing.drawn.connect(self._on_drawing_drawn)
        self._drawing.ended.connect(self._on_drawing_ended)

    @property
    def opened(self) -> OpenImage | None:
        """The image whose labels layer is chosen."""
        layer = self.labels.layer
        return None if layer is None else self.bench.opened_of(layer)

    # -- tools

    def _on_bench_requested(self, action: str) -> None:
        """Let a key choose the object under the pointer before the tool is used."""
        if self.bench.answered or action not in self._buttons:
            return
        reason = self._why_not.get(action, "")
        if not reason and action in ON_OBJECT and not self._point():
            reason = "there is no object under the mouse pointer"
        if reason:
            self.bench.answered = True
            said = f"{self._buttons[action].text()}: {reason.rstrip('.')}."
            self._on_bench_said(self.name, said)
            return
        super()._on_bench_requested(action)

    def _point(self) -> bool:
        """Select the object under the pointer; tell if the pointer is on none."""
        layer = self.labels.layer
        label = layer_tools.label_under_pointer(self.bench.viewer, layer)
        if label:
            layer.selected_label = label
        return label != 0

    def _on_bench_said(self, panel: str, sentence: str) -> None:
        """Show a problem until something is done about it."""
        super()._on_bench_said(panel, sentence)
        if panel == self.name:
            self._said_at = self._moment()

    def _moment(self) -> object:
        opened = self.opened
        return (opened, opened.corrections.revision) if opened else None

    def _on_object_tool_clicked(self, control: str) -> None:
        opened, layer = self.opened, self.labels.layer
        self._drawing.stop()
        self._said_at = None
        if opened is None:
            return
        self.bench.settle()
        tool, corrections = ON_OBJECT[control].tool, opened.corrections
        viewer = self.bench.viewer
        self._try(opened, lambda: use_on_object(tool, corrections, viewer, layer))

    def _try(self, opened: OpenImage, choose: Callable[[], ToolUse]) -> None:
        self.bench.try_now(self.name, lambda: self._use(opened, choose()))

    def _use(self, opened: OpenImage, use: ToolUse) -> None:
        """Use a tool at once, or in a worker where that takes long."""
        job = self.bench.session.tool_job(opened, use)
        if use.pixels <= AT_ONCE:
            run_now(job)
        else:
            self._jobs.append(job)
            self.bench.runner.run(job)

    def _on_session_tool_used(
        self, opened: OpenImage, use: ToolUse, ids: tuple[int, ...]
    ) -> None:
        """Select what resulted, and go where it is."""
        layer = self.bench.layer_of(opened)
        if layer is None:
            return
        if ids:
            layer.selected_label = ids[0]
        if use.target is not None:
            layer_tools.go_to(self.bench.viewer, layer, use.target)

    def _on_new_label_clicked(self) -> None:
        opened, layer = self.opened, self.labels.layer
        self._drawing.stop()
        if opened is not None:
            opened.corrections.commit()
            layer.selected_label = opened.corrections.next_label
            layer.mode = "paint"
            self.bench.viewer.layers.selection.active = layer

    # -- drawing

    def _on_draw_tool_clicked(self, control: str) -> None:
        wanted = self._buttons[control].isChecked()
        self._drawing.stop()
        if wanted and self.opened is not None:
            self._drawn_for = control
            tool = DRAWN[control]
            self._drawing.start(tool.way, tool.layer, self.labels.layer)
            self._buttons[control].setChecked(True)
            self.summary.setText(tool.hint)

    def _on_drawing_drawn(self, points: NDArray[Any]) -> None:
        opened, layer = self.opened, self.labels.layer
        if opened is None:
            return
        self.bench.settle()
        self._said_at = None
        self.summary.setText(DRAWN[self._drawn_for].hint)
        tool, corrections = DRAWN[self._drawn_for].tool, opened.corrections
        if tool is None:
            axes = layer_tools.shown_axes(self.bench.viewer, layer)
            ignore = partial(self.bench.session.ignore, opened, points, axes)
            self.bench.try_now(self.name, ignore)
            return
        self._try(opened, lambda: use_of_line(tool, points, corrections, layer))

    def _on_drawing_ended(self) -> None:
        self._drawn_for, self._said_at = "", None
        for control in DRAWN:
            self._buttons[control].setChecked(False)
        self._on_bench_corrections_changed()

    def _on_dims_ndisplay_changed(self, _: Any) -> None:
        if isalive(self):
            self._update_buttons(self.opened)

    # -- the rest that the user does

    def _on_region_clicked(
        self, act: Callable[[OpenImage, Any], None], region: Callable[..., Any]
    ) -> None:
        opened = self.opened
        if opened is not None:
            self.bench.settle()
            layer = self.labels.layer
            act(opened, region(self.bench.viewer, layer, layer.ndim))

    def _on_history_clicked(self, way: str) -> None:
        opened = self.opened
        if opened is not None:
            getattr(self.bench.session, way)(opened)

    def _on_save_clicked(self) -> None:
        if self.opened is not None:
            save_masks(self, self.opened, self.labels.layer)

    def _on_show_edited_toggled(self, shown: bool) -> None:
        opened = self.opened
        if shown and opened is not None:
            self._overlay.show(opened, self.labels.layer)
        else:
            self._overlay.hide()

    # -- what changes

    def _on_session_labels_changed(self, opened: OpenImage, _: Any) -> None:
        """Follow the prediction to its layer; offer undo and redo at once."""
        layer = self.bench.layer_of(opened)
        if layer is not None and self.opened is None:
            self.labels.choose(layer)
        if self.opened is opened:
            self._update_buttons(opened)

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        mine = job in self._jobs
        if mine:
            self._jobs.remove(job)
        saving = job.title.startswith(("Saving masks", "Saving pairs"))
        if problem and (mine or saving):
            self._on_bench_said(self.name, problem)
        elif saving:
            said = f"{job.title.replace('Saving', 'Saved')}."
            self._on_bench_said(self.name, said)

    def _on_labels_chosen(self, _: Any = None) -> None:
        self._drawing.stop()
        self._on_bench_corrections_changed()

    def _on_bench_corrections_changed(self, _: Any = None) -> None:
        opened = self.opened
        if opened is None:
            self._drawing.stop()
        self._update_buttons(opened)
        if self.show_edited.isChecked() and not self._overlay.follows(opened):
            self.show_edited.setChecked(False)
        if self._said_at is not None and self._said_at == self._moment():
            return
        if self._drawing.on:
            self.summary.setText(DRAWN[self._drawn_for].hint)
        elif opened is None:
            self.summary.setText(self._advice())
        else:
            self.summary.setText(summary_of(opened, self.bench.kept_text(opened)))

    def _update_buttons(self, opened: OpenImage | None) -> None:
        """Enable what can be done now; say why the rest cannot."""
        reasons = self._reasons(opened)
        locked = self._locked()
        for control, button in self._buttons.items():
            free = control in ("save", "save_pairs")
            general = "" if opened else "predict first, then correct the labels layer"
            reason = general or ("" if free else locked) or reasons.get(control, "")
            self._why_not[control] = reason
            enable(button, reason)

    def _locked(self) -> str:
        """Return why nothing may be changed; empty if it may."""
        project = self.bench.session.project
        return project.reason if project is not None and project.read_only else ""

    def _reasons(self, opened: OpenImage | None) -> dict[str, str]:
        """Return why some buttons do not work now, and what undo would do."""
        if opened is None:
            return {}
        corrections, history = opened.corrections, opened.corrections.history
        self._tell("undo", history.last, "Ctrl+Z")
        self._tell("redo", history.next, "Ctrl+Shift+Z")
        flat = NOT_3D if self.bench.viewer.dims.ndisplay == 3 else ""
        classes = "" if corrections.instances else CLASSES
        alone = len(corrections.shape) == 2
        return {
            "undo": "" if history.last else "nothing to undo",
            "redo": "" if history.next else "nothing to redo",
            "split": classes or flat,
            "merge": classes or flat,
            "ignore": flat,
            "new_label": classes,
            "copy": "the image has no other slice" if alone else "",
        }

    def _tell(self, control: str, title: str | None, keys: str) -> None:
        """Let a button's tip say which step it would take back or do again."""
        button = self._buttons[control]
        what = f"{button.text()}: {title}" if title else button.text()
        button.setProperty("tip", with_key(what, keys))

    def _advice(self) -> str:
        if not self.bench.layers(Image):
            return "Nothing to correct yet: open an image and predict."
        return "Nothing to correct yet: predict first."
