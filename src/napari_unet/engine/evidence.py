"""What the statistics of batch norms tell of a network and of its training images.

A batch norm keeps the mean and the variance of what it was fed in training. A network
that is put together as its maker did meets them again on like images; one with a wrong
layer, order or input scaling does not.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from napari_unet.engine.networks import Network

FARTHEST = 3.0  # standard deviations, or factors of e: more tells nothing more
FEWEST_CHANNELS = 4  # that a correlation is worth anything of
MANY_STEPS = 200  # after so many the first values are forgotten
DEAD = 1e-6  # of the largest variance: such a channel is always the same


class Match(NamedTuple):
    """How a batch norm's statistics compare with what it is fed.

    ``mismatch`` as of ``statistics_mismatch``; ``correlation`` over its channels, of
    mean and of logarithmic variance, -1 to 1; NaN for few channels.
    """

    mismatch: float
    correlation: float


class Input(NamedTuple):
    """Mean and standard deviation of each channel of the images of a training."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def has_statistics(network: nn.Module) -> bool:
    """Tell whether any batch norm has seen images, so that its statistics moved."""
    return any(map(_moved, _norms(network).values()))


def statistics_mismatch(
    network: nn.Module, x: Tensor, *, renormalise: bool = False
) -> float:
    """Return how far what batch norms are fed is from what they were fed in training.

    Parameters
    ----------
    network : with batch norms that have seen images
    x : (N, C, [Z,] Y, X) float32, an input of the network
    renormalise : whether each batch norm normalises by ``x`` itself, as in training;
        then one wrong layer is not noticed again in all that follow

    Returns
    -------
    float
        Mean distance over batch norms and channels, in standard deviations, and of the
        variance in factors of e; 0 is perfect, 3 the most. NaN without statistics.
    """
    found = statistics_matches(network, x, renormalise=renormalise).values()
    return sum(m.mismatch for m in found) / len(found) if found else float("nan")


