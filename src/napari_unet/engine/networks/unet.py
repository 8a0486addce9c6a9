"""The U-Net of Ronneberger et al. 2015, plain or residual, in 2D and 3D."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from napari_unet.engine.networks.blocks import CONV, POOL, DoubleConv, upsampling

if TYPE_CHECKING:
    from torch import Tensor

    from napari_unet.engine.spec import UNetSpec


class UNet(nn.Module):
    """Contracting path, bottleneck, expanding path with concatenated skips, 1x1 head.

    Convolutions are padded, so that the output has the size of the input. A size that
    is no multiple of the stride is padded at its end with the edge value, and the
    output cropped.

    Parameters
    ----------
    spec : UNetSpec
        Every number of the architecture.

    References
    ----------
    Ronneberger, Fischer, Brox: U-Net, MICCAI 2015, arXiv:1505.04597.
    """

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        self.spec = spec
        dims, widths = spec.dims, spec.widths
        rates = spec.dropout or (0.0,) * len(widths)

        def double(inputs: int, outputs: int, level: int) -> DoubleConv:
            return DoubleConv(
                dims, inputs, outputs,
                norm=spec.norm, dropout=rates[level], residual=spec.residual,
            )  # fmt: skip

        self.encoder = nn.ModuleList(
            double(before, after, level)
            for level, (before, after) in enumerate(
                pairwise((spec.in_channels, *widths))
            )
        )
        self.pool = POOL[dims](2)
        self.up = nn.ModuleList(
            upsampling(spec.upsampling, dims, below, here)
            for here, below in pairwise(widths)
        )
        self.decoder = nn.ModuleList(
            double(2 * width, width, level) for level, width in enumerate(widths[:-1])
        )
        self.head = CONV[dims](widths[0], spec.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K, [Z,] Y, X) of ``x`` (N, C, [Z,] Y, X), any size."""
        size = x.shape[2:]
        x = pad_to_multiple(x, self.spec.stride)
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = torch.cat([self.up[level](x), skips[level]], dim=1)
            x = self.decoder[level](x)
        logits: Tensor = self.head(x)
        kept = [slice(n) for n in size]
        return logits[(slice(None), slice(None), *kept)]

    @property
    def halo(self) -> int:
        """Pixels around a stride-aligned core that its output depends on.

        Follows an interval from the output back to the input, level by level, and
        rounds it up to the stride.
        """
        first, last = 0, self.spec.stride  # the core, in pixels at full resolution
        margin = int(self.spec.upsampling == "interpolate")  # pixels beyond the edge
        lowest, highest = first, last
        for level in range(len(self.up)):
            first, last = first - 2, last + 2
            lowest, highest = _contract(level, first, last, lowest, highest)
            first, last = (first - margin) // 2, -(-(last + margin) // 2)
        lowest, highest = _contract(len(self.up), first, last, lowest, highest)
        reach = max(-lowest, highest - self.spec.stride)
        return -(-reach // self.spec.stride) * self.spec.stride


def _contract(
    level: int, first: int, last: int, lowest: int, highest: int
) -> tuple[int, int]:
    """Widen the input interval by what features [first, last) of a level have read."""
    for above in range(level, -1, -1):
        first, last = first - 2, last + 2
        if above:
            first, last = 2 * first, 2 * last
    return min(lowest, first), max(highest, last)


def pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    """Return ``x`` (N, C, [Z,] Y, X) padded at its end to multiples of ``stride``."""
    missing = [-n % stride for n in reversed(x.shape[2:])]
    if not any(missing):
        return x
    return functional.pad(x, [p for n in missing for p in (0, n)], mode="replicate")


def build(spec: UNetSpec) -> UNet:
    """Return a network of this architecture, its weights as torch makes them."""
    return UNet(spec)


def he_normal(network: nn.Module) -> None:
    """Start a network's convolutions from He-normal weights and zero biases.

    References
    ----------
    He et al.: Delving deep into rectifiers, ICCV 2015, arXiv:1502.01852.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
