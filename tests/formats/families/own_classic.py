"""Classic habits: see own_classes.py."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


def double(i: int, o: int, *, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=bias), nn.BatchNorm2d(o), nn.ReLU(True),
        nn.Conv2d(o, o, 3, padding=1, bias=bias), nn.BatchNorm2d(o), nn.ReLU(True),
    )  # fmt: skip


def bare_double(i: int, o: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(o, o, 3, padding=1), nn.ReLU(inplace=True),
    )  # fmt: skip


class NamedLayers(nn.Module):
    """Named sequences, no biases, up-sampled first: the brain MRI network's habit."""

    def __init__(self, f: int = 8, channels: int = 3) -> None:
        super().__init__()
        widths = [f, 2 * f, 4 * f, 8 * f]
        for n, (i, o) in enumerate(
            zip([channels, *widths], widths, strict=False), start=1
        ):
            setattr(self, f"encoder{n}", self._block(i, o, f"enc{n}"))
            setattr(self, f"pool{n}", nn.MaxPool2d(2, 2))
        self.bottleneck = self._block(8 * f, 16 * f, "bottleneck")
        for n in (4, 3, 2, 1):
            w = widths[n - 1]
            setattr(self, f"upconv{n}", nn.ConvTranspose2d(2 * w, w, 2, stride=2))
            setattr(self, f"decoder{n}", self._block(2 * w, w, f"dec{n}"))
        self.conv = nn.Conv2d(f, 1, 1)

    @staticmethod
    def _block(i: int, o: int, name: str) -> nn.Sequential:
        return nn.Sequential(OrderedDict([
            (name + "conv1", nn.Conv2d(i, o, 3, padding=1, bias=False)),
            (name + "norm1", nn.BatchNorm2d(o)), (name + "relu1", nn.ReLU()),
            (name + "conv2", nn.Conv2d(o, o, 3, padding=1, bias=False)),
            (name + "norm2", nn.BatchNorm2d(o)), (name + "relu2", nn.ReLU()),
        ]))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n in range(1, 5):
            x = getattr(self, f"encoder{n}")(x)
            kept.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for n in (4, 3, 2, 1):
            x = torch.cat([getattr(self, f"upconv{n}")(x), kept.pop()], dim=1)
            x = getattr(self, f"decoder{n}")(x)
        return self.conv(x)


