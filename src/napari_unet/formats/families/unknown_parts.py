"""The parts of a state dict whose class is unknown: convolutions, norms, slopes.

A part is what lies under one key: its tensors tell what layer it is. Convolutions then
get the norms around them; empty places in the numbers of an ``nn.Sequential`` are kept,
because a layer without weights, such as a ReLU, lies there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from napari_unet.engine.builder import Misfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal["conv", "norm", "slope", "linear"]
MOST_PARTS = 500
UP_WORDS = re.compile(r"up(?!date)|trans|deconv|convt|conv_t|tconv|unpool", re.I)
DOWN_WORDS = re.compile(r"down|pool|strid|reduc|subsamp", re.I)
GATE_WORDS = re.compile(r"att|gate|theta|phi|psi|w_[gx]", re.I)
NORM_TENSORS = {
    "weight", "bias", "running_mean", "running_var", "num_batches_tracked",
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One layer with weights, and its place.

    ``shape`` is that of its weight, without one that of its running mean; ``bias`` the
    length of its bias, 0 for none; ``batch``: it keeps running statistics.
    """

    key: str
    kind: Kind
    shape: tuple[int, ...]
    order: int
    bias: int = 0
    batch: bool = False

    @property
    def parent(self) -> str:
        """The key of the container."""
        return self.key.rpartition(".")[0]

    @property
    def slot(self) -> int | None:
        """The number in an ``nn.Sequential``, None where the last name is no number."""
        last = self.key.rpartition(".")[2]
        return int(last) if last.isdigit() and len(last) < 5 else None


@dataclass(frozen=True)
class Unit:
    """A convolution with its norms; keys of norms are "" where there is none.

    ``inside`` counts the empty places between the convolution and its norm, ``after``
    those after both; None where the names do not show it. ``lead`` counts the empty
    places before the first layer of its container. ``depthwise``: every channel is
    convolved on its own.
    """

    conv: Part
    transposed: bool = False
    pre: str = ""
    post: str = ""
    slope: str = ""
    inside: int | None = None
    after: int | None = None
    lead: int = 0
    depthwise: bool = False

    @property
    def key(self) -> str:
        """The place of the convolution's weights."""
        return self.conv.key

    @property
    def inputs(self) -> int:
        """Channels that it reads."""
        if self.depthwise:
            return self.conv.shape[0]
        return self.conv.shape[0 if self.transposed else 1]

    @property
    def outputs(self) -> int:
        """Channels that it makes."""
        return self.conv.shape[1 if self.transposed else 0]

    @property
    def kernel(self) -> tuple[int, ...]:
        """Pixels per axis."""
        return self.conv.shape[2:]


# -- from tensors to parts


def parts_of(shapes: Mapping[str, tuple[int, ...]]) -> list[Part]:
    """Return the parts in the order in which the class made them.

    Raises
    ------
    Misfit
        If a tensor belongs to no layer that is known.
    """
    grouped: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for key, shape in shapes.items():
        place, _, name = key.rpartition(".")
        grouped[place][name] = shape
    if len(grouped) > MOST_PARTS:
        raise Misfit(f"{len(grouped)} layers are more than a U-Net has")
    return [
        _part(place, tensors, order)
        for order, (place, tensors) in enumerate(grouped.items())
    ]


def _part(place: str, tensors: dict[str, tuple[int, ...]], order: int) -> Part:
    surplus = next((name for name in tensors if name not in NORM_TENSORS), None)
    if surplus is not None or not place:
        raise Misfit(f"{f'{place}.{surplus}'.strip('.')} is a weight of no known layer")
    weight = tensors.get("weight")
    bias = tensors.get("bias")
    batch = "running_mean" in tensors
    ndim = 1 if weight is None else len(weight)
    if batch or (ndim == 1 and bias is not None):
        return _norm(place, tensors, order)
    if weight is None or ndim not in (1, 2, 4, 5) or 0 in weight:
        shape = "none" if weight is None else f"one of the shape {weight}"
        raise Misfit(f"{place} is of no known layer, its weight is {shape}")
    if bias is not None and (len(bias) != 1 or bias[0] not in weight[:2]):
        raise Misfit(f"{place}.bias has the shape {bias}, its weight {weight}")
    kinds: dict[int, Kind] = {1: "slope", 2: "linear"}
    return Part(place, kinds.get(ndim, "conv"), weight, order, bias[0] if bias else 0)


