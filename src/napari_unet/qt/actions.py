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
    "accept_object": ("Shift-G", "Accept the object under the pointer as right"),
    "unaccept": ("Shift-U", "Take back what was accepted or ignored in view"),
    "split": ("Shift-S", "Split objects: draw a line"),
    "merge": ("Shift-M", "Merge objects: draw a line through them"),
    "ignore": ("Shift-I", "Ignore a part: draw around it"),
    "delete": ("Shift-D", "Delete the object under the pointer"),
    "fill_holes": ("Shift-H", "Fill holes of the object under the pointer"),
    "smooth": ("Shift-O", "Smooth the object under the pointer"),
    "snap": ("Shift-E", "Snap the object under the pointer to the network's edges"),
    "copy": ("Shift-C", "Copy the object under the pointer to the next slice"),
    "next": ("Shift-N", "Go to the next place where the U-Net is in doubt"),
    "new_label": ("Shift-B", "Paint a new object with U-Net's next label"),
    "finetune": ("Shift-F", "Fine-tune the U-Net on the corrections"),
    "cancel": ("Shift-Escape", "Cancel the running U-Net job"),
}


def keys_of(name: str) -> str:
    """Return the keys of an action as a person reads them, such as Shift+D."""
    chosen = get_settings().shortcuts.shortcuts.get(f"napari:unet_{name}")
    keys = ACTIONS[name][:1] if chosen is None else chosen
    return " or ".join(str(each).replace("-", "+") for each in keys)


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
