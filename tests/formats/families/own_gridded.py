"""Grids, ports and residual blocks: see own_classes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from own_classic import double
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Vgg(nn.Module):
    def __init__(self, i: int, middle: int, o: int) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(i, middle, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, o, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(o)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class Grid(nn.Module):
    """conv0_0 ... conv0_4; plain or nested, with further heads if asked."""

    def __init__(self, f: int = 4, *, nested: bool = False, deep: bool = False) -> None:
        super().__init__()
        w = [f * 2**n for n in range(5)]
        self.nested, self.deep = nested, deep
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        for n in range(5):
            setattr(self, f"conv{n}_0", Vgg(w[n - 1] if n else 3, w[n], w[n]))
        for j in range(1, 5):
            for i in range(5 - j):
                if nested or i == 4 - j:
                    row = j if nested else 1
                    block = Vgg(w[i] * row + w[i + 1], w[i], w[i])
                    setattr(self, f"conv{i}_{j}", block)
        if deep:
            for n in range(1, 5):
                setattr(self, f"final{n}", nn.Conv2d(w[0], 1, 1))
        else:
            self.final = nn.Conv2d(w[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: dict[tuple[int, int], Tensor] = {}
        for n in range(5):
            x = (
                self.conv0_0(x)
                if n == 0
                else getattr(self, f"conv{n}_0")(F.max_pool2d(x, 2))
            )
            made[n, 0] = x
        for j in range(1, 5):
            for i in range(5 - j):
                if self.nested:
                    row = [made[i, k] for k in range(j)]
                elif i == 4 - j:
                    row = [made[i, 0]]
                else:
                    continue
                below = self.up(made[i + 1, j - 1])
                made[i, j] = getattr(self, f"conv{i}_{j}")(torch.cat([*row, below], 1))
        if self.deep:
            return [getattr(self, f"final{n}")(made[0, n]) for n in range(1, 5)][-1]
        return self.final(made[0, 4])


class KerasPort(nn.Module):
    """A port of the classic Keras network: 2x2 convolution after up-sampling."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        w = [f * 2**n for n in range(5)]
        for n, (i, o) in enumerate(zip([1, *w], w, strict=False), start=1):
            setattr(self, f"conv{n}_1", nn.Conv2d(i, o, 3, padding=1))
            setattr(self, f"conv{n}_2", nn.Conv2d(o, o, 3, padding=1))
        self.drop = nn.Dropout(0.5)
        for n, o in enumerate(reversed(w[:-1]), start=6):
            setattr(self, f"up{n}", nn.Conv2d(2 * o, o, 2))
            setattr(self, f"conv{n}_1", nn.Conv2d(2 * o, o, 3, padding=1))
            setattr(self, f"conv{n}_2", nn.Conv2d(o, o, 3, padding=1))
        self.conv9_3 = nn.Conv2d(f, 2, 3, padding=1)
        self.conv10 = nn.Conv2d(2, 1, 1)

    def _twice(self, n: int, x: Tensor) -> Tensor:
        x = F.relu(getattr(self, f"conv{n}_1")(x))
        return F.relu(getattr(self, f"conv{n}_2")(x))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n in range(1, 6):
            x = self._twice(n, F.max_pool2d(x, 2) if n > 1 else x)
            kept.append(x)
        kept.pop()
        for n in range(6, 10):
            x = F.pad(F.interpolate(x, scale_factor=2), (0, 1, 0, 1))
            x = F.relu(getattr(self, f"up{n}")(x))
            x = self._twice(n, torch.cat([kept.pop(), x], dim=1))
        return self.conv10(F.relu(self.conv9_3(x)))


