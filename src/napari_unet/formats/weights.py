"""What every format does with tensors once they are read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch

from napari_unet.engine.evidence import likely_input
from napari_unet.engine.model import Model
from napari_unet.engine.networks import build
from napari_unet.engine.spec import Layout, Normalization
from napari_unet.errors import CheckpointError
from napari_unet.formats.families import recognise

CENTRED, SPREAD_OUT = 0.2, 0.4  # mean and spread of images with mean 0 and spread 1
NOT_SCALED = 2.0  # a mean above it is one of raw intensities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_unet.engine.networks import Network
    from napari_unet.engine.spec import Architecture, ModelSpec
    from napari_unet.formats.reading import Contents


def check_weights(name: str, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that no network can compute with, naming the tensor.

    Parameters
    ----------
    name : of the file, for messages
    weights : tensors by name

    Raises
    ------
    CheckpointError
        For NaN or infinity, integer or complex weights, and negative variances.
    """
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for key, tensor in weights.items():
        same = (tensor.data_ptr(), tuple(tensor.shape))
        if same in seen or (tensor.ndim == 0 and not tensor.is_floating_point()):
            continue  # another name of it, or a counter
        seen.add(same)
        if not tensor.numel():
            raise CheckpointError(
                f"{name}: the weight {key} is empty, expected numbers: save "
                "network.state_dict() again."
            )
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{name}: the weight {key} is {str(tensor.dtype)[6:]}, expected "
                "floating point numbers: export the network without quantisation."
            )
        if not _finite(tensor):
            raise CheckpointError(
                f"{name}: the weight {key} holds NaN or infinity, so its training "
                "failed: take an earlier checkpoint."
            )
        if key.endswith("running_var") and bool((tensor < 0).any()):
            raise CheckpointError(
                f"{name}: the variance {key} is negative, so the file is damaged: "
                "copy it again."
            )


def _finite(tensor: Tensor) -> bool:
    """Tell whether no number is NaN or infinite; one pass where all is well."""
    with torch.no_grad():
        if bool(torch.isfinite(tensor.sum())):  # either would be in the sum
            return True
        return bool(torch.isfinite(tensor).all())


def understood(networks: list[Contents], wanted: str = "") -> Model:
    """Return the model that a file's weights make.

    Parameters
    ----------
    networks : what the file holds; one of them is to be a U-Net
    wanted : the reading that the user asks for, "" for the likeliest

    Raises
    ------
    CheckpointError
        If none is a U-Net, or several are.
    """
    found, problems = [], []
    for contents in networks:
        check_weights(contents.name, contents.weights)
        try:
            found.append((contents, recognise(replace(contents, wanted=wanted))))
        except CheckpointError as problem:
            problems.append(problem)
    if not found:
        raise problems[0]
    if len(found) > 1:
        places = ", ".join(repr(".".join(one.wrapper)) for one, _ in found)
        raise CheckpointError(
            f"{networks[0].name} holds {len(found)} different networks, under "
            f"{places}; expected one: save the state_dict() of the one that you want."
        )
    contents, reading = found[0]
    layout = Layout(
        complete=reading.weights.keys() >= contents.weights.keys(),
        wrapper=contents.wrapper,
        prefix=contents.prefix,
    )
    spec = reading.spec.model_copy(update={"layout": layout})
    if any(value.element_size() < 4 for value in reading.weights.values()):
        half = "stored in half precision, computed in single"
        spec = spec.model_copy(update={"remarks": (*spec.remarks, half)})
    network = assemble(spec.architecture, reading.weights, contents.name)
    return Model(network, _with_likely_scaling(spec, network))


def _with_likely_scaling(spec: ModelSpec, network: Network) -> ModelSpec:
    """Return the spec with what the first batch norm tells of the training images."""
    seen = likely_input(network) if spec.source("normalization") == "guessed" else None
    if seen is None:
        return spec
    mean, spread = max(seen.mean, key=abs), max(seen.std)
    remark = (
        f"trained on intensities around {mean:.3g}, with a spread of {spread:.2g}, as "
        "its first batch norm tells"
    )
    told = {"remarks": (*spec.remarks, remark)}
    kind: Literal["zscore", "none"]
    if abs(mean) < CENTRED and spread > SPREAD_OUT:
        kind = "zscore"
    elif mean > NOT_SCALED:
        kind = "none"
    else:
        return spec.model_copy(update=told)
    sources = {**spec.sources, "normalization": "inferred"}
    chosen = Normalization(kind=kind)
    return spec.model_copy(update={**told, "normalization": chosen, "sources": sources})


def assemble(spec: Architecture, weights: Mapping[str, Tensor], name: str) -> Network:
    """Build the network of a spec from weights; all must fit, none may be left over.

    Parameters
    ----------
    spec : the architecture that the file states, or that was read off its weights
    weights : tensors by name; taken over, or copied where two share their memory
    name : of the file, for messages

    Raises
    ------
    CheckpointError
        Naming the first weight that is missing, surplus or of another shape.
    """
    with torch.device("meta"):  # no memory yet: a hostile file may state any size
        network = build(spec)
    expected = network.state_dict()
    counters = {k for k in expected if k.endswith("num_batches_tracked")}
    missing = [k for k in expected if k not in weights and k not in counters]
    surplus = [k for k in weights if k not in expected]
    misfits = [
        k for k, v in expected.items() if k in weights and weights[k].shape != v.shape
    ]
    for found, what in (
        (missing, "lacks the"), (surplus, "has the surplus"),
        (misfits, "misfits in the"),
    ):  # fmt: skip
        if found:
            raise CheckpointError(
                f"{name} {what} weight {found[0]} (of {len(found)} such), expected the "
                "weights of the network that it describes: save it again."
            )
    complete = {k: torch.zeros((), dtype=torch.long) for k in counters}
    complete |= _of_their_own(weights, expected)
    network.load_state_dict(complete, assign=True)
    return network.eval()


def _of_their_own(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return weights in the expected types; those that share memory are copied."""
    seen: set[int] = set()
    own = {}
    for key, value in weights.items():
        storage = value.untyped_storage()
        alone = storage.nbytes() == value.numel() * value.element_size()
        shared = not alone or storage.data_ptr() in seen or not value.is_contiguous()
        seen.add(storage.data_ptr())
        own[key] = value.to(expected[key].dtype, copy=shared)
    return own
