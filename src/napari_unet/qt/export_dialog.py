"""What is asked before a model is written for other programs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_unet.formats import SAVE_SUFFIXES

if TYPE_CHECKING:
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.formats.bioimageio.people import Author

PACKAGE = ".zip"
LICENCES = (
    "CC-BY-4.0", "CC0-1.0", "CC-BY-SA-4.0", "MIT", "BSD-3-Clause", "Apache-2.0",
    "GPL-3.0-or-later",
)  # fmt: skip
WIDTH = 420  # pixels
PERSON = re.compile(r"([^()]+)(?:\(([^()]*)\))?")
ORCID = re.compile(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]")


class ExportDialog(QDialog):
    """Choose a format; a package of BioImage.IO asks who made the model."""

    def __init__(self, spec: ModelSpec, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Export {spec.name}")
        self.setMinimumWidth(WIDTH)
        self.format = QComboBox()
        self.format.setObjectName("unet.export.format")
        self.format.setToolTip("The kind of file")
        for suffix, text in SAVE_SUFFIXES.items():
            self.format.addItem(f"{suffix}   {text}", suffix)
        self.package = QWidget()
        self.authors = _line(
            "authors", "Ada Lovelace (London, @ada); ...",
            "Who made the model, with ; between people; in brackets the institute, an\n"
            "ORCID and a name on github.com after @, with commas between",
        )  # fmt: skip
        self.description = _line(
            "description", "finds nuclei in fluorescence images",
            "What the model is for, in a sentence",
        )  # fmt: skip
        self.description.setText(spec.provenance.get("description", ""))
        self.authors.setText(spec.provenance.get("authors", ""))
        self.licence = QComboBox()
        self.licence.setObjectName("unet.export.licence")
        self.licence.setToolTip("What others may do with the model (SPDX name)")
        self.licence.setEditable(True)
        self.licence.addItems(LICENCES)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setText(
            "Choose file..."
        )
        self._lay_out()
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.format.currentIndexChanged.connect(self._update)
        self.authors.textChanged.connect(self._update)
        self._update()

    def _lay_out(self) -> None:
        form = QFormLayout(self.package)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Authors", self.authors)
        form.addRow("Purpose", self.description)
        form.addRow("Licence", self.licence)
        self.missing = QLabel()
        rows = QVBoxLayout(self)
        for widget in (self.format, self.package, self.missing, self.buttons):
            rows.addWidget(widget)

    def _update(self, _: Any = None) -> None:
        package = self.format.currentData() == PACKAGE
        self.package.setEnabled(package)
        lacking = package and not people(self.authors.text())
        self.missing.setText("BioImage.IO asks for at least one author." * lacking)
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(not lacking)

    def value(self) -> tuple[str, dict[str, Any]]:
        """Return the ending of the file and what ``save_model`` asks for."""
        suffix = str(self.format.currentData())
        if suffix != PACKAGE:
            return suffix, {}
        return suffix, {
            "authors": people(self.authors.text()),
            "description": self.description.text().strip(),
            "licence": self.licence.currentText().strip(),
        }


def people(text: str) -> list[Author]:
    """Return the people in a text such as "Ada (London, @ada); Alan"."""
    from napari_unet.formats.bioimageio.people import Author

    found = []
    for part in text.split(";"):
        person = PERSON.fullmatch(part.strip())
        if person is None:
            continue
        beside = [piece.strip() for piece in (person[2] or "").split(",")]
        orcid = next((piece for piece in beside if ORCID.fullmatch(piece)), "")
        github = next((piece[1:] for piece in beside if piece.startswith("@")), "")
        place = [p for p in beside if p and p != orcid and not p.startswith("@")]
        found.append(Author(person[1].strip(), ", ".join(place), orcid, github))
    return found


def _line(control: str, empty: str, tip: str) -> QLineEdit:
    line = QLineEdit()
    line.setObjectName(f"unet.export.{control}")
    line.setPlaceholderText(empty)
    line.setToolTip(tip)
    return line
