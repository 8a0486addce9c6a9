"""Checkpoints dropped on the window go to the workbench; all else to other readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import npe2
import numpy as np
import tifffile
import torch

from napari_unet.qt.bench import bench_for
from napari_unet.qt.reader import get_reader

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = "napari-unet-workbench"


def test_a_checkpoint_opened_in_the_window_loads_in_the_workbench(
    make_napari_viewer_proxy, qtbot, tiny_files
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    bench = bench_for(viewer)

    def idle() -> bool:
        runner = bench.runner
        return not runner.busy and runner.running("short") is None

    for _ in range(2):
        viewer.open(str(tiny_files["instances"]), plugin=PLUGIN)
        qtbot.waitUntil(idle, timeout=60_000)
        assert bench.session.model.spec.name == "tiny"
    assert len(viewer.layers) == 0
    docks = [name for name in viewer.window.dock_widgets if PLUGIN in name]
    assert docks == [f"U-Net workbench ({PLUGIN})"]


def test_other_files_are_left_to_other_readers(
    make_napari_viewer_proxy, tmp_path: Path
) -> None:
    make_napari_viewer_proxy()
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((9, 9), np.uint8))
    (tmp_path / "notes.pt").write_text("not a checkpoint")
    for name in ("image.tif", "notes.pt", "absent.pth"):
        assert get_reader(str(tmp_path / name)) is None
    assert get_reader([str(tmp_path / "a.pth"), str(tmp_path / "b.pth")]) is None


def test_without_a_viewer_there_is_nothing_to_open_it_in(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    assert get_reader(str(tmp_path / "a.pth")) is None


def test_the_manifest_names_the_endings_that_are_known() -> None:
    from napari_unet.formats.sniff import SUFFIXES

    manifest = npe2.PluginManifest.from_distribution(PLUGIN)
    (reader,) = manifest.contributions.readers
    assert {f"*{suffix}" for suffix in SUFFIXES} <= set(reader.filename_patterns)
    assert not reader.accepts_directories
