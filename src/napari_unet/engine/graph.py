"""A network as data: which layer reads which, in order. Imports no torch.

Every network that the program opens or makes is such a graph, whoever trained it. The
keys of the layers are those of the maker's state dict, so weights go in and out under
the maker's own names, and nothing of a file is ever run as code.
"""

from __future__ import annotations

from functools import cached_property
from math import lcm
from typing import Annotated, Literal

from pydantic import Field, model_validator

from napari_unet.engine.config import Frozen
from napari_unet.engine.receptive import grid, reach, users

Op = Literal[
    "conv", "conv_transpose", "norm", "linear", "prelu", "activation", "pool",
    "upsample", "resize_like", "pad", "pad_like", "crop_like", "concat", "add",
    "multiply", "scale", "dropout", "global_mean", "pixel_shuffle", "take",
]  # fmt: skip
Option = bool | int | float | str | tuple[int, ...] | tuple[float, ...]
NOT_LOCAL_NORMS = ("instance", "group", "layer")
MOST_NODES = 5000
LARGEST_OPTION = 65536


class Node(Frozen):
    """One layer of a graph.

    ``inputs`` are numbers of values: 0 is the network's input, n is the result of the
    n-th node (the first node makes value 1). ``key`` is the place of its weights in
    the state dict, such as "inc.double_conv.0". ``options`` are the layer's numbers;
    engine/networks/layers.py says which each kind takes. ``aliases`` are further places
    of the same weights, where a maker's network has a layer under several names.
    """

    op: Op
    inputs: tuple[Annotated[int, Field(ge=0)], ...]
    key: str = ""
    aliases: tuple[str, ...] = ()
    options: dict[str, Option] = Field(default_factory=dict)

    def per_axis(self, name: str, dims: int, default: int = 1) -> tuple[int, ...]:
        """Return an option that has one whole number per spatial axis."""
        value = self.options.get(name, default)
        if isinstance(value, tuple):
            return tuple(int(v) for v in value)
        return (int(value),) * dims


class GraphSpec(Frozen):
    """Every layer of a network, in the order in which they are computed.

    ``family`` names the library or layout; ``widths`` are the channels from full
    resolution down to the bottleneck; ``fit`` says what happens to a size that the
    strides do not divide: the network takes it itself ("itself"), or it is padded at
    its end with the edge value and the output cropped ("pad"); see ``taken``. The
    input is multiplied with ``input_scale``, then ``input_offset`` is added: a scaling
    that is part of the network, such as Keras' Rescaling layer.
    """

    kind: Literal["graph"] = "graph"
    family: str
    dims: Literal[2, 3]
    in_channels: Annotated[int, Field(ge=1, le=1024)]
    out_channels: Annotated[int, Field(ge=1, le=1024)]
    widths: tuple[Annotated[int, Field(ge=1, le=65536)], ...]
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=MOST_NODES)]
    fit: Literal["itself", "pad"] = "pad"
    input_scale: float = 1.0
    input_offset: float = 0.0
    norm: Literal["none", "batch", "instance", "group", "layer"] = "none"
    residual: bool = False
    traits: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _nodes_read_what_is_there(self) -> GraphSpec:
        for number, node in enumerate(self.nodes):
            if any(value > number for value in node.inputs) or not node.inputs:
                raise ValueError(f"layer {number + 1} reads what is not computed yet")
            for name, option in node.options.items():
                values = option if isinstance(option, tuple) else (option,)
                if any(
                    not isinstance(v, str) and not abs(v) <= LARGEST_OPTION
                    for v in values
                ):
                    raise ValueError(f"layer {number + 1} has a {name} of {option}")
        return self

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Per axis, the pixels at full resolution that make one of the coarsest."""
        return grid(self.nodes, self.dims)

    @cached_property
    def stride(self) -> int:
        """Pixels at full resolution that make one pixel of the coarsest level."""
        return lcm(*self.strides)

    def taken(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the spatial shape that the network sees of an image of a shape.

        At the coarsest level at least one pixel is left of it, or two where instance
        norm would have nothing to measure; otherwise ``fit`` says what is padded.
        """
        least = steps = self.strides
        alone = all(n < 2 * step for n, step in zip(shape, steps, strict=True))
        if self.fit == "pad":
            shape = tuple(-(-n // s) * s for n, s in zip(shape, steps, strict=True))
            alone = shape == steps
        if alone and self.norm == "instance":
            least = (*steps[:-1], 2 * steps[-1])
        return tuple(max(n, m) for n, m in zip(shape, least, strict=True))

    @cached_property
    def halo(self) -> int:
        """Pixels around a stride-aligned core that its output depends on.

        Rounded up to the stride; see ``local`` for networks that depend on more.
        """
        return reach(self.nodes, self.dims, self.stride)

    @cached_property
    def local(self) -> bool:
        """Whether an output pixel depends on a bounded neighbourhood only.

        Not so where a layer measures all that it sees (instance and group norm, global
        pooling), or places pixels relative to the ends (aligned corners).
        """
        needed = users(self.nodes)
        return not any(
            _sees_everything(node)
            for number, node in enumerate(self.nodes, start=1)
            if number in needed
        )


def _sees_everything(node: Node) -> bool:
    return (
        (node.op == "norm" and node.options.get("kind") in NOT_LOCAL_NORMS)
        or node.op == "global_mean"
        or bool(node.options.get("align_corners"))
        or node.op == "linear"
    )
