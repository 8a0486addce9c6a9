"""The plain PyTorch U-Net whose layout milesial/Pytorch-UNet made common.

Two generations of keys, ``inc.double_conv.0`` and ``inc.conv.conv.0``, each with
transposed convolutions or with bilinear up-sampling (aligned corners). The network
pads inside ``up``, so it takes any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families.common import dims_of, numbered, reading

if TYPE_CHECKING:
    from napari_unet.formats.reading import Contents, Reading

NAME = "a U-Net of milesial's layout"
CURRENT = (
    "inc.double_conv",
    "down{}.maxpool_conv.1.double_conv",
    "up{}.conv.double_conv",
)
OLDER = ("inc.conv.conv", "down{}.mpconv.1.conv", "up{}.conv.conv")


def read(contents: Contents) -> Reading | None:
    """Read the network of milesial's layout; see the module."""
    shapes = contents.shapes
    for places in (CURRENT, OLDER):
        if f"{places[0]}.0.weight" in shapes:
            return _read(contents, shapes, *places)
    return None


def _read(
    contents: Contents, shapes: dict[str, tuple[int, ...]],
    first: str, down: str, up: str,
) -> Reading | None:  # fmt: skip
    kernel = shapes[f"{first}.0.weight"]
    if len(kernel) < 4:
        raise Misfit(f"{first}.0.weight has {len(kernel)} axes")
    b = Builder(dims_of(shapes), kernel[1], shapes)
    try:
        x = _double(b, 0, first)
    except Misfit:
        return None  # somebody's own variation, such as one without batch norm
    skips = [x]
    for number in numbered(shapes, r"down(\d{1,2})\."):
        x = _double(b, b.pool(x), down.format(number))
        skips.append(x)
    for number in numbered(shapes, r"up(\d{1,2})\."):
        x = _up(b, x, f"up{number}.up")
        if len(skips) < number + 1:
            raise Misfit(f"up{number} has no level of its own")
        skip = skips[-1 - number]
        x = b.concat(skip, b.pad_like(x, skip))
        x = _double(b, x, up.format(number))
    b.conv(x, "outc.conv")
    widths = tuple(b.channels[skip] for skip in skips)
    linear = "up1.up.weight" not in shapes
    traits = ("bilinear up-sampling",) if linear else ()
    graph = b.graph("milesial U-Net", widths, fit="itself", norm="batch", traits=traits)
    return reading(contents, graph, b)


def _double(b: Builder, x: int, key: str) -> int:
    for index in (0, 3):
        x = b.conv(x, f"{key}.{index}")
        x = b.norm(x, f"{key}.{index + 1}")
        x = b.activation(x)
    return x


def _up(b: Builder, x: int, key: str) -> int:
    if b.shapes and f"{key}.weight" in b.shapes:
        return b.conv_transpose(x, key)
    return b.upsample(x, align_corners=True)
