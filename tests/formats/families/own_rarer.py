"""Rarer habits: see own_classes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class SeparateLists(nn.Module):
    """Convolutions, norms and ways up in three lists."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        w = [f, 2 * f, 4 * f, 8 * f]
        pairs = [
            *zip([1, *w], w, strict=False),
            *((2 * o, o) for o in reversed(w[:-1])),
        ]
        self.convs = nn.ModuleList()
        self.bns = nn.ModuleList()
        for i, o in pairs:
            self.convs += [nn.Conv2d(i, o, 3, padding=1), nn.Conv2d(o, o, 3, padding=1)]
            self.bns += [nn.BatchNorm2d(o), nn.BatchNorm2d(o)]
        self.upconvs = nn.ModuleList(
            nn.ConvTranspose2d(2 * o, o, 2, 2) for o in reversed(w[:-1])
        )
        self.classifier = nn.Conv2d(f, 3, 1)

    def _pair(self, n: int, x: Tensor) -> Tensor:
        for k in (2 * n, 2 * n + 1):
            x = F.relu(self.bns[k](self.convs[k](x)))
        return x

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n in range(4):
            x = self._pair(n, F.max_pool2d(x, 2) if n else x)
            kept.append(x)
        kept.pop()
        for n, up in enumerate(self.upconvs):
            x = self._pair(4 + n, torch.cat([kept.pop(), up(x)], 1))
        return self.classifier(x)


class Lettered(nn.Module):
    """conv1a, conv1b, bn1a ... all at the top, convolutions before norms."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        w = [f, 2 * f, 4 * f]
        pairs = [
            *zip([3, *w], w, strict=False),
            *((3 * o, o) for o in reversed(w[:-1])),
        ]
        for n, (i, o) in enumerate(pairs, start=1):
            setattr(self, f"conv{n}a", nn.Conv2d(i, o, 3, padding=1))
            setattr(self, f"conv{n}b", nn.Conv2d(o, o, 3, padding=1))
        for n, (_, o) in enumerate(pairs, start=1):
            setattr(self, f"bn{n}a", nn.BatchNorm2d(o))
            setattr(self, f"bn{n}b", nn.BatchNorm2d(o))
        self.conv_out = nn.Conv2d(f, 1, 3, padding=1)

    def _pair(self, n: int, x: Tensor) -> Tensor:
        for k in "ab":
            x = F.relu(getattr(self, f"bn{n}{k}")(getattr(self, f"conv{n}{k}")(x)))
        return x

    def forward(self, x: Tensor) -> Tensor:
        a = self._pair(1, x)
        b = self._pair(2, F.max_pool2d(a, 2))
        x = self._pair(3, F.max_pool2d(b, 2))
        x = self._pair(4, torch.cat([F.interpolate(x, scale_factor=2), b], 1))
        x = self._pair(5, torch.cat([F.interpolate(x, scale_factor=2), a], 1))
        return self.conv_out(x)


class StridedBlocks(nn.Module):
    """The first convolution of each level is strided; kernels of 5 at the start."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.stem = self._block(1, f, 1, 5)
        self.level1 = self._block(f, 2 * f, 2)
        self.level2 = self._block(2 * f, 4 * f, 2)
        self.level3 = self._block(4 * f, 8 * f, 2)
        self.back2 = nn.ConvTranspose2d(8 * f, 4 * f, 2, 2, bias=False)
        self.join2 = self._block(8 * f, 4 * f, 1)
        self.back1 = nn.ConvTranspose2d(4 * f, 2 * f, 2, 2, bias=False)
        self.join1 = self._block(4 * f, 2 * f, 1)
        self.back0 = nn.ConvTranspose2d(2 * f, f, 2, 2, bias=False)
        self.join0 = self._block(2 * f, f, 1)
        self.predict = nn.Conv2d(f, 2, 1)

    @staticmethod
    def _block(i: int, o: int, stride: int, size: int = 3) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(i, o, size, stride, size // 2, bias=False), nn.BatchNorm2d(o),
            nn.ReLU(), nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o),
            nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        a = self.stem(x)
        b = self.level1(a)
        c = self.level2(b)
        x = self.level3(c)
        x = self.join2(torch.cat([self.back2(x), c], 1))
        x = self.join1(torch.cat([self.back1(x), b], 1))
        return self.predict(self.join0(torch.cat([self.back0(x), a], 1)))


