"""Checkpoints dropped on napari's window, or opened from its File menu (fact B7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari

from napari_unet.formats.sniff import looks_like_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGIN = "napari-unet-workbench"
NOTHING: list[tuple[Any, ...]] = [(None,)]  # napari then adds no layer, and is content


def get_reader(path: str | list[str]) -> Callable[..., list[tuple[Any, ...]]] | None:
    """Return what opens a checkpoint in the workbench; None for all else.

    Parameters
    ----------
    path : of a file; several at once are not ours
    """
    if isinstance(path, list):
        if len(path) != 1:
            return None
        path = path[0]
    if not looks_like_checkpoint(path) or napari.current_viewer() is None:
        return None
    return open_in_workbench


def open_in_workbench(path: str | list[str]) -> list[tuple[Any, ...]]:
    """Open the dock and load the checkpoint there, as a job.

    A reader is not told its viewer: this alone may ask for the current one.
    """
    from napari_unet.qt.bench import bench_for

    place = path[0] if isinstance(path, list) else path
    viewer = napari.current_viewer()
    if viewer is not None:
        viewer.window.add_plugin_dock_widget(PLUGIN, "U-Net workbench")
        bench = bench_for(viewer)
        bench.run("model", lambda: bench.session.load_job(str(place)))
    return NOTHING
