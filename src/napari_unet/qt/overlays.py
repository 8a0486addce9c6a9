"""Putting layers of ours into the viewer without disturbing what the user does."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari import Viewer

OVERLAY = "unet overlay"  # in a layer's metadata: the panels do not offer it


@contextmanager
def undisturbed(viewer: Viewer) -> Iterator[None]:
    """Let layers come and go: what was selected stays so, and no long pause is made.

    What is alive is kept out of Python's garbage collections for the moment. One of
    all objects takes 0.3 to 0.4 s where torch is loaded, and stops the window. napari
    asks for one as a layer goes, and a new layer makes one due; the next one finds what
    these leave.
    """
    selection = viewer.layers.selection
    active, others = selection.active, set(selection)
    gc.freeze()
    try:
        yield
        _choose(viewer, active, others)
    finally:
        gc.unfreeze()


def _choose(viewer: Viewer, active: Any, others: set[Any]) -> None:
    """Select what was selected, as far as it is there."""
    selection = viewer.layers.selection
    there = {each for each in others if each in viewer.layers}
    if there != set(selection):
        selection.update(there)
        selection.intersection_update(there)
    if active in viewer.layers and selection.active is not active:
        selection.active = active
