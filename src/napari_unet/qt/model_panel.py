"""Step 1: load a checkpoint, see what it is, change what was guessed of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_unet.engine.config import BytesDone, PredictConfig
from napari_unet.errors import UnetError
from napari_unet.formats.bundled import bundled_models
from napari_unet.formats.sniff import SUFFIXES
from napari_unet.qt.forms import ConfigForm
from napari_unet.qt.layer_axes import channel_for, layer_axes
from napari_unet.qt.layers import image_data
from napari_unet.qt.model_facts import Facts, heading
from napari_unet.qt.model_finder import Finder
from napari_unet.qt.model_form import SpecForm
from napari_unet.qt.model_look import LookRow
from napari_unet.qt.parts import Panel, enable, folded, side_by_side

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_unet.zoo import Entry

ENDINGS = " ".join(f"*{suffix}" for suffix in SUFFIXES)
CHECKPOINTS = f"Checkpoints ({ENDINGS});;All files (*)"
FIELDS = ("precision", "tile", "tta", "rotate", "uncertainty")
SOURCE_TIP = (
    "A bundled model, the path of a checkpoint file or folder, or an id of BioImage.IO;"
    "\na file or folder can be dropped anywhere on this panel"
)


class ModelPanel(Panel):
    """Choose a checkpoint, load it, read and change what it expects and gives."""

    name = "model"
    title = "Model"

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self.setAcceptDrops(True)
        self.source = self._make_source()
        browse = self.button(
            "browse", "Browse...", "Choose a checkpoint file", self._on_browse_clicked
        )
        self.load = self.button(
            "load", "Load", "Open this checkpoint; nothing in it is executed",
            self._on_load_clicked,
        )  # fmt: skip
        row = self.row(self.source, browse, self.load)
        row.setStretch(0, 1)
        for narrow in (browse, self.load):
            narrow.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.finder = self._make_finder()
        self.facts = Facts()
        self.rows.addWidget(self.facts)
        self.form = self._make_form()
        self.look = self._make_look()
        self.device = self._make_device()
        self.rows.addWidget(self._make_more())
        self.rows.addWidget(self.summary)
        bench.session.model_changed.connect(self._on_session_model_changed)
        bench.runner.busy_changed.connect(self._on_runner_busy_changed)
        bench.runner.progressed.connect(self._on_runner_progressed)
        bench.runner.ended.connect(self._on_runner_ended)
        self._on_session_model_changed()

    # -- what is shown

    def _make_source(self) -> QComboBox:
        source = QComboBox()
        source.setObjectName("unet.model.source")
        source.setToolTip(SOURCE_TIP)
        source.setEditable(True)
        source.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        source.addItems(bundled_models())
        source.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        source.setMaxVisibleItems(20)
        source.lineEdit().setAcceptDrops(False)  # else a file's address is typed there
        source.lineEdit().returnPressed.connect(self._on_return_pressed)
        return source

    def _make_finder(self) -> Finder:
        folder = self.button(
            "folder", "Folder...", "Choose a folder whose models are listed here",
            lambda: None,
        )  # fmt: skip
        finder = Finder(self.bench, folder)
        finder.chosen.connect(self.source.setEditText)
        finder.wanted.connect(self._load)
        self.bench.models_listed.connect(self._on_bench_models_listed)
        self.rows.addWidget(folded("Find a model", finder))
        return finder

    def _make_form(self) -> SpecForm:
        form = SpecForm()
        self.apply = self.button(
            "apply", "Apply changes", "Use the model with what was changed here",
            self._on_apply_clicked,
        )  # fmt: skip
        form.valueChanged.connect(self._update_apply)
        self.rows.addWidget(form)
        self.rows.addWidget(folded("Change what was read or inferred", form.rest))
        self.rows.addWidget(self.apply)
        return form

    def _make_look(self) -> LookRow:
        look = self.button(
            "look", "Check on the open image",
            "Predict the middle of the open image; say if the scores look wrong, and\n"
            "try other settings for what was guessed",
            lambda: None,
        )  # fmt: skip
        use = self.button(
            "use", "Use suggestion", "Change the model to what looked best",
            lambda: None,
        )  # fmt: skip
        row = LookRow(self.bench, look, use)
        row.suggested.connect(self._revise)
        self.rows.addWidget(row)
        return row

    def _make_device(self) -> QComboBox:
        device = QComboBox()
        device.setObjectName("unet.model.device")
        device.setToolTip(
            "Where the network computes; auto takes a GPU where there is one.\n"
            "Takes effect with the next load."
        )
        device.addItems(["auto", "cpu", "cuda", "mps"])
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(heading("Device"), device)
        self.rows.addLayout(form)
        return device

    def _make_more(self) -> QWidget:
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 0, 0, 0)
        form: ConfigForm[PredictConfig] = ConfigForm(PredictConfig(), FIELDS, "model")
        form.valueChanged.connect(self._on_form_changed)
        self.trust = QCheckBox("I trust this file")
        self.trust.setObjectName("unet.model.trust")
        self.trust.setToolTip(
            "Lets files that are programs run (TorchScript, pt2); tick it only for "
            "files of people you know"
        )
        self.check = self.button(
            "check_tiling", "Check tiling",
            "Compare tiles with the whole in the middle of the open image, and say\n"
            "how far their scores differ",
            self._on_check_clicked,
        )  # fmt: skip
        layout.addWidget(form)
        layout.addLayout(self._make_ensemble())
        layout.addWidget(self.check)
        layout.addWidget(self.trust)
        return folded("More", content)

    def _make_ensemble(self) -> QVBoxLayout:
        self.add = self.button(
            "ensemble_add", "Add to ensemble",
            "Open the checkpoint named above beside the model in use, and average\n"
            "the scores of both from now on",
            self._on_add_clicked,
        )  # fmt: skip
        self.alone = self.button(
            "ensemble_clear", "Clear ensemble", "Predict with the model in use alone",
            self.bench.session.drop_partners,
        )  # fmt: skip
        self.ensemble = QLabel()
        self.ensemble.setObjectName("unet.model.ensemble")
        self.ensemble.setWordWrap(True)
        layout = QVBoxLayout()
        layout.addLayout(side_by_side(self.add, self.alone))
        layout.addWidget(self.ensemble)
        self.bench.session.partners_changed.connect(self._update_ensemble)
        return layout

    # -- what the user does

    def _on_add_clicked(self) -> None:
        path, session = self.source.currentText().strip(), self.bench.session
        if not path:
            self.summary.setText("Choose a checkpoint, or type its path.")
            return

        def make() -> Any:
            return session.add_partner_job(
                path, device=self.device.currentText(), trust=self.trust.isChecked()
            )

        if self.bench.run(self.name, make):
            self.summary.setText(f"Adding {Path(path).name} ...")

    def _on_form_changed(self, config: PredictConfig) -> None:
        chosen = {name: getattr(config, name) for name in FIELDS}
        self.bench.predict_config = self.bench.predict_config.model_copy(update=chosen)

    def _on_check_clicked(self) -> None:
        if self.bench.run(self.name, self._make_check):
            self.summary.setText("Comparing tiles with the whole ...")

    def _make_check(self) -> Any:
        session, layer = self.bench.session, self.bench.image
        if session.model is None or layer is None:
            raise UnetError("A check needs a model and an open image: load both first.")
        axes = layer_axes(layer, session.model.spec.architecture)
        return session.check_tiling_job(
            layer.name, image_data(layer), axes,
            lambda found: self.summary.setText(str(found)),
            channel_for(self.bench, layer, axes),
        )  # fmt: skip

    def _on_browse_clicked(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Open a checkpoint", "", CHECKPOINTS
        )
        if path:
            self._load(path)

    def _on_return_pressed(self) -> None:
        """Load; a combo box reports each Return twice."""
        if self.load.isEnabled():
            self._on_load_clicked()

    def _on_load_clicked(self) -> None:
        path = self.source.currentText().strip()
        if not path:
            self.summary.setText("Choose a checkpoint, or type its path.")
            return
        session = self.bench.session

        def make() -> Any:
            return session.load_job(
                path, device=self.device.currentText(), trust=self.trust.isChecked()
            )

        if self.bench.run(self.name, make):
            self.summary.setText(f"Loading {Path(path).name} ...")

    def _load(self, source: str) -> None:
        self.source.setEditText(source)
        self._on_load_clicked()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files and folders."""
        if _dropped(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Load what was dropped; of several, the first."""
        paths = _dropped(event)
        if paths:
            event.acceptProposedAction()
            self._load(paths[0])

    def _on_apply_clicked(self) -> None:
        self.bench.try_now(self.name, lambda: self._revise(self.form.changes()))

    def _revise(self, changes: dict[str, Any]) -> None:
        """Change the model, and look whether it fits the open image now."""
        session = self.bench.session
        before = session.model
        self.bench.run(self.name, session.revise_model, changes)
        if session.model is not before:
            self.look.look_quietly()

    # -- what changes

    def showEvent(self, event: Any) -> None:
        """List the models when the panel is first seen."""
        super().showEvent(event)
        if not self.finder.entries:
            QTimer.singleShot(0, self.finder.refresh)

    def _on_bench_models_listed(self, entries: list[Entry]) -> None:
        """Offer recent files in the source box, which keeps its text."""
        text = self.source.currentText()
        recent = [entry.source for entry in entries if entry.kind == "recent"]
        self.source.clear()
        self.source.addItems([*bundled_models(), *recent])
        self.source.setEditText(text)

    def _on_runner_busy_changed(self, busy: bool) -> None:
        for button in (self.load, self.check):
            enable(button, "another job is running" if busy else "")
        self._update_ensemble()

    def _on_runner_progressed(self, job: Any, event: Any) -> None:
        if isinstance(event, BytesDone):
            of = f" of {event.total / 1e6:.0f}" if event.total else ""
            self.summary.setText(f"Downloading: {event.done / 1e6:.0f}{of} MB")

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        if problem and job.title.startswith("Comparing tiles"):
            self.summary.setText(problem)
        if job.title.startswith("Adding"):
            self.summary.setText(problem or self.ensemble.text())
        if not job.title.startswith(("Loading", "Changing")):
            return
        if problem:
            self.summary.setText(problem)
        else:
            self.finder.refresh()
            self.look.look_quietly()

    def _update_ensemble(self) -> None:
        session = self.bench.session
        names = [partner.spec.name for partner in session.partners]
        self.ensemble.setVisible(bool(names))
        self.ensemble.setText(f"Averaged with {', '.join(names)}.")
        busy = "another job is running" if self.bench.runner.busy else ""
        none = "" if session.model else "no model is loaded"
        enable(self.add, busy or none)
        enable(self.alone, "" if names else "the model predicts alone")

    def _update_apply(self) -> None:
        reason = "" if self.form.touched else "nothing is changed"
        if self.bench.session.model is None:
            reason = "no model is loaded"
        enable(self.apply, reason)

    def _on_session_model_changed(self) -> None:
        version = self.bench.session.version
        self.facts.setValue(version.model.spec if version else None)
        self.form.setEnabled(version is not None)
        self.form.rest.setEnabled(version is not None)
        self._update_apply()
        self._update_ensemble()
        if version is None:
            self.summary.setText("No model is loaded.")
            return
        self.form.setValue(version.model.spec)
        self.summary.setText(
            f"{version.model.spec.name}, version {version.number}, "
            f"on {version.model.device}"
        )


def _dropped(event: QDropEvent) -> list[str]:
    """Return the paths of files and folders that are being dropped."""
    urls = event.mimeData().urls() if event.mimeData().hasUrls() else []
    return [url.toLocalFile() for url in urls if url.isLocalFile()]
