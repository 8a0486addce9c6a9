"""The networks of wolny's pytorch-3dunet: UNet2D, UNet3D, and the residual ones.

Versions 1.0 to 1.9 are told apart by their keys. The order of layers, "gcr" for group
norm, convolution, ReLU, is in the weights only in part: the norm and its place are, the
activation and the number of groups are not. They are readings to choose from.

References
----------
Wolny et al.: Accurate and versatile 3D segmentation of plant tissues at cellular
resolution, eLife 2020, doi:10.7554/eLife.57613.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families.common import dims_of, numbered, reading
from napari_unet.formats.families.pytorch3dunet_order import (
    ACTIVATIONS,
    OLD_SLOPE,
    chosen_order,
    in_channels,
    is_residual,
    norm_letter,
    orders_of,
    single_convs,
    up_sampling,
)

if TYPE_CHECKING:
    from napari_unet.engine.builder import Shapes
    from napari_unet.formats.families.pytorch3dunet_order import Order
    from napari_unet.formats.reading import Contents, Reading

NAME = "a network of pytorch-3dunet"


def read(contents: Contents) -> Reading | None:
    """Read a network of pytorch-3dunet; see the module."""
    shapes = contents.shapes
    if len(shapes.get("final_conv.weight", ())) < 4 or not single_convs(shapes):
        return None
    contents, flat = _flattened(contents)
    shapes = contents.shapes
    orders = orders_of(contents)
    order = chosen_order(contents, orders)
    b = Builder(dims_of(shapes), in_channels(shapes), shapes)
    widths = _network(b, order)
    channels = b.channels[-1]
    graph = b.graph(
        f"pytorch-3dunet {_kind(shapes, b.dims)}", widths,
        fit="pad" if up_sampling(shapes) == "old" else "itself",
        norm={"b": "batch", "g": "group"}.get(norm_letter(shapes), "none"),
        residual=is_residual(shapes), traits=(str(order),),
    )  # fmt: skip
    return reading(
        contents, graph, b, activation="sigmoid" if channels == 1 else "softmax",
        reading=str(order), readings=tuple(map(str, orders)),
        sources={"activation": "guessed", "reading": "guessed"},
        remarks=_remarks(order, orders, channels, flat),
    )  # fmt: skip


def _remarks(
    order: Order, orders: list[Order], channels: int, flat: bool
) -> tuple[str, ...]:
    unseen = "the activation" + (" and the number of groups" if order.groups else "")
    said = [
        f"its layers are read as {order}; the weights do not show {unseen}, so it "
        f"could also be {orders[1]}"
    ]
    if channels > 1:
        said.append(
            "its last activation is not in the file: a softmax over the channels is "
            "taken, which is right for final_sigmoid=False"
        )
    if flat:
        said.append(
            "its kernels are one plane thick, as in the 2D networks of version 1.3, "
            "so it is read as a 2D network"
        )
    return tuple(said)


# -- what the keys and shapes say


def _flattened(contents: Contents) -> tuple[Contents, bool]:
    """Return 2D kernels for those of 3D that are one plane thick, as version 1.3's."""
    kernels = [v for v in contents.weights.values() if v.ndim == 5]
    if not kernels or any(kernel.shape[2] != 1 for kernel in kernels):
        return contents, False
    weights = {
        key: value.squeeze(2) if value.ndim == 5 else value
        for key, value in contents.weights.items()
    }
    return replace(contents, weights=weights), True


def _kind(shapes: Shapes, dims: int) -> str:
    excited = any(".se_module." in key for key in shapes)
    residual = "Residual" if is_residual(shapes) else ""
    return f"{residual}UNet{'SE' if excited else ''}{dims}D"


# -- the network


def _network(b: Builder, order: Order) -> tuple[int, ...]:
    """Write the network; return its widths."""
    shapes = b.shapes or {}
    levels = len(numbered(shapes, r"encoders\.(\d{1,2})\."))
    if levels < 2 or len(numbered(shapes, r"decoders\.(\d{1,2})\.")) != levels - 1:
        raise Misfit(f"its {levels} encoders do not fit its decoders")
    x = _module(b, 0, "encoders.0.basic_module", order)
    skips = [x]
    for level in range(1, levels):
        x = _module(b, b.pool(x), f"encoders.{level}.basic_module", order)
        skips.append(x)
    for number, skip in enumerate(reversed(skips[:-1])):
        x = _up(b, x, skip, f"decoders.{number}", order)
        key = f"decoders.{number}.basic_module"
        x = _module(b, _joined(b, skip, x, key), key, order)
    b.conv(x, "final_conv")
    return tuple(b.channels[skip] for skip in skips)


