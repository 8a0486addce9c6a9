"""What weights leave open, and how it is decided.

Layers without weights, and strides, leave no trace in a state dict. What was not seen
is taken to be the library's default, or what is most usual; a remark says so, and
every other way is listed as a reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import reduce
from itertools import zip_longest
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from napari_unet.engine.builder import Misfit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_unet.engine.builder import Shapes
    from napari_unet.formats.reading import Contents

T = TypeVar("T")
Norm = Literal["none", "batch", "instance", "group"]
Stride = tuple[int, ...]
MOST_READINGS = 24
USUAL_GROUPS = (8, 4, 16, 32, 2, 1)
SEPARATOR = "; "
ACTIVATIONS: dict[str, tuple[str, float]] = {  # that have no weights: kind, number
    "ReLU": ("relu", 0.0),
    "LeakyReLU of slope 0.01": ("leaky_relu", 0.01),
    "LeakyReLU of slope 0.1": ("leaky_relu", 0.1),
    "LeakyReLU of slope 0.2": ("leaky_relu", 0.2),
    "Swish": ("silu", 0.0),
    "ELU": ("elu", 1.0),
    "GELU": ("gelu", 0.0),
    "Mish": ("mish", 0.0),
    "SELU": ("selu", 0.0),
    "ReLU6": ("relu_limited", 6.0),
    "no activation": ("", 0.0),
}


@dataclass(frozen=True)
class Style:
    """What stands behind the convolutions of a network, and in which order.

    Attributes
    ----------
    norm : kind of norm; "group" has ``groups``
    act : kind of activation, "prelu", or "" for none
    number : of the activation, such as its slope
    order : "NA" for norm before activation, "AN" for the other way
    """

    norm: Norm = "instance"
    groups: int = 1
    act: str = "prelu"
    number: float = 0.0
    order: str = "NA"


@dataclass
class Choices:
    """Decides what the weights leave open, and keeps an account of it.

    Parameters
    ----------
    wanted : the reading that the user asks for, "" for the likeliest
    """

    wanted: str = ""
    _made: list[tuple[str, list[str]]] = field(default_factory=list)
    _remarks: list[str] = field(default_factory=list)

    def take(self, ways: Mapping[str, T], why: str = "") -> T:
        """Return one of several ways, the first unless the user asks for another.

        Parameters
        ----------
        ways : by what they are called, the likeliest first
        why : what the weights do not tell, for the remark; "" for no remark
        """
        words = list(ways)
        asked = [word for word in words if word in self._parts()]
        taken = (asked or words)[0]
        self._made.append((taken, words))
        if why and not asked:
            self._remarks.append(f"{why}; assumed: {taken}")
        return ways[taken]

    def fields(self) -> dict[str, Any]:
        """Return the fields of ModelSpec: reading, readings and remarks.

        Raises
        ------
        Misfit
            If the user asks for a reading that there is not.
        """
        open_ones = [(taken, words) for taken, words in self._made if len(words) > 1]
        taken = [word for word, _ in open_ones]
        for part in self._parts():
            if part not in [word for word, _ in self._made]:
                raise Misfit(f'it cannot be read with "{part}"')
        likeliest = [words[0] for _, words in open_ones]
        others = _others(likeliest, [words[1:] for _, words in open_ones])
        readings = dict.fromkeys(map(SEPARATOR.join, [likeliest, taken, *others]))
        return {
            "reading": SEPARATOR.join(taken),
            "readings": tuple(readings)[:MOST_READINGS] if open_ones else (),
            "remarks": tuple(self._remarks),
        }

    def _parts(self) -> list[str]:
        return self.wanted.split(SEPARATOR) if self.wanted else []


def _others(likeliest: list[str], instead: list[list[str]]) -> list[list[str]]:
    """Return the readings that differ in one choice, the likelier ones first."""
    others = []
    for row in zip_longest(*instead):
        for place, word in enumerate(row):
            if word is not None:
                others.append([*likeliest[:place], word, *likeliest[place + 1 :]])
    return others


def chosen_activation(
    choices: Choices, shapes: Shapes, place: str, likeliest: str = "ReLU"
) -> tuple[str, float]:
    """Return kind and number of the activation.

    Parameters
    ----------
    choices : keeps the account
    shapes : of the weights
    place : pattern of the activations' places; a PReLU there has weights
    likeliest : of ACTIVATIONS, what is taken where none has weights
    """
    pattern = re.compile(rf"(?:{place})\.weight")
    if any(pattern.fullmatch(key) for key in shapes):
        return "prelu", 0.0
    ways = {likeliest: ACTIVATIONS[likeliest], **ACTIVATIONS}
    return choices.take(ways, "the weights do not tell the activation")


def chosen_norm(
    choices: Choices, shapes: Shapes, place: str, likeliest: Norm = "instance"
) -> tuple[Norm, int]:
    """Return kind and number of groups of the norm.

    Parameters
    ----------
    choices : keeps the account
    shapes : of the weights
    place : pattern of the norms' places
    likeliest : "instance" or "group", where there are weights and no statistics
    """
    pattern = re.compile(rf"(?:{place})\.(weight|running_mean)")
    found = [
        (m[1], shape) for key, shape in shapes.items() if (m := pattern.fullmatch(key))
    ]
    instance: dict[str, tuple[Norm, int]] = {"instance norm": ("instance", 1)}
    if not found:
        none: dict[str, tuple[Norm, int]] = {"no norm": ("none", 1)}
        return choices.take(instance | none, "the norm has no weights")
    if any(tensor == "running_mean" for tensor, _ in found):
        return "batch", 1
    common = reduce(gcd, (size for _, shape in found for size in shape), 0)
    groups: dict[str, tuple[Norm, int]] = {
        f"group norm of {n} group{'s' * (n > 1)}": ("group", n)
        for n in USUAL_GROUPS
        if common % n == 0
    }
    ways = groups | instance if likeliest == "group" else instance | groups
    return choices.take(ways, "the weights do not tell the kind of norm")


def chosen_order(choices: Choices, contents: Contents, norm: Norm, act: str) -> str:
    """Return the order of norm (N) and activation (A) in MONAI's ADN blocks.

    A state dict lists layers in the order in which they were made, unless it was
    sorted on the way; then the convolution does not come first.
    """
    if norm == "none" or not act:
        return "NA"
    place = {key: number for number, key in enumerate(contents.weights)}
    for key, last in place.items():
        start, is_activation, _ = key.partition(".adn.A.weight")
        names = ("weight", "running_mean") if is_activation else ()
        for first in (place.get(f"{start}.adn.N.{name}") for name in names):
            if first is not None and place.get(f"{start}.conv.weight", last) < min(
                first, last
            ):
                return "NA" if first < last else "AN"
    return choices.take(
        {"norm before activation": "NA", "activation before norm": "AN"}
    )


def chosen_strides(
    choices: Choices, known: list[Stride | None], kernels: list[Stride], *,
    none_is_one: bool = False,
) -> list[Stride]:  # fmt: skip
    """Return the strides of the levels, from full resolution down.

    They are taken to be 2, and 1 along an axis over which a kernel does not reach.

    Parameters
    ----------
    choices : keeps the account
    known : per level the stride where it is known, else None
    kernels : of the convolutions that have the strides
    none_is_one : whether those unknown are known not to be 1 along all axes
    """
    usual = [_usual(kernel) for kernel in kernels]
    dims = len(kernels[0])
    ways = {}
    for pattern in _patterns(usual, dims, with_ones=not none_is_one):
        strides = [k or p for k, p in zip(known, pattern, strict=True)]
        ways[_said(strides)] = strides
    ways |= _asked_for(choices.wanted, len(known), dims)
    is_open = any(stride is None for stride in known)
    return choices.take(ways, "the weights do not tell the strides" * is_open)


def _usual(kernel: Stride) -> Stride:
    if max(kernel) == 1:
        return (2,) * len(kernel)
    return tuple(1 if size == 1 else 2 for size in kernel)


def _patterns(usual: list[Stride], dims: int, *, with_ones: bool) -> list[list[Stride]]:
    one = (1,) * dims
    patterns = [usual]
    if with_ones:
        patterns += [[one, *usual[1:]], [*usual[:-1], one], [one] * len(usual)]
    if dims == 3:
        for flat in ((1, 2, 2), (2, 2, 1)):
            patterns += [[flat, *usual[1:]], [flat] * len(usual)]
    return patterns


def _said(strides: list[Stride]) -> str:
    words = (str(s[0]) if len(set(s)) == 1 else "x".join(map(str, s)) for s in strides)
    return f"strides {', '.join(words)}"


def _asked_for(wanted: str, levels: int, dims: int) -> dict[str, list[Stride]]:
    """Return the strides that the user states, such as "strides 1x2x2, 2, 2"."""
    found = re.search(r"strides ([1-9](?:(?:x|, )[1-9])*)(?:;|$)", wanted)
    if found is None:
        return {}
    parts = [tuple(map(int, word.split("x"))) for word in found[1].split(", ")]
    strides = [part * dims if len(part) == 1 else part for part in parts]
    if len(strides) != levels or any(len(stride) != dims for stride in strides):
        return {}
    return {f"strides {found[1]}": strides}
