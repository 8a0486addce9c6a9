"""The blocks that MONAI's networks share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.choices import Style

if TYPE_CHECKING:
    from napari_unet.engine.builder import Builder, Shapes

MOST_LEVELS = 12
RELU_WITH_BATCH_NORM = Style("batch", act="relu")


def dims_and_channels(shapes: Shapes, key: str) -> tuple[int, int]:
    """Return dimensions and input channels of a network by its first convolution."""
    shape = shapes.get(f"{key}.weight", ())
    if len(shape) not in (4, 5):
        raise Misfit(f"{key}.weight has {len(shape)} axes, not 4 or 5")
    return len(shape) - 2, shape[1]


def kernel_of(b: Builder, key: str) -> tuple[int, ...]:
    """Return the kernel size of a convolution, per axis."""
    shape = (b.shapes or {}).get(f"{key}.weight", ())
    if len(shape) != 2 + b.dims:
        raise Misfit(f"{key}.weight is not there, or not of {b.dims} dimensions")
    return shape[2:]


def normed(b: Builder, x: int, key: str, style: Style) -> int:
    """Add the norm of a style, if it has one."""
    if style.norm == "none":
        return x
    return b.norm(x, key, style.norm, groups=style.groups)


def activated(b: Builder, x: int, key: str, style: Style) -> int:
    """Add the activation of a style, if it has one."""
    if style.act == "prelu":
        return b.prelu(x, key)
    if not style.act:
        return x
    if style.act == "relu_limited":
        return b.activation(x, style.act, limit=style.number)
    options = {"slope": style.number} if style.number else {}
    return b.activation(x, style.act, **options)


def convolution(
    b: Builder, x: int, key: str, style: Style | None, stride: Any = 1, *,
    transposed: bool = False,
) -> int:  # fmt: skip
    """Add MONAI's Convolution: a convolution, then norm and activation.

    Parameters
    ----------
    b, x, key : as for the methods of Builder
    style : None for a convolution alone
    stride : per axis
    transposed : whether it enlarges; then the size grows by the stride exactly
    """
    place = f"{key}.conv"
    kernel = kernel_of(b, place)
    if any(size % 2 == 0 for size in kernel):
        raise Misfit(f"{place} has a kernel of even size, {kernel}")
    if transposed:
        steps = stride if isinstance(stride, tuple) else (stride,) * b.dims
        x = b.conv_transpose(
            x, place, stride=steps,
            padding=tuple((size - 1) // 2 for size in kernel),
            output_padding=tuple(step - 1 for step in steps),
        )  # fmt: skip
    else:
        x = b.conv(x, place, stride=stride)
    for letter in style.order if style else "":
        add = normed if letter == "N" else activated
        x = add(b, x, f"{key}.adn.{letter}", style or Style())
    return x


def two_convolutions(b: Builder, x: int, key: str, style: Style) -> int:
    """Add the pair of convolutions of the Basic U-Nets."""
    for number in range(2):
        x = convolution(b, x, f"{key}.conv_{number}", style)
    return x


def joined(b: Builder, x: int, skips: list[int], key: str, style: Style) -> int:
    """Add the decoder block of the Basic U-Nets: up, skips and up joined, convolved.

    An odd size was halved rounding down; the edge is repeated to make up for it.
    """
    x = upsampled(b, x, f"{key}.upsample", align_corners=True)
    x = b.pad_like(x, skips[0], where="end", mode="replicate")
    return two_convolutions(b, b.concat(*skips, x), f"{key}.convs", style)


def upsampled(b: Builder, x: int, key: str, align_corners: bool) -> int:
    """Add MONAI's UpSample by 2: transposed, interpolated, or pixels from channels.

    ``align_corners`` is that of the interpolation, which has no weights.
    """
    shapes = b.shapes or {}
    if f"{key}.deconv.weight" in shapes:
        return b.conv_transpose(x, f"{key}.deconv")
    if f"{key}.deconvgroup.weight" in shapes:
        outputs = (*shapes.get(f"{key}.deconvgroup.bias", ()), 0)[0]
        groups = outputs if outputs and b.channels[x] % outputs == 0 else 1
        return b.conv_transpose(x, f"{key}.deconvgroup", groups=groups)
    if f"{key}.pixelshuffle.conv_block.weight" in shapes:
        return _shuffled(b, b.conv(x, f"{key}.pixelshuffle.conv_block"))
    if f"{key}.preconv.weight" in shapes:
        x = b.conv(x, f"{key}.preconv")
    return b.upsample(x, align_corners=align_corners)


def _shuffled(b: Builder, x: int) -> int:
    """Add a pixel shuffle and the mean over windows of 2 pixels that MONAI appends."""
    outputs, rest = divmod(b.channels[x], 2**b.dims)
    if rest:
        raise Misfit(f"{b.channels[x]} channels make no pixels")
    x = b.function("pixel_shuffle", x, outputs, factor=2)
    return b.pool(b.pad(x, 1, 0), kind="average", stride=(1,) * b.dims)


def check_alike(b: Builder, with_bias: str = "") -> None:
    """Refuse a network of which one layer lacks what the others have.

    MONAI gives a bias to all convolutions or to none, and to all norms weights or to
    none, so a layer without is a layer whose weights are lost.

    Parameters
    ----------
    b : with all layers
    with_bias : pattern of the keys of layers that have a bias in any case

    Raises
    ------
    Misfit
        Naming the first layer that differs.
    """
    groups: dict[object, list[tuple[str, bool]]] = {}
    for node in b.nodes:
        option, tensor = ("affine", "weight") if node.op == "norm" else ("bias", "bias")
        if option not in node.options:
            continue
        always = option == "bias" and bool(re.fullmatch(with_bias, node.key))
        group = groups.setdefault((node.op, node.options.get("kind"), always), [])
        group.append((f"{node.key}.{tensor}", bool(node.options[option])))
        if always:
            group.append(("", True))
    for group in groups.values():
        lost = [name for name, is_there in group if not is_there]
        if 0 < len(lost) < len(group):
            raise Misfit(f"{lost[0]} is not there")
