"""The checkpoints that come with the program. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent.parent / "models"
SUFFIX = ".safetensors"


def bundled_models() -> list[str]:
    """Return the names of the models that come with the program."""
    return sorted(file.stem for file in FOLDER.glob(f"*{SUFFIX}"))


def bundled_path(name: str) -> Path | None:
    """Return the file of a bundled model; None when there is none of this name."""
    return FOLDER / f"{name}{SUFFIX}" if name in bundled_models() else None


def memory_path(name: str) -> Path:
    """Return where the images lie that recall what a model was trained on."""
    return FOLDER / f"{name}-memory.npz"


def bundled_memory(name: str) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return synthetic images of the kind that a bundled model was trained on.

    Returns
    -------
    pairs : (Y, X) uint8 images and (Y, X) labels; none where there is no such model
    """
    import numpy as np

    file = memory_path(name)
    if name not in bundled_models() or not file.is_file():
        return []
    with np.load(file, allow_pickle=False) as kept:
        return list(zip(kept["images"], kept["labels"], strict=True))
