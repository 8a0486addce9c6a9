"""What the Model panel says of a model, each fact with how it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QLabel, QSizePolicy, QWidget

if TYPE_CHECKING:
    from napari_unet.engine.spec import ModelSpec

KNOWN = {
    "read": "read from the file",
    "inferred": "inferred from the weights",
    "guessed": "guessed",
    "chosen": "chosen by you",
}
TITLES = ("Network", "Expects", "Gives", "Scaling")
TITLE_WIDTH = 66  # pixels, so that the titles of all forms are one column
OUTPUTS = {
    "instances": "objects, by foreground and boundary distance",
    "foreground": "objects, by a foreground score",
    "classes": "{count} classes that exclude each other",
    "multilabel": "{count} classes that may overlap",
}
MOST_NAMES = 8


class Facts(QWidget):
    """A row per fact, and below them what was remarked when the file was opened."""

    def __init__(self) -> None:
        super().__init__()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(3)
        self.labels: dict[str, QLabel] = {}
        for title in TITLES:
            self.labels[title] = _wrapping()
            form.addRow(heading(title), self.labels[title])
        self.remarks = _wrapping()
        self.remarks.setObjectName("unet.model.remarks")
        form.addRow(self.remarks)

    def setValue(self, spec: ModelSpec | None) -> None:
        """Say what is known; a dash where no model is loaded."""
        texts = describe(spec) if spec else dict.fromkeys(TITLES, "-")
        for title, label in self.labels.items():
            label.setText(texts[title])
        remarks = spec.remarks if spec else ()
        self.remarks.setText("\n".join(f"Note: {remark}" for remark in remarks))
        self.remarks.setVisible(bool(remarks))


def heading(title: str) -> QLabel:
    """Return the title of a row, as wide as those of other forms of the panel."""
    label = QLabel(title)
    label.setMinimumWidth(TITLE_WIDTH)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    return label


def _wrapping() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)  # of a stranger's file
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def describe(spec: ModelSpec) -> dict[str, str]:
    """Return what the Model panel says of a spec, with where each fact is from."""

    def known(text: str, fact: str) -> str:
        return f"{text} \u00b7 {KNOWN[spec.source(fact)]}"

    network = [known(_network(spec), "architecture")]
    if len(spec.readings) > 1:
        network.append(known(f"read as {spec.reading}", "reading"))
    expects = [known(_expected(spec), "architecture")]
    if spec.architecture.in_channels == 3:
        expects.append(known(f"colours as {spec.channel_order}", "channel_order"))
    gives = [known(_given(spec), "output")]
    if spec.classes:
        gives.append(known(_classes(spec), "classes"))
    scaling = [known(str(spec.normalization), "normalization")]
    factor = getattr(spec.architecture, "input_scale", 1.0)
    if factor != 1.0:
        scaling.append(
            known(f"then times {factor:.4g} in the network", "input_scaling")
        )
    size = " x ".join(f"{side:g}" for side in spec.pixel_size or ())
    if size:
        expects.append(known(f"pixels of {size} um", "pixel_size"))
    rows = (network, expects, gives, scaling)
    return {title: "\n".join(row) for title, row in zip(TITLES, rows, strict=True)}


def _network(spec: ModelSpec) -> str:
    network = spec.architecture
    said = [network.family]
    if network.widths:
        said.append(f"widths {network.widths[0]} to {max(network.widths)}")
    if network.norm != "none":
        said.append(f"{network.norm} norm")
    if network.residual:
        said.append("residual")
    return ", ".join([*said, *network.traits])


def _expected(spec: ModelSpec) -> str:
    channels = spec.architecture.in_channels
    kind = {1: "grey image", 3: "colour image"}
    many = f"image of {channels} channels"
    return f"{spec.architecture.dims}D {kind.get(channels, many)}, any size"


def _given(spec: ModelSpec) -> str:
    return OUTPUTS[spec.output].format(count=spec.architecture.out_channels)


def _classes(spec: ModelSpec) -> str:
    names = [one.name for one in spec.classes]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
