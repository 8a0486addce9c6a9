"""The choices that shapes leave open in an unknown U-Net, and how they are called."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_READINGS = 48
LIKELIER = 6.0  # times, for what a class of such names usually does


class Option(NamedTuple):
    """One way to take a choice, and how likely it is beforehand."""

    value: str
    weight: float


Open = dict[str, tuple[Option, ...]]

WORDS: dict[str, dict[str, str]] = {
    "concat": {
        "skip": "skip before up-sampled", "up": "up-sampled before skip",
    },
    "pool": {
        "max": "max pooling", "average": "average pooling",
        "stride": "strided convolutions",
    },
    "upsampling": {
        "nearest": "nearest up-sampling", "linear": "linear up-sampling",
        "aligned": "linear up-sampling with aligned corners",
    },
    "order": {
        "norm-act": "activation after norm", "act-norm": "norm after activation",
    },
    "activation": {
        "relu": "ReLU", "leaky 0.01": "leaky ReLU 0.01", "leaky 0.1": "leaky ReLU 0.1",
        "leaky 0.2": "leaky ReLU 0.2", "elu": "ELU", "silu": "SiLU", "gelu": "GELU",
    },
    "norm": {"instance": "instance norm", "group 1": "layer norm"},
    "hidden": {
        "dropout": "dropout between", "instance": "instance norm without weights",
    },
    "transposed": {
        "none": "transposed convolutions without activation",
        "act": "transposed convolutions with activation",
    },
    "up": {
        "none": "up-convolutions without activation",
        "act": "up-convolutions with activation",
    },
    "bare": {
        "none": "no activation after bare convolutions",
        "act": "activation after bare convolutions",
    },
    "stride": {
        "none": "strided convolutions without activation",
        "act": "strided convolutions with activation",
    },
    "between": {
        "none": "no activation within blocks", "act": "activation within blocks",
    },
    "end": {
        "none": "no activation at the end of blocks",
        "act": "activation at the end of blocks",
    },
    "sum": {
        "act": "activation after the residual sum", "none": "bare residual sum",
        "inside": "activation before the residual sum",
    },
    "identity": {
        "yes": "identity shortcuts", "no": "no identity shortcuts",
    },
    "recurrent": {"2": "recurrent blocks (t = 2)", "0": "blocks run once"},
    "merge": {"add": "added skips", "none": "no skips"},
}  # fmt: skip


class Choices:
    """Takes choices as it is told, by default the likeliest, and notes which it met.

    Parameters
    ----------
    taken : values by name of the choice
    habits : values that are likelier than usual, by name of the choice
    """

    def __init__(
        self, taken: Mapping[str, str] | None = None,
        habits: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.taken = dict(taken or {})
        self.habits = dict(habits or {})
        self.met: Open = {}

    def take(self, name: str, *options: Option) -> str:
        """Return the value that is taken among the options."""
        usual = self.habits.get(name)
        usable = tuple(
            Option(value, weight * (LIKELIER if value == usual else 1))
            for value, weight in options
            if weight > 0
        )
        if name in self.met:
            usable = self.met[name]
        else:
            self.met[name] = usable
        values = [option.value for option in usable]
        told = self.taken.get(name)
        return told if told in values else max(usable, key=lambda o: o.weight).value


def ways(choices: Open) -> Iterator[tuple[float, dict[str, str]]]:
    """Yield the combinations of options, the likeliest first, with their likelihood."""
    ranked = {
        name: sorted(options, key=lambda o: -o.weight)
        for name, options in choices.items()
        if options
    }
    names = list(ranked)

    def weight(places: tuple[int, ...]) -> float:
        product = 1.0
        for name, place in zip(names, places, strict=True):
            total = sum(option.weight for option in ranked[name])
            product *= ranked[name][place].weight / total
        return product

    first = (0,) * len(names)
    heap = [(-weight(first), first)]
    seen = {first}
    while heap:
        value, places = heapq.heappop(heap)
        yield (
            -value,
            {
                name: ranked[name][place].value
                for name, place in zip(names, places, strict=True)
            },
        )
        for axis, name in enumerate(names):
            after = (*places[:axis], places[axis] + 1, *places[axis + 1 :])
            if after[axis] < len(ranked[name]) and after not in seen:
                seen.add(after)
                heapq.heappush(heap, (-weight(after), after))


def single_changes(choices: Open) -> Iterator[dict[str, str]]:
    """Yield the likeliest combination with one option changed, for each option."""
    way = {
        name: max(options, key=lambda o: o.weight).value
        for name, options in choices.items()
        if options
    }
    for name in way:
        for option in choices[name]:
            yield {**way, name: option.value}


def sentence(way: Mapping[str, str], choices: Open) -> str:
    """Say a combination in words: what is taken where more than one option is left."""
    words = [
        WORDS.get(name, {}).get(value, f"{name} {value}")
        for name, value in way.items()
        if len(choices.get(name, ())) > 1
    ]
    return ", ".join(words)
