"""Small networks, images and labels that tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.model import new_model
from napari_unet.engine.spec import ModelSpec, UNetSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import Output

CHANNELS = {"instances": 2, "foreground": 1, "classes": 3}


def tiny_spec(output: Output = "instances", **architecture: Any) -> ModelSpec:
    """Return the spec of a network of a few thousand weights."""
    fields = {"widths": (4, 8), "out_channels": CHANNELS[output], **architecture}
    return ModelSpec(name="tiny", architecture=UNetSpec(**fields), output=output)


def tiny_model(output: Output = "instances", seed: int = 0, **fields: Any) -> Model:
    """Return a tiny network whose batch-norm statistics are not those of the start."""
    model = new_model(tiny_spec(output, **fields), seed)
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in model.network.named_buffers():
        if buffer.is_floating_point():
            drawn = torch.rand(buffer.shape, generator=generator)
            buffer.copy_(drawn + 0.5 if name.endswith("var") else drawn - 0.5)
    return model


def discs(
    shape: tuple[int, ...], radius: float, centres: list[tuple[float, ...]]
) -> NDArray[np.int32]:
    """Return labels of discs (balls in 3D), numbered in the order given."""
    labels = np.zeros(shape, np.int32)
    grid = np.indices(shape)
    nearest = np.full(shape, np.inf)
    for number, centre in enumerate(centres, start=1):
        column = np.reshape(centre, (-1,) + (1,) * len(shape))
        distance = np.sqrt(((grid - column) ** 2).sum(axis=0))
        inside = (distance < radius) & (distance < nearest)
        labels[inside] = number
        nearest = np.minimum(nearest, distance)
    return labels


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Return a random image."""
    return np.random.default_rng(seed).random(shape, np.float32) * 1000


def nuclei(
    size: int = 96, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return an image of bright discs on a dark ground, and its labels."""
    rng = np.random.default_rng(seed)
    cells = [(y, x) for y in range(12, size, 24) for x in range(12, size, 24)]
    labels = discs((size, size), 8, [tuple(c + rng.normal(0, 2, 2)) for c in cells])
    image = 30 + 150 * (labels > 0) + rng.normal(0, 8, labels.shape)
    return image.clip(0, 255).astype(np.uint8), labels
