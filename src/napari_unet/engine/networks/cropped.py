"""A network's output in one place, each layer computed only where it is needed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from napari_unet.engine.networks.layers import LINEAR, MAX_POOL, apply
from napari_unet.engine.receptive import users

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

    from napari_unet.engine.cropping import Cropped, Cut
    from napari_unet.engine.graph import Node
    from napari_unet.engine.networks.network import Network

CONV = {2: functional.conv2d, 3: functional.conv3d}
UP_CONV = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
FRESH = ("conv", "conv_transpose", "norm", "concat", "add")  # memory of their own


def compute(network: Network, x: Tensor, cropped: Cropped) -> Tensor:
    """Return logits (N, K, [Z,] Y, X) of a part of an image.

    Equal to what ``network`` gives there for the whole image, but for rounding.

    Parameters
    ----------
    network : in evaluation mode
    x : (N, C, [Z,] Y, X), the pixels ``cropped.read`` of the padded image
    cropped : from ``Croppable.cropped``
    """
    nodes = network.graph.nodes
    last = users(nodes)
    readers = Counter(v for number in last if number for v in nodes[number - 1].inputs)
    values = {0: network.scaled(x)}
    for number in sorted(set(last) - {0}):
        node, cuts = nodes[number - 1], cropped.cuts[number]
        given = [
            _part(values[value], (cut.inputs[place] for cut in cuts))
            for place, value in enumerate(node.inputs)
        ]
        first = node.inputs[0]
        spare = readers[first] == 1 and first > 0 and nodes[first - 1].op in FRESH
        for value in set(node.inputs):
            if last[value] == number:
                del values[value]
        made = _computed(node, network.layer_of(number), given, cuts, spare=spare)
        values[number] = _part(made, ((c.skip, c.skip + c.length) for c in cuts))
    return values[len(nodes)]


def _part(x: Tensor, ranges: Iterable[tuple[int, int]]) -> Tensor:
    """Return what lies in these pixels per axis; a view."""
    for axis, (start, stop) in enumerate(ranges, start=2):
        if (start, stop) != (0, x.shape[axis]):
            x = x.narrow(axis, start, stop - start)
    return x


def _computed(
    node: Node, layer: nn.Module | None, given: list[Tensor], cuts: tuple[Cut, ...],
    *, spare: bool,
) -> Tensor:  # fmt: skip
    """Compute a node; ``spare``: nobody else needs what its first input holds."""
    x, dims = given[0], len(cuts)
    if node.op == "conv":
        return _conv(layer, x, cuts)
    if node.op == "conv_transpose":
        return _up_conv(layer, x, cuts)
    if node.op == "pool" and node.options.get("kind", "max") == "max":
        x, padding = _padded(x, cuts, -torch.inf)
        kernel, stride = (node.per_axis(name, dims) for name in ("kernel", "stride"))
        return MAX_POOL[dims](x, kernel, stride, padding)
    if node.op == "pad":
        value: Any = node.options.get("value", 0.0)
        return functional.pad(x, _margins(cuts), value=value)
    if node.op in ("upsample", "resize_like"):
        return _enlarged(node, x, cuts)
    if node.op in ("pad_like", "crop_like", "dropout"):
        return x
    if node.op == "activation" and node.options["kind"] == "relu" and spare:
        return functional.relu(x, inplace=True)
    result: Tensor = apply(node, dims, given) if layer is None else layer(*given)
    return result


def _margins(cuts: tuple[Cut, ...]) -> list[int]:
    return [n for cut in reversed(cuts) for n in (cut.before, cut.after)]


def _padded(
    x: Tensor, cuts: tuple[Cut, ...], value: float = 0.0
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the input with its margins, and what of them the layer itself is to add.

    That is what is missing on both sides alike: then nothing is copied.
    """
    if all(cut.before == cut.after for cut in cuts):
        return x, tuple(cut.before for cut in cuts)
    return functional.pad(x, _margins(cuts), value=value), (0,) * len(cuts)


def _conv(layer: Any, x: Tensor, cuts: tuple[Cut, ...]) -> Tensor:
    x, padding = _padded(x, cuts)
    return CONV[len(cuts)](
        x, layer.weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups
    )


def _up_conv(layer: Any, x: Tensor, cuts: tuple[Cut, ...]) -> Tensor:
    """Return the transposed convolution of a part, long enough for what is wanted."""
    spans = zip(x.shape[2:], layer.stride, layer.kernel_size, strict=True)
    made = [(n - 1) * step + size for n, step, size in spans]
    more = [
        max(c.skip + c.length - n, 0) for c, n in zip(cuts, made, strict=True)
    ]  # at the image's end: pixels that no input reaches
    return UP_CONV[len(cuts)](
        x, layer.weight, layer.bias, layer.stride, 0, more, layer.groups
    )


def _enlarged(node: Node, x: Tensor, cuts: tuple[Cut, ...]) -> Tensor:
    size = [n * cut.factor for n, cut in zip(x.shape[2:], cuts, strict=True)]
    if node.options.get("mode", "nearest") != "linear":
        return functional.interpolate(x, size, mode=str(node.options["mode"]))
    return functional.interpolate(x, size, mode=LINEAR[len(cuts)], align_corners=False)
