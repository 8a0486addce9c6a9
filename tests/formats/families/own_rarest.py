"""The rarest habits: see own_classes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Halving(nn.Module):
    """Double convolutions with a middle width and aligned up-sampling inside up."""

    class Double(nn.Module):
        def __init__(self, i: int, o: int, middle: int | None = None) -> None:
            super().__init__()
            m = middle or o
            self.layers = nn.Sequential(
                nn.Conv2d(i, m, 3, padding=1, bias=False), nn.BatchNorm2d(m), nn.ReLU(),
                nn.Conv2d(m, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.begin = self.Double(1, f)
        self.lower1 = nn.Sequential(nn.MaxPool2d(2), self.Double(f, 2 * f))
        self.lower2 = nn.Sequential(nn.MaxPool2d(2), self.Double(2 * f, 4 * f))
        self.lower3 = nn.Sequential(nn.MaxPool2d(2), self.Double(4 * f, 4 * f))
        self.upper1 = self.Double(8 * f, 2 * f, 4 * f)
        self.upper2 = self.Double(4 * f, f, 2 * f)
        self.upper3 = self.Double(2 * f, f, f)
        self.end = nn.Conv2d(f, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.begin(x)
        b = self.lower1(a)
        c = self.lower2(b)
        x = self.lower3(c)
        for block, skip in ((self.upper1, c), (self.upper2, b), (self.upper3, a)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat([skip, x], 1))
        return self.end(x)


class Link(nn.Module):
    """LinkNet's habits: residual encoder, pointwise-transposed-pointwise decoder."""

    class Up(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            m = i // 4
            self.conv1 = nn.Conv2d(i, m, 1)
            self.norm1 = nn.BatchNorm2d(m)
            self.deconv2 = nn.ConvTranspose2d(m, m, 3, 2, 1, output_padding=1)
            self.norm2 = nn.BatchNorm2d(m)
            self.conv3 = nn.Conv2d(m, o, 1)
            self.norm3 = nn.BatchNorm2d(o)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.norm1(self.conv1(x)))
            x = F.relu(self.norm2(self.deconv2(x)))
            return F.relu(self.norm3(self.conv3(x)))

    def __init__(self, f: int = 16) -> None:
        super().__init__()
        self.encoder1 = self._block(3, f)
        self.encoder2 = self._block(f, 2 * f)
        self.encoder3 = self._block(2 * f, 4 * f)
        self.decoder3, self.decoder2 = self.Up(4 * f, 2 * f), self.Up(2 * f, f)
        self.finalconv = nn.Conv2d(f, 1, 3, padding=1)

    @staticmethod
    def _block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
            nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        a = self.encoder1(x)
        b = self.encoder2(F.max_pool2d(a, 2))
        x = self.encoder3(F.max_pool2d(b, 2))
        x = self.decoder3(x) + b
        return self.finalconv(self.decoder2(x) + a)


