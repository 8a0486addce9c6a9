"""Ranks the readings of an unknown U-Net by the statistics of its batch norms."""

from __future__ import annotations

from math import exp, isfinite, log
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_unet.engine.evidence import (
    Input,
    correlation,
    has_statistics,
    likely_input,
    smooth_noise,
    statistics_matches,
)
from napari_unet.engine.networks import build
from napari_unet.formats.families.unknown_choices import Option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_unet.engine.graph import GraphSpec
    from napari_unet.engine.networks import Network
    from napari_unet.formats.families.unknown_choices import Open
    from napari_unet.formats.families.unknown_structure import Structures

WORTH = 3.0  # log-likelihood of a batch norm's mismatch that is a factor of e less
FLOOR = 0.02  # a mismatch as small as this says no more
LEAST_SHARE = 0.02  # of an option that is still worth a reading
MOST_RUNS = 60
MOST_WORK = 8e10  # multiplications of all runs together
FEWEST_RUNS = 20
HOPELESS = 0.1  # correlation of a first guess that no better one makes good
LEAST_CORRELATION = 0.45  # over channels; made-up statistics reach 0.3, true ones 0.6
ROUNDS = 2
LAST = ("activation",)  # many options of which the first is nearly always right
NO_READING = 1e6
INPUTS = (Input((0.1,), (0.12,)), Input((0.5,), (0.25,)), Input((0.0,), (1.0,)))


class Evidence:
    """Runs readings on made-up images and compares statistics.

    Parameters
    ----------
    structures : of the network
    weights : by key
    """

    def __init__(self, structures: Structures, weights: Mapping[str, Tensor]) -> None:
        self.structures = structures
        self.weights = {
            key: value.detach().to("cpu", torch.float32)
            if value.is_floating_point() else value
            for key, value in weights.items()
        }  # fmt: skip
        self.runs = MOST_RUNS
        self._known: dict[tuple[tuple[str, str], ...], float] = {}
        self._images: Tensor | None = None

    def weighed(self, choices: Open) -> tuple[Open, dict[str, str], bool]:
        """Return options with new weights, the best way, and whether statistics spoke.

        Parameters
        ----------
        choices : what is open, with the likelihood of each option beforehand
        """
        way = {
            name: max(options, key=lambda o: o.weight).value
            for name, options in choices.items()
        }
        network, _ = self._network(way)
        if not has_statistics(network) or not self._prepared(network):
            return choices, way, False
        if not self._meaningful(way, HOPELESS):
            return choices, way, False
        weighed: Open = dict(choices)
        for _ in range(ROUNDS):
            before = dict(way)
            for name in sorted(weighed, key=lambda one: one in LAST):
                options = choices.get(name, weighed[name])
                weighed[name], met = self._weigh(name, options, way)
                way[name] = max(weighed[name], key=lambda o: o.weight).value
                for new, opened in met.items():
                    weighed.setdefault(new, opened)
                    way.setdefault(new, max(opened, key=lambda o: o.weight).value)
            if way == before:
                break
        if not self._meaningful(way, LEAST_CORRELATION):
            return choices, way, False
        return _narrowed(weighed), way, True

    def _meaningful(self, way: dict[str, str], least: float) -> bool:
        """Tell statistics of a training from numbers that were made up."""
        if self._images is None:
            return False
        network, _ = self._network(way)
        try:
            found = statistics_matches(network, self._images, renormalise=True)
        except RuntimeError:  # sizes that do not meet
            return False
        return correlation(found) > least

    def _prepared(self, network: Network) -> bool:
        """Make images that leave enough runs; False where the network is too large."""
        size = _size(network.graph)
        for count in (4, 2, 1):
            shape = (count, network.graph.in_channels, *(size,) * network.graph.dims)
            runs = int(MOST_WORK / max(_work(network.graph, shape), 1))
            if runs >= FEWEST_RUNS:
                self.runs = min(runs, MOST_RUNS)
                self._images = self._image(network, shape)
                return True
        return False

    def _weigh(
        self, name: str, options: tuple[Option, ...], way: dict[str, str]
    ) -> tuple[tuple[Option, ...], Open]:
        """Weigh the options of one choice while all others stay as they are."""
        misses: list[float] = []
        met: Open = {}
        for option in options:
            miss, opened = self._miss({**way, name: option.value})
            if miss is None:
                return options, met
            misses.append(miss)
            met.update(opened)
        least = min(misses)
        return tuple(
            Option(option.value, option.weight * exp(-WORTH * min(miss - least, 50)))
            for option, miss in zip(options, misses, strict=True)
        ), met

    def _miss(self, way: dict[str, str]) -> tuple[float | None, Open]:
        """Return the mismatch of a way, None where no run is left."""
        key = tuple(sorted(way.items()))
        network, met = self._network(way)
        if key not in self._known:
            if self.runs <= 0 or self._images is None:
                return None, met
            self.runs -= 1
            self._known[key] = self._run(network, self._images)
        return self._known[key], met

    @staticmethod
    def _run(network: Network, images: Tensor) -> float:
        try:
            found = statistics_matches(network, images, renormalise=True)
        except RuntimeError:  # sizes that do not meet: this reading is none
            return NO_READING
        miss = sum(log(match.mismatch + FLOOR) for match in found.values())
        return miss if isfinite(miss) else NO_READING

    def _network(self, way: dict[str, str]) -> tuple[Network, Open]:
        choices = self.structures.choices(way)
        graph, _ = self.structures.graph(choices)
        with torch.device("meta"):
            network = build(graph)
        state = network.state_dict()
        network.load_state_dict(
            {key: self.weights.get(key, torch.zeros(())) for key in state}, assign=True
        )
        return network, choices.met

    def _image(self, network: Network, shape: tuple[int, ...]) -> Tensor:
        """Return made-up images that are most like those of the training."""
        given = likely_input(network)
        usable = given is not None and all(abs(m) < 1e4 for m in given.mean)
        scales = (given,) if given is not None and usable else INPUTS
        tried = [_scaled(x, one) for one in scales for x in _kinds(shape)]
        misses = [self._run(network, x) for x in tried]
        return tried[misses.index(min(misses))]


