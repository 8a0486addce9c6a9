"""The fold "Find a model": what is bundled, was opened, or lies in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_unet import zoo
from napari_unet.qt.parts import side_by_side
from napari_unet.zoo_download import bioimageio_id

if TYPE_CHECKING:
    from qtpy.QtWidgets import QPushButton

    from napari_unet.qt.bench import Bench

HEIGHT = 110  # pixels


class Finder(QWidget):
    """A search line over a list of models."""

    chosen = Signal(str)  # one click: what load_model takes
    wanted = Signal(str)  # two clicks

    def __init__(self, bench: Bench, folder: QPushButton) -> None:
        super().__init__()
        self._bench = bench
        self.entries: list[zoo.Entry] = []
        self.search = QLineEdit()
        self.search.setObjectName("unet.model.search")
        self.search.setPlaceholderText("words of a name, or a BioImage.IO id")
        self.search.setToolTip(
            "Words of a model's name or path; or an id of BioImage.IO such as "
            "affable-shark, or a DOI,\nwhich is downloaded when it is loaded"
        )
        self.search.setClearButtonEnabled(True)
        self.found = QListWidget()
        self.found.setObjectName("unet.model.found")
        self.found.setToolTip("One click chooses a model, two clicks load it")
        self.found.setFixedHeight(HEIGHT)
        self.found.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(side_by_side(self.search, folder))
        layout.addWidget(self.found)
        folder.clicked.connect(lambda _=False: self._on_folder_clicked())
        bench.models_listed.connect(self._on_bench_models_listed)
        self.search.textChanged.connect(self._show)
        self.search.returnPressed.connect(self._on_return_pressed)
        self.found.itemClicked.connect(lambda item: self.chosen.emit(_source(item)))
        self.found.itemActivated.connect(lambda item: self.wanted.emit(_source(item)))

    def refresh(self, folder: Path | None = None) -> None:
        """List anew, in the background: a folder may be on a slow drive."""
        bench = self._bench
        bench.run("model", zoo.entries_job, folder, bench.models_listed.emit)

    def _on_bench_models_listed(self, entries: list[zoo.Entry]) -> None:
        self.entries = entries
        self._show()

    def _on_folder_clicked(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "A folder of models")
        if chosen:
            self.refresh(Path(chosen))

    def _on_return_pressed(self) -> None:
        """Take what is found, or what was typed if it is an id."""
        text = self.search.text().strip()
        if self.found.count():
            self.wanted.emit(_source(self.found.item(0)))
        elif bioimageio_id(text):
            self.wanted.emit(text)

    def _show(self, _: Any = None) -> None:
        text = self.search.text()
        self.found.clear()
        for entry in zoo.search(self.entries, text):
            item = QListWidgetItem(f"{entry.name}  ({entry.kind})")
            item.setToolTip(entry.source)
            item.setData(Qt.ItemDataRole.UserRole, entry.source)
            self.found.addItem(item)
        if not self.found.count() and bioimageio_id(text):
            item = QListWidgetItem(f"{text.strip()}  (download from BioImage.IO)")
            item.setData(Qt.ItemDataRole.UserRole, text.strip())
            self.found.addItem(item)


def _source(item: QListWidgetItem) -> str:
    return str(item.data(Qt.ItemDataRole.UserRole))
