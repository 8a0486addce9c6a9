"""What the writers of ONNX, pt2 and TorchScript share: a network as one traced program.

Exporters follow a network once, for one size. Padding to the stride must then be
written so that the size stays open: by index, without a question about the size.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_unet.engine.graph import GraphSpec
from napari_unet.engine.model import activate
from napari_unet.engine.networks import Network
from napari_unet.errors import OutputError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import Activation

SPATIAL = ("z", "y", "x")
LARGEST = 2**16  # pixels per axis
TOLERANCE = 1e-4  # of the largest value: other programs add in another order


class Exportable(nn.Module):
    """A network that any exporter can follow, for images of any size.

    Parameters
    ----------
    model : left as it is; the weights are copied
    activation : what is applied to the logits at the end
    """

    def __init__(self, model: Model, activation: Activation = "none") -> None:
        super().__init__()
        graph = graph_of(model)
        self.network = Network(graph).eval()
        self.network.load_state_dict(model.network.state_dict())
        self.network.requires_grad_(False)  # a program that is handed on is not trained
        self.pads = graph.fit == "pad"
        self.stride = graph.stride
        self.scale, self.offset = graph.input_scale, graph.input_offset
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (N, K, [Z,] Y, X) of ``x`` (N, C, [Z,] Y, X)."""
        size = x.shape[2:]
        if self.scale != 1.0 or self.offset != 0.0:
            x = x * self.scale + self.offset
        if self.pads:
            x = self._padded(x)
        logits = self.network.computed(x)
        if self.pads:
            for axis, length in enumerate(size, start=2):
                kept = torch.arange(length, device=x.device)
                logits = logits.index_select(axis, kept)
        return activate(logits, self.activation)

    def _padded(self, x: Tensor) -> Tensor:
        """Repeat the edge up to the next multiple of the stride."""
        for axis in range(2, x.ndim):
            length = x.shape[axis]
            padded = self.stride * ((length + self.stride - 1) // self.stride)
            places = torch.arange(padded, device=x.device).clamp(max=length - 1)
            x = x.index_select(axis, places)
        return x


def graph_of(model: Model) -> GraphSpec:
    """Return the layers of a model, or refuse a program whose layers are not known.

    Raises
    ------
    OutputError
        If the model is a frozen program.
    """
    graph = getattr(model.network, "graph", None)
    if not isinstance(graph, GraphSpec):
        raise OutputError(
            f"{model.spec.name} is a frozen program, expected a network whose weights "
            "are open: copy its own file instead of saving it in another format."
        )
    return graph


def smallest(graph: GraphSpec) -> int:
    """Return the least pixels per axis that an exported program is made for."""
    return graph.stride + 1 if graph.fit == "pad" else 2 * graph.stride


def examples(graph: GraphSpec) -> tuple[Tensor, Tensor]:
    """Return two inputs (N, C, [Z,] Y, X) of unequal sizes to try a program with.

    The second is of a size that the stride does not divide.
    """
    generator = torch.Generator().manual_seed(0)
    stride = max(graph.stride, 2)
    sizes = [[stride * (2 + axis) for axis in range(graph.dims)]]
    sizes.append([stride * (3 + axis) + 1 + axis for axis in range(graph.dims)])
    first, second = (
        torch.rand(batch, graph.in_channels, *size, generator=generator)
        for batch, size in zip((2, 1), sizes, strict=True)
    )
    return first, second


def dynamic_axes(graph: GraphSpec) -> dict[int, torch.export.Dim]:
    """Return the axes of the input whose size is open: batch and space."""
    least = smallest(graph)
    axes = {0: torch.export.Dim("batch", min=1, max=LARGEST)}
    for axis, name in enumerate(SPATIAL[-graph.dims :], start=2):
        axes[axis] = torch.export.Dim(name, min=least, max=LARGEST)
    return axes


def described(model: Model) -> str:
    """Return as JSON what is known of a model whose program gives scores."""
    said = model.spec.model_dump(mode="json", exclude={"architecture", "layout"})
    graph = graph_of(model)
    network = {
        "family": graph.family, "dims": graph.dims, "in_channels": graph.in_channels,
        "out_channels": graph.out_channels, "widths": graph.widths,
        "stride": graph.stride, "halo": graph.halo, "local": graph.local,
        "smallest": smallest(graph),
    }  # fmt: skip
    return json.dumps({**said, "activation": "none", "network": network})


def check_same(name: str, found: Tensor, expected: Tensor) -> None:
    """Refuse a program whose output is not the network's.

    Raises
    ------
    OutputError
        Saying how large the difference is.
    """
    if found.shape != expected.shape:
        raise OutputError(
            f"{name} would give an output of {tuple(found.shape)}, expected "
            f"{tuple(expected.shape)}: save the model as .safetensors instead."
        )
    error = float((found - expected).abs().max() / expected.abs().max().clamp(1e-12))
    if not error <= TOLERANCE:
        raise OutputError(
            f"{name} would give other values (relative difference {error:.1e}), "
            f"expected at most {TOLERANCE:g}: save the model as .safetensors instead."
        )
