"""The order of layers in pytorch-3dunet's blocks, as far as the weights show it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import log2
from typing import TYPE_CHECKING, Literal

from napari_unet.engine.builder import Misfit

if TYPE_CHECKING:
    from napari_unet.engine.builder import Shapes
    from napari_unet.formats.reading import Contents

NORMS = {"batchnorm": "b", "groupnorm": "g"}
ACTIVATIONS = {"r": "relu", "l": "leaky_relu", "e": "elu"}
SLOPE = 0.01
OLD_SLOPE = 0.1  # also that of the activation after every residual sum
USUAL_GROUPS = 8
MOST_GROUPS = 64
COMMON_GROUPS = (1, 2, 4, 8, 16, 32)
FEW_READINGS = 4
LINEAR = "linear up-sampling"
FEWEST_MEANS = 8


@dataclass(frozen=True)
class Order:
    """What each convolution comes with, and in which order.

    ``layers`` is a string of the library, such as "gcr"; ``groups`` is 0 where there
    is no group norm.
    """

    layers: str
    groups: int = 0
    linear: bool = False
    slope: float = SLOPE

    def __str__(self) -> str:
        """Say it as one of the readings."""
        some = "group" if self.groups == 1 else "groups"
        groups = (f"{self.groups} {some}",) if self.groups else ()
        return ", ".join((self.layers, *groups, *((LINEAR,) if self.linear else ())))


def single_convs(shapes: Shapes) -> list[str]:
    """Return the keys of the modules that hold a convolution and its norm."""
    pattern = (
        r"((?:en|de)coders\.\d{1,2}\.basic_module\.(?:SingleConv[12]|conv[123]))"
        r"\.conv\.weight"
    )
    return [
        m[1]
        for key, shape in shapes.items()
        if (m := re.fullmatch(pattern, key)) and len(shape) > 3
    ]


def is_residual(shapes: Shapes) -> bool:
    """Tell whether the blocks are residual."""
    return "encoders.0.basic_module.conv3.conv.weight" in shapes


def up_sampling(shapes: Shapes) -> Literal["interpolated", "new", "old"]:
    """Return how the first decoder goes to twice the size."""
    if "decoders.0.upsampling.upsample.conv_transposed.weight" in shapes:
        return "new"
    old = ("decoders.0.upsampling.upsample.weight", "decoders.0.upsample.weight")
    return "old" if any(key in shapes for key in old) else "interpolated"


def in_channels(shapes: Shapes) -> int:
    """Return the channels of the image."""
    start = "encoders.0.basic_module"
    for part in ("SingleConv1.conv", "conv1", "conv1.conv", "conv2.conv"):
        kernel = shapes.get(f"{start}.{part}.weight")
        if kernel is not None and len(kernel) >= 2:
            return kernel[1]
    raise Misfit(f"{start} has no first convolution")


def norm_letter(shapes: Shapes) -> str:
    """Return the letter of the norm, "" without one."""
    first = single_convs(shapes)[0]
    for name, letter in NORMS.items():
        if f"{first}.{name}.weight" in shapes:
            return letter
    return ""


def orders_of(contents: Contents) -> list[Order]:
    """Return the orders that fit, the likeliest first."""
    shapes = contents.shapes
    layers = _layers(contents)
    groups = _groups(shapes, layers[0]) if "g" in layers[0] else [0]
    old = "decoders.0.upsample.weight" in shapes
    best = Order(layers[0], groups[0], slope=OLD_SLOPE if old else SLOPE)
    orders = [best, *(replace(best, layers=other) for other in layers[1:])]
    orders += [replace(best, groups=other) for other in groups[1:]]
    if up_sampling(shapes) == "interpolated":
        orders.append(replace(best, linear=True))
    return orders


def _layers(contents: Contents) -> tuple[str, ...]:
    """Return the strings of layers that fit, the likeliest first."""
    shapes = contents.shapes
    norm = norm_letter(shapes)
    if not norm:
        return ("cr", "cl", "ce")
    if _norm_is_first(shapes):
        return (f"{norm}cr", f"{norm}cl", f"{norm}ce")
    ending = tuple(f"c{letter}{norm}" for letter in ACTIVATIONS)
    between = tuple(f"c{norm}{letter}" for letter in ACTIVATIONS)
    if is_residual(shapes):  # the default of its first versions was "cge"
        return (*reversed(between), *reversed(ending)) if norm == "g" else (
            *between, *ending,
        )  # fmt: skip
    if norm == "g" or _only_positive(contents):
        return (*ending, *between)  # the default of the first versions was "crg"
    return (*between, *ending)


def _norm_is_first(shapes: Shapes) -> bool:
    """Tell whether the norm comes before the convolution.

    Its channels say so; where the convolution keeps their number, as in residual
    blocks, the order of the keys does, unless somebody sorted them.
    """
    places = {key: number for number, key in enumerate(shapes)}
    votes = []
    for key in single_convs(shapes):
        outputs, inputs = shapes[f"{key}.conv.weight"][:2]
        for name in NORMS:
            found = shapes.get(f"{key}.{name}.weight")
            if found is not None and inputs != outputs:
                return found == (inputs,)
            if found is not None:
                votes.append(
                    places[f"{key}.{name}.weight"] < places[f"{key}.conv.weight"]
                )
    if list(shapes) == sorted(shapes):
        return True
    return votes.count(True) * 2 >= len(votes)


def _only_positive(contents: Contents) -> bool:
    """Tell whether a batch norm only ever saw what a ReLU left."""
    means = [
        value
        for key, value in contents.weights.items()
        if key.endswith("batchnorm.running_mean")
    ]
    if sum(mean.numel() for mean in means) < FEWEST_MEANS:
        return False
    return all(bool((mean >= 0).all()) for mean in means) and any(
        bool((mean > 0).any()) for mean in means
    )


def _groups(shapes: Shapes, layers: str) -> list[int]:
    """Return the numbers of groups that fit, the likeliest first.

    The library divides the channels of each norm, and takes a single group where there
    are fewer channels than groups. 8 is its default; whose first level has few channels
    is taken to have asked for groups of at least two of them.
    """
    norms = (v for k, v in shapes.items() if k.endswith("groupnorm.weight"))
    channels = {shape[0] for shape in norms if len(shape) == 1}
    if layers.startswith("g"):
        channels -= {in_channels(shapes)}  # the image itself
    channels = channels or {1}
    fitting = [
        groups
        for groups in range(1, max(1, min(MOST_GROUPS, max(channels))) + 1)
        if all(count < groups or count % groups == 0 for count in channels)
    ]
    limit = max(1, min(USUAL_GROUPS, _first_width(shapes) // 2))
    best = max(groups for groups in fitting if groups <= limit)
    others = sorted(
        (groups for groups in fitting if groups != best and groups in COMMON_GROUPS),
        key=lambda groups: abs(log2(groups / USUAL_GROUPS)),
    )
    return [best, *others[:FEW_READINGS]]


def _first_width(shapes: Shapes) -> int:
    """Return the channels of the full resolution."""
    return shapes["final_conv.weight"][1]


def chosen_order(contents: Contents, orders: list[Order]) -> Order:
    """Return the order that the user asks for, or the likeliest.

    Any combination may be asked for, such as "gce, 4 groups", not only those listed.
    """
    order = orders[0]
    if not contents.wanted:
        return order
    for part in contents.wanted.split(", "):
        groups = re.fullmatch(r"(\d{1,2}) groups?", part)
        if groups and order.groups and 1 <= int(groups[1]) <= MOST_GROUPS:
            order = replace(order, groups=int(groups[1]))
        elif part in {one.layers for one in orders}:
            order = replace(order, layers=part)
        elif part == LINEAR and orders[-1].linear:
            order = replace(order, linear=True)
        else:
            raise Misfit(f"cannot be read as {contents.wanted!r}")
    return order
