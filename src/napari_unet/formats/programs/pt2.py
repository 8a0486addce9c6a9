"""Files of ``torch.export``: a traced graph and its weights, in a zip archive."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from napari_unet.errors import CheckpointError
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

MARKS = ("archive_format", "serialized_exported_program.json")
COMPILED = "data/aotinductor/"  # machine code for one kind of machine


def matches(path: Path, head: bytes) -> bool:
    """Tell whether a file is an archive of ``torch.export``, of any version."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    return any(name in MARKS for name in _names(path))


def _names(path: Path) -> list[str]:
    """Return the members' names; those of older versions have no folder."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return [*names, *members(path)]


def load(
    path: Path, trust: bool = False, interrupt: Interrupt | None = None,
    owner: object = None,
) -> Model:  # fmt: skip
    """Open a file of ``torch.export``; runs its code, in a process of its own.

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
    require_trust(path, "torch.export", trust)
    if any(name.startswith(COMPILED) for name in _names(path)):
        raise CheckpointError(
            f"{path.name} holds machine code (AOTInductor), expected the exported "
            "program: save it with torch.export.save."
        )
    check_archive(path)
    return open_program(path, "torch.export", interrupt, owner)
