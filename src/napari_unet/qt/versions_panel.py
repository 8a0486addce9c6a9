"""Step 5: the versions of the model that were kept."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QListWidget

from napari_unet.errors import UnetError
from napari_unet.qt.export_dialog import ExportDialog
from napari_unet.qt.parts import Panel, ask_save, enable

NATIVE = "napari_unet model (*.safetensors)"


class VersionsPanel(Panel):
    """Go back to a version, or save one to a file."""

    name = "versions"
    title = "Versions"

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self.list = QListWidget()
        self.list.setObjectName("unet.versions.list")
        self.list.setToolTip("The versions of the model, the oldest first")
        self.list.setFixedHeight(80)
        self.rows.addWidget(self.list)
        self.restore = self.button(
            "restore", "Restore", "Use the selected version for the next prediction",
            lambda: bench.try_now(self.name, self._restore_chosen),
        )  # fmt: skip
        self.save = self.button(
            "save", "Save model...", "Write the selected version to a file",
            self._on_save_clicked,
        )  # fmt: skip
        self.export = self.button(
            "export", "Export...", "Write the selected version for other programs: "
            "BioImage.IO, ONNX, pt2, or the layout it came in",
            lambda: bench.try_now(self.name, self._export_chosen),
        )  # fmt: skip
        self.row(self.restore, self.save, self.export)
        self.rows.addWidget(self.summary)
        bench.session.model_changed.connect(self._on_session_model_changed)
        bench.runner.ended.connect(self._on_runner_ended)
        self._on_session_model_changed()

    def _chosen(self) -> int:
        row = self.list.currentRow()
        versions = self.bench.session.versions
        if not 0 <= row < len(versions):
            raise UnetError("No version is selected: choose one in the list.")
        number: int = versions[row].number
        return number

    def _restore_chosen(self) -> None:
        self.bench.session.restore(self._chosen())

    def _on_save_clicked(self) -> None:
        path = ask_save(self, "Save model", "my-model.safetensors", NATIVE)
        if path is not None:
            session = self.bench.session
            self.bench.run(
                self.name, lambda: session.save_model_job(path, self._chosen())
            )

    def _export_chosen(self) -> None:
        """Ask for a format, what it needs and a place; write it."""
        number, session = self._chosen(), self.bench.session
        model = next(v.model for v in session.versions if v.number == number)
        dialog = ExportDialog(model.spec, self)
        if not dialog.exec():
            return
        suffix, asked = dialog.value()
        kinds = f"{suffix} files (*{suffix})"
        path = ask_save(self, "Export model", f"{model.spec.name}{suffix}", kinds)
        if path is not None:
            if path.suffix.lower() != suffix:
                path = path.with_name(path.name + suffix)
            self.bench.run(
                self.name, lambda: session.save_model_job(path, number, **asked)
            )

    def _on_session_model_changed(self) -> None:
        session = self.bench.session
        current = session.version
        self.list.clear()
        for row, version in enumerate(session.versions):
            used = "  (in use)" if version is current else ""
            self.list.addItem(f"{version.number}  {version.note}{used}")
            if version is current:
                self.list.setCurrentRow(row)
        reason = "" if current else "no model is loaded"
        for button in (self.restore, self.save, self.export):
            enable(button, reason)
        count = len(session.versions)
        self.summary.setText(
            f"{count} version{'' if count == 1 else 's'}" if count else "No model yet."
        )

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        if job.title.startswith("Saving model"):
            self.summary.setText(problem or job.title.replace("Saving", "Saved"))
