"""The checkpoints that come with the program. Imports no torch."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "models"
SUFFIX = ".safetensors"


def bundled_models() -> list[str]:
    """Return the names of the models that come with the program."""
    return sorted(file.stem for file in FOLDER.glob(f"*{SUFFIX}"))


def bundled_path(name: str) -> Path | None:
    """Return the file of a bundled model; None when there is none of this name."""
    return FOLDER / f"{name}{SUFFIX}" if name in bundled_models() else None
