"""MONAI's BasicUNetPlusPlus: a U-Net whose skips are U-Nets.

With deep supervision the maker's network returns the outputs of all depths; here the
result is the last, which the others do not change. Their weights are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families.choices import Choices
from napari_unet.formats.families.common import numbered, reading
from napari_unet.formats.families.monai_basic_unet import (
    HAVE_BIAS,
    basic_style,
    up_traits,
)
from napari_unet.formats.families.monai_blocks import (
    MOST_LEVELS,
    check_alike,
    dims_and_channels,
    joined,
    two_convolutions,
)

if TYPE_CHECKING:
    from napari_unet.formats.families.choices import Style
    from napari_unet.formats.reading import Contents, Reading

NAME = "a BasicUNetPlusPlus of MONAI"
FIRST = "conv_0_0.conv_0.conv"


def read(contents: Contents) -> Reading | None:
    """Read MONAI's BasicUNetPlusPlus; see the module."""
    shapes = contents.shapes
    if f"{FIRST}.weight" not in shapes:
        return None
    b = Builder(*dims_and_channels(shapes, FIRST), shapes)
    choices = Choices(contents.wanted)
    style = basic_style(choices, shapes)
    depth = len(numbered(shapes, r"conv_(\d{1,2})_0\.")) - 1
    if not 1 <= depth <= MOST_LEVELS:
        raise Misfit(f"it has {depth + 1} levels")
    rows = _nodes(b, depth, style)
    for column in range(1, depth + 1):
        b.conv(rows[0][column], f"final_conv_0_{column}")
    check_alike(b, HAVE_BIAS)
    graph = b.graph(
        "MONAI BasicUNetPlusPlus", tuple(b.channels[row[0]] for row in rows),
        fit="itself", norm=style.norm,
        traits=("nested skips", *up_traits(shapes, f"upcat_0_{depth}")),
    )  # fmt: skip
    return reading(contents, graph, b, **choices.fields())


def _nodes(b: Builder, depth: int, style: Style) -> list[list[int]]:
    """Add all nodes; value [i][j] is on level i, j blocks right of the encoder."""
    rows = [[two_convolutions(b, 0, "conv_0_0", style)]]
    for level in range(1, depth + 1):
        x = b.pool(rows[-1][0])
        rows.append([two_convolutions(b, x, f"conv_{level}_0.convs", style)])
    for column in range(1, depth + 1):
        for level in range(depth + 1 - column):
            below = rows[level + 1][column - 1]
            key = f"upcat_{level}_{column}"
            rows[level].append(joined(b, below, list(rows[level]), key, style))
    return rows