def _norm(place: str, tensors: dict[str, tuple[int, ...]], order: int) -> Part:
    """Return a norm, all of whose tensors must be there and agree."""
    shapes = {shape for name, shape in tensors.items() if "tracked" not in name}
    pairs = (("weight", "bias"), ("running_mean", "running_var"))
    for pair in pairs:
        lacking = [name for name in pair if name not in tensors]
        if len(lacking) == 1:
            raise Misfit(f"{place}.{lacking[0]} is missing")
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise Misfit(f"the weights of {place} have the shapes {sorted(shapes)}")
    return Part(
        place, "norm", shapes.pop(), order,
        tensors.get("bias", (0,))[0], "running_mean" in tensors,
    )  # fmt: skip


# -- which convolutions are transposed


def transposed(part: Part, norms: Iterable[Part]) -> tuple[bool, bool]:
    """Tell whether a convolution is transposed, and whether that is certain.

    Its bias is as long as its outputs; without one, or with as many inputs as outputs,
    the name and an even kernel speak.
    """
    outputs, inputs = part.shape[:2]
    if part.bias and outputs != inputs:
        return part.bias == inputs, True
    if max(part.shape[2:]) == 1:
        return False, True
    counts = {n.shape[0] for n in norms if n.order == part.order + 1}
    if outputs != inputs and len(counts & {inputs, outputs}) == 1:
        return inputs in counts, True
    name = part.key
    if UP_WORDS.search(name.rpartition(".")[2]):
        return True, False
    even = all(k % 2 == 0 for k in part.shape[2:])
    return even and not (DOWN_WORDS.search(name) or GATE_WORDS.search(name)), False


# -- from parts to units


def units_of(parts: list[Part], flipped: frozenset[str]) -> list[Unit]:
    """Return the convolutions, each with its norms and slopes.

    Parameters
    ----------
    parts : all parts
    flipped : keys of convolutions that are to be taken the other way than is likely

    Raises
    ------
    Misfit
        If a norm or slope belongs to no convolution.
    """
    norms = [part for part in parts if part.kind == "norm"]
    alone = _depthwise(parts)
    units = {
        part.key: Unit(
            part, transposed(part, norms)[0] != (part.key in flipped),
            depthwise=part.key in alone,
        )
        for part in parts
        if part.kind == "conv"
    }  # fmt: skip
    for norm, owner, place in _owners(norms, list(units.values()), parts):
        if place == "pre":
            units[owner] = replace(units[owner], pre=norm.key)
        else:
            units[owner] = replace(units[owner], post=norm.key)
    slopes = [part for part in parts if part.kind == "slope"]
    for slope, owner in _slope_owners(slopes, list(units.values())):
        units[owner] = replace(units[owner], slope=slope.key)
    slots = _taken(parts)
    return [_with_gaps(unit, slots) for unit in units.values()]


def _depthwise(parts: list[Part]) -> set[str]:
    """Return convolutions that read one channel each, but for the network's first."""
    convs = [part for part in parts if part.kind == "conv"]
    alone = {
        part.key
        for part in convs
        if part.shape[1] == 1 and part.shape[0] > 1 and max(part.shape[2:]) > 1
    }
    return alone - {convs[0].key} if len(alone) > 2 else set()


def _owners(
    norms: list[Part], units: list[Unit], parts: list[Part]
) -> list[tuple[Part, str, str]]:
    """Give every norm to a convolution, before or after it, nearest first."""
    found: list[tuple[tuple[float, ...], Part, Unit, str]] = []
    first = {part.parent: part for part in reversed(parts)}
    mixed = {part.parent for part in parts if part.kind == "conv"}
    before = dict(zip(parts[1:], parts, strict=False))
    after = dict(pairwise(parts))
    for norm in norms:
        leading = norm.parent in mixed and (
            first[norm.parent].kind == "norm"
            or _leads(norm, before.get(norm), after.get(norm))
        )
        for unit in units:
            found += [
                (rank, norm, unit, place)
                for place in ("post", "pre")
                if (rank := _rank(norm, unit, place, leading)) is not None
            ]
    owned: dict[str, tuple[Part, str, str]] = {}
    taken: set[tuple[str, str]] = set()
    for _, norm, unit, place in sorted(found, key=lambda one: one[0]):
        if norm.key not in owned and (unit.key, place) not in taken:
            owned[norm.key] = (norm, unit.key, place)
            taken.add((unit.key, place))
    for norm in norms:
        if norm.key not in owned:
            raise Misfit(f"the norm {norm.key} follows no convolution of its channels")
    return list(owned.values())


