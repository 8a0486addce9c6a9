"""Any checkpoint file to a Model and back; the only room that opens weight files.

Importing this room imports no torch; the registry does, when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet.formats.bundled import bundled_models

if TYPE_CHECKING:
    from napari_unet.formats.registry import load_model, save_model

SAVE_SUFFIXES = {
    ".safetensors": "napari_unet model, with all that is known of it",
    ".zip": "BioImage.IO package, for the model zoo and other programs",
    ".onnx": "ONNX, for programs that only predict",
    ".pt2": "exported PyTorch program, predicts without this program",
    ".pth": "PyTorch weights under the names of the library they came from",
}

__all__ = ["SAVE_SUFFIXES", "bundled_models", "load_model", "save_model"]


def __getattr__(name: str) -> Any:
    """Import the registry when it is first used."""
    if name not in ("load_model", "save_model"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_unet.formats import registry

    return getattr(registry, name)
