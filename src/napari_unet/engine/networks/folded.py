"""A network for prediction only: batch norm is folded into the layer before it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_unet.engine.networks.network import Network

if TYPE_CHECKING:
    from torch import nn

    from napari_unet.engine.graph import Node

FOLDABLE = ("conv", "conv_transpose")  # layers that batch norm can be folded into


def folded(network: Network) -> Network:
    """Return a network that gives the same in evaluation mode, with fewer layers.

    Batch norm after a convolution becomes part of its weights; dropout is left out. The
    weights are copies, and cannot be trained to the same end.
    """
    nodes = network.graph.nodes
    norms = _foldable(nodes)
    norm_of = {nodes[norm - 1].inputs[0]: norm for norm in norms}
    kept: list[Node] = []
    layers: list[nn.Module | None] = []
    renumbered = {0: 0}
    for number, node in enumerate(nodes, start=1):
        if node.op == "dropout" or number in norms:
            renumbered[number] = renumbered[node.inputs[0]]
            continue
        changes: dict[str, Any] = {"inputs": tuple(renumbered[v] for v in node.inputs)}
        layer = network.layer_of(number)
        if number in norm_of:
            changes["options"] = {**node.options, "bias": True}
            layer = _fused(node, layer, network.layer_of(norm_of[number]))
        kept.append(node.model_copy(update=changes))
        layers.append(layer)
        renumbered[number] = len(kept)
    with torch.device("meta"):  # draws no random weights
        result = Network(network.graph.model_copy(update={"nodes": tuple(kept)}))
    for number, layer in enumerate(layers, start=1):
        new = result.layer_of(number)
        if layer is not None and new is not None:
            own = {key: value.clone() for key, value in layer.state_dict().items()}
            new.load_state_dict(own, assign=True)
    return result.eval().requires_grad_(requires_grad=False)


def _foldable(nodes: tuple[Node, ...]) -> set[int]:
    """Return the batch norms that alone read a convolution of their own."""
    readers = Counter(value for node in nodes for value in set(node.inputs))
    owners = Counter(node.key for node in nodes if node.key)
    found = set()
    for number, node in enumerate(nodes, start=1):
        value = node.inputs[0]
        batch = node.op == "norm" and node.options.get("kind") == "batch"
        if not (batch and value and node.options.get("track", True)):
            continue
        before = nodes[value - 1]
        alone = readers[value] == 1 and owners[before.key] == 1
        grouped = before.op == "conv_transpose" and before.options.get("groups", 1) != 1
        if before.op in FOLDABLE and alone and not grouped:
            found.add(number)
    return found


def _fused(node: Node, layer: Any, norm: Any) -> nn.Module:
    """Return a copy of a convolution with its batch norm in it."""
    fused: nn.Module = fuse_conv_bn_eval(
        layer, norm, transpose=node.op == "conv_transpose"
    )
    return fused