class Renamed(nn.Module):
    """The common layout with other names and odd orders of registration."""

    def __init__(self, f: int = 8, *, up_first: bool = False) -> None:
        super().__init__()
        self.up_first = up_first
        self.result = nn.Conv2d(f, 3, 1)
        self.stem = double(1, f, bias=False)
        self.right3 = double(2 * f, f, bias=False)
        self.right2 = double(4 * f, 2 * f, bias=False)
        self.right1 = double(8 * f, 4 * f, bias=False)
        self.rise1 = nn.ConvTranspose2d(8 * f, 4 * f, 2, 2)
        self.rise2 = nn.ConvTranspose2d(4 * f, 2 * f, 2, 2)
        self.rise3 = nn.ConvTranspose2d(2 * f, f, 2, 2)
        self.left3 = double(4 * f, 8 * f, bias=False)
        self.left2 = double(2 * f, 4 * f, bias=False)
        self.left1 = double(f, 2 * f, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a = self.stem(x)
        b = self.left1(F.max_pool2d(a, 2))
        c = self.left2(F.max_pool2d(b, 2))
        x = self.left3(F.max_pool2d(c, 2))
        for rise, right, skip in (
            (self.rise1, self.right1, c), (self.rise2, self.right2, b),
            (self.rise3, self.right3, a),
        ):  # fmt: skip
            x = rise(x)
            x = right(torch.cat([x, skip] if self.up_first else [skip, x], 1))
        return self.result(x)


class ResBlock(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential()
        if i != o:
            self.shortcut = nn.Sequential(
                nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Residual(nn.Module):
    """Residual blocks with 1x1 shortcuts; identity where widths are equal."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.enc1, self.enc2 = ResBlock(3, f), ResBlock(f, 2 * f)
        self.enc3, self.enc4 = ResBlock(2 * f, 4 * f), ResBlock(4 * f, 8 * f)
        self.center = ResBlock(8 * f, 8 * f)
        self.up3 = nn.ConvTranspose2d(8 * f, 4 * f, 2, 2)
        self.dec3 = ResBlock(8 * f, 4 * f)
        self.up2 = nn.ConvTranspose2d(4 * f, 2 * f, 2, 2)
        self.dec2 = ResBlock(4 * f, 2 * f)
        self.up1 = nn.ConvTranspose2d(2 * f, f, 2, 2)
        self.dec1 = ResBlock(2 * f, f)
        self.out = nn.Conv2d(f, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.enc1(x)
        b = self.enc2(F.max_pool2d(a, 2))
        c = self.enc3(F.max_pool2d(b, 2))
        x = self.center(self.enc4(F.max_pool2d(c, 2)))
        x = self.dec3(torch.cat([self.up3(x), c], 1))
        x = self.dec2(torch.cat([self.up2(x), b], 1))
        return self.out(self.dec1(torch.cat([self.up1(x), a], 1)))


class PreActivated(nn.Module):
    """Norm, activation, convolution, twice; strided, 3x3 shortcuts with norms."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.BatchNorm2d(i), nn.ReLU(), nn.Conv2d(i, o, 3, stride, 1),
            nn.BatchNorm2d(o), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1),
        )  # fmt: skip
        self.conv_skip = nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_block(x) + self.conv_skip(x)


class DeepResidual(nn.Module):
    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, f, 3, padding=1), nn.BatchNorm2d(f), nn.ReLU(),
            nn.Conv2d(f, f, 3, padding=1),
        )  # fmt: skip
        self.input_skip = nn.Sequential(nn.Conv2d(3, f, 3, padding=1))
        self.residual_conv_1 = PreActivated(f, 2 * f, 2)
        self.residual_conv_2 = PreActivated(2 * f, 4 * f, 2)
        self.bridge = PreActivated(4 * f, 8 * f, 2)
        self.upsample_1 = nn.ConvTranspose2d(8 * f, 8 * f, 2, 2)
        self.up_residual_conv1 = PreActivated(12 * f, 4 * f, 1)
        self.upsample_2 = nn.ConvTranspose2d(4 * f, 4 * f, 2, 2)
        self.up_residual_conv2 = PreActivated(6 * f, 2 * f, 1)
        self.upsample_3 = nn.ConvTranspose2d(2 * f, 2 * f, 2, 2)
        self.up_residual_conv3 = PreActivated(3 * f, f, 1)
        self.output_layer = nn.Sequential(nn.Conv2d(f, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.input_layer(x) + self.input_skip(x)
        b = self.residual_conv_1(a)
        c = self.residual_conv_2(b)
        x = self.upsample_1(self.bridge(c))
        x = self.upsample_2(self.up_residual_conv1(torch.cat([x, c], 1)))
        x = self.upsample_3(self.up_residual_conv2(torch.cat([x, b], 1)))
        return self.output_layer(self.up_residual_conv3(torch.cat([x, a], 1)))
