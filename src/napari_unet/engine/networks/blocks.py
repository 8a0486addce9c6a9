"""The pieces that every network of the family is made of, in 2D and 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
UP_CONV = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


def conv_norm_relu(dims: int, inputs: int, outputs: int, norm: str) -> nn.Sequential:
    """Return a 3x3 convolution, batch norm if asked for, and ReLU."""
    batch = norm == "batch"
    layers: list[nn.Module] = [
        CONV[dims](inputs, outputs, 3, padding=1, bias=not batch)
    ]
    if batch:
        layers.append(NORM[dims](outputs))
    layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions with dropout between them, residual if asked for."""

    def __init__(
        self, dims: int, inputs: int, outputs: int, *,
        norm: str, dropout: float, residual: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = conv_norm_relu(dims, inputs, outputs, norm)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.second = conv_norm_relu(dims, outputs, outputs, norm)
        self.shortcut = CONV[dims](inputs, outputs, 1) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same size as ``x`` (N, C, [Z,] Y, X)."""
        y: Tensor = self.second(self.dropout(self.first(x)))
        return y if self.shortcut is None else y + self.shortcut(x)


class Interpolate(nn.Module):
    """Doubling by linear interpolation, then a 1x1 convolution to ``outputs``."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mode = LINEAR[dims]
        self.conv = CONV[dims](inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (N, C, [Z,] Y, X) at twice its size."""
        x = functional.interpolate(
            x, scale_factor=2, mode=self.mode, align_corners=False
        )
        y: Tensor = self.conv(x)
        return y


def upsampling(kind: str, dims: int, inputs: int, outputs: int) -> nn.Module:
    """Return the layer that doubles the size: ``transposed`` or ``interpolate``."""
    if kind == "transposed":
        return UP_CONV[dims](inputs, outputs, 2, stride=2)
    return Interpolate(dims, inputs, outputs)
