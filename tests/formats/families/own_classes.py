"""U-Nets as people write them for themselves, in many styles, to be read unknown.

Every class stands for a habit: of naming, of registering layers, of ordering norms and
activations, of going down and up. ``CLASSES`` makes each by name; ``seen`` trains one
for a moment, so that its batch norms have seen images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from own_classic import NamedLayers, Numbered, Paths, Tutorial, UpsFirst
from own_flexible import (
    Centred,
    Flexible,
    LevelModules,
    Nameless,
    OneList,
    Separable,
    Volume,
    bare_instance,
    group8,
    instance,
    leaky,
    leaky2,
)
from own_gridded import DeepResidual, Grid, KerasPort, Renamed, Residual
from own_rarer import RARER
from own_rarest import RAREST
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


CLASSES: dict[str, Callable[[], nn.Module]] = {
    "named layers": NamedLayers,
    "numbered": Numbered,
    "attention": lambda: Numbered(gates=True),
    "recurrent": lambda: Numbered(4, recurrent=True),
    "recurrent attention": lambda: Numbered(4, recurrent=True, gates=True),
    "tutorial": Tutorial,
    "ups first": UpsFirst,
    "paths": Paths,
    "paths without norm": lambda: Paths(norm=False),
    "paths up-sampling": lambda: Paths("upsample"),
    "grid": Grid,
    "nested": lambda: Grid(nested=True),
    "nested deep": lambda: Grid(nested=True, deep=True),
    "Keras port": KerasPort,
    "renamed": Renamed,
    "renamed up first": lambda: Renamed(up_first=True),
    "residual": Residual,
    "deep residual": DeepResidual,
    "nameless": Nameless,
    "nameless backwards": lambda: Nameless(order="backward"),
    "nameless without norm": lambda: Nameless(norm=False),
    "one list": OneList,
    "volume": Volume,
    "volume interpolated": lambda: Volume(up="linear"),
    "flexible": Flexible,
    "group norm": lambda: Flexible(norm=group8),
    "instance norm": lambda: Flexible(norm=instance),
    "instance norm without weights": lambda: Flexible(norm=bare_instance),
    "leaky": lambda: Flexible(act=leaky),
    "leaky 0.2": lambda: Flexible(act=leaky2),
    "ELU": lambda: Flexible(act=nn.ELU),
    "PReLU": lambda: Flexible(act=nn.PReLU),
    "dropout": lambda: Flexible(drop=True),
    "dropout without norm": lambda: Flexible(drop=True, norm=None),
    "strided": lambda: Flexible(down="stride"),
    "average": lambda: Flexible(down="average"),
    "one convolution": lambda: Flexible(convs=1),
    "three convolutions": lambda: Flexible(convs=3, merge="up"),
    "added": lambda: Flexible(merge="add"),
    "added nearest": lambda: Flexible(merge="add", up="nearest 3"),
    "nearest 1": lambda: Flexible(up="nearest 1"),
    "bilinear 3": lambda: Flexible(up="bilinear 3", merge="up"),
    "transposed 3": lambda: Flexible(up="transposed3"),
    "transposed 4": lambda: Flexible(up="transposed4"),
    "activation before norm": lambda: Flexible(order="can"),
    "further heads": lambda: Flexible(heads=True),
    "classes": lambda: Flexible(last=4),
    "centred": Centred,
    "level modules": LevelModules,
    "separable": Separable,
    **RARER,
    **RAREST,
}


def channels_of(network: nn.Module) -> tuple[int, int]:
    """Return the channels that a network reads, and its spatial axes."""
    return min(
        (module.in_channels, module.weight.ndim - 2)
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.Conv3d)) and module.out_channels > 2
    )


def images(count: int, channels: int, dims: int, size: int) -> Tensor:
    """Return soft bright spots on a dark noisy ground (N, C, [Z,] Y, X), 0 to 1."""
    shape = (count, channels, *(size // 8,) * dims)
    mode = "bilinear" if dims == 2 else "trilinear"
    soft = F.interpolate(torch.rand(shape), scale_factor=8, mode=mode)
    fine = 0.08 * torch.rand(soft.shape)
    return (torch.sigmoid((soft - 0.6) * 25) * 0.6 + fine + 0.05).clamp(0, 1)


def seen(name: str, steps: int = 12, seed: int = 0) -> nn.Module:
    """Return a network that was trained for a moment, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CLASSES[name]()
        channels, dims = channels_of(network)
        step = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(steps):
            x = images(2, channels, dims, 64 if dims == 2 else 32)
            y = network.train()(x)
            target = (x[:, :1] > 0.3).float().expand_as(y)
            loss = F.binary_cross_entropy_with_logits(y, target)
            step.zero_grad()
            loss.backward()
            step.step()
        for _ in range(20):  # so that statistics are of the last weights
            with torch.no_grad():
                network(images(2, channels, dims, 64 if dims == 2 else 32))
    return network.eval()


def untouched(name: str, seed: int = 0) -> nn.Module:
    """Return a network as torch makes it, whose statistics tell nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLASSES[name]().eval()
