"""ONNX files: networks as data, computed by onnxruntime."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_unet.errors import CheckpointError
from napari_unet.formats.programs.opening import open_program

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model
    from napari_unet.formats.interrupt import Interrupt

NEWEST = 64  # versions of the format that may come to be
NEXT_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"  # producer, domain, ..., graph, operators


def matches(path: Path, head: bytes) -> bool:
    """Tell from the first fields whether a file is an ONNX model."""
    del path
    version = len(head) > 2 and head[0] == 0x08 and 1 <= head[1] <= NEWEST
    return version and head[2] in NEXT_FIELDS


def load(
    path: Path, trust: bool = False, interrupt: Interrupt | None = None,
    owner: object = None,
) -> Model:  # fmt: skip
    """Open an ONNX file; it is data, so that no trust is needed.

    Parameters
    ----------
    path : the file; further files that it names must lie in its folder
    trust : not needed
    interrupt : ends the wait from another thread
    owner : kept as long as the model, such as the temporary folder of the file

    Raises
    ------
    CheckpointError
        If it is damaged, needs operators or files from elsewhere, or is no network of
        images, or if onnxruntime is not installed.
    """
    del trust
    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise CheckpointError(
                f"{path.name} is an ONNX network, and the package {package} is not "
                "installed: install napari-unet-workbench[onnx]."
            )
    return open_program(path, "ONNX", interrupt, owner)
