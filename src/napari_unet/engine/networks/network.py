"""Network: computes a graph; its weights have the names that its maker gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional

from napari_unet.engine.graph import GraphSpec
from napari_unet.engine.networks.any_network import AnyNetwork
from napari_unet.engine.networks.layers import WEIGHTED, apply, layer
from napari_unet.engine.networks.unet import unet_graph
from napari_unet.engine.receptive import users
from napari_unet.engine.spec import ProgramSpec
from napari_unet.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_unet.engine.spec import Architecture


class Network(AnyNetwork):
    """The network of a graph, in 2D or 3D.

    Parameters
    ----------
    graph : GraphSpec
        Every layer; weights get the names that it gives.
    """

    def __init__(self, graph: GraphSpec) -> None:
        super().__init__()
        self.graph = graph
        self._last = users(graph.nodes)
        self._layers: dict[int, str] = {}
        made: dict[str, object] = {}
        for number, node in enumerate(graph.nodes, start=1):
            if node.op not in WEIGHTED:
                continue
            key = self._layers[number] = node.key or f"node{number}"
            if key not in made:
                made_layer = layer(node, graph.dims)
                for place in (key, *node.aliases):
                    _attach(self, place, made_layer)
            elif made[key] != (node.op, node.options):
                raise ValueError(f"two different layers have the name {key}")
            made[key] = (node.op, node.options)  # a recurrent network uses one twice

    @property
    def stride(self) -> int:
        """Pixels at full resolution that make one pixel of the coarsest level."""
        return self.graph.stride

    @property
    def halo(self) -> int:
        """Pixels around a stride-aligned core that its output depends on."""
        return self.graph.halo

    @property
    def local(self) -> bool:
        """Whether an output pixel depends on a bounded neighbourhood only."""
        return self.graph.local

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K, [Z,] Y, X) of ``x`` (N, C, [Z,] Y, X), any size."""
        size = tuple(x.shape[2:])
        x = _padded(self.scaled(x), self.graph.taken(size))
        logits = self.computed(x)
        if x.shape[2:] != size:
            logits = logits[(slice(None), slice(None), *(slice(n) for n in size))]
        return logits

    def scaled(self, x: Tensor) -> Tensor:
        """Return an input with the scaling that is part of the network."""
        graph = self.graph
        if graph.input_scale == 1.0 and graph.input_offset == 0.0:
            return x
        return x * graph.input_scale + graph.input_offset

    def layer_of(self, number: int) -> nn.Module | None:
        """Return the layer of a node, counted from 1; None: it has no weights."""
        name = self._layers.get(number)
        return None if name is None else self.get_submodule(name)

    def computed(self, x: Tensor) -> Tensor:
        """Compute node by node, of a scaled input that the network itself takes.

        A value is dropped after its last use.
        """
        values: dict[int, Tensor] = {0: x}
        for number, node in enumerate(self.graph.nodes, start=1):
            if number not in self._last:
                continue
            given = [values[value] for value in node.inputs]
            for value in set(node.inputs):
                if self._last[value] == number:
                    del values[value]
            layer = self.layer_of(number)
            if layer is not None:
                values[number] = layer(*given)
            else:
                values[number] = apply(node, self.graph.dims, given)
        return values[len(self.graph.nodes)]


def _attach(root: nn.Module, key: str, module: nn.Module) -> None:
    """Put a module at a dotted place, whatever the parts of the place are called."""
    *path, last = key.split(".")
    for part in path:
        children = root._modules  # noqa: SLF001 - add_module refuses names like "type"
        if part not in children:
            children[part] = nn.Module()
        child = children[part]
        if child is None:
            raise ValueError(f"{key} is inside of nothing")
        root = child
    if last in root._modules:  # noqa: SLF001 - as above
        raise ValueError(f"two layers have the name {key}")
    root._modules[last] = module  # noqa: SLF001 - as above


def pad_to_multiple(x: Tensor, stride: int | tuple[int, ...]) -> Tensor:
    """Return ``x`` (N, C, [Z,] Y, X) padded at its end to multiples of ``stride``.

    ``stride`` is one for all spatial axes, or one per axis.
    """
    sizes = x.shape[2:]
    strides = stride if isinstance(stride, tuple) else (stride,) * len(sizes)
    return _padded(x, [n + -n % step for n, step in zip(sizes, strides, strict=True)])


def _padded(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return ``x`` (N, C, [Z,] Y, X) with its edge repeated at its end."""
    missing = [n - had for n, had in zip(sizes, x.shape[2:], strict=True)][::-1]
    if not any(missing):
        return x
    return functional.pad(x, [p for n in missing for p in (0, n)], mode="replicate")


def he_normal(network: nn.Module) -> None:
    """Start a network's convolutions from He-normal weights and zero biases.

    References
    ----------
    He et al.: Delving deep into rectifiers, ICCV 2015, arXiv:1502.01852.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def build(architecture: Architecture) -> Network:
    """Return a network of this architecture, its weights as torch makes them.

    Raises
    ------
    CheckpointError
        For a program, which cannot be built from its description.
    """
    if isinstance(architecture, GraphSpec):
        return Network(architecture)
    if isinstance(architecture, ProgramSpec):
        raise CheckpointError(
            f"The network is known as a {architecture.family} program only, expected "
            "its layers: open the file of the program itself."
        )
    return Network(unet_graph(architecture))