def statistics_matches(
    network: nn.Module, x: Tensor, *, renormalise: bool = False
) -> dict[str, Match]:
    """Return the match of each batch norm by its name; see ``statistics_mismatch``."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    norms = {name: m for name, m in _norms(network).items() if _moved(m)}
    with _watched(norms, seen, renormalise=renormalise), torch.inference_mode():
        network.eval()(x)
    return {name: _match(norms[name], pairs) for name, pairs in seen.items()}


def correlation(matches: Mapping[str, Match]) -> float:
    """Return the mean correlation; near 0 where statistics are of no training."""
    known = [m.correlation for m in matches.values() if isfinite(m.correlation)]
    return sum(known) / len(known) if known else float("nan")


def _norms(network: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def _moved(norm: _BatchNorm) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return False
    return bool(mean.any()) or bool((variance != 1).any())


@contextmanager
def _watched(
    norms: dict[str, _BatchNorm], seen: dict[str, list[tuple[Tensor, Tensor]]], *,
    renormalise: bool,
) -> Iterator[None]:  # fmt: skip
    """Note the statistics of what each norm is fed, while this lasts."""
    hooks = [
        norm.register_forward_hook(
            partial(_note, seen=seen, name=name, renormalise=renormalise)
        )
        for name, norm in norms.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _note(
    norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, *,
    seen: dict[str, list[tuple[Tensor, Tensor]]], name: str, renormalise: bool,
) -> Tensor:  # fmt: skip
    (x,) = inputs
    axes = [axis for axis in range(x.ndim) if axis != 1]
    variance, mean = torch.var_mean(x, dim=axes, correction=0)
    seen[name].append((mean, variance))
    if not renormalise or not isinstance(norm, _BatchNorm):
        return output
    if x.numel() <= x.shape[1]:  # one pixel has no variance
        return output
    return functional.batch_norm(
        x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps
    )


def _match(norm: _BatchNorm, pairs: list[tuple[Tensor, Tensor]]) -> Match:
    mean = torch.stack([mean for mean, _ in pairs]).mean(0)
    variance = torch.stack([variance for _, variance in pairs]).mean(0)
    kept_mean, kept = kept_statistics(norm)
    alive = kept > DEAD * kept.max()
    if not bool(alive.any()):
        return Match(0.0, float("nan"))
    kept, kept_mean = kept[alive] + norm.eps, kept_mean[alive]
    mean, variance = mean[alive], variance[alive] + norm.eps
    apart = ((mean - kept_mean) / kept.sqrt()).abs().clamp(max=FARTHEST)
    ratio = (variance / kept).log().abs().clamp(max=FARTHEST)
    alike = (_alike(mean, kept_mean) + _alike(variance.log(), kept.log())) / 2
    return Match(float((apart + ratio).mean() / 2), alike)


def _alike(one: Tensor, other: Tensor) -> float:
    """Return the correlation of two rows of numbers; NaN for fewer than four."""
    if len(one) < FEWEST_CHANNELS:
        return float("nan")
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


def kept_statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return mean and variance that a batch norm saw, as far as they can be told.

    Running statistics begin at mean 0 and variance 1; after few steps much of that is
    still in them. As the number of steps is kept, it is taken out again.
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("a batch norm without statistics")
    steps = int(norm.num_batches_tracked or 0)
    rest = (1 - (norm.momentum or 0.1)) ** steps
    if not 0 < steps < MANY_STEPS or bool((variance <= rest).all()):
        return mean, variance
    return mean / (1 - rest), ((variance - rest) / (1 - rest)).clamp(min=0)


def likely_input(network: Network) -> Input | None:
    """Return the mean and spread of the images that a network was trained on.

    The mean of what the first convolution makes is a linear function of the mean of its
    input, so the first batch norm gives it by least squares. The spread assumes that
    neighbouring pixels are as alike as in ``smooth_noise``.

    Parameters
    ----------
    network : whose first convolution is followed by a batch norm directly

    Returns
    -------
    Input or None
        None where the network does not begin so, or the norm has no statistics.
    """
    pair = _first_pair(network)
    if pair is None:
        return None
    conv, norm = pair
    if norm.running_mean is None or norm.running_var is None or not _moved(norm):
        return None
    kept_mean, kept = kept_statistics(norm)
    weight = conv.weight.detach()
    bias = conv.bias.detach() if conv.bias is not None else torch.zeros(len(weight))
    sums = weight.flatten(2).sum(2).double()
    if not bool(sums.isfinite().all() and kept_mean.isfinite().all()):
        return None
    solved = torch.linalg.lstsq(
        sums, (kept_mean - bias).double()[:, None], driver="gelsd"
    )
    channels = weight.shape[1]
    noise = smooth_noise((4, channels, *(48,) * (weight.ndim - 2)), seed=1)
    with torch.inference_mode():
        made = conv(noise) - bias.reshape(1, -1, *(1,) * (weight.ndim - 2))
    unit = made.transpose(0, 1).flatten(1).var(1)
    usable = unit > DEAD * unit.max()
    scale = float((kept[usable] / unit[usable]).median().sqrt())
    mean = tuple(float(value) for value in solved.solution[:, 0])
    return Input(mean, (scale,) * channels)


def _first_pair(network: Network) -> tuple[nn.Conv2d | nn.Conv3d, _BatchNorm] | None:
    nodes = network.graph.nodes
    readers = [(n, node) for n, node in enumerate(nodes, start=1) if 0 in node.inputs]
    for number, node in readers:
        if node.op != "conv":
            continue
        for other in nodes:
            if number in other.inputs and other.op == "norm":
                conv = network.get_submodule(node.key)
                norm = network.get_submodule(other.key)
                if isinstance(conv, (nn.Conv2d, nn.Conv3d)) and isinstance(
                    norm, _BatchNorm
                ):
                    return conv, norm
    return None


def smooth_noise(
    shape: tuple[int, ...], given: Input | None = None, *, falling: float = 1.0,
    seed: int = 0,
) -> Tensor:  # fmt: skip
    """Return noise whose amplitude falls with frequency, as in natural images.

    Parameters
    ----------
    shape : (N, C, [Z,] Y, X)
    given : mean and standard deviation of each channel; else 0 and 1
    falling : how fast amplitudes fall with frequency; 1 as in natural images, more is
        smoother
    seed : of the random numbers

    References
    ----------
    Field: Relations between the statistics of natural images and the response
    properties of cortical cells, JOSA A 1987.
    """
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(shape, generator=generator)
    axes = tuple(range(2, len(shape)))
    radius = torch.zeros(shape[2:])
    for axis, size in enumerate(shape[2:]):
        column = [1] * len(axes)
        column[axis] = size
        radius = radius + torch.fft.fftfreq(size).reshape(column) ** 2
    power = falling * len(axes) / 4
    fading = (radius + 1 / max(shape[2:]) ** 2) ** -power
    spectrum = torch.fft.fftn(white, dim=axes) * fading
    noise: Tensor = torch.fft.ifftn(spectrum, dim=axes).real
    noise = noise - noise.mean(dim=axes, keepdim=True)
    noise = noise / noise.std(dim=axes, keepdim=True).clamp(min=1e-6)
    if given is None:
        return noise
    column = [1, -1, *(1,) * len(axes)]
    mean = torch.tensor(given.mean).reshape(column)
    scaled: Tensor = noise * torch.tensor(given.std).reshape(column) + mean
    return scaled