class ResSkip(nn.Module):
    """A 1x1 convolution beside every block, without norm."""

    class Block(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.conv_res = nn.Conv2d(i, o, 1)
            self.net = nn.Sequential(
                nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
                nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.net(x) + self.conv_res(x))

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        w = [f, 2 * f, 4 * f]
        self.e = nn.ModuleList(
            self.Block(i, o) for i, o in zip([1, *w], w, strict=False)
        )
        self.u = nn.ModuleList(nn.ConvTranspose2d(2 * o, o, 2, 2) for o in w[-2::-1])
        self.d = nn.ModuleList(self.Block(2 * o, o) for o in w[-2::-1])
        self.o = nn.Conv2d(f, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n, block in enumerate(self.e):
            x = block(F.max_pool2d(x, 2) if n else x)
            kept.append(x)
        kept.pop()
        for up, block in zip(self.u, self.d, strict=False):
            x = block(torch.cat([up(x), kept.pop()], 1))
        return self.o(x)


class PreNorm(nn.Module):
    """Norm, activation, convolution; max pooling, no shortcuts."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        w = [f, 2 * f, 4 * f]
        self.first = nn.Conv2d(1, f, 3, padding=1)
        self.contract = nn.ModuleList(
            self._block(i, o) for i, o in zip([f, *w], w, strict=False)
        )
        self.expand = nn.ModuleList(self._block(3 * o, o) for o in w[-2::-1])
        self.last_norm = nn.BatchNorm2d(f)
        self.last = nn.Conv2d(f, 1, 1)

    @staticmethod
    def _block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.BatchNorm2d(i), nn.ReLU(), nn.Conv2d(i, o, 3, padding=1),
            nn.BatchNorm2d(o), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        kept = []
        for n, block in enumerate(self.contract):
            x = block(F.max_pool2d(x, 2) if n else x)
            kept.append(x)
        kept.pop()
        for block in self.expand:
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = block(torch.cat([kept.pop(), x], 1))
        return self.last(F.relu(self.last_norm(x)))


class Shuffled(nn.Module):
    """Up-sampling by pixel shuffle."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        w = [f, 2 * f, 4 * f]
        self.enc = nn.ModuleList(
            self._block(i, o) for i, o in zip([1, *w], w, strict=False)
        )
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * o, 4 * o, 1), nn.PixelShuffle(2))
            for o in w[-2::-1]
        )
        self.dec = nn.ModuleList(self._block(2 * o, o) for o in w[-2::-1])
        self.out = nn.Conv2d(f, 1, 1)

    @staticmethod
    def _block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
            nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n, block in enumerate(self.enc):
            x = block(F.max_pool2d(x, 2) if n else x)
            kept.append(x)
        kept.pop()
        for up, block in zip(self.ups, self.dec, strict=False):
            x = block(torch.cat([kept.pop(), up(x)], 1))
        return self.out(x)


class Squeeze(nn.Module):
    def __init__(self, w: int, *, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        make = nn.Linear if linear else (lambda i, o: nn.Conv2d(i, o, 1))
        self.fc = nn.Sequential(
            make(w, w // 4), nn.ReLU(), make(w // 4, w), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=not self.linear)
        return x * self.fc(mean).reshape(len(x), -1, 1, 1)


class Squeezed(nn.Module):
    """Squeeze and excitation at the end of each block."""

    class Block(nn.Module):
        def __init__(self, i: int, o: int, *, linear: bool) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(i, o, 3, padding=1)
            self.bn1 = nn.BatchNorm2d(o)
            self.conv2 = nn.Conv2d(o, o, 3, padding=1)
            self.bn2 = nn.BatchNorm2d(o)
            self.se = Squeeze(o, linear=linear)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.bn1(self.conv1(x)))
            return self.se(F.relu(self.bn2(self.conv2(x))))

    def __init__(self, f: int = 8, *, linear: bool = True) -> None:
        super().__init__()
        w = [f, 2 * f, 4 * f]
        self.enc = nn.ModuleList(
            self.Block(i, o, linear=linear) for i, o in zip([1, *w], w, strict=False)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * o, o, 2, 2) for o in w[-2::-1])
        self.dec = nn.ModuleList(self.Block(2 * o, o, linear=linear) for o in w[-2::-1])
        self.out = nn.Conv2d(f, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n, block in enumerate(self.enc):
            x = block(F.max_pool2d(x, 2) if n else x)
            kept.append(x)
        kept.pop()
        for up, block in zip(self.up, self.dec, strict=False):
            x = block(torch.cat([kept.pop(), up(x)], 1))
        return self.out(x)


RAREST: dict[str, Callable[[], nn.Module]] = {
    "halving": Halving,
    "link": Link,
    "residual skips": ResSkip,
    "norm first": PreNorm,
    "shuffled": Shuffled,
    "squeezed": Squeezed,
    "squeezed by convolution": lambda: Squeezed(linear=False),
}
