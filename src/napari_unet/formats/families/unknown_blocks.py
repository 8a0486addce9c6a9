"""Blocks of an unknown U-Net: convolutions that belong together by name and channels.

A chain runs through its convolutions one after the other; a residual block adds a
convolved shortcut; an entry block adds what its 1x1 convolution made to what the others
make of that (as recurrent blocks do); a gate weighs the skip by attention.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Literal

from napari_unet.formats.families.unknown_parts import UP_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_unet.formats.families.unknown_parts import Unit

LARGEST_BLOCK = 6
SHORTCUT_WORDS = re.compile(
    r"skip|short|resid|ident|downsample|proj|match|1x1|bypass|res_?conv|conv_?res|"
    r"adjust|side",
    re.I,
)
RECURRENT_WORDS = re.compile(r"rcnn|recurr|rec_|rrc|\brec", re.I)


@dataclass(frozen=True)
class Block:
    """Convolutions that are computed in one go.

    ``units`` are in order; ``shortcut`` is the convolution beside them in a residual or
    entry block. ``number`` is the place among all blocks; ``group`` the container that
    it shares with a few others, "" for none.
    """

    units: tuple[Unit, ...]
    kind: Literal["chain", "residual", "entry"] = "chain"
    shortcut: Unit | None = None
    number: int = 0
    key: str = ""
    group: str = ""

    @property
    def inputs(self) -> int:
        """Channels that it reads."""
        first = self.shortcut if self.kind == "entry" else None
        return (first or self.units[0]).inputs

    @property
    def outputs(self) -> int:
        """Channels that it makes."""
        return self.units[-1].outputs

    @property
    def rises(self) -> bool:
        """Whether it holds a transposed convolution."""
        return any(unit.transposed for unit in self.units)

    @property
    def family(self) -> str:
        """Its key with all numbers alike."""
        return re.sub(r"\d+", "#", self.key)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers in its key, for a natural order."""
        return tuple(int(n[:6]) for n in re.findall(r"\d+", self.key))

    @property
    def members(self) -> tuple[Unit, ...]:
        """All its convolutions."""
        return (*self.units, *((self.shortcut,) if self.shortcut else ()))


@dataclass(frozen=True)
class Gate:
    """An attention gate: 1x1 convolutions of gating signal, of skip, and of both."""

    signal: Unit
    skip: Unit
    psi: Unit
    key: str
    number: int = 0


Glue = Literal["all", "chains", "none"]


def blocks_of(units: Sequence[Unit], glue: Glue) -> tuple[list[Block], list[Gate]]:
    """Return blocks and gates, in the order of their first convolutions.

    Parameters
    ----------
    units : all convolutions
    glue : what is made of convolutions in one container: chains and residual blocks;
        chains only; or nothing but gates and blocks whose shortcuts are named so
    """
    items = _joined(units, glue)
    blocks = [item for item in items if isinstance(item, Block)]
    gates = [item for item in items if isinstance(item, Gate)]
    blocks.sort(key=lambda b: min(unit.conv.order for unit in b.members))
    blocks = [replace(block, number=n) for n, block in enumerate(blocks)]
    return _grouped(blocks), [replace(g, number=n) for n, g in enumerate(gates)]


def _joined(units: Sequence[Unit], glue: Glue) -> list[Block | Gate]:
    """Join units from the deepest container upwards."""
    items: list[Block | Gate] = [Block((unit,), key=unit.key) for unit in units]
    for place in _containers(units):
        inside = [item for item in items if item.key.startswith(f"{place}.")]
        if not 2 <= len(inside) <= LARGEST_BLOCK:
            continue
        joined = _join(place, inside, glue)
        if joined is not None:
            items = [item for item in items if item not in inside] + [joined]
    return [_checked(item, units) for item in items]


def _containers(units: Iterable[Unit]) -> list[str]:
    """Return all containers but the outermost, the deepest first."""
    places: dict[str, int] = {}
    for unit in units:
        names = unit.key.split(".")
        for depth in range(1, len(names)):
            places.setdefault(".".join(names[:depth]), depth)
    return sorted(places, key=lambda place: -places[place])


def _join(place: str, items: list[Block | Gate], glue: Glue) -> Block | Gate | None:
    blocks = [item for item in items if isinstance(item, Block)]
    if len(blocks) < len(items) or any(b.kind != "chain" for b in blocks):
        return None
    singles = [block.units[0] for block in blocks if len(block.units) == 1]
    if len(singles) == len(blocks):
        gate = _gate(place, singles)
        if gate is not None:
            return gate
    residual = _residual(place, blocks) if glue != "chains" else None
    return residual or (_chain(place, blocks) if glue != "none" else None)


def _gate(place: str, units: list[Unit]) -> Gate | None:
    """Return three pointwise convolutions of which one gives a single channel."""
    psi = [unit for unit in units if unit.outputs == 1]
    others = [unit for unit in units if unit.outputs > 1]
    if len(units) != 3 or len(psi) != 1 or max(psi[0].kernel) > 1:
        return None
    if any(unit.outputs != psi[0].inputs or unit.transposed for unit in others):
        return None
    if max(k for unit in others for k in unit.kernel) > 2:
        return None
    names = [unit.key[len(place) :].lower() for unit in others]
    backwards = bool(re.search(r"x|skip|theta", names[0])) and not bool(
        re.search(r"x|skip|theta", names[1])
    )
    signal, skip = others[::-1] if backwards else others
    return Gate(signal, skip, psi[0], place)


