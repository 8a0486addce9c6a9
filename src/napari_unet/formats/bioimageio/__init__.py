"""BioImage.IO: packages of the model zoo, read and written.

Importing it imports torch with the readers and writers, when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet.formats.bioimageio.people import Author, Citation

if TYPE_CHECKING:
    from napari_unet.formats.bioimageio.reader import load, matches
    from napari_unet.formats.bioimageio.writer import save, verify

__all__ = ["Author", "Citation", "load", "matches", "save", "verify"]
_WHERE = {"load": "reader", "matches": "reader", "save": "writer", "verify": "writer"}


def __getattr__(name: str) -> Any:
    """Import reader or writer when one of its functions is first used."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
