"""milesial's layout: both generations of keys, both ways up, any size."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from tests.formats.recorded import drawn_input, drawn_weights
from torch import nn
from torch.nn import functional

from napari_unet.errors import CheckpointError
from napari_unet.formats import load_model

if TYPE_CHECKING:
    from pathlib import Path


def double(inputs: int, outputs: int, middle: int | None = None) -> nn.Sequential:
    middle = middle or outputs
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 3, padding=1), nn.BatchNorm2d(middle), nn.ReLU(),
        nn.Conv2d(middle, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


def holder(**children: nn.Module) -> nn.Module:
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


class Reference(nn.Module):
    """The layout as its forward computes it; ``older`` has the older keys."""

    def __init__(
        self, base: int, channels: int, classes: int, *, bilinear: bool, older: bool
    ) -> None:
        super().__init__()
        self.older, half = older, 2 if bilinear else 1
        widths = [base, 2 * base, 4 * base, 8 * base, 16 * base // half]
        first = self.block(double(channels, base))
        self.inc = holder(conv=first) if older else first
        for n, (before, after) in enumerate(pairwise(widths), 1):
            down = nn.Sequential(nn.MaxPool2d(2), self.block(double(before, after)))
            name = "mpconv" if older else "maxpool_conv"
            self.add_module(f"down{n}", holder(**{name: down}))
        below = widths[4]
        for n, width in enumerate([8 * base, 4 * base, 2 * base, base], 1):
            outputs = width // half if n < 4 else base
            up = (
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
                if bilinear
                else nn.ConvTranspose2d(below, below // 2, 2, stride=2)
            )
            inputs = below + width if bilinear else 2 * width
            middle = inputs // 2 if bilinear and not older else outputs
            conv = self.block(double(inputs, outputs, middle))
            self.add_module(f"up{n}", holder(up=up, conv=conv))
            below = outputs
        self.outc = holder(conv=nn.Conv2d(below, classes, 1))

    def block(self, layers: nn.Sequential) -> nn.Module:
        return holder(**{"conv" if self.older else "double_conv": layers})

    def inside(self, block: nn.Module) -> nn.Module:
        return block.conv if self.older else block.double_conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = [self.inside(self.inc.conv if self.older else self.inc)(x)]
        for n in range(1, 5):
            down = getattr(self, f"down{n}")
            layers = down.mpconv if self.older else down.maxpool_conv
            skips.append(self.inside(layers[1])(layers[0](skips[-1])))
        x = skips.pop()
        for n in range(1, 5):
            up, skip = getattr(self, f"up{n}"), skips.pop()
            x = up.up(x)
            dy, dx = (a - b for a, b in zip(skip.shape[2:], x.shape[2:], strict=True))
            x = functional.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = self.inside(up.conv)(torch.cat([skip, x], dim=1))
        return self.outc.conv(x)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("size", [(32, 48), (53, 39)])
def test_it_computes_what_the_layout_computes(
    tmp_path: Path, size: tuple[int, int], *, bilinear: bool, older: bool
) -> None:
    network = Reference(4, 3, 2, bilinear=bilinear, older=older)
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    network.load_state_dict(drawn_weights(shapes))
    torch.save(network.state_dict(), tmp_path / "m.pth")
    model = load_model(tmp_path / "m.pth", device="cpu")
    x = drawn_input((1, 3, *size))
    with torch.inference_mode():
        expected, found = network.eval()(x), model.network(x)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert model.spec.architecture.family == "milesial U-Net"
    assert model.spec.architecture.widths[:4] == (4, 8, 16, 32)
    network.load_state_dict(model.network.state_dict())


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    weights = Reference(4, 1, 1, bilinear=False, older=False).state_dict()
    del weights["up2.conv.double_conv.3.bias"]
    weights["down4.maxpool_conv.1.double_conv.4.running_mean"] = torch.ones(3)
    torch.save(weights, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"down4.*running_mean has the shape"):
        load_model(tmp_path / "m.pth")
