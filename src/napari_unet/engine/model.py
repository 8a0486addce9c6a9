"""Model = network + ModelSpec: what a checkpoint is."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from napari_unet.engine.kinds import describe
from napari_unet.engine.networks import build, he_normal
from napari_unet.engine.spec import ModelSpec
from napari_unet.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_unet.engine.kinds import Gate
    from napari_unet.engine.networks import AnyNetwork
    from napari_unet.engine.spec import Activation, Normalization

FROZEN = (
    "{name} cannot be fine-tuned, because frozen programs cannot be trained: their "
    "weights are sealed in code; open a state dict of the same network instead."
)


@dataclass(frozen=True)
class Elder:
    """The network that a model was fine-tuned from, for images of the kind it knew.

    Attributes
    ----------
    network : like the model's own
    gate : tells for which images, by what the model's own network would see of them
    normalization : how it takes these images
    """

    network: AnyNetwork
    gate: Gate
    normalization: Normalization

    def alone(self, spec: ModelSpec) -> Model:
        """Return it as a model of its own.

        Parameters
        ----------
        spec : of the model that it stands beside
        """
        told = {"normalization": self.normalization, "smallest": None}
        # how small its objects are: unknown
        return Model(self.network, spec.model_copy(update=told))


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode and what is known of it.

    Attributes
    ----------
    network : (N, C, [Z,] Y, X) float32 to logits (N, K, [Z,] Y, X)
    spec : meaning of input and output
    elder : what it was fine-tuned from, where it is still used; None: nothing
    """

    network: AnyNetwork
    spec: ModelSpec
    elder: Elder | None = None

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.network.device

    @property
    def trainable(self) -> bool:
        """Whether there are weights to learn with."""
        return next(self.network.parameters(), None) is not None

    def scores(self, x: Tensor) -> Tensor:
        """Return the scores (N, K, [Z,] Y, X), 0 to 1, of a normalised ``x``."""
        return activate(self.network(x), self.spec.likely_activation)

    def fitting(self, image: NDArray[np.float32]) -> Model:
        """Return the model whose network is the one for an image.

        Parameters
        ----------
        image : (C, [Z,] Y, X) float32, normalised, or a large part of it

        Returns
        -------
        model : it may be for the image as another normalisation makes it
        """
        elder = self.elder
        if elder is None or not elder.gate.is_old(describe(image)):
            return replace(self, elder=None)
        return elder.alone(self.spec)

    def turned_over(self, negative: bool) -> Model:
        """Return the model for images as they are, or for their negatives."""
        if negative == self.spec.normalization.negative:
            return self
        update = {"negative": negative}
        normalization = self.spec.normalization.model_copy(update=update)
        spec = self.spec.model_copy(update={"normalization": normalization})
        return replace(self, spec=spec, elder=None)

    def saying(self, smallest: int | None) -> Model:
        """Return the model with another ``ModelSpec.smallest``."""
        spec = self.spec.model_copy(update={"smallest": smallest})
        return replace(self, spec=spec)

    def to(self, device: torch.device) -> Model:
        """Return the model with its weights on ``device``."""
        return self if self.device == device else self.clone(device)

    def clone(self, device: torch.device | None = None) -> Model:
        """Return a model that shares nothing with this one."""
        clone = replace(self, network=deepcopy(self.network).to(device or self.device))
        if self.elder is None or device in (None, self.device):
            return clone  # an elder is never changed
        elder = replace(self.elder, network=deepcopy(self.elder.network).to(device))
        return replace(clone, elder=elder)


def activate(logits: Tensor, activation: Activation) -> Tensor:
    """Return scores of logits (N, K, [Z,] Y, X)."""
    if activation == "softmax":
        return logits.softmax(dim=1)
    return logits.sigmoid() if activation == "sigmoid" else logits


def between(old: Model, new: Model, share: float) -> Model:
    """Return ``new`` with weights and statistics between its own and those of another.

    Parameters
    ----------
    old, new : of one architecture; left as they are
    share : of the old, 0 to 1

    References
    ----------
    Wortsman et al.: Robust fine-tuning of zero-shot models, CVPR 2022,
    arXiv:2109.01903.
    """
    network = deepcopy(new.network)
    before = old.network.state_dict()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(before[name].to(value.device), share)
    return replace(new, network=network)


def revised(model: Model, changes: Mapping[str, Any]) -> Model:
    """Return a model with some of what is known of it changed, its weights the same.

    Parameters
    ----------
    model : left as it is
    changes : fields of ModelSpec by name; a dictionary changes fields of that field,
        such as ``{"normalization": {"kind": "zscore"}}``. They count as chosen.

    Raises
    ------
    CheckpointError
        If the changes do not fit the network.
    """
    facts = [f if f != "architecture" else "input_scaling" for f in changes]
    sources = {**model.spec.sources, **dict.fromkeys(facts, "chosen")}
    fields = _merged(model.spec.model_dump(), {**changes, "sources": sources})
    try:
        spec = ModelSpec.model_validate(fields)
        if spec.architecture == model.spec.architecture:
            return replace(model, spec=spec, elder=None)
        network = build(spec.architecture)
        network.load_state_dict(model.network.state_dict())
    except (ValidationError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The changed settings do not fit the model ({_reason(error)}): "
            "change them back."
        ) from error
    return Model(network.to(model.device).eval(), spec)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        inner = old.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = _merged(inner, value)
        merged[key] = value
    return merged


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return error.errors()[0]["msg"]
    return (str(error).splitlines() or ["no details"])[0][:120]


def new_model(spec: ModelSpec, seed: int = 0) -> Model:
    """Return an untrained model whose weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(spec.architecture)
        he_normal(network)
    return Model(network.eval(), spec)
