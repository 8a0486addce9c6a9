"""Recorded outputs of other makers' libraries, without their weights.

The weights are a function of each tensor's name and shape, so a recording is a small
file: names and shapes of the state dict, and the output for a drawn input. With a
maker's library at hand ``record(name, network, family=..., version=...)`` writes
``references/<name>.npz``; tests make the same weights, open them as a file would be
opened, and compare.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent / "references"


def drawn_weights(
    shapes: dict[str, list[int]], seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return weights that depend on names, shapes and the seed alone."""
    return {key: _drawn(key, tuple(shape), seed) for key, shape in shapes.items()}


def _drawn(key: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    rng = np.random.default_rng([zlib.crc32(key.encode()), seed])
    if key.endswith("num_batches_tracked"):
        return torch.tensor(7)
    values = rng.standard_normal(shape)
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) > 1:
        values = values * np.sqrt(2 / np.prod(shape[1:]))
    else:
        values = values * 0.1
    return torch.from_numpy(np.asarray(values, np.float32))


def drawn_input(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Return an input (N, C, [Z,] Y, X) of values between 0 and 1."""
    return torch.from_numpy(np.random.default_rng(seed).random(shape, np.float32))


def record(
    name: str, network: torch.nn.Module, size: tuple[int, ...], **facts: Any
) -> None:
    """Write what a maker's network gives; ``facts``: family, version, channels ...

    ``size`` is that of the input (C, [Z,] Y, X).
    """
    state = network.state_dict()
    shapes = {key: list(value.shape) for key, value in state.items()}
    network.load_state_dict(drawn_weights(shapes))
    with torch.no_grad():
        output = network.eval()(drawn_input((1, *size)))
    FOLDER.mkdir(exist_ok=True)
    facts = {**facts, "size": list(size), "shapes": shapes}
    np.savez_compressed(
        FOLDER / f"{name}.npz", output=output.numpy(), facts=json.dumps(facts)
    )


def recording(name: str) -> tuple[dict[str, Any], np.ndarray]:
    """Return the facts and the output of a recording."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return json.loads(str(file["facts"])), file["output"]


def relative_error(found: torch.Tensor, expected: np.ndarray) -> float:
    """Return the largest difference over the largest expected value."""
    return float(np.abs(found.numpy() - expected).max() / np.abs(expected).max())
