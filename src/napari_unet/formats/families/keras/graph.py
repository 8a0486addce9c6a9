"""The graph of a network that Keras' JSON describes, from its outputs back."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.engine.graph import Node
from napari_unet.engine.networks import build
from napari_unet.formats.families.keras.config import Ref
from napari_unet.formats.families.keras.layers import add_layer
from napari_unet.formats.families.keras.writer import Step, Writer

if TYPE_CHECKING:
    from torch import Tensor

    from napari_unet.engine.graph import GraphSpec
    from napari_unet.engine.spec import Activation
    from napari_unet.formats.families.keras.config import Call, Layer, Net
    from napari_unet.formats.families.keras.stored import Stored

FAMILY = "Keras"
LARGEST_STRIDE = 4096
KERNEL_LAYERS = ("Conv2D", "Conv3D", "SeparableConv2D", "DepthwiseConv2D")


@dataclass(frozen=True)
class Found:
    """What a description and its weights turn out to be.

    Attributes
    ----------
    graph : without the final activation
    weights : in torch's order, by the keys of the graph
    activation : what makes scores of the graph's result
    scaled : whether intensities are scaled inside, at the input
    lambdas : names of layers of code that a guessed scaling stands in for
    others : how many further outputs are left out
    """

    graph: GraphSpec
    weights: dict[str, Tensor]
    activation: Activation
    scaled: bool
    lambdas: tuple[str, ...]
    others: int


def graph_of(net: Net, stored: Stored, major: int) -> Found:
    """Return the graph of the first output that is a picture as large as the input.

    Parameters
    ----------
    net : the description
    stored : gives the weights of its layers
    major : of Keras' version

    Raises
    ------
    Misfit
        If a layer is not known here, or nothing of the kind comes out.
    """
    if len(net.inputs) != 1:
        raise Misfit(f"it takes {len(net.inputs)} pictures at once, not one")
    refusals = []
    for output in net.outputs:
        try:
            return _graph(net, output, stored, major)
        except Misfit as misfit:
            refusals.append(misfit)
        except ValidationError as error:
            detail = error.errors()[0]["msg"]
            refusals.append(Misfit(f"its layers cannot be computed ({detail})"))
    raise refusals[0] if refusals else Misfit("it has no output")


def _graph(net: Net, output: Ref, stored: Stored, major: int) -> Found:
    first = _channels_first(net)
    dims, channels = _input_of(net, stored, first)
    shapes: dict[str, tuple[int, ...]] = {}
    b = Builder(dims, channels, shapes)
    w = Writer(b, stored, first, major, shapes=shapes)
    (last,) = _computed(w, net, (), [0], [output])
    if not w.weights:
        if w.lambdas:
            raise Misfit(
                f"it holds no trained layers, only Python code (its Lambda layer "
                f"{w.lambdas[0]!r:.80}), which is never run"
            )
        raise Misfit("it has no trained layers")
    last, activation = _without_activation(b, last)
    scale, offset = _taken_from_input(b, last)
    last -= len(scale)
    graph = b.graph(
        FAMILY, _widths(b, last), last=last, norm=_norm(b.nodes),
        residual=any(node.op == "add" for node in b.nodes), traits=_traits(b.nodes),
        input_scale=_product(scale), input_offset=_shift(scale, offset),
    )  # fmt: skip
    _check_sizes(graph)
    scaled = bool(scale) or any(n.op == "scale" and 0 in n.inputs for n in b.nodes)
    return Found(
        graph, w.weights, activation, scaled, tuple(w.lambdas), len(net.outputs) - 1
    )


# -- input


def _channels_first(net: Net) -> bool:
    """Tell whether Keras counts the channels as the first axis."""
    said = {layer.config.get("data_format") for layer in net.everything()}
    if {"channels_first", "channels_last"} <= said:
        raise Misfit("some of its layers have their channels first, others last")
    return "channels_first" in said


def _input_of(net: Net, stored: Stored, first: bool) -> tuple[int, int]:
    """Return dimensions and channels of the input; its size is of no importance."""
    config = net.layers[net.inputs[0].layer].config
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    channels = None
    if isinstance(shape, list) and len(shape) > 1:
        dims, channels = len(shape) - 2, shape[1 if first else -1]
    else:
        kinds = [layer.kind for layer in net.everything()]
        dims = 3 if "Conv3D" in kinds else 2
    if dims not in (2, 3):
        raise Misfit(f"it takes inputs of {dims} dimensions, not pictures or volumes")
    if type(channels) is not int:
        channels = _first_kernel(net, stored)
    return dims, channels


def _first_kernel(net: Net, stored: Stored) -> int:
    """Return the channels that the first convolution reads."""
    todo: list[tuple[tuple[str, ...], Net]] = [((), net)]
    for path, inner in todo:
        for name, layer in inner.layers.items():
            if layer.net is not None:
                todo.append(((*path, name), layer.net))
            elif layer.kind in KERNEL_LAYERS:
                for _, kernel in stored.of((*path, name))[:1]:
                    return int(kernel.shape[-2])
    raise Misfit("it does not say how many channels it takes")


# -- layers


def _computed(
    w: Writer, net: Net, path: tuple[str, ...], given: list[int], wanted: list[Ref]
) -> list[int]:
    """Add what the wanted results depend on; return their values."""
    values = dict(zip(net.inputs, given, strict=True))
    todo, opened = [*wanted], set[Ref]()
    while todo:
        ref = todo[-1]
        if ref in values:
            todo.pop()
            continue
        layer, call = _used(net, ref)
        missing = [i for i in call.inputs if isinstance(i, Ref) and i not in values]
        if not missing:
            results = _results(w, layer, call, (*path, layer.name), values)
            values |= {ref._replace(tensor=i): v for i, v in enumerate(results)}
            if ref not in values:
                raise Misfit(f"its layer {layer.name[:80]!r} lacks a result")
        elif ref in opened:
            raise Misfit(f"its layer {layer.name[:80]!r} reads its own result")
        opened.add(ref)
        todo += missing
    return [values[ref] for ref in wanted]


def _used(net: Net, ref: Ref) -> tuple[Layer, Call]:
    layer = net.layers.get(ref.layer)
    if layer is None or not 0 <= ref.call < len(layer.calls):
        raise Misfit(f"its layer {ref.layer[:80]!r} is read and not described")
    return layer, layer.calls[ref.call]


def _results(
    w: Writer, layer: Layer, call: Call, path: tuple[str, ...], values: dict[Ref, int]
) -> list[int]:
    given = [values[i] if isinstance(i, Ref) else i for i in call.inputs]
    if layer.net is None:
        return [add_layer(w, Step(layer, path, tuple(given)))]
    inner = [value for value in given if isinstance(value, int)]
    if len(inner) != len(layer.net.inputs):
        raise Misfit(f"its network {layer.name[:80]!r} is given {len(given)} inputs")
    return _computed(w, layer.net, path, inner, [*layer.net.outputs])


# -- what the graph is


def _without_activation(b: Builder, last: int) -> tuple[int, Activation]:
    """Take the final activation off, if it is one that makes scores."""
    node = b.nodes[last - 1] if last else None
    if node is None or node.op != "activation":
        return last, "none"
    kind = node.options.get("kind")
    if kind not in ("sigmoid", "softmax"):
        return last, "none"
    if last == len(b.nodes):
        b.nodes.pop()
        b.channels.pop()
    return node.inputs[0], "softmax" if kind == "softmax" else "sigmoid"


def _taken_from_input(b: Builder, last: int) -> tuple[list[float], list[float]]:
    """Take scalings by one number off the start; return their numbers, in order."""
    scales: list[float] = []
    offsets: list[float] = []
    while len(b.nodes) > 1 and last > 1:
        node, others = b.nodes[0], b.nodes[1:]
        options = {"scale": 1.0, "offset": 0.0, **node.options}
        single = all(isinstance(v, (int, float)) for v in options.values())
        if node.op != "scale" or not single or any(0 in n.inputs for n in others):
            break
        scales.append(float(str(options["scale"])))
        offsets.append(float(str(options["offset"])))
        b.nodes = [
            Node(
                op=n.op, key=n.key, options=n.options,
                inputs=tuple(value - 1 for value in n.inputs),
            )
            for n in others
        ]  # fmt: skip
        b.channels.pop(1)
        last -= 1
    return scales, offsets


def _product(scales: list[float]) -> float:
    total = 1.0
    for scale in scales:
        total *= scale
    return total


def _shift(scales: list[float], offsets: list[float]) -> float:
    total = 0.0
    for scale, offset in zip(scales, offsets, strict=True):
        total = total * scale + offset
    return total


def _widths(b: Builder, last: int) -> tuple[int, ...]:
    """Return the channels of each level down to the coarsest, before it is left."""
    zooms = [Fraction(1)]
    for node in b.nodes[:last]:
        zoom = zooms[node.inputs[0]]
        if node.op in ("conv", "pool"):
            zoom *= node.per_axis("stride", b.dims)[-1]
        elif node.op == "conv_transpose":
            zoom /= node.per_axis("stride", b.dims)[-1]
        elif node.op == "upsample":
            zoom /= node.per_axis("factor", b.dims)[-1]
        zooms.append(zoom)
    levels: dict[Fraction, int] = {}
    for value, node in enumerate(b.nodes[:last], start=1):
        if zooms[value] < max(zooms[:value]):
            continue  # on the way up
        if node.op == "conv":
            levels[zooms[value]] = b.channels[value]
    return tuple(levels[zoom] for zoom in sorted(levels))


def _norm(nodes: list[Node]) -> Any:
    """Return the kind of the first norm."""
    kinds = [str(node.options["kind"]) for node in nodes if node.op == "norm"]
    kind = kinds[0] if kinds else "none"
    return "layer" if kind == "channel" else kind


def _traits(nodes: list[Node]) -> tuple[str, ...]:
    ups = {str(n.options.get("mode")) for n in nodes if n.op == "upsample"}
    named = {"nearest": "nearest up-sampling", "linear": "bilinear up-sampling"}
    traits = [named[mode] for mode in sorted(ups) if mode in named]
    if any(node.op == "multiply" for node in nodes):
        traits.append("gates")
    return tuple(traits)


def _check_sizes(graph: GraphSpec) -> None:
    """Refuse what does not give a picture of the size that it is given."""
    if graph.stride > LARGEST_STRIDE:
        raise Misfit("its strides are no network's")
    side = graph.stride * max(4, -(-64 // graph.stride))
    try:
        with torch.device("meta"), torch.no_grad():
            size = [side] * graph.dims
            network = build(graph.model_copy(update={"fit": "itself"})).eval()
            result = network(torch.zeros(1, graph.in_channels, *size)).shape
    except (RuntimeError, ValueError, TypeError) as error:
        raise Misfit(
            "its layers do not fit together, or only at the one size that it was "
            "trained with"
        ) from error
    if all(n == 1 for n in result[2:]):
        raise Misfit("it says one thing of a whole picture: a classifier, not a U-Net")
    if list(result[2:]) != size:
        smaller = all(0 < side - n < side // 3 for n in result[2:])
        raise Misfit(
            f"of {side} pixels it gives {result[-1]}"
            + (', as its convolutions do not pad ("valid")' if smaller else "")
            + "; only networks that keep the size can be used here"
        )