def _residual(place: str, blocks: list[Block]) -> Block | None:
    """Return a block with a shortcut: one convolution beside a chain of others."""
    for other in sorted(blocks, key=lambda b: _unlike_shortcut(place, b)):
        rest = [block for block in blocks if block is not other]
        beside = other.units[0]
        if len(other.units) > 1 or beside.transposed:
            continue
        chain = _in_order([unit for block in rest for unit in block.units])
        if chain is None or any(unit.transposed for unit in chain):
            continue
        if not _is_shortcut(place, beside, chain, blocks):
            continue
        kind: Literal["residual", "entry"] = (
            "residual" if chain[0].inputs == beside.inputs else "entry"
        )
        return Block(tuple(chain), kind, beside, key=place)
    return None


def _unlike_shortcut(place: str, block: Block) -> tuple[bool, int]:
    named = SHORTCUT_WORDS.search(block.key[len(place) :])
    return named is None, max(block.units[0].kernel)


def _is_shortcut(
    place: str, beside: Unit, chain: list[Unit], blocks: list[Block]
) -> bool:
    if beside.outputs != chain[-1].outputs:
        return False
    everything = [unit for block in blocks for unit in block.units]
    straight = _linear(everything)
    name = beside.key[len(place) :]
    named = bool(SHORTCUT_WORDS.search(name))
    if not named and UP_WORDS.search(name):
        return False
    if chain[0].inputs == beside.inputs:
        return named or not straight or (
            max(beside.kernel) == 1 and min(max(u.kernel) for u in chain) > 1
            and len(chain) > 1
        )  # fmt: skip
    return (
        beside.outputs == chain[0].inputs
        and max(beside.kernel) == 1
        and (not straight or bool(RECURRENT_WORDS.search(place)))
    )


def _chain(place: str, blocks: list[Block]) -> Block | None:
    if any(len(block.units) > 1 for block in blocks):
        return None
    units = _in_order([block.units[0] for block in blocks])
    if units is None or len({unit.outputs for unit in units}) > 2:
        return None
    rising = sum(unit.transposed for unit in units)
    begun = units[0].transposed and not _sequential(units)
    if rising > 1 or (rising and begun):
        return None
    return Block(tuple(units), key=place)


def _sequential(units: list[Unit]) -> bool:
    """Tell whether all lie numbered in one container, or one container deeper."""
    parents = {unit.conv.parent for unit in units}
    return len(parents) == 1 and all(unit.conv.slot is not None for unit in units)


def _linear(units: Sequence[Unit]) -> bool:
    return all(one.outputs == other.inputs for one, other in pairwise(units))


def _in_order(units: list[Unit]) -> list[Unit] | None:
    """Return the units so that each reads what the one before makes."""
    by_name = sorted(units, key=lambda u: _natural(u.key))
    for order in (units, by_name):
        if _linear(order):
            return order
    if len(units) > 4 or _listed(units):
        return None
    fitting = [list(order) for order in permutations(units) if _linear(order)]
    return fitting[0] if fitting else None


def _listed(units: Sequence[Unit]) -> bool:
    """Tell whether the units are numbered in one list: then their order is told."""
    names = [unit.key.split(".") for unit in units]
    differing = next((n for n in zip(*names, strict=False) if len(set(n)) > 1), ())
    return bool(differing) and all(name.isdigit() for name in differing)


def _natural(key: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts 2 before 10."""
    return [
        (0, int(part[:6]), "") if part.isdigit() else (1, 0, part)
        for part in re.split(r"(\d+)", key)
        if part
    ]


def _checked(item: Block | Gate, units: Sequence[Unit]) -> Block | Gate:
    """Forget what numbers show where a container holds more than one block.

    Then it is a list of levels, not a sequence.
    """
    if isinstance(item, Gate):
        return item
    own = {unit.key for unit in item.members}
    shared = {unit.conv.parent for unit in units if unit.key not in own}
    kept = tuple(
        replace(unit, inside=unit.inside or None, after=None, lead=0)
        if unit.conv.parent in shared
        else unit
        for unit in item.units
    )
    return replace(item, units=kept)


def _grouped(blocks: list[Block]) -> list[Block]:
    """Note for each block the container that it shares with a few unlike ones."""
    inside: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        names = block.key.split(".")
        for depth in range(1, len(names)):
            inside[".".join(names[:depth])].append(block)
    grouped = []
    for block in blocks:
        names = block.key.split(".")
        places = [".".join(names[:depth]) for depth in range(len(names) - 1, 0, -1)]
        place = next((p for p in places if _belongs_together(inside[p])), "")
        grouped.append(replace(block, group=place))
    return grouped


def _belongs_together(blocks: list[Block]) -> bool:
    """Tell a level of unlike blocks from a list of like ones."""
    if not 2 <= len(blocks) <= 4:
        return False
    kinds = {(len(b.units), b.rises, b.kind) for b in blocks}
    return len(kinds) > 1
