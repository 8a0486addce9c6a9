"""The U-Net of Ronneberger et al. 2015, plain or residual, in 2D and 3D, as a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder

if TYPE_CHECKING:
    from napari_unet.engine.graph import GraphSpec
    from napari_unet.engine.spec import UNetSpec


def unet_graph(spec: UNetSpec) -> GraphSpec:
    """Return the layers: contracting path, expanding path, concatenated skips, head.

    Convolutions are padded, so that the output has the size of the input.

    References
    ----------
    Ronneberger, Fischer, Brox: U-Net, MICCAI 2015, arXiv:1505.04597.
    """
    b = Builder(spec.dims, spec.in_channels, None)
    widths, x = spec.widths, 0
    skips = []
    for level, width in enumerate(widths):
        x = b.pool(x) if level else x
        x = _double(b, x, f"encoder.{level}", width, level, spec)
        skips.append(x)
    for level, width in reversed(list(enumerate(widths[:-1]))):
        x = _up(b, x, f"up.{level}", width, spec)
        x = b.concat(x, skips[level])
        x = _double(b, x, f"decoder.{level}", width, level, spec)
    b.conv(x, "head", spec.out_channels, 1)
    traits = {"interpolate": ("linear up-sampling",)}.get(spec.upsampling, ())
    return b.graph(
        "napari-unet", widths, norm=spec.norm, residual=spec.residual, traits=traits
    )


def _double(
    b: Builder, x: int, key: str, width: int, level: int, spec: UNetSpec
) -> int:
    """Add two 3x3 convolutions, dropout between them, residual if asked for."""
    y = _conv_norm_relu(b, x, f"{key}.first", width, spec)
    if spec.dropout:
        y = b.dropout(y, spec.dropout[level], f"{key}.dropout")
    y = _conv_norm_relu(b, y, f"{key}.second", width, spec)
    if not spec.residual:
        return y
    return b.add(y, b.conv(x, f"{key}.shortcut", width, 1))


def _conv_norm_relu(b: Builder, x: int, key: str, width: int, spec: UNetSpec) -> int:
    batch = spec.norm == "batch"
    x = b.conv(x, f"{key}.0", width, 3, bias=not batch)
    if batch:
        x = b.norm(x, f"{key}.1")
    return b.activation(x)


def _up(b: Builder, x: int, key: str, width: int, spec: UNetSpec) -> int:
    """Add the doubling of the size: a transposed convolution, or linear."""
    if spec.upsampling == "transposed":
        return b.conv_transpose(x, key, width, 2)
    return b.conv(b.upsample(x), f"{key}.conv", width, 1)
