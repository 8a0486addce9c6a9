"""TorchScript files: programs of ``torch.jit``, in a zip archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.formats.programs.opening import (
    check_archive,
    members,
    open_program,
    require_trust,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model
    from napari_unet.formats.interrupt import Interrupt


def matches(path: Path, head: bytes) -> bool:
    """Tell whether a file is an archive with TorchScript code."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    names = members(path)
    return "constants.pkl" in names and any(name.startswith("code/") for name in names)


def load(
    path: Path, trust: bool = False, interrupt: Interrupt | None = None,
    owner: object = None,
) -> Model:  # fmt: skip
    """Open a TorchScript file; runs its code, in a process of its own.

    Parameters
    ----------
    path : the file
    trust : whether its code may be run
    interrupt : ends the wait from another thread
    owner : kept as long as the model, such as the temporary folder of the file

    Raises
    ------
    CheckpointError
        If it is not trusted, damaged, or no network of images.
    """
    require_trust(path, "TorchScript", trust)
    check_archive(path)
    return open_program(path, "TorchScript", interrupt, owner)
