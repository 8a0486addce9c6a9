"""Step 1: load a checkpoint and see what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
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

from napari_unet.engine.config import PredictConfig
from napari_unet.formats.bundled import bundled_models
from napari_unet.qt.forms import ConfigForm
from napari_unet.qt.parts import Panel, enable, folded

if TYPE_CHECKING:
    from napari_unet.engine.spec import ModelSpec

CHECKPOINTS = "Checkpoints (*.safetensors *.pt *.pth *.ckpt);;All files (*)"
FIELDS = ("precision", "tile", "tta")


class ModelPanel(Panel):
    """Choose a checkpoint, load it, read what it expects and gives."""

    name = "model"
    title = "Model"

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self.source = self._make_source()
        browse = self.button(
            "browse", "Browse...", "Choose a checkpoint file", self._on_browse_clicked
        )
        self.load = self.button(
            "load", "Load", "Open this checkpoint; nothing in it is executed",
            self._on_load_clicked,
        )  # fmt: skip
        self.row(self.source, browse, self.load)
        self.facts = self._make_facts()
        self.device = self._make_device()
        self.rows.addWidget(self._make_more())
        self.rows.addWidget(self.summary)
        bench.session.model_changed.connect(self._on_session_model_changed)
        bench.runner.busy_changed.connect(self._on_runner_busy_changed)
        bench.runner.ended.connect(self._on_runner_ended)
        self._on_session_model_changed()

    def _make_source(self) -> QComboBox:
        source = QComboBox()
        source.setObjectName("unet.model.source")
        source.setToolTip("A bundled model, or the path of a checkpoint file")
        source.setEditable(True)
        source.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        source.addItems(bundled_models())
        source.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        source.lineEdit().returnPressed.connect(self._on_return_pressed)
        return source

    def _make_facts(self) -> dict[str, QLabel]:
        """Add the rows Expects, Gives and Scaling."""
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        facts = {}
        for title in ("Expects", "Gives", "Scaling"):
            facts[title] = QLabel()
            facts[title].setWordWrap(True)
            form.addRow(title, facts[title])
        self.form = form
        self.rows.addLayout(form)
        return facts

    def _make_device(self) -> QComboBox:
        device = QComboBox()
        device.setObjectName("unet.model.device")
        device.setToolTip(
            "Where the network computes; auto takes a GPU where there is one.\n"
            "Takes effect with the next load."
        )
        device.addItems(["auto", "cpu", "cuda", "mps"])
        self.form.addRow("Device", device)
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
            "Lets formats that are programs run (none of today's formats is one)"
        )
        layout.addWidget(form)
        layout.addWidget(self.trust)
        return folded("More", content)

    def _on_form_changed(self, config: PredictConfig) -> None:
        chosen = {name: getattr(config, name) for name in FIELDS}
        self.bench.predict_config = self.bench.predict_config.model_copy(update=chosen)

    def _on_browse_clicked(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Open a checkpoint", "", CHECKPOINTS
        )
        if path:
            self.source.setEditText(path)
            self._on_load_clicked()

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

    def _on_runner_busy_changed(self, busy: bool) -> None:
        enable(self.load, "another job is running" if busy else "")

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        if job.title.startswith("Loading") and problem:
            self.summary.setText(problem)

    def _on_session_model_changed(self) -> None:
        version = self.bench.session.version
        if version is None:
            for label in self.facts.values():
                label.setText("-")
            self.summary.setText("No model is loaded.")
            return
        model = version.model
        texts = describe(model.spec)
        for title, label in self.facts.items():
            label.setText(texts[title])
            label.setTextFormat(Qt.TextFormat.PlainText)
        self.summary.setText(
            f"{model.spec.name}, version {version.number}, on {model.device}"
        )


def describe(spec: ModelSpec) -> dict[str, str]:
    """Return what the Model panel says of a spec, with where each fact is from."""
    network = spec.architecture
    channels = network.in_channels
    kind = {1: "grey image", 3: "colour image"}.get(channels, f"{channels} channels")
    size = f"; trained at {spec.pixel_size[-1]:g} um/pixel" if spec.pixel_size else ""
    gives = {
        "instances": "objects (foreground and boundary distance)",
        "foreground": "objects (foreground)",
        "classes": f"{network.out_channels} classes",
    }[spec.output]

    def source(name: str) -> str:
        return spec.sources.get(name, "read from the file")

    return {
        "Expects": f"{network.dims}D {kind}, any size{size} ({source('architecture')})",
        "Gives": f"{gives} ({source('output')})",
        "Scaling": f"{spec.normalization} ({source('normalization')})",
    }
