"""MONAI's UNet: strided convolutions nested in each other, with or without residuals.

Keys nest as the levels do: ``model.0`` is the way down, ``model.1.submodule`` all that
is below, ``model.2`` the way up. Its CheckpointUNet has one more name in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families.choices import (
    Choices,
    Style,
    chosen_activation,
    chosen_norm,
    chosen_order,
    chosen_strides,
)
from napari_unet.formats.families.common import reading
from napari_unet.formats.families.monai_blocks import (
    MOST_LEVELS,
    check_alike,
    convolution,
    dims_and_channels,
    kernel_of,
)

if TYPE_CHECKING:
    from napari_unet.engine.builder import Shapes
    from napari_unet.formats.families.choices import Stride
    from napari_unet.formats.reading import Contents, Reading

NAME = "a UNet of MONAI"
FIRST = ("conv", "conv.unit0.conv")  # without and with residual units


def read(contents: Contents) -> Reading | None:
    """Read MONAI's UNet; see the module."""
    shapes = contents.shapes
    for inside in ("", ".module"):
        for first in FIRST:
            start = f"model.0{inside}.{first}"
            below = f"model.1.submodule{inside}."
            if f"{start}.weight" in shapes and any(k.startswith(below) for k in shapes):
                b = Builder(*dims_and_channels(shapes, start), shapes)
                return _read(contents, b, inside, first)
    return None


def _read(contents: Contents, b: Builder, inside: str, first: str) -> Reading:
    places, bottom = _levels(contents.shapes, inside, first)
    residual = first == FIRST[1]
    choices = Choices(contents.wanted)
    downs = [f"{place}.0{inside}" for place in places]
    strides = chosen_strides(
        choices,
        [_known_stride(b, down) if residual else None for down in downs],
        [kernel_of(b, f"{down}.{first}") for down in downs],
        none_is_one=residual,
    )
    style = _style(contents, choices)
    x, skips = 0, []
    for down, stride in zip(downs, strides, strict=True):
        x = _down(b, x, down, style, stride, residual)
        skips.append(x)
    x = _down(b, x, bottom, style, (1,) * b.dims, residual)
    widths = tuple(b.channels[value] for value in (*skips, x))
    for level in reversed(range(len(places))):
        x = b.concat(skips[level], x)
        x = _up(
            b,
            x,
            f"{places[level]}.2{inside}",
            style,
            strides[level],
            residual,
            level == 0,
        )
    check_alike(b)
    traits = ("PReLU",) if style.act == "prelu" else ()
    graph = b.graph(
        "MONAI UNet", widths, norm=style.norm, residual=residual, traits=traits
    )
    return reading(contents, graph, b, **choices.fields())


def _levels(shapes: Shapes, inside: str, first: str) -> tuple[list[str], str]:
    """Return the places of the levels, and that of the bottom."""
    places = ["model"]
    while len(places) <= MOST_LEVELS:
        below = f"{places[-1]}.1.submodule{inside}"
        if f"{below}.0{inside}.{first}.weight" not in shapes:
            return places, below
        places.append(below)
    raise Misfit(f"it has more than {MOST_LEVELS} levels")


def _style(contents: Contents, choices: Choices) -> Style:
    shapes = contents.shapes
    act, number = chosen_activation(choices, shapes, r".*\.adn\.A")
    norm, groups = chosen_norm(choices, shapes, r".*\.adn\.N")
    order = chosen_order(choices, contents, norm, act)
    return Style(norm, groups, act, number, order)


def _known_stride(b: Builder, key: str) -> Stride | None:
    """Return the stride of 1 that a residual of 1x1, or of no weights, gives away."""
    one = (1,) * b.dims
    if f"{key}.residual.weight" not in (b.shapes or {}):
        return one
    kernel = kernel_of(b, f"{key}.residual")
    adapts = max(kernel) == 1 < max(kernel_of(b, f"{key}.conv.unit0.conv"))
    return one if adapts else None


def _down(
    b: Builder, x: int, key: str, style: Style, stride: Stride, residual: bool
) -> int:
    if not residual:
        return convolution(b, x, key, style, stride)
    return _residual_unit(b, x, key, style, stride)


def _up(
    b: Builder, x: int, key: str, style: Style, stride: Stride, residual: bool,
    is_top: bool,
) -> int:  # fmt: skip
    if not residual:
        last = None if is_top else style
        return convolution(b, x, key, last, stride, transposed=True)
    x = convolution(b, x, f"{key}.0", style, stride, transposed=True)
    return _residual_unit(b, x, f"{key}.1", style, (1,) * b.dims, last_bare=is_top)


def _residual_unit(
    b: Builder, x: int, key: str, style: Style, stride: Stride, *,
    last_bare: bool = False,
) -> int:  # fmt: skip
    """Add MONAI's ResidualUnit: convolutions in a row, and a way around them."""
    shapes = b.shapes or {}
    around = x
    if f"{key}.residual.weight" in shapes:
        around = b.conv(x, f"{key}.residual", stride=stride)
    number = 0
    while number == 0 or f"{key}.conv.unit{number}.conv.weight" in shapes:
        last = f"{key}.conv.unit{number + 1}.conv.weight" not in shapes
        behind = None if last and last_bare else style
        unit = f"{key}.conv.unit{number}"
        x = convolution(b, x, unit, behind, stride if number == 0 else 1)
        number += 1
    if b.channels[x] != b.channels[around]:
        raise Misfit(f"{key} adds {b.channels[around]} to {b.channels[x]} channels")
    return b.add(x, around)