class Volumetric(nn.Module):
    """V-Net's habits: 2x2 strided convolutions, PReLU, residual stages."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.in_conv = self._unit(1, f)
        self.down1, self.res1 = self._down(f), self._stage(2 * f)
        self.down2, self.res2 = self._down(2 * f), self._stage(4 * f)
        self.up1 = nn.ConvTranspose3d(4 * f, 2 * f, 2, 2)
        self.mix1, self.res3 = self._unit(4 * f, 2 * f), self._stage(2 * f)
        self.up0 = nn.ConvTranspose3d(2 * f, f, 2, 2)
        self.mix0, self.res4 = self._unit(2 * f, f), self._stage(f)
        self.out_conv = nn.Conv3d(f, 2, 1)

    @staticmethod
    def _unit(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(i, o, 3, padding=1), nn.BatchNorm3d(o), nn.PReLU(o)
        )

    @staticmethod
    def _down(i: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(i, 2 * i, 2, 2), nn.BatchNorm3d(2 * i), nn.PReLU(2 * i)
        )

    def _stage(self, w: int) -> nn.Sequential:
        return nn.Sequential(*self._unit(w, w), *self._unit(w, w))

    def forward(self, x: Tensor) -> Tensor:
        a = self.in_conv(x)
        b = self.down1(a)
        b = b + self.res1(b)
        x = self.down2(b)
        x = x + self.res2(x)
        x = self.mix1(torch.cat([self.up1(x), b], 1))
        x = x + self.res3(x)
        x = self.mix0(torch.cat([self.up0(x), a], 1))
        return self.out_conv(x + self.res4(x))


class Anisotropic(nn.Module):
    """3D, whose first level is halved in Y and X only."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        w = [f, 2 * f, 4 * f]
        self.steps = [(1, 2, 2), (2, 2, 2)]
        self.down = nn.ModuleList(
            self._block(i, o) for i, o in zip([1, *w], w, strict=False)
        )
        self.up = nn.ModuleList()
        self.merge = nn.ModuleList()
        for step, o in zip(self.steps[::-1], w[-2::-1], strict=False):
            self.up.append(nn.ConvTranspose3d(2 * o, o, step, step))
            self.merge.append(self._block(2 * o, o))
        self.final = nn.Conv3d(f, 1, 1)

    @staticmethod
    def _block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(i, o, 3, padding=1, bias=False), nn.BatchNorm3d(o), nn.ReLU(),
            nn.Conv3d(o, o, 3, padding=1, bias=False), nn.BatchNorm3d(o), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n, block in enumerate(self.down):
            x = block(F.max_pool3d(x, self.steps[n - 1]) if n else x)
            kept.append(x)
        kept.pop()
        for up, block in zip(self.up, self.merge, strict=False):
            x = block(torch.cat([kept.pop(), up(x)], 1))
        return self.final(x)


class CoarseGate(nn.Module):
    """The gating signal comes from the level below."""

    def __init__(self, skip: int, signal: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(skip, skip // 2, 2, stride=2, bias=False)
        self.phi = nn.Conv2d(signal, skip // 2, 1)
        self.psi = nn.Conv2d(skip // 2, 1, 1)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        psi = torch.sigmoid(self.psi(F.relu(self.theta(x) + self.phi(g))))
        return x * F.interpolate(psi, size=x.shape[2:], mode="bilinear")


class Gated(nn.Module):
    def __init__(self, f: int = 8) -> None:
        super().__init__()
        w = [f, 2 * f, 4 * f]
        self.enc = nn.ModuleList(
            self._block(i, o) for i, o in zip([1, *w], w, strict=False)
        )
        self.gates = nn.ModuleList(CoarseGate(o, 2 * o) for o in w[-2::-1])
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * o, o, 2, 2) for o in w[-2::-1])
        self.dec = nn.ModuleList(self._block(2 * o, o) for o in w[-2::-1])
        self.head = nn.Conv2d(f, 1, 1)

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
        for gate, up, block in zip(self.gates, self.ups, self.dec, strict=False):
            skip = gate(kept.pop(), x)
            x = block(torch.cat([skip, up(x)], 1))
        return self.head(x)


class Widths(nn.Module):
    """Widths that do not double, or stay the same; up-sampling without weights."""

    def __init__(self, w: tuple[int, ...] = (12, 20, 28, 36), mode: str = "nearest"):
        super().__init__()
        self.mode = mode
        for n, (i, o) in enumerate(zip((3, *w), w, strict=False)):
            setattr(self, f"down_block{n}", self._block(i, o))
        for n in range(len(w) - 2, -1, -1):
            setattr(self, f"up_block{n}", self._block(w[n + 1] + w[n], w[n]))
        self.depth = len(w)
        self.output = nn.Conv2d(w[0], 1, 1)

    @staticmethod
    def _block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
            nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n in range(self.depth):
            x = getattr(self, f"down_block{n}")(F.max_pool2d(x, 2) if n else x)
            kept.append(x)
        kept.pop()
        for n in range(self.depth - 2, -1, -1):
            x = F.interpolate(x, scale_factor=2, mode=self.mode)
            x = getattr(self, f"up_block{n}")(torch.cat([x, kept.pop()], 1))
        return self.output(x)


RARER: dict[str, Callable[[], nn.Module]] = {
    "separate lists": SeparateLists,
    "lettered": Lettered,
    "strided blocks": StridedBlocks,
    "volumetric": Volumetric,
    "anisotropic": Anisotropic,
    "coarse gates": Gated,
    "odd widths": Widths,
    "equal widths": lambda: Widths((16, 16, 16, 16), "bilinear"),
    "six levels": lambda: Widths((4, 6, 8, 12, 16, 20)),
    "two levels": lambda: Widths((8, 16)),
}
