"""Step 5: the versions of the model that were kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QMessageBox, QSizePolicy

from napari_unet.errors import UnetError
from napari_unet.qt import previews
from napari_unet.qt.export_dialog import ExportDialog
from napari_unet.qt.parts import Panel, ask_save, enable, when

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Image

    from napari_unet.engine.protect import Snapshot
    from napari_unet.jobs import Job
    from napari_unet.opened_model import Version
    from napari_unet.steps import Compared, Preview, View

NATIVE = "napari_unet model (*.safetensors)"
LIST_HEIGHT = 116  # pixels, three versions of two lines each
COLORS = tuple(previews.COLORS)
NUMBER = Qt.ItemDataRole.UserRole


class VersionsPanel(Panel):
    """Look at what versions find, go back to one, save one to a file, delete one."""

    name = "versions"
    title = "Versions"

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self._asked: Callable[[], Image | None] | None = None
        self.list = self._make_list()
        self._make_try_buttons()
        self._make_file_buttons()
        self.row(self.restore, self.delete)
        self.row(self.preview, self.compare, self.hide_preview)
        self.row(self.save, self.export)
        self.rows.addWidget(self.summary)
        self._connect()
        self._on_session_model_changed()

    def _make_list(self) -> QListWidget:
        versions = QListWidget()
        versions.setObjectName("unet.versions.list")
        versions.setToolTip(
            "The versions of the model, the oldest first; Ctrl-click selects two"
        )
        versions.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        versions.setFixedHeight(LIST_HEIGHT)
        versions.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        versions.setTextElideMode(Qt.TextElideMode.ElideRight)
        versions.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.rows.addWidget(versions)
        return versions

    def _make_try_buttons(self) -> None:
        self.preview = self.button(
            "preview", "Preview",
            "Predict what is visible with the selected version and outline what it "
            "finds;\nyour labels stay as they are (Shift+Escape cancels)",
            lambda: self._try_out(self._preview_job),
        )  # fmt: skip
        self.compare = self.button(
            "compare", "Compare",
            "Predict what is visible with two versions, outline what they find and say "
            "how they differ.\nOn your corrections a version may do well because it "
            "learnt from them",
            lambda: self._try_out(self._compare_job),
        )  # fmt: skip
        self.hide_preview = self.button(
            "hide", "Hide preview", "Take the outlines away",
            self._on_hide_clicked,
        )  # fmt: skip

    def _make_file_buttons(self) -> None:
        try_now = self.bench.try_now
        self.restore = self.button(
            "restore", "Restore", "Use the selected version for the next prediction",
            lambda: try_now(self.name, self._restore_chosen),
        )  # fmt: skip
        self.delete = self.button(
            "delete", "Delete...", "Take the selected version out of the list for good",
            lambda: try_now(self.name, self._delete_chosen),
        )  # fmt: skip
        self.save = self.button(
            "save", "Save model...", "Write the selected version to a file",
            self._on_save_clicked,
        )  # fmt: skip
        self.export = self.button(
            "export", "Export...", "Write the selected version for other programs: "
            "BioImage.IO, ONNX, pt2, or the layout it came in",
            lambda: try_now(self.name, self._export_chosen),
        )  # fmt: skip

    def _connect(self) -> None:
        bench = self.bench
        self.list.itemSelectionChanged.connect(self._update)
        bench.session.model_changed.connect(self._on_session_model_changed)
        bench.session.previewed.connect(self._on_session_previewed)
        bench.session.compared.connect(self._on_session_compared)
        bench.layers_changed.connect(self._update)
        bench.runner.busy_changed.connect(self._update)
        bench.runner.ended.connect(self._on_runner_ended)

    # -- what the user does

    def _numbers(self) -> list[int]:
        """Return the numbers of the selected versions, the oldest first."""
        items = (self.list.item(row) for row in range(self.list.count()))
        return [item.data(NUMBER) for item in items if item.isSelected()]

    def _chosen(self) -> Version:
        numbers, versions = self._numbers(), self.bench.session.versions
        chosen = [version for version in versions if [version.number] == numbers]
        if not chosen:
            raise UnetError("No single version is selected: choose one in the list.")
        return chosen[0]

    def _restore_chosen(self) -> None:
        self.bench.session.restore(self._chosen().number)

    def _delete_chosen(self) -> None:
        version = self._chosen()
        button = QMessageBox.question(
            self, "Delete a version",
            f"Delete version {version.number} ({facts_of(version)})? This cannot be "
            "undone; if you may want it again, save it to a file first.",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.Cancel,
            QMessageBox.StandardButton.Cancel,
        )  # fmt: skip
        if button == QMessageBox.StandardButton.Yes:
            self.bench.session.delete_version(version.number)

    def _on_save_clicked(self) -> None:
        path = ask_save(self, "Save model", "my-model.safetensors", NATIVE)
        if path is not None:
            session = self.bench.session
            self.bench.run(
                self.name, lambda: session.save_model_job(path, self._chosen().number)
            )

    def _export_chosen(self) -> None:
        """Ask for a format, what it needs and a place; write it."""
        version, session = self._chosen(), self.bench.session
        spec = version.model.spec
        dialog = ExportDialog(spec, self)
        if not dialog.exec():
            return
        suffix, asked = dialog.value()
        kinds = f"{suffix} files (*{suffix})"
        path = ask_save(self, "Export model", f"{spec.name}{suffix}", kinds)
        if path is not None:
            if path.suffix.lower() != suffix:
                path = path.with_name(path.name + suffix)
            self.bench.run(
                self.name, lambda: session.save_model_job(path, version.number, **asked)
            )

    # -- trying versions out

    def _on_hide_clicked(self) -> None:
        previews.remove(self.bench.viewer)
        self._say_count()

    def _try_out(self, make: Callable[[], Job[Any]]) -> None:
        if self.bench.run(self.name, make):
            self.summary.setText("Predicting what is visible ...")

    def _preview_job(self) -> Job[Preview]:
        version = self._chosen()
        view, _ = self._view(version)
        job: Job[Preview] = self.bench.session.preview_job(version.number, view)
        return job

    def _compare_job(self) -> Job[Compared]:
        session, numbers = self.bench.session, self._numbers()
        if len(numbers) != 2:
            raise UnetError(
                f"{len(numbers)} versions are selected, expected two to compare: "
                "Ctrl-click the second one."
            )
        one, other = numbers
        newer = next(v for v in session.versions if v.number == other)
        view, corrected = self._view(newer)
        job: Job[Compared] = session.compare_job(one, other, view, corrected)
        return job

    def _view(self, version: Version) -> tuple[View, Snapshot | None]:
        """Return what is visible of the chosen image, and what is corrected there."""
        view, layer = previews.visible_view(self.bench, version.model)
        self._asked = ref(layer)
        opened = self.bench.opened_of(self.bench.labels_of(layer))
        if opened is None or not opened.corrections.tally():
            return view, None
        return view, opened.corrections.snapshot(view.region)

    def _show(self, found: Preview | Compared) -> bool:
        """Show previews that this panel asked for; tell whether it did."""
        layer = self._asked() if self._asked else None
        return previews.show(self.bench.viewer, layer, found)

    def _on_session_previewed(self, found: Preview) -> None:
        if self._show(found):
            color = f" in {COLORS[0]}" if found.objects else ""
            self.summary.setText(
                f"Version {found.number} finds {found.found} here, outlined{color}; "
                "your labels are as they were."
            )

    def _on_session_compared(self, found: Compared) -> None:
        if self._show(found):
            one, other = found.comparison.numbers
            first, second, both = COLORS
            self.summary.setText(
                f"{found.comparison.summary} Outlines: version {one} {first}, "
                f"version {other} {second}, both {both}."
            )

    # -- what changes

    def _on_session_model_changed(self) -> None:
        session = self.bench.session
        current, versions = session.version, session.versions
        self.list.clear()
        for version in versions:
            item = QListWidgetItem(line_of(version, version is current))
            item.setToolTip(tip_of(version))
            item.setData(NUMBER, version.number)
            self.list.addItem(item)
            if version is current:
                self.list.setCurrentItem(item)
        self._say_count()
        self._update()

    def _say_count(self) -> None:
        session = self.bench.session
        self.summary.setText(_count(session.versions, session.version))

    def _update(self, _: Any = None) -> None:
        """Enable what can be done with the selected versions."""
        session, numbers = self.bench.session, self._numbers()
        none = "" if session.version else "no model is loaded"
        one = none or _not_one(numbers)
        two = none or _not_two(numbers, len(session.versions))
        in_use = session.version is not None and numbers == [session.version.number]
        wait = self._wait()
        enable(self.restore, one or ("it is in use" if in_use else ""))
        enable(self.delete, one or (_undeletable(session.versions) if in_use else ""))
        enable(self.save, one)
        enable(self.export, one)
        enable(self.preview, one or wait)
        enable(self.compare, two or wait)
        hidden = previews.shown(self.bench.viewer) is None
        enable(self.hide_preview, "no preview is shown" if hidden else "")

    def _wait(self) -> str:
        """Say why nothing can be predicted now."""
        if self.bench.runner.busy:
            return "another job is running"
        return "" if self.bench.image is not None else "no image layer is open"

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        if job.title.startswith("Saving model"):
            self.summary.setText(problem or job.title.replace("Saving", "Saved"))
        elif job.title.startswith(("Previewing", "Comparing")):
            self._asked = None
            if problem:
                self.summary.setText(problem[:1].upper() + problem[1:])


def line_of(version: Version, in_use: bool) -> str:
    """Return what the list says of a version: a line of facts, and what it brought."""
    used = "   (in use)" if in_use else ""
    line = f"{version.number}   {when(version.made)}   {facts_of(version)}{used}"
    return line if version.base is None else f"{line}\n      {version.note}"


def facts_of(version: Version) -> str:
    """Return how good a version is and what it learnt from; where it is from."""
    if version.base is None:
        return version.note
    strokes = f"{version.strokes} stroke{'' if version.strokes == 1 else 's'}"
    score = version.metric
    held_out = "no held-out score" if score is None else f"{score:.2f} held-out"
    return f"{held_out}, {strokes}"


def tip_of(version: Version) -> str:
    """Return all that is known of a version."""
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(version.made))
    if version.base is None:
        return f"Version {version.number}, loaded {made}\n{version.note}"
    return (
        f"Version {version.number}, fine-tuned {made} from version {version.base}\n"
        f"{facts_of(version)}\n{version.note}"
    )


def _count(versions: Sequence[Version], current: Version | None) -> str:
    if current is None:
        return "No model yet."
    many = "" if len(versions) == 1 else "s"
    return f"{len(versions)} version{many}, version {current.number} in use"


def _not_one(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return ""
    return "several versions are selected" if numbers else "no version is selected"


def _not_two(numbers: Sequence[int], count: int) -> str:
    if len(numbers) == 2:
        return ""
    if count < 2:
        return "there is only one version"
    return "select two versions: Ctrl-click the second one"


def _undeletable(versions: Sequence[Version]) -> str:
    if len(versions) == 1:
        return "it is the only version"
    return "it is in use: restore another one first"
