"""Names without hints, options, 3D: see own_classes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from own_classic import bare_double, double
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Nameless(nn.Module):
    """c1 to c18 and nothing else; activation by function, norms or not."""

    def __init__(self, f: int = 8, *, norm: bool = True, order: str = "forward"):
        super().__init__()
        w = [f, 2 * f, 4 * f]
        made: list[nn.Module] = []
        for i, o in zip([1, *w], [*w, 8 * f], strict=False):
            made += [nn.Conv2d(i, o, 3, padding=1), nn.Conv2d(o, o, 3, padding=1)]
        for o in reversed(w):
            made.append(nn.ConvTranspose2d(2 * o, o, 2, 2))
            made += [nn.Conv2d(2 * o, o, 3, padding=1), nn.Conv2d(o, o, 3, padding=1)]
        made.append(nn.Conv2d(f, 1, 1))
        self.count, self.norm = len(made), norm
        numbers = list(range(len(made)))
        for n in numbers if order == "forward" else reversed(numbers):
            setattr(self, f"c{n + 1}", made[n])
            if norm and isinstance(made[n], nn.Conv2d) and n < len(made) - 1:
                setattr(self, f"b{n + 1}", nn.BatchNorm2d(made[n].out_channels))

    def _conv(self, n: int, x: Tensor) -> Tensor:
        x = getattr(self, f"c{n}")(x)
        return F.relu(getattr(self, f"b{n}")(x) if self.norm else x)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n in (1, 3, 5, 7):
            x = self._conv(n + 1, self._conv(n, x))
            if n < 7:
                kept.append(x)
                x = F.max_pool2d(x, 2)
        for n in (9, 12, 15):
            x = torch.cat([kept.pop(), getattr(self, f"c{n}")(x)], 1)
            x = self._conv(n + 2, self._conv(n + 1, x))
        return getattr(self, f"c{self.count}")(x)


class OneList(nn.Module):
    """All layers in one ModuleList."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        w = [f, 2 * f, 4 * f, 8 * f]
        layers: list[nn.Module] = [
            double(i, o) for i, o in zip([2, *w], w, strict=False)
        ]
        for o in reversed(w[:-1]):
            layers += [nn.ConvTranspose2d(2 * o, o, 2, 2), double(2 * o, o)]
        self.layers = nn.ModuleList([*layers, nn.Conv2d(f, 4, 1)])

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n in range(4):
            x = self.layers[n](F.max_pool2d(x, 2) if n else x)
            kept.append(x)
        kept.pop()
        for n in (4, 6, 8):
            x = self.layers[n + 1](torch.cat([kept.pop(), self.layers[n](x)], 1))
        return self.layers[10](x)


