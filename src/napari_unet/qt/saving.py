"""Asking where masks and pairs shall go, and writing them in the background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from napari_unet.handover import Grid
from napari_unet.qt.parts import ask_save

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_unet.opened import OpenImage
    from napari_unet.qt.parts import Panel


def save_masks(panel: Panel, opened: OpenImage, layer: Labels) -> None:
    """Ask for a name and write the labels of an image in the format of its ending."""
    panel.bench.settle()
    path = ask_save(panel, "Save masks", f"{opened.name}_labels.tif", _kinds())
    if path is not None:
        job = panel.bench.session.save_labels_job
        panel.bench.run(panel.name, job, opened, path, grid_of(layer))


def save_pairs(panel: Panel) -> None:
    """Ask for a folder and write all corrected images with their masks into it."""
    panel.bench.settle()
    chosen = QFileDialog.getExistingDirectory(panel, "Save pairs: a new, empty folder")
    if chosen:
        panel.bench.run(panel.name, panel.bench.session.save_pairs_job, Path(chosen))


def grid_of(layer: Labels) -> Grid:
    """Return how large the pixels of a layer are."""
    return Grid(tuple(map(float, layer.scale)), str(layer.units[-1]))


def _kinds() -> str:
    """Return the formats of masks, for a file dialog."""
    from napari_unet.io.masks import KINDS

    endings: dict[str, list[str]] = {}
    for suffix, kind in KINDS.items():
        endings.setdefault(kind.title, []).append(f"*{suffix}")
    return ";;".join(f"{title} ({' '.join(each)})" for title, each in endings.items())
