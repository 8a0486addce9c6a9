"""MONAI's DynUNet: nnU-Net's shape, with kernels and strides of each level's own.

The kernel of a transposed convolution is its stride, and that of the way down, so the
strides are in the weights. Every layer is listed twice: in the list of its kind, and
once more in ``skip_layers``; files of older versions have the first only.
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
    MOST_LEVELS,
    activated,
    check_alike,
    dims_and_channels,
    kernel_of,
    normed,
)
from napari_unet.formats.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_unet.formats.reading import Contents

NAME = "a DynUNet of MONAI"
FIRST = "input_block.conv1.conv"
HEADS = "deep_supervision_heads"


def read(contents: Contents) -> Reading | None:
    """Read MONAI's DynUNet; see the module."""
    shapes = contents.shapes
    if f"{FIRST}.weight" not in shapes or "output_block.conv.conv.weight" not in shapes:
        return None
    b = Builder(*dims_and_channels(shapes, FIRST), shapes)
    choices = Choices(contents.wanted)
    act, number = chosen_activation(
        choices, shapes, r".*\.lrelu", "LeakyReLU of slope 0.01"
    )
    norm, groups = chosen_norm(choices, shapes, r".*\.norm[123]")
    style = Style(norm, groups, act, number)
    levels, strides = _encoder(b, style)
    x = _decoder(b, levels, strides, style)
    b.conv(x, "output_block.conv.conv")
    check_alike(b, rf"(output_block|{HEADS}\.\d+)\..*")
    weights, remarks = _under_both_names(b, contents, len(strides))
    widths = tuple(b.channels[value] for value in levels)
    graph = b.graph(
        "MONAI DynUNet", widths, norm=norm, residual=_has_residuals(b),
        traits=("deep supervision",) if _heads(b) else (),
    )  # fmt: skip
    said = reading(contents, graph, b, **choices.fields())
    remarks = (*said.spec.remarks, *remarks)
    spec = said.spec.model_copy(update={"remarks": remarks})
    return Reading(spec, {**said.weights, **weights})


def _encoder(b: Builder, style: Style) -> tuple[list[int], list[tuple[int, ...]]]:
    """Add the way down; return its values, and the strides between them."""
    downs = numbered(b.shapes or {}, r"downsamples\.(\d{1,2})\.")
    ups = numbered(b.shapes or {}, r"upsamples\.(\d{1,2})\.")
    if not 1 <= len(ups) <= MOST_LEVELS or ups != list(range(len(downs) + 1)):
        raise Misfit(f"it has {len(downs)} blocks down and {len(ups)} up")
    strides = [kernel_of(b, f"upsamples.{n}.transp_conv.conv") for n in reversed(ups)]
    blocks = [*(f"downsamples.{n}" for n in downs), "bottleneck"]
    levels = [_block(b, 0, "input_block", style, (1,) * b.dims, _has_residuals(b))]
    for block, stride in zip(blocks, strides, strict=True):
        levels.append(_block(b, levels[-1], block, style, stride, _has_residuals(b)))
    return levels, strides


def _decoder(
    b: Builder, levels: list[int], strides: list[tuple[int, ...]], style: Style
) -> int:
    """Add the way up, and the heads of deep supervision, which are for training."""
    x = levels[-1]
    heads = _heads(b)
    for level in reversed(range(len(strides))):
        key = f"upsamples.{len(strides) - 1 - level}"
        x = b.conv_transpose(x, f"{key}.transp_conv.conv", stride=strides[level])
        x = b.concat(x, levels[level])
        x = _block(b, x, f"{key}.conv_block", style, (1,) * b.dims, residual=False)
        if level - 1 in heads:
            b.conv(x, f"{HEADS}.{level - 1}.conv.conv")
    return x


def _block(
    b: Builder, x: int, key: str, style: Style, stride: tuple[int, ...],
    residual: bool,
) -> int:  # fmt: skip
    """Add two convolutions with norms, and a way around them where there is one."""
    around = x
    x = _normed_convolution(b, x, key, 1, style, stride)
    x = activated(b, x, f"{key}.lrelu", style)
    x = _normed_convolution(b, x, key, 2, style, (1,) * b.dims)
    if residual:
        x = b.add(x, _way_around(b, around, x, key, style, stride))
    return activated(b, x, f"{key}.lrelu", style)


def _way_around(
    b: Builder, around: int, x: int, key: str, style: Style, stride: tuple[int, ...]
) -> int:
    """Return what a residual block adds: its input, convolved where sizes differ.

    Older versions have that convolution always; where it is needless it is only kept.
    """
    if f"{key}.conv3.conv.weight" not in (b.shapes or {}):
        return around
    convolved = _normed_convolution(b, around, key, 3, style, stride)
    same = b.channels[around] == b.channels[x] and set(stride) == {1}
    return around if same else convolved


def _normed_convolution(
    b: Builder, x: int, key: str, number: int, style: Style, stride: tuple[int, ...]
) -> int:
    place = f"{key}.conv{number}.conv"
    kernel = kernel_of(b, place)
    padding = [max(0, k - s + 1) // 2 for k, s in zip(kernel, stride, strict=True)]
    x = b.conv(x, place, stride=stride, padding=padding)
    return normed(b, x, f"{key}.norm{number}", style)


def _has_residuals(b: Builder) -> bool:
    return any(key.endswith(".conv3.conv.weight") for key in b.shapes or {})


def _heads(b: Builder) -> list[int]:
    return numbered(b.shapes or {}, rf"{HEADS}\.(\d{{1,2}})\.")


# -- the second names


def _under_both_names(
    b: Builder, contents: Contents, levels: int
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Give layers their second names; return the weights, and what is to be said.

    Where the two differ, MONAI's own loading leaves those of the second name.
    """
    weights = contents.weights
    if not any(key.startswith("skip_layers.") for key in weights):
        return {}, ()
    second = _second_names(levels)
    for place, node in enumerate(b.nodes):
        start = next((s for s in second if node.key.startswith(f"{s}.")), None)
        if start is not None:
            alias = second[start] + node.key[len(start) :]
            b.nodes[place] = node.model_copy(update={"aliases": (alias,)})
    taken: dict[str, Tensor] = {}
    for key in sorted(b.used):
        start = next((s for s in second if key.startswith(f"{s}.")), None)
        if start is not None and key in weights:
            taken[key] = _second(weights, key, second[start] + key[len(start) :])
            b.used.add(second[start] + key[len(start) :])
    if all(value.equal(weights[key]) for key, value in taken.items()):
        return {}, ()
    return taken, ("of weights stored twice, those under 'skip_layers' were taken",)


def _second_names(levels: int) -> dict[str, str]:
    """Return the place in ``skip_layers`` of each block."""
    names = {}
    below = "skip_layers"
    for level in range(levels):
        down = f"downsamples.{level - 1}" if level else "input_block"
        names[down] = f"{below}.downsample"
        names[f"upsamples.{levels - 1 - level}"] = f"{below}.upsample"
        names[f"{HEADS}.{level - 1}"] = f"{below}.super_head"
        below += ".next_layer"
    return {**names, "bottleneck": below}


def _second(weights: Mapping[str, Tensor], key: str, alias: str) -> Tensor:
    found = weights.get(alias)
    if found is None or found.shape != weights[key].shape:
        raise Misfit(f"{alias} is not there in the shape of {key}")
    return found
