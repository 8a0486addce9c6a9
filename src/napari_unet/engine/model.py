"""Model = network + ModelSpec: what a checkpoint is."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from napari_unet.engine.networks import build, he_normal

if TYPE_CHECKING:
    from torch import Tensor

    from napari_unet.engine.networks import UNet
    from napari_unet.engine.spec import ModelSpec, Output


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode and what is known of it.

    Attributes
    ----------
    network : (N, C, [Z,] Y, X) float32 to logits (N, K, [Z,] Y, X)
    spec : meaning of input and output
    """

    network: UNet
    spec: ModelSpec

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def scores(self, x: Tensor) -> Tensor:
        """Return the scores (N, K, [Z,] Y, X), 0 to 1, of a normalised ``x``."""
        return activate(self.network(x), self.spec.output)

    def to(self, device: torch.device) -> Model:
        """Return the model with its weights on ``device``."""
        return self if self.device == device else self.clone(device)

    def clone(self, device: torch.device | None = None) -> Model:
        """Return a model that shares nothing with this one."""
        return replace(self, network=deepcopy(self.network).to(device or self.device))


def activate(logits: Tensor, output: Output) -> Tensor:
    """Return scores: softmax over classes, else a sigmoid for each channel."""
    return logits.softmax(dim=1) if output == "classes" else logits.sigmoid()


def new_model(spec: ModelSpec, seed: int = 0) -> Model:
    """Return an untrained model whose weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(spec.architecture)
        he_normal(network)
    return Model(network.eval(), spec)