def _up(b: Builder, x: int, skip: int, key: str, order: Order) -> int:
    """Go to the skip's size; only today's transposed convolution is resized after."""
    shapes = b.shapes or {}
    new = f"{key}.upsampling.upsample.conv_transposed"
    if f"{new}.weight" in shapes:
        x = b.conv_transpose(x, new, padding=1)
        return b.resize_like(x, skip)
    for old in (f"{key}.upsampling.upsample", f"{key}.upsample"):
        if f"{old}.weight" in shapes:
            return b.conv_transpose(x, old, padding=1, output_padding=1)
    return b.resize_like(x, skip, mode="linear" if order.linear else "nearest")


def _joined(b: Builder, skip: int, x: int, key: str) -> int:
    """Add, or concatenate, whichever the next convolution reads."""
    shapes = b.shapes or {}
    for part in ("SingleConv1.conv", "conv1", "conv1.conv", "conv2.conv"):
        kernel = shapes.get(f"{key}.{part}.weight")
        if kernel is not None and len(kernel) >= 2:
            break
    else:
        raise Misfit(f"{key} has no first convolution")
    if kernel[1] == b.channels[skip] == b.channels[x]:
        return b.add(skip, x)
    return b.concat(skip, x)


def _module(b: Builder, x: int, key: str, order: Order) -> int:
    """Write a double convolution or a residual block."""
    shapes = b.shapes or {}
    if f"{key}.SingleConv1.conv.weight" in shapes:
        x = _single(b, x, f"{key}.SingleConv1", order.layers, order)
        return _single(b, x, f"{key}.SingleConv2", order.layers, order)
    if f"{key}.conv1.conv.weight" in shapes:  # up to version 1.6
        x = _single(b, x, f"{key}.conv1", order.layers, order)
    elif f"{key}.conv1.weight" in shapes:
        x = b.conv(x, f"{key}.conv1")
    y = _single(b, x, f"{key}.conv2", order.layers, order)
    y = _single(b, y, f"{key}.conv3", re.sub("[rle]", "", order.layers), order)
    y = _activation(b, b.add(y, x), order.layers, OLD_SLOPE)
    return _excited(b, y, f"{key}.se_module")


def _single(b: Builder, x: int, key: str, layers: str, order: Order) -> int:
    """Write a convolution with what comes before and after it."""
    for letter in layers:
        if letter == "c":
            x = b.conv(x, f"{key}.conv")
        elif letter == "b":
            x = b.norm(x, f"{key}.batchnorm")
        elif letter == "g":
            groups = order.groups if b.channels[x] >= order.groups else 1
            x = b.norm(x, f"{key}.groupnorm", "group", groups=groups)
        else:
            x = _activation(b, x, letter, order.slope)
    return x


def _activation(b: Builder, x: int, layers: str, slope: float) -> int:
    letter = next((one for one in "ler" if one in layers), "r")
    if letter == "l":
        return b.activation(x, "leaky_relu", slope=slope)
    return b.activation(
        x, ACTIVATIONS[letter], **({"slope": 1.0} if letter == "e" else {})
    )


def _excited(b: Builder, x: int, key: str) -> int:
    """Write the squeeze and excitation over channels, places, or the larger of both.

    References
    ----------
    Roy et al.: Concurrent spatial and channel squeeze & excitation in fully
    convolutional networks, MICCAI 2018, arXiv:1803.02579.
    """
    shapes = b.shapes or {}
    found = []
    for start in (f"{key}.cSE", key):
        if f"{start}.fc1.weight" in shapes:
            y = b.linear(b.global_mean(x, flat=True), f"{start}.fc1")
            y = b.linear(b.activation(y), f"{start}.fc2")
            found.append(b.multiply(x, b.activation(y, "sigmoid")))
    for start in (f"{key}.sSE", key):
        if f"{start}.conv.weight" in shapes:
            y = b.activation(b.conv(x, f"{start}.conv"), "sigmoid")
            found.append(b.multiply(x, y))
    if len(found) < 2:
        return found[0] if found else x
    return _larger(b, *found)


def _larger(b: Builder, first: int, second: int) -> int:
    """Return the larger of two values, pixel by pixel: b + relu(a - b)."""
    minus = b.function("scale", second, b.channels[second], scale=-1.0)
    return b.add(second, b.activation(b.add(first, minus)))
