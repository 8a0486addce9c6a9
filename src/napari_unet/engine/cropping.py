"""Which part of each value a part of the output needs, layer by layer. No torch.

A tile that carries its whole halo through the network computes most of it in vain:
near the output a pixel depends on few neighbours, only deep inside on many. Each layer
is therefore computed where a later one needs it, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_unet.engine.receptive import span, users, wanted, zooms_of

if TYPE_CHECKING:
    from fractions import Fraction

    from napari_unet.engine.graph import GraphSpec, Node
    from napari_unet.engine.receptive import Interval


@dataclass(frozen=True)
class Cut:
    """What a node reads and makes along one axis.

    Attributes
    ----------
    inputs : from where to where in what is held of each input
    before, after : pixels that are missing at the image's border, to be padded
    skip : pixels that are made before those that are wanted
    length : pixels that are wanted
    factor : by which the node enlarges
    """

    inputs: tuple[Interval, ...]
    before: int
    after: int
    skip: int
    length: int
    factor: int


@dataclass(frozen=True)
class Cropped:
    """How to compute a part of the output.

    Attributes
    ----------
    read : the part of the input that is needed, per axis
    cuts : of each node by its number, per axis; nodes that nothing needs are left out
    """

    read: tuple[Interval, ...]
    cuts: dict[int, tuple[Cut, ...]]


class Croppable:
    """A graph at one size of image.

    Parameters
    ----------
    graph : GraphSpec
        of the network
    shape : spatial, of the image as the network gets it (padded, where it is)

    Raises
    ------
    ValueError
        If the inside of the network cannot be cropped at that size; see ``can_crop``.
    """

    def __init__(self, graph: GraphSpec, shape: tuple[int, ...]) -> None:
        if not can_crop(graph):
            raise ValueError(f"{graph.family}: its inside cannot be cropped")
        self.graph = graph
        self._used = users(graph.nodes)
        self._zooms = [zooms_of(graph.nodes, graph.dims, a) for a in range(graph.dims)]
        self._sizes = [
            _sizes(graph, axis, length, self._zooms[axis], self._used)
            for axis, length in enumerate(shape)
        ]
        if any(s[-1] != n for s, n in zip(self._sizes, shape, strict=True)):
            raise ValueError(f"{graph.family}: its output is smaller than its input")

    def cropped(self, output: tuple[Interval, ...]) -> Cropped:
        """Return how to compute these pixels of the output, per axis."""
        nodes, dims = self.graph.nodes, self.graph.dims
        needed = [
            wanted(nodes, dims, axis, part, self._sizes[axis])
            for axis, part in enumerate(output)
        ]
        cuts = {
            number: tuple(self._cut(number, axis, needed[axis]) for axis in range(dims))
            for number in range(1, len(nodes) + 1)
            if number in self._used
        }
        return Cropped(tuple(parts[0] for parts in needed), cuts)

    def _cut(self, number: int, axis: int, held: dict[int, Interval]) -> Cut:
        node, dims = self.graph.nodes[number - 1], self.graph.dims
        low, high = held[number]
        inputs, first = [], (0, 0, 0)
        for place, value in enumerate(node.inputs):
            start, stop = span(node, dims, axis, (low, high), self._zooms[axis], value)
            inside = max(start, 0), min(stop, self._sizes[axis][value])
            if place == 0:
                first = inside[0], inside[0] - start, stop - inside[1]
            begin = held[value][0]
            inputs.append((inside[0] - begin, inside[1] - begin))
        start, before, after = first
        zoom = self._zooms[axis][node.inputs[0]] / self._zooms[axis][number]
        skip = low - _made_from(node, dims, axis, start, low, zoom)
        factor = zoom.numerator if zoom > 1 else 1
        return Cut(tuple(inputs), before, after, skip, high - low, factor)


def can_crop(graph: GraphSpec) -> bool:
    """Tell whether the inside of a network can be cropped to what is needed.

    Not so where a layer measures all that it sees, or looks beyond the image's border
    otherwise than at zeros.
    """
    needed = users(graph.nodes)
    return graph.local and all(
        _known(node) for n, node in enumerate(graph.nodes, start=1) if n in needed
    )


def _known(node: Node) -> bool:
    options = node.options
    if node.op in ("conv", "conv_transpose"):
        return options.get("padding_mode", "zeros") == "zeros"
    if node.op == "pool":
        padded = any(node.per_axis("padding", 3, 0))
        return options.get("kind", "max") == "max" or not padded
    if node.op == "pad":
        return options.get("mode", "constant") == "constant"
    return True


def _sizes(
    graph: GraphSpec, axis: int, length: int, zooms: list[Fraction],
    used: dict[int, int],
) -> list[int]:  # fmt: skip
    """Return the length of each value along an axis; 0 where nothing needs it."""
    sizes = [length]
    for number, node in enumerate(graph.nodes, start=1):
        given = [sizes[value] for value in node.inputs]
        size = 0
        if number in used:
            zoom = zooms[node.inputs[0]] / zooms[number]
            size = _size(node, graph.dims, axis, given, zoom)
        sizes.append(size)
    return sizes


def _size(node: Node, dims: int, axis: int, given: list[int], zoom: Fraction) -> int:
    """Return how long a node's result is; refuse what cannot be cropped."""
    length = given[0]
    if node.op in ("conv", "pool"):
        kernel = node.per_axis("kernel", dims)[axis]
        spread = node.per_axis("dilation", dims)[axis] * (kernel - 1)
        room = length + 2 * node.per_axis("padding", dims, 0)[axis] - spread - 1
        step = node.per_axis("stride", dims)[axis]
        if node.options.get("ceil_mode") and room % step:
            raise ValueError("a pooling that rounds up")
        return room // step + 1
    if node.op == "conv_transpose":
        kernel = node.per_axis("kernel", dims)[axis]
        step = node.per_axis("stride", dims)[axis]
        more = node.per_axis("output_padding", dims, 0)[axis] + kernel
        return (length - 1) * step - 2 * node.per_axis("padding", dims, 0)[axis] + more
    if node.op in ("upsample", "pixel_shuffle"):
        return length * node.per_axis("factor", dims)[axis]
    if node.op == "pad":
        ends = (node.per_axis(end, dims, 0)[axis] for end in ("before", "after"))
        return length + sum(ends)
    if node.op == "resize_like":
        if zoom.denominator != 1 or length * zoom != given[1]:
            raise ValueError("a resizing by no whole number")
        return given[1]
    if len(set(given)) > 1:
        raise ValueError("values of several sizes")
    return length


def _made_from(
    node: Node, dims: int, axis: int, start: int, low: int, zoom: Fraction
) -> int:
    """Return the first pixel that is made of an input that begins at ``start``."""
    if node.op == "conv_transpose":
        step = node.per_axis("stride", dims)[axis]
        return start * step - node.per_axis("padding", dims, 0)[axis]
    if node.op in ("upsample", "pixel_shuffle", "resize_like"):
        return int(start * zoom)
    return low
