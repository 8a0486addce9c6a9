"""MONAI's AttentionUnet: a gate before each skip.

Oktay et al.: Attention U-Net, learning where to look for the pancreas, 2018,
arXiv:1804.03999.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families.choices import Choices, Style, chosen_strides
from napari_unet.formats.families.common import reading
from napari_unet.formats.families.monai_blocks import (
    MOST_LEVELS,
    RELU_WITH_BATCH_NORM,
    check_alike,
    convolution,
    dims_and_channels,
    kernel_of,
)

if TYPE_CHECKING:
    from napari_unet.engine.builder import Shapes
    from napari_unet.formats.reading import Contents, Reading

NAME = "an AttentionUnet of MONAI"
MERGED = Style("instance", act="prelu")


def read(contents: Contents) -> Reading | None:
    """Read MONAI's AttentionUnet; see the module."""
    shapes = contents.shapes
    if "model.1.attention.psi.0.conv.weight" not in shapes:
        return None
    b = Builder(*dims_and_channels(shapes, "model.0.conv.0.conv"), shapes)
    places, blocks = _levels(shapes)
    choices = Choices(contents.wanted)
    kernels = [kernel_of(b, f"{block}.conv.0.conv") for block in blocks]
    strides = chosen_strides(choices, [None] * len(blocks), kernels)
    x = _double(b, 0, "model.0")
    levels = [x]
    for block, stride in zip(blocks, strides, strict=True):
        x = _double(b, x, block, stride)
        levels.append(x)
    for level in reversed(range(len(places))):
        key = places[level]
        x = convolution(
            b, x, f"{key}.upconv.up", RELU_WITH_BATCH_NORM, strides[level],
            transposed=True,
        )  # fmt: skip
        gated = _gated(b, x, levels[level], f"{key}.attention")
        x = convolution(b, b.concat(gated, x), f"{key}.merge", MERGED)
    b.conv(x, "model.2.conv")
    check_alike(b, ".*")
    widths = tuple(b.channels[value] for value in levels)
    graph = b.graph(
        "MONAI AttentionUnet", widths, norm="batch", traits=("attention gates",)
    )
    return reading(contents, graph, b, **choices.fields())


def _levels(shapes: Shapes) -> tuple[list[str], list[str]]:
    """Return the places of the gated levels, and of the blocks below each."""
    places = ["model.1"]
    blocks: list[str] = []
    while len(places) <= MOST_LEVELS:
        below = f"{places[-1]}.submodule"
        if f"{below}.1.attention.psi.0.conv.weight" not in shapes:
            return places, [*blocks, below]
        blocks.append(f"{below}.0")
        places.append(f"{below}.1")
    raise Misfit(f"it has more than {MOST_LEVELS} levels")


def _double(b: Builder, x: int, key: str, stride: tuple[int, ...] | int = 1) -> int:
    x = convolution(b, x, f"{key}.conv.0", RELU_WITH_BATCH_NORM, stride)
    return convolution(b, x, f"{key}.conv.1", RELU_WITH_BATCH_NORM)


def _gated(b: Builder, gate: int, skip: int, key: str) -> int:
    """Multiply a skip with the weights that the way up gives to its pixels."""
    values = []
    for name, x in (("W_g", gate), ("W_x", skip)):
        x = b.conv(x, f"{key}.{name}.0.conv")
        values.append(b.norm(x, f"{key}.{name}.1"))
    x = b.activation(b.add(*values))
    x = b.norm(b.conv(x, f"{key}.psi.0.conv"), f"{key}.psi.1")
    return b.multiply(skip, b.activation(x, "sigmoid"))
