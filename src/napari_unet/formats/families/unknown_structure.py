"""From the shapes of an unknown U-Net's weights to the structures that fit them."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import exp
from typing import TYPE_CHECKING, Literal

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.unknown_blocks import blocks_of
from napari_unet.formats.families.unknown_choices import Choices, Option
from napari_unet.formats.families.unknown_habits import habits_of
from napari_unet.formats.families.unknown_nested import nested_graph, triangle_of
from napari_unet.formats.families.unknown_parts import parts_of, transposed, units_of
from napari_unet.formats.families.unknown_program import ProgramWriter
from napari_unet.formats.families.unknown_refusals import (
    check_alike,
    check_in_a_row,
    check_is_convolutional,
    check_norms,
    unfitting,
)
from napari_unet.formats.families.unknown_search import Search
from napari_unet.formats.families.unknown_squeeze import (
    owners,
    squeezes_of,
    without,
)
from napari_unet.formats.families.unknown_writer import Plan, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari_unet.engine.builder import Builder
    from napari_unet.engine.graph import GraphSpec
    from napari_unet.formats.families.unknown_blocks import Block, Gate, Glue
    from napari_unet.formats.families.unknown_nested import Triangle
    from napari_unet.formats.families.unknown_parts import Part, Unit
    from napari_unet.formats.families.unknown_search import Program
    from napari_unet.formats.families.unknown_squeeze import Squeeze

BUDGET = 70_000  # moves that all searches may look at together
BUDGETS = (4_000, 30_000)  # those of one search, at first and in earnest
MOST_FLIPS = 8
NATURAL = 3.0  # an order that costs less needs no further search
FAR_FETCHED = 6.0  # an order that costs more is none
MANY_PARTS = 200
GLUES: tuple[Glue, ...] = ("all", "chains", "none")


@dataclass(frozen=True)
class Structure:
    """One way to put the blocks together; ``write`` makes its graph of choices."""

    write: Callable[[Choices], tuple[GraphSpec, Builder]]
    weight: float


@dataclass(frozen=True)
class Structures:
    """All structures that fit, the likeliest first, and habits that names speak of."""

    found: tuple[Structure, ...]
    habits: Mapping[str, str]

    def choices(self, taken: Mapping[str, str] | None = None) -> Choices:
        """Return choices that are taken as told, else as is likely."""
        return Choices(taken, self.habits)

    def graph(self, choices: Choices) -> tuple[GraphSpec, Builder]:
        """Return the graph that choices make, and what wrote it."""
        order = ("likeliest", "second", "third")[: len(self.found)]
        if len(order) == 1:
            return self.found[0].write(choices)
        options = [
            Option(name, one.weight)
            for name, one in zip(order, self.found, strict=True)
        ]
        return self.found[order.index(choices.take("order of blocks", *options))].write(
            choices
        )


def structures_of(shapes: Mapping[str, tuple[int, ...]]) -> Structures:
    """Return the structures that fit the weights of a network.

    Parameters
    ----------
    shapes : of all tensors, by key, in the order of the file

    Raises
    ------
    Misfit
        With the reason, if none fits.
    """
    parts = parts_of(shapes)
    squeezes = squeezes_of(parts)
    parts = without(parts, squeezes)
    check_is_convolutional(parts)
    check_alike(parts)
    check_in_a_row(parts)
    ndims = {len(part.shape) - 2 for part in parts if part.kind == "conv"}
    if len(ndims) != 1:
        raise Misfit("it has convolutions in 2D and in 3D")
    dims: Literal[2, 3] = 2 if ndims == {2} else 3
    attempts = _attempts(parts, squeezes, shapes, dims)
    for plan in attempts:
        triangle = triangle_of(plan.blocks) if not plan.gates else None
        if triangle is not None:
            found = (Structure(partial(_nested, plan, triangle), 1.0),)
            return Structures(found, habits_of(shapes))
    return _searched(parts, attempts)


def _attempts(
    parts: list[Part], squeezes: list[Squeeze], shapes: Mapping[str, tuple[int, ...]],
    dims: Literal[2, 3],
) -> list[Plan]:  # fmt: skip
    """Return the ways to make blocks of the parts, the likeliest first."""
    plans: list[Plan] = []
    for flipped in _flips(parts):
        units = units_of(parts, flipped)
        for glue in GLUES:
            blocks, gates = blocks_of(units, glue)
            if all((p.blocks, p.gates) != (blocks, gates) for p in plans[-2:]):
                plan = _plan(parts, shapes, dims, blocks, gates)
                owned = owners(squeezes, blocks)
                plans.append(replace(plan, squeezes=owned, odd=_odd(units, flipped)))
    return plans


def _odd(units: list[Unit], flipped: frozenset[str]) -> float:
    """Return what it costs to take convolutions the other way than is likely."""
    if not flipped:
        return 0.0
    sizes = [k for unit in units if unit.key in flipped for k in unit.kernel]
    return 0.3 if all(k % 2 == 0 for k in sizes) else 1.2


def _searched(parts: list[Part], plans: list[Plan]) -> Structures:
    """Search each plan a little, then what is left of the budget, for orders."""
    budget, farthest = BUDGET, (-1, list[str]())
    found: list[tuple[float, Plan, list[Program]]] = []
    for each in BUDGETS:
        for plan in plans:
            allowed = min(budget, each)
            search = Search(plan.blocks, plan.gates, plan.dims, allowed)
            programs = search.programs()
            budget -= allowed - max(search.budget, 0)
            cost = programs[0].cost + plan.odd if programs else FAR_FETCHED
            if cost < FAR_FETCHED:
                found.append((cost, plan, programs))
                if cost < NATURAL:
                    return _best(parts, found, farthest[1])
            farthest = max(farthest, (search.farthest, search.unplaced))
            if budget <= 0:
                return _best(parts, found, farthest[1])
    return _best(parts, found, farthest[1])


def _best(
    parts: list[Part], found: list[tuple[float, Plan, list[Program]]],
    unplaced: list[str],
) -> Structures:  # fmt: skip
    if not found:
        raise Misfit(unfitting(parts, unplaced))
    _, plan, programs = min(found, key=lambda one: one[0])
    check_norms(plan.blocks)
    return _structures(plan, programs)


def _plan(
    parts: list[Part], shapes: Mapping[str, tuple[int, ...]], dims: Literal[2, 3],
    blocks: list[Block], gates: list[Gate],
) -> Plan:  # fmt: skip
    norms = [part for part in parts if part.kind == "norm"]
    channels = tuple(part.shape[0] for part in norms)
    hints = " ".join(part.key for part in norms)
    return Plan(blocks, gates, shapes, dims, channels, hints)


def _structures(plan: Plan, programs: list[Program]) -> Structures:
    least = programs[0].cost
    return Structures(
        tuple(
            Structure(partial(_planned, plan, program), exp(3 * (least - program.cost)))
            for program in programs
        ),
        habits_of(plan.shapes),
    )


def _planned(
    plan: Plan, program: Program, choices: Choices
) -> tuple[GraphSpec, Builder]:
    first = plan.blocks[program.steps[0].number]
    writer = Writer(plan, choices, first.inputs)
    return ProgramWriter(writer, program).graph(), writer.b


def _nested(
    plan: Plan, triangle: Triangle, choices: Choices
) -> tuple[GraphSpec, Builder]:
    writer = Writer(plan, choices, triangle.nodes[0, 0].inputs)
    return nested_graph(writer, triangle), writer.b


def _flips(parts: list[Part]) -> Iterator[frozenset[str]]:
    """Yield which convolutions to take the other way: transposed or not.

    Convolutions of one family (like names) are taken the other way together.
    """
    norms = [part for part in parts if part.kind == "norm"]
    families: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        if part.kind == "conv" and not transposed(part, norms)[1]:
            families[re.sub(r"\d+", "#", part.key)].add(part.key)
    sets = [frozenset(keys) for keys in families.values()]
    sizes = {part.key: max(part.shape[2:]) for part in parts if part.kind == "conv"}
    sets.sort(key=lambda keys: min(sizes[key] % 2 for key in keys))
    yield frozenset()
    if len(parts) <= MANY_PARTS:
        yield from sets[:MOST_FLIPS]
    if len(sets) > 1:
        yield frozenset(chain.from_iterable(sets))