def _leads(norm: Part, before: Part | None, after: Part | None) -> bool:
    """Tell whether a norm comes right before its convolution, and behind none."""
    behind = (
        before is not None and before.kind == "conv" and before.parent == norm.parent
    )
    return (
        not behind
        and after is not None
        and after.kind == "conv"
        and after.parent == norm.parent
        and (after.slot is not None or numbers(after.key) == numbers(norm.key))
        and after.shape[1] == norm.shape[0]
    )


def _rank(
    norm: Part, unit: Unit, place: str, leading: bool
) -> tuple[float, ...] | None:
    """Return how well a norm fits before or after a convolution; low is good."""
    channels = unit.outputs if place == "post" else unit.inputs
    if norm.shape != (channels,):
        return None
    apart = distance(norm.key, unit.key)
    if apart > 4:
        return None
    steps = norm.order - unit.conv.order
    behind = steps > 0 if place == "post" else steps < 0
    sequential = norm.slot is not None and norm.parent == unit.conv.parent
    if sequential and not behind:
        return None
    unlike = (place == "pre") != leading
    same = numbers(norm.key) == numbers(unit.key)
    near = abs(steps) + (0 if behind else 0.5)
    if sequential:
        return apart, unlike, near
    return apart, not same, unlike, near


def distance(one: str, other: str) -> int:
    """Return how many steps in the tree of names lie between two keys."""
    a, b = one.split("."), other.split(".")
    common = next(
        (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y),
        min(len(a), len(b)),
    )
    return len(a) + len(b) - 2 * common


def numbers(key: str) -> tuple[str, ...]:
    """Return the numbers in the last name of a key, and a letter at its end."""
    name = key.rpartition(".")[2]
    return (*re.findall(r"\d+", name), *re.findall(r"(?<=\d)[a-z]$", name))


def _slope_owners(slopes: list[Part], units: list[Unit]) -> list[tuple[Part, str]]:
    """Give PReLUs to convolutions; one may serve all of its container."""
    owned: list[tuple[Part, str]] = []
    parents = {unit.conv.parent for unit in units}
    for unit in units:
        fitting = [
            slope
            for slope in slopes
            if slope.shape[0] in (1, unit.outputs)
            and distance(slope.key, unit.key) <= 3
            and (slope.parent == unit.conv.parent or slope.slot is None
                 or slope.parent not in parents)
        ]  # fmt: skip
        if fitting:
            best = min(
                fitting,
                key=lambda s: (
                    distance(s.key, unit.key), numbers(s.key) != numbers(unit.key),
                    s.order < unit.conv.order, abs(s.order - unit.conv.order),
                ),
            )  # fmt: skip
            owned.append((best, unit.key))
    idle = {slope.key for slope in slopes} - {slope.key for slope, _ in owned}
    if idle:
        raise Misfit(f"the slopes {min(idle)} follow no convolution")
    return owned


def _taken(parts: list[Part]) -> dict[str, list[tuple[int, str]]]:
    """Return the numbered places of each container, with the part in each."""
    taken: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for part in parts:
        slot = _slot_in(part.key, part.parent)
        if slot is not None:
            taken[part.parent].append((slot, part.key))
    return {parent: sorted(places) for parent, places in taken.items()}


def _slot_in(key: str, parent: str) -> int | None:
    name = key[len(parent) :].strip(".").partition(".")[0]
    return int(name) if name.isdigit() and len(name) < 5 else None


def _with_gaps(unit: Unit, taken: dict[str, list[tuple[int, str]]]) -> Unit:
    """Return the unit with what the numbers of its container show."""
    places = taken.get(unit.conv.parent, [])
    slot = unit.conv.slot
    if slot is None or not _in_a_row(places):
        return unit
    by_key = {key: place for place, key in places}
    last, inside = slot, None
    if unit.pre in by_key:
        inside = slot - by_key[unit.pre] - 1
    if unit.post in by_key:
        inside = by_key[unit.post] - slot - 1
        last = by_key[unit.post]
    if unit.post and unit.post not in by_key:
        return replace(unit, lead=places[0][0])
    following = [place for place, _ in places if place > last]
    after = following[0] - last - 1 if following else None
    return replace(unit, inside=inside, after=after, lead=places[0][0])


def _in_a_row(places: list[tuple[int, str]]) -> bool:
    """Tell an ``nn.Sequential`` from a list of levels: few places, few gaps."""
    return len(places) <= 16 and places[-1][0] < 40
