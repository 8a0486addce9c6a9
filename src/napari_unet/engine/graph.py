"""A network as data: which layer reads which, in order. Imports no torch.

Every network that the program opens or makes is such a graph, whoever trained it. The
keys of the layers are those of the maker's state dict, so weights go in and out under
the maker's own names, and nothing of a file is ever run as code.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from functools import cached_property
from math import ceil, floor, lcm
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from napari_unet.engine.config import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    its end with the edge value and the output cropped ("pad"). The input is
    multiplied with ``input_scale``, then ``input_offset`` is added: a scaling that is
    part of the network, such as Keras' Rescaling layer.
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


def grid(nodes: tuple[Node, ...], dims: int) -> tuple[int, ...]:
    """Return the full-resolution pixels that make one of the coarsest, per axis."""
    finest = [[Fraction(1)] * dims]
    for node in nodes:
        sizes = list(finest[node.inputs[-1 if node.op.endswith("_like") else 0]])
        for axis in range(dims):
            sizes[axis] *= _zoom(node, axis, dims)
        finest.append(sizes)
    needed = users(nodes)  # weights that are kept only may be of any size
    axes = zip(*(finest[value] for value in needed), strict=True)
    return tuple(lcm(*(size.numerator for size in axis)) for axis in axes)


def _zoom(node: Node, axis: int, dims: int) -> Fraction:
    """Return how many pixels of its input one pixel of the node's output spans."""
    if node.op in ("conv", "pool"):
        return Fraction(node.per_axis("stride", dims)[axis])
    if node.op == "conv_transpose":
        return Fraction(1, node.per_axis("stride", dims)[axis])
    if node.op in ("upsample", "pixel_shuffle"):
        return Fraction(1, node.per_axis("factor", dims)[axis])
    return Fraction(1)


def reach(nodes: tuple[Node, ...], dims: int, stride: int) -> int:
    """Return the halo: how far input matters around a core, rounded up to the stride.

    Follows the interval of a core of one stride from the output back to the input,
    layer by layer and axis by axis.
    """
    farthest = 0
    for axis in range(dims):
        low, high = _needed(nodes, dims, axis, stride)
        farthest = max(farthest, -low, high - stride)
    return ceil(farthest / stride) * stride


def _needed(
    nodes: tuple[Node, ...], dims: int, axis: int, stride: int
) -> tuple[int, int]:
    """Return the input pixels [low, high) that the output pixels [0, stride) need."""
    zooms = _zooms(nodes, dims, axis)
    wanted: dict[int, tuple[int, int]] = {len(nodes): (0, stride)}
    for number in range(len(nodes), 0, -1):
        if number not in wanted:
            continue
        node = nodes[number - 1]
        for value in node.inputs:
            span = _span(node, dims, axis, wanted[number], zooms, value)
            old = wanted.get(value, span)
            wanted[value] = (min(old[0], span[0]), max(old[1], span[1]))
    return wanted.get(0, (0, stride))


def _zooms(nodes: tuple[Node, ...], dims: int, axis: int) -> list[Fraction]:
    zooms = [Fraction(1)]
    for node in nodes:
        like = node.op.endswith("_like")
        source = node.inputs[-1 if like else 0]
        zooms.append(zooms[source] * _zoom(node, axis, dims))
    return zooms


def _span(
    node: Node, dims: int, axis: int, output: tuple[int, int],
    zooms: list[Fraction], value: int,
) -> tuple[int, int]:  # fmt: skip
    """Return the pixels of an input that a node needs for its output [low, high)."""
    low, high = output
    if node.op in ("conv", "pool"):
        size = node.per_axis("kernel", dims)[axis]
        step = node.per_axis("stride", dims)[axis]
        spread = node.per_axis("dilation", dims)[axis] * (size - 1)
        padding = node.per_axis("padding", dims, 0)[axis]
        return low * step - padding, (high - 1) * step - padding + spread + 1
    if node.op == "conv_transpose":
        size = node.per_axis("kernel", dims)[axis]
        step = node.per_axis("stride", dims)[axis]
        padding = node.per_axis("padding", dims, 0)[axis]
        first = ceil(Fraction(low + padding - (size - 1), step))
        return first, floor(Fraction(high - 1 + padding, step)) + 1
    if node.op in ("upsample", "pixel_shuffle"):
        factor = Fraction(node.per_axis("factor", dims)[axis])
        return _interpolated(low, high, factor, node)
    if node.op == "resize_like" and value == node.inputs[0]:
        factor = zooms[value] / zooms[node.inputs[-1]]
        first, last = _interpolated(low, high, factor, node)
        return first - (factor == 1), last  # from 2n - 1 to 2n pixels: shifts by one
    if node.op == "pad":
        before = node.per_axis("before", dims, 0)[axis]
        return low - before, high - before
    return low, high


def _interpolated(low: int, high: int, factor: Fraction, node: Node) -> tuple[int, int]:
    if node.options.get("mode", "nearest") == "nearest":
        return floor(low / factor), floor((high - 1) / factor) + 1
    half = Fraction(1, 2)
    first = floor((low + half) / factor - half)
    return first, floor((high - half) / factor - half) + 2


def users(nodes: Iterable[Node]) -> dict[int, int]:
    """Return for each value that the output depends on the last node to read it."""
    nodes = tuple(nodes)
    last: dict[int, int] = defaultdict(int)
    last[len(nodes)] = len(nodes)
    for number in range(len(nodes), 0, -1):
        if number in last:
            for value in nodes[number - 1].inputs:
                last[value] = max(last[value], number)
    return dict(last)
