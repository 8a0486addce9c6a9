"""MONAI's BasicUNet: pairs of convolutions, max pooling, and three ways up.

It repeats the edge where an odd size was halved, so it takes any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families.choices import (
    Choices,
    Style,
    chosen_activation,
    chosen_norm,
)
from napari_unet.formats.families.common import numbered, reading
from napari_unet.formats.families.monai_blocks import (
    check_alike,
    dims_and_channels,
    joined,
    two_convolutions,
)

if TYPE_CHECKING:
    from napari_unet.engine.builder import Shapes
    from napari_unet.formats.reading import Contents, Reading

NAME = "a BasicUNet of MONAI"
FIRST = "conv_0.conv_0.conv"
HAVE_BIAS = r"final_conv.*|upcat_.*\.upsample\..*"


def read(contents: Contents) -> Reading | None:
    """Read MONAI's BasicUNet; see the module."""
    shapes = contents.shapes
    if f"{FIRST}.weight" not in shapes:
        return None
    b = Builder(*dims_and_channels(shapes, FIRST), shapes)
    choices = Choices(contents.wanted)
    style = basic_style(choices, shapes)
    x = two_convolutions(b, 0, "conv_0", style)
    skips = [x]
    for number in numbered(shapes, r"down_(\d{1,2})\."):
        x = two_convolutions(b, b.pool(x), f"down_{number}.convs", style)
        skips.append(x)
    widths = tuple(b.channels[value] for value in skips)
    ups = numbered(shapes, r"upcat_(\d{1,2})\.")
    if ups != list(range(1, len(skips))):
        raise Misfit(f"it has {len(skips)} levels and the decoder blocks {ups}")
    for number in reversed(ups):
        x = joined(b, x, [skips[number - 1]], f"upcat_{number}", style)
    b.conv(x, "final_conv")
    check_alike(b, HAVE_BIAS)
    graph = b.graph(
        "MONAI BasicUNet", widths, fit="itself", norm=style.norm,
        traits=up_traits(shapes, "upcat_1"),
    )  # fmt: skip
    return reading(contents, graph, b, **choices.fields())


def basic_style(choices: Choices, shapes: Shapes) -> Style:
    """Return norm and activation of a Basic U-Net, whose norm always comes first."""
    likeliest = "LeakyReLU of slope 0.1"
    act, number = chosen_activation(choices, shapes, r".*\.adn\.A", likeliest)
    norm, groups = chosen_norm(choices, shapes, r".*\.adn\.N")
    return Style(norm, groups, act, number)


def up_traits(shapes: Shapes, key: str) -> tuple[str, ...]:
    """Return what there is to say of how a decoder block enlarges."""
    if f"{key}.upsample.pixelshuffle.conv_block.weight" in shapes:
        return ("pixel shuffle",)
    deconv = any(
        f"{key}.upsample.{name}.weight" in shapes for name in ("deconv", "deconvgroup")
    )
    return () if deconv else ("linear up-sampling",)