def _kinds(shape: tuple[int, ...]) -> list[Tensor]:
    """Return noise of four roughnesses, each half as it is and half as bright spots."""
    kinds = []
    for falling in (0.6, 1.0, 1.6, 2.4):
        noise = smooth_noise(shape, falling=falling)
        spots = torch.sigmoid((noise[len(noise) // 2 :] - 0.8) * 6) * 3
        mixed = torch.cat([noise[: len(noise) - len(spots)], spots])
        kinds.append((mixed - mixed.mean()) / mixed.std())
    return kinds


def _scaled(noise: Tensor, given: Input) -> Tensor:
    column = (1, -1, *(1,) * (noise.ndim - 2))
    mean, std = torch.tensor(given.mean), torch.tensor(given.std)
    return noise * std.reshape(column) + mean.reshape(column)


def _work(graph: GraphSpec, shape: tuple[int, ...]) -> int:
    """Return the multiplications of a run; nothing is computed for it."""
    work = [0]

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        del inputs
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            work[0] += module.weight.numel() * output[:1, :1].numel() * shape[0]
        elif isinstance(module, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
            pixels = output[:1, :1].numel() * shape[0]
            work[0] += module.weight.numel() * pixels // 2**graph.dims

    with torch.device("meta"), torch.inference_mode():
        network = build(graph)
        for module in network.modules():
            module.register_forward_hook(count)
        try:
            network.eval()(torch.zeros(shape))
        except RuntimeError:  # sizes that do not meet: counted up to there
            return work[0]
    return work[0]


def _size(graph: GraphSpec) -> int:
    """Return an image size that the coarsest level is worth looking at with."""
    least = max(4 * graph.stride, 32)
    usual = 64 if graph.dims == 2 else 24
    size = min(max(least, usual), 128 if graph.dims == 2 else 32)
    return -(-size // graph.stride) * graph.stride


def _narrowed(choices: Open) -> Open:
    """Drop options that the statistics make unlikely."""
    narrowed: Open = {}
    for name, options in choices.items():
        total = sum(option.weight for option in options)
        narrowed[name] = tuple(
            Option(option.value, option.weight / total)
            for option in options
            if option.weight >= LEAST_SHARE * total
        )
    return narrowed
