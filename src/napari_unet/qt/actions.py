"""Keyboard shortcuts, registered as napari actions so that the user can change them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager

if TYPE_CHECKING:
    from napari import Viewer

ACTIONS = {
    "predict": ("Shift-R", "Predict with the U-Net"),
    "accept_view": ("Shift-A", "Accept what is visible as right"),
    "finetune": ("Shift-F", "Fine-tune the U-Net on the corrections"),
    "cancel": ("Shift-Escape", "Cancel the running U-Net job"),
}


@cache
def register_actions() -> None:
    """Make the shortcuts known to napari, once per process (fact B4).

    A default is bound only if the user's settings hold none.
    """
    from napari_unet.qt.bench import bench_for

    def make(name: str, text: str) -> None:
        def act(viewer: Viewer) -> None:
            bench_for(viewer).request(name)

        act.__doc__ = text
        action_manager.register_action(f"napari:unet_{name}", act, text, ViewerModel)

    chosen = get_settings().shortcuts.shortcuts
    for name, (keys, text) in ACTIONS.items():
        make(name, text)
        if f"napari:unet_{name}" not in chosen:
            action_manager.bind_shortcut(f"napari:unet_{name}", keys)
