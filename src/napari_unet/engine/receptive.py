"""How far a graph sees: its grid, its halo, what each layer needs. Imports no torch."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from math import ceil, floor, lcm
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_unet.engine.graph import Node

Interval = tuple[int, int]  # of pixels along one axis, the last not included


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
        low, high = wanted(nodes, dims, axis, (0, stride)).get(0, (0, stride))
        farthest = max(farthest, -low, high - stride)
    return ceil(farthest / stride) * stride


def wanted(
    nodes: tuple[Node, ...], dims: int, axis: int, output: Interval,
    sizes: Sequence[int] | None = None, done: Mapping[int, int] | None = None,
) -> dict[int, Interval]:  # fmt: skip
    """Return which pixels [low, high) of each value the output's pixels depend on.

    Parameters
    ----------
    nodes, dims : of the graph
    axis : the spatial axis
    output : pixels of the output
    sizes : of each value, whose pixels end there; None: without end
    done : up to where values are computed already; for what is before, nothing is
        needed
    """
    zooms = zooms_of(nodes, dims, axis)
    found = {len(nodes): output}
    done = done or {}
    for number in range(len(nodes), 0, -1):
        if number not in found:
            continue
        node = nodes[number - 1]
        low, high = found[number]
        low = max(low, done.get(number, low))
        for value in node.inputs if low < high else ():
            start, stop = span(node, dims, axis, (low, high), zooms, value)
            if sizes is not None:
                start, stop = max(start, 0), min(stop, sizes[value])
            old = found.get(value, (start, stop))
            found[value] = (min(old[0], start), max(old[1], stop))
    return found


def zooms_of(nodes: tuple[Node, ...], dims: int, axis: int) -> list[Fraction]:
    """Return how many pixels of the input one pixel of each value spans."""
    zooms = [Fraction(1)]
    for node in nodes:
        like = node.op.endswith("_like")
        source = node.inputs[-1 if like else 0]
        zooms.append(zooms[source] * _zoom(node, axis, dims))
    return zooms


def span(
    node: Node, dims: int, axis: int, output: Interval, zooms: list[Fraction],
    value: int,
) -> Interval:  # fmt: skip
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


def _interpolated(low: int, high: int, factor: Fraction, node: Node) -> Interval:
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
