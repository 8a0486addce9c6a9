"""Safetensors: the native file, with ModelSpec and checksum, and other tools' files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_unet.engine.kinds import Gate
from napari_unet.engine.model import Elder, Model
from napari_unet.engine.spec import ModelSpec, Normalization
from napari_unet.errors import CheckpointError, OutputError
from napari_unet.formats.weights import assemble, check_weights, understood
from napari_unet.formats.wrappers import unwrap

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from napari_unet.engine.networks import AnyNetwork

SUFFIX = ".safetensors"
FORMAT = "napari-unet 1"
ELDER = "elder."  # before names of weights of the network that a model was made from
ELDER_SCALING = "elder normalization"
Told = TypeVar("Told", bound=BaseModel)


def matches(path: Path, head: bytes) -> bool:
    """Tell from its name or its first bytes whether a file is safetensors."""
    length = int.from_bytes(head[:8], "little")
    whole = head[8:9] == b"{" and length < path.stat().st_size
    cut_short = not any(head[4:8]) and head[8:9] in (b"{", b"")
    return whole or (path.suffix.lower() == SUFFIX and cut_short)


def load(path: Path, wanted: str = "") -> Model:
    """Open a safetensors file, native or another tool's; nothing in it is executed.

    Parameters
    ----------
    path : a .safetensors file
    wanted : the reading that the user asks for, "" for the likeliest

    Raises
    ------
    CheckpointError
        If the file is damaged, of another tool, or its tensors were changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise CheckpointError(
            f"{path.name} is damaged or cut short ({error}); expected a whole "
            "safetensors file: copy it again."
        ) from error
    if metadata.get("format") != FORMAT:  # of another tool: weights and no more
        return understood(unwrap(path.name, path.stem, weights), wanted)
    spec = _spec(path, metadata)
    if digest(weights) != metadata.get("sha256"):
        raise CheckpointError(
            f"{path.name} holds other weights than were saved (its SHA-256 differs): "
            "copy it again from where it was made."
        )
    check_weights(path.name, weights)
    gate = _gate(path, metadata)
    if gate is None:
        return Model(assemble(spec.architecture, weights, path.name), spec)
    own = {k: v for k, v in weights.items() if not k.startswith(ELDER)}
    model = Model(assemble(spec.architecture, own, path.name), spec)
    old = {k.removeprefix(ELDER): v for k, v in weights.items() if k not in own}
    network = assemble(spec.architecture, old, path.name)
    return replace(model, elder=Elder(network, gate, _elders(path, metadata, spec)))


def _gate(path: Path, metadata: dict[str, str]) -> Gate | None:
    return _read(path, Gate, metadata["gate"]) if "gate" in metadata else None


def _elders(path: Path, metadata: dict[str, str], spec: ModelSpec) -> Normalization:
    """Return how an elder takes its images: as the model does, unless it is said."""
    if ELDER_SCALING not in metadata:
        return spec.normalization
    taken = _read(path, Normalization, metadata[ELDER_SCALING])
    if taken.channels not in (1, spec.architecture.in_channels):
        raise _unknown(path)
    return taken


def _read(path: Path, kind: type[Told], text: str) -> Told:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise _unknown(path) from error


def _spec(path: Path, metadata: dict[str, str]) -> ModelSpec:
    try:
        return ModelSpec.model_validate_json(metadata["spec"])
    except (ValidationError, KeyError) as error:
        raise _unknown(path) from error


def _unknown(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path.name} does not describe its network in a way this version knows: "
        "save it again with this version."
    )


def save(model: Model, path: Path) -> None:
    """Write a native file; float32 weights.

    Parameters
    ----------
    model : to save
    path : written in place; ``save_model`` gives a temporary name

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    weights = _copied(model.network, "")
    if model.elder is not None:
        weights |= _copied(model.elder.network, ELDER)
    metadata = {
        "format": FORMAT,
        "spec": model.spec.model_dump_json(),
        "sha256": digest(weights),
    }
    if model.elder is not None:
        metadata["gate"] = model.elder.gate.model_dump_json()
        metadata[ELDER_SCALING] = model.elder.normalization.model_dump_json()
    try:
        save_file(weights, path, metadata=metadata)
    except SafetensorError as error:  # how this library says that the disk is full
        raise OutputError(
            f"{path.parent} could not be written to ({error}); expected a writable "
            "folder with enough free space: choose another place."
        ) from error


def _copied(network: AnyNetwork, prefix: str) -> dict[str, Tensor]:
    """Return copies: safetensors refuses one weight under two names."""
    return {
        prefix + key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in network.state_dict().items()
    }


def digest(weights: dict[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and values, in order of names."""
    total = hashlib.sha256()
    for key in sorted(weights):
        tensor = weights[key].contiguous()
        total.update(json.dumps([key, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