class Volume(nn.Module):
    """3D: half the width in the first convolution of each block, then all of it."""

    def __init__(self, f: int = 8, *, up: str = "transposed") -> None:
        super().__init__()
        self.up = up
        w = [f, 2 * f, 4 * f]
        self.encoders = nn.ModuleList(
            self._double(i, o // 2, o) for i, o in zip([1, *w], w, strict=False)
        )
        if up == "transposed":
            self.ups = nn.ModuleList(
                nn.ConvTranspose3d(2 * o, 2 * o, 2, 2) for o in reversed(w[:-1])
            )
        self.decoders = nn.ModuleList(
            self._double(3 * o, o, o) for o in reversed(w[:-1])
        )
        self.head = nn.Conv3d(f, 2, 1)

    @staticmethod
    def _double(i: int, middle: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(i, middle, 3, padding=1), nn.BatchNorm3d(middle), nn.ReLU(),
            nn.Conv3d(middle, o, 3, padding=1), nn.BatchNorm3d(o), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n, encoder in enumerate(self.encoders):
            x = encoder(F.max_pool3d(x, 2) if n else x)
            kept.append(x)
        kept.pop()
        for n, decoder in enumerate(self.decoders):
            if self.up == "transposed":
                x = self.ups[n](x)
            else:
                x = F.interpolate(x, scale_factor=2, mode="trilinear")
            x = decoder(torch.cat([kept.pop(), x], 1))
        return self.head(x)


class Flexible(nn.Module):
    """One class, many options, as in a student's thesis."""

    def __init__(
        self, *, norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        act: Callable[[], nn.Module] = nn.ReLU, down: str = "max",
        up: str = "transposed", merge: str = "skip", convs: int = 2,
        order: str = "cna", drop: bool = False,
        widths: tuple[int, ...] = (8, 16, 32, 64), heads: bool = False, last: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm, self.act, self.order, self.drop = norm, act, order, drop
        self.down, self.up, self.merge, self.heads = down, up, merge, heads
        self.encoder = nn.ModuleList()
        self.reduce = nn.ModuleList()
        self.expand = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for i, o in zip([1, *widths], widths, strict=False):
            if down == "stride" and i > 1:
                self.reduce.append(nn.Conv2d(i, i, 3, stride=2, padding=1))
            self.encoder.append(self._block(i, o, convs))
        for o in reversed(widths[:-1]):
            self.expand.append(self._rise(2 * o, o))
            self.decoder.append(self._block(o if merge == "add" else 2 * o, o, convs))
        if heads:
            self.side = nn.ModuleList(
                nn.Conv2d(w, last, 1) for w in reversed(widths[1:-1])
            )
        self.head = nn.Conv2d(widths[0], last, 1)

    def _block(self, i: int, o: int, convs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for n in range(convs):
            conv = nn.Conv2d(o if n else i, o, 3, padding=1)
            made = {"c": conv, "a": self.act()}
            if self.norm is not None:
                made["n"] = self.norm(o)
            layers += [made[letter] for letter in self.order if letter in made]
            if self.drop and n < convs - 1:
                layers.append(nn.Dropout2d(0.2))
        return nn.Sequential(*layers)

    def _rise(self, i: int, o: int) -> nn.Module:
        if self.up == "transposed":
            return nn.ConvTranspose2d(i, o, 2, 2)
        if self.up == "transposed3":
            return nn.ConvTranspose2d(i, o, 3, 2, 1, output_padding=1)
        if self.up == "transposed4":
            return nn.Sequential(
                nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o),
                nn.ReLU(),
            )  # fmt: skip
        mode, size = self.up.split()
        up = nn.Upsample(scale_factor=2, mode=mode)
        return nn.Sequential(up, nn.Conv2d(i, o, int(size), padding=int(size) // 2))

    def _smaller(self, n: int, x: Tensor) -> Tensor:
        if self.down == "stride":
            return self.reduce[n](x)
        return (F.max_pool2d if self.down == "max" else F.avg_pool2d)(x, 2)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n, block in enumerate(self.encoder):
            x = block(self._smaller(n - 1, x) if n else x)
            kept.append(x)
        kept.pop()
        for expand, block in zip(self.expand, self.decoder, strict=False):
            up, skip = expand(x), kept.pop()
            if self.merge == "add":
                x = block(up + skip)
            else:
                x = block(
                    torch.cat([skip, up] if self.merge == "skip" else [up, skip], 1)
                )
        return self.head(x)


class CentreBlock(nn.Module):
    """Decoder blocks that end with a transposed convolution, as in TernausNet."""

    def __init__(self, i: int, middle: int, o: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(i, middle, 3, padding=1), nn.ReLU(inplace=True),
            nn.ConvTranspose2d(middle, o, 4, 2, 1), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class Centred(nn.Module):
    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, f, 3, padding=1), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(f, 2 * f, 3, padding=1), nn.ReLU())
        self.conv3 = bare_double(2 * f, 4 * f)
        self.center = CentreBlock(4 * f, 8 * f, 4 * f)
        self.dec3 = CentreBlock(8 * f, 8 * f, 2 * f)
        self.dec2 = CentreBlock(4 * f, 4 * f, f)
        self.dec1 = nn.Sequential(nn.Conv2d(2 * f, f, 3, padding=1), nn.ReLU())
        self.final = nn.Conv2d(f, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.conv1(x)
        b = self.conv2(F.max_pool2d(a, 2))
        c = self.conv3(F.max_pool2d(b, 2))
        x = self.center(F.max_pool2d(c, 2))
        x = self.dec3(torch.cat([x, c], 1))
        x = self.dec2(torch.cat([x, b], 1))
        return self.final(self.dec1(torch.cat([x, a], 1)))


class LevelModules(nn.Module):
    """A module per level that holds pooling and convolutions."""

    class Down(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.MaxPool2d(2), nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o),
                nn.LeakyReLU(0.1), nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o),
                nn.LeakyReLU(0.1),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    class Up(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.LeakyReLU(0.1),
                nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.LeakyReLU(0.1),
            )  # fmt: skip

        def forward(self, x: Tensor, skip: Tensor) -> Tensor:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            return self.net(torch.cat([x, skip], 1))

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, f, 3, padding=1), nn.BatchNorm2d(f))
        self.d1, self.d2 = self.Down(f, 2 * f), self.Down(2 * f, 4 * f)
        self.d3 = self.Down(4 * f, 8 * f)
        self.u3, self.u2 = self.Up(12 * f, 4 * f), self.Up(6 * f, 2 * f)
        self.u1 = self.Up(3 * f, f)
        self.logits = nn.Conv2d(f, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.leaky_relu(self.first(x), 0.1)
        b = self.d1(a)
        c = self.d2(b)
        x = self.u3(self.d3(c), c)
        return self.logits(self.u1(self.u2(x, b), a))


class Separable(nn.Module):
    """Depthwise and pointwise convolutions."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.inc = nn.Sequential(
            nn.Conv2d(3, f, 3, padding=1), nn.BatchNorm2d(f), nn.ReLU()
        )
        self.down1, self.down2 = self._block(f, 2 * f), self._block(2 * f, 4 * f)
        self.up2, self.up1 = self._block(6 * f, 2 * f), self._block(3 * f, f)
        self.outc = nn.Conv2d(f, 1, 1)

    @staticmethod
    def _block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(i, i, 3, padding=1, groups=i), nn.Conv2d(i, o, 1),
            nn.BatchNorm2d(o), nn.ReLU(),
            nn.Conv2d(o, o, 3, padding=1, groups=o), nn.Conv2d(o, o, 1),
            nn.BatchNorm2d(o), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        a = self.inc(x)
        b = self.down1(F.max_pool2d(a, 2))
        x = self.down2(F.max_pool2d(b, 2))
        x = self.up2(
            torch.cat([b, F.interpolate(x, scale_factor=2, mode="bilinear")], 1)
        )
        return self.outc(
            self.up1(
                torch.cat([a, F.interpolate(x, scale_factor=2, mode="bilinear")], 1)
            )
        )


def group8(channels: int) -> nn.Module:
    return nn.GroupNorm(8, channels)


def instance(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def bare_instance(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels)


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.01)


def leaky2() -> nn.Module:
    return nn.LeakyReLU(0.2)
