"""Files of ``torch.save``: a plain state dict of this project's own networks."""

from __future__ import annotations

import re
import zipfile
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_unet.engine.model import Model
from napari_unet.engine.spec import ModelSpec, UNetSpec
from napari_unet.errors import CheckpointError
from napari_unet.formats.weights import assemble, check_weights

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.spec import Output, Source

FIRST_CONVOLUTION = r"encoder\.(\d{1,3})\.first\.0\.weight$"
MOST_LEVELS = 9
DEEPEST = 8  # wrappers in wrappers; a damaged file may contain itself
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net")


def matches(path: Path, head: bytes) -> bool:
    """Tell whether a file is a zip archive or a pickle, as ``torch.save`` writes."""
    del path
    return head.startswith(
        (b"PK\x03\x04", *(b"\x80" + bytes([n]) for n in range(2, 6)))
    )


def load(path: Path) -> Model:
    """Open a state dict; nothing in it is executed.

    Parameters
    ----------
    path : a file of ``torch.save``

    Raises
    ------
    CheckpointError
        If the file holds code, is damaged, or is of another network.
    """
    _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} holds code or Python objects, or is damaged; expected plain "
            "weights, and nothing was run: save network.state_dict() again."
        ) from error
    weights = _state_dict(path, content)
    _check_size(path, weights)
    check_weights(path.name, weights)
    spec = _infer(path, weights)
    return Model(assemble(spec.architecture, weights, path.name), spec)


def _check_archive(path: Path) -> None:
    """Refuse archives that are cut short, packed, or fail their checksums."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                raise CheckpointError(
                    f"{path.name} is cut short, its end is missing: copy it again."
                )
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_members(path, members)
        checked = any(member.CRC for member in members)  # torch may write none (B8)
        damaged = archive.testzip() if checked else None
    if damaged:
        raise CheckpointError(
            f"{path.name} is damaged, the checksum of {damaged} differs: copy it again."
        )


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = {member.filename.rpartition("/")[2] for member in members}
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path.name} is a TorchScript program, expected weights: "
            "save network.state_dict() instead."
        )
    if "data.pkl" not in names:
        raise CheckpointError(
            f"{path.name} is a zip archive without PyTorch weights: choose a file of "
            "torch.save."
        )
    if any(member.compress_type for member in members):
        raise CheckpointError(
            f"{path.name} has packed members, which torch never writes: "
            "save it again with torch.save."
        )


def _state_dict(path: Path, content: object) -> dict[str, Tensor]:
    """Return the tensors by name, seen through the usual wrappers."""
    for _ in range(DEEPEST):
        if not isinstance(content, dict):
            break
        inner = [content.get(wrapper) for wrapper in WRAPPERS]
        content = next((one for one in inner if isinstance(one, dict)), content)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path.name} holds a {type(content).__name__}, expected weights by name: "
            "save network.state_dict()."
        )
    if not content:
        raise CheckpointError(
            f"{path.name} holds no weights at all, expected weights by name: "
            "save network.state_dict()."
        )
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path.name} holds {str(key)[:80]!r} beside the weights, expected "
                "weights only: save network.state_dict()."
            )
    return {key.removeprefix("module."): value for key, value in content.items()}


def _check_size(path: Path, weights: dict[str, Tensor]) -> None:
    """Refuse views that pretend to be far larger than the file (fact B8)."""
    stated = sum(value.numel() * value.element_size() for value in weights.values())
    held = path.stat().st_size
    if stated > held:
        raise CheckpointError(
            f"{path.name} states {stated:,} bytes of weights and holds {held:,}: "
            "save contiguous weights again."
        )


def _infer(path: Path, weights: dict[str, Tensor]) -> ModelSpec:
    """Read every number of the architecture off the shapes of the weights."""
    found = {int(m[1]) for key in weights if (m := re.match(FIRST_CONVOLUTION, key))}
    names = [f"encoder.{level}.first.0.weight" for level in range(len(found))]
    kernels = [weights[name] for name in names if name in weights]
    head = weights.get("head.weight")
    if (
        head is None
        or head.ndim not in (4, 5)
        or not 2 <= len(kernels) == len(found) <= MOST_LEVELS
        or any(kernel.ndim != head.ndim for kernel in kernels)
    ):
        raise CheckpointError(
            f"{path.name} holds weights named {next(iter(weights))[:80]} and so on, "
            "expected those of this project's U-Net: other networks cannot be opened "
            "yet."
        )
    architecture = UNetSpec(
        dims=3 if head.ndim == 5 else 2,
        in_channels=kernels[0].shape[1],
        out_channels=head.shape[0],
        widths=tuple(kernel.shape[0] for kernel in kernels),
        norm="batch" if "encoder.0.first.1.running_mean" in weights else "none",
        upsampling="interpolate" if "up.0.conv.weight" in weights else "transposed",
        residual="encoder.0.shortcut.weight" in weights,
    )
    sources: dict[str, Source] = {
        "architecture": "inferred", "output": "guessed", "normalization": "guessed",
    }  # fmt: skip
    return ModelSpec(
        name=path.stem,
        architecture=architecture,
        output=_likely_output(architecture.out_channels),
        sources=sources,
    )


def _likely_output(channels: int) -> Output:
    outputs: dict[int, Output] = {1: "foreground", 2: "instances"}
    return outputs.get(channels, "classes")
