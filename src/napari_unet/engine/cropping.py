"""Which part of each value a part of the output needs, layer by layer. No torch.

A tile that carries its whole halo through the network computes most of it in vain:
near the output a pixel depends on few neighbours, only deep inside on many. Each layer
is therefore computed where a later one needs it, and nowhere else. Along the first
axis, tiles follow each other, and what one has computed of a layer the next does not
compute again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_unet.engine.receptive import span, users, wanted, zooms_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from napari_unet.engine.graph import GraphSpec, Node
    from napari_unet.engine.receptive import Interval


@dataclass(frozen=True)
class Cut:
    """What a node reads and makes along one axis.

    Attributes
    ----------
    inputs : from where to where in what there is of each input
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
    output : the part, per axis
    needed : what there must be of each value, per axis; value 0 is the input
    done : up to where along the first axis each value was computed by earlier parts
    keep : from where along the first axis later parts need values that are made; those
        that they do not need are left out
    cuts : of each node by its number, per axis; nodes that make nothing are left out
    """

    output: tuple[Interval, ...]
    needed: Mapping[int, tuple[Interval, ...]]
    done: Mapping[int, int]
    keep: Mapping[int, int]
    cuts: Mapping[int, tuple[Cut, ...]]

    @property
    def read(self) -> tuple[Interval, ...]:
        """The pixels of the input that no earlier part has read."""
        return (self.new(0), *self.needed[0][1:])

    def new(self, value: int) -> Interval:
        """Return the pixels of a value along the first axis that are to be made."""
        low, high = self.needed[value][0]
        return min(max(low, self.done.get(value, low)), high), high

    def precedes(self, output: tuple[Interval, ...]) -> bool:
        """Tell whether another part of the output comes right after this one."""
        (_, stop), *others = self.output
        return output[0][0] == stop and list(output[1:]) == others


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

    def cropped(
        self, output: tuple[Interval, ...], after: Cropped | None = None
    ) -> Cropped:
        """Return how to compute a part of the output.

        Parameters
        ----------
        output : its pixels, per axis
        after : how the part right before it along the first axis is computed, so that
            nothing is computed twice; None: there is none
        """
        nodes, dims = self.graph.nodes, self.graph.dims
        done = {} if after is None else self._done_after(after)
        needed = [
            wanted(nodes, dims, axis, part, self._sizes[axis], {} if axis else done)
            for axis, part in enumerate(output)
        ]
        all_needed = {
            value: tuple(parts.get(value, (0, 0)) for parts in needed)
            for value in self._used
        }
        part = Cropped(output, all_needed, done, {}, {})
        cuts = {
            number: tuple(self._cut(number, axis, part) for axis in range(dims))
            for number in range(1, len(nodes) + 1)
            if number in self._used and part.new(number)[0] < part.new(number)[1]
        }
        keep = self._kept(self._done_after(part))
        return Cropped(output, all_needed, done, keep, cuts)

    def _done_after(self, part: Cropped) -> dict[int, int]:
        """Return up to where each value is computed once a part is."""
        return {
            value: max(part.needed[value][0][1], part.done.get(value, 0))
            for value in self._used
        }

    def _kept(self, done: Mapping[int, int]) -> dict[int, int]:
        """Return from where each value is needed to go on after what is done."""
        keep: dict[int, int] = {}
        for number, node in enumerate(self.graph.nodes, start=1):
            if number not in self._used or done[number] >= self._sizes[0][number]:
                continue
            new = (done[number], done[number] + 1)
            for value in node.inputs:
                start = span(node, self.graph.dims, 0, new, self._zooms[0], value)[0]
                keep[value] = max(min(start, keep.get(value, start)), 0)
        return {value: start for value, start in keep.items() if start < done[value]}

    def _cut(self, number: int, axis: int, part: Cropped) -> Cut:
        node, dims = self.graph.nodes[number - 1], self.graph.dims
        low, high = part.needed[number][axis] if axis else part.new(number)
        inputs, first = [], (0, 0, 0)
        for place, value in enumerate(node.inputs):
            start, stop = span(node, dims, axis, (low, high), self._zooms[axis], value)
            inside = max(start, 0), min(stop, self._sizes[axis][value])
            if place == 0:
                first = inside[0], inside[0] - start, stop - inside[1]
            begin = part.needed[value][axis][0]
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