class ConvBlock(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv = double(i, o)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class UpConv(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(i, o, 3, padding=1),
            nn.BatchNorm2d(o), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x)


class RecurrentConv(nn.Module):
    def __init__(self, w: int, t: int) -> None:
        super().__init__()
        self.t = t
        self.conv = nn.Sequential(
            nn.Conv2d(w, w, 3, padding=1), nn.BatchNorm2d(w), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        for _ in range(self.t):
            y = self.conv(x + y)
        return y


class RecurrentBlock(nn.Module):
    def __init__(self, i: int, o: int, t: int = 2) -> None:
        super().__init__()
        self.RCNN = nn.Sequential(RecurrentConv(o, t), RecurrentConv(o, t))
        self.Conv_1x1 = nn.Conv2d(i, o, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv_1x1(x)
        return x + self.RCNN(x)


class Attention(nn.Module):
    def __init__(self, g: int, x: int, between: int) -> None:
        super().__init__()
        self.W_g = nn.Sequential(nn.Conv2d(g, between, 1), nn.BatchNorm2d(between))
        self.W_x = nn.Sequential(nn.Conv2d(x, between, 1), nn.BatchNorm2d(between))
        self.psi = nn.Sequential(
            nn.Conv2d(between, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid()
        )

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        return x * self.psi(F.relu(self.W_g(g) + self.W_x(x)))


class Numbered(nn.Module):
    """Conv1 to Conv5, Up5, Up_conv5 ...; with gates or recurrent blocks if asked."""

    def __init__(self, f: int = 8, *, gates: bool = False, recurrent: bool = False):
        super().__init__()
        widths = [f * 2**n for n in range(5)]
        block = RecurrentBlock if recurrent else ConvBlock
        name = "RRCNN" if recurrent else "Conv"
        self.gates, self.name = gates, name
        for n, (i, o) in enumerate(zip([1, *widths], widths, strict=False), start=1):
            setattr(self, f"{name}{n}", block(i, o))
        for n in (5, 4, 3, 2):
            w = widths[n - 2]
            setattr(self, f"Up{n}", UpConv(2 * w, w))
            if gates:
                setattr(self, f"Att{n}", Attention(w, w, w // 2))
            setattr(self, f"Up_{name}{n}", block(2 * w, w))
        self.Conv_1x1 = nn.Conv2d(f, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n in range(1, 6):
            x = getattr(self, f"{self.name}{n}")(F.max_pool2d(x, 2) if n > 1 else x)
            kept.append(x)
        kept.pop()
        for n in (5, 4, 3, 2):
            up, skip = getattr(self, f"Up{n}")(x), kept.pop()
            if self.gates:
                skip = getattr(self, f"Att{n}")(g=up, x=skip)
            x = getattr(self, f"Up_{self.name}{n}")(torch.cat((skip, up), dim=1))
        return self.Conv_1x1(x)


class Tutorial(nn.Module):
    """No norms, aligned linear up-sampling without weights, up-sampled first."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.dconv_down1 = bare_double(3, 16)
        self.dconv_down2 = bare_double(16, 32)
        self.dconv_down3 = bare_double(32, 64)
        self.dconv_down4 = bare_double(64, 128)
        self.maxpool = nn.MaxPool2d(2)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.dconv_up3 = bare_double(64 + 128, 64)
        self.dconv_up2 = bare_double(32 + 64, 32)
        self.dconv_up1 = bare_double(32 + 16, 16)
        self.conv_last = nn.Conv2d(16, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.dconv_down1(x)
        two = self.dconv_down2(self.maxpool(one))
        three = self.dconv_down3(self.maxpool(two))
        x = self.dconv_down4(self.maxpool(three))
        x = self.dconv_up3(torch.cat([self.upsample(x), three], dim=1))
        x = self.dconv_up2(torch.cat([self.upsample(x), two], dim=1))
        x = self.dconv_up1(torch.cat([self.upsample(x), one], dim=1))
        return self.conv_last(x)


class UpsFirst(nn.Module):
    """The lists of ways up are registered before those of ways down."""

    def __init__(
        self, widths: tuple[int, ...] = (8, 16, 32, 64), *, bias: bool = False
    ):
        super().__init__()
        self.ups, self.downs = nn.ModuleList(), nn.ModuleList()
        i = 3
        for w in widths:
            self.downs.append(double(i, w, bias=bias))
            i = w
        for w in reversed(widths):
            self.ups.append(nn.ConvTranspose2d(w * 2, w, 2, stride=2))
            self.ups.append(double(w * 2, w, bias=bias))
        self.bottleneck = double(widths[-1], widths[-1] * 2, bias=bias)
        self.final_conv = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for down in self.downs:
            x = down(x)
            kept.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for n in range(0, len(self.ups), 2):
            x = self.ups[n + 1](torch.cat((kept.pop(), self.ups[n](x)), dim=1))
        return self.final_conv(x)


class PathBlock(nn.Module):
    def __init__(self, i: int, o: int, *, norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n in (i, o):
            layers += [nn.Conv2d(n, o, 3, padding=1), nn.ReLU()]
            if norm:
                layers.append(nn.BatchNorm2d(o))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class PathUp(nn.Module):
    def __init__(self, i: int, o: int, *, norm: bool, mode: str) -> None:
        super().__init__()
        if mode == "upconv":
            self.up: nn.Module = nn.ConvTranspose2d(i, o, 2, stride=2)
        else:
            self.up = nn.Sequential(
                nn.Upsample(mode="bilinear", scale_factor=2), nn.Conv2d(i, o, 1)
            )
        self.conv_block = PathBlock(i, o, norm=norm)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        return self.conv_block(torch.cat([self.up(x), bridge], 1))


class Paths(nn.Module):
    """down_path, up_path, last; norm after activation."""

    def __init__(self, mode: str = "upconv", *, norm: bool = True) -> None:
        super().__init__()
        widths = [8, 16, 32, 64]
        self.down_path = nn.ModuleList(
            PathBlock(i, o, norm=norm)
            for i, o in zip([1, *widths], widths, strict=False)
        )
        self.up_path = nn.ModuleList(
            PathUp(2 * w, w, norm=norm, mode=mode) for w in reversed(widths[:-1])
        )
        self.last = nn.Conv2d(widths[0], 2, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n, down in enumerate(self.down_path):
            x = down(x)
            if n != len(self.down_path) - 1:
                kept.append(x)
                x = F.max_pool2d(x, 2)
        for up in self.up_path:
            x = up(x, kept.pop())
        return self.last(x)
