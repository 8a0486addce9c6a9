"""Search for the order in which the blocks of an unknown U-Net are computed.

Channels decide: a block reads what the one before made, or that and a skip, joined or
added. Among the orders that fit, the cheapest is taken: each costs something where it
goes against names, numbers, order of registration, or habit. The search is bounded.

References
----------
Dijkstra: A note on two problems in connexion with graphs, Numerische Mathematik 1959.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from napari_unet.formats.families.unknown_costs import Costs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_unet.formats.families.unknown_blocks import Block, Gate

Act = Literal[
    "run", "beside", "down", "stride", "rise", "shuffle", "concat", "add", "gate"
]
MOST_LEVELS = 8
NEARLY_AS_GOOD = 0.45
ADDED = 0.25  # what an added skip costs more than one that is joined
MOST_PROGRAMS = 3


class Step(NamedTuple):
    """One step of a program; ``number`` is that of its block or gate.

    run, beside : compute a block, or one whose result is added to that of the last
    down, stride : one level down by a layer without weights, or by a block
    rise : up-sample without weights; shuffle: a block's channels become pixels
    concat, add : merge with the level's skip
    gate : weigh the skip
    """

    act: Act
    number: int = -1


class State(NamedTuple):
    """Where a search stands.

    ``fresh`` is, after an up-sampling that is not merged yet, the channels before it;
    -1 after a strided block; else 0. ``used`` has one bit per block, ``gated`` one per
    gate. ``uses`` tells how each family of blocks was used first, ``counts`` how many
    convolutions each level of the contracting path has, ``here`` how many came since
    the last merge.
    """

    rising: bool
    level: int
    channels: int
    skips: tuple[int, ...]
    used: int
    gated: int
    fresh: int
    last: int
    uses: tuple[str, ...]
    counts: tuple[int, ...] = (0,)
    here: int = 0


@dataclass(frozen=True)
class Program:
    """An order that fits: steps, and heads beside the main way with their values."""

    steps: tuple[Step, ...]
    heads: tuple[tuple[int, int], ...]
    cost: float


Move = tuple[float, tuple[Step, ...], State]


class Search:
    """Looks for programs of blocks and gates.

    Parameters
    ----------
    blocks, gates : of one network
    dims : its spatial axes
    budget : moves to look at, at most
    """

    def __init__(
        self, blocks: Sequence[Block], gates: Sequence[Gate], dims: int, budget: int
    ) -> None:
        self.blocks, self.gates = blocks, gates
        self.budget = budget
        self.spread = 2**dims
        self.costs = Costs(blocks)
        self.readers: dict[int, list[Block]] = defaultdict(list)
        for block in blocks:
            self.readers[block.inputs].append(block)
        self.farthest = 0
        self.unplaced: list[str] = []

    def programs(self) -> list[Program]:
        """Return the best programs, cheapest first; none where nothing fits."""
        found: list[Program] = []
        heap: list[tuple[float, int, int, State, tuple[Step, ...] | None]] = []
        parents: dict[State, tuple[State | None, tuple[Step, ...]]] = {}
        best: dict[State, float] = {}
        count = 0
        for cost, steps, state in self._starts():
            parents[state], best[state] = (None, steps), cost
            heapq.heappush(heap, (cost, 0, count := count + 1, state, None))
        while heap and self.budget > 0 and len(found) < MOST_PROGRAMS:
            cost, depth, _, state, ended = heapq.heappop(heap)
            if found and cost > found[0].cost + NEARLY_AS_GOOD:
                break
            if ended is not None:
                program = self._program(ended, state, cost)
                if self._expands(ended) and all(
                    program.steps != other.steps for other in found
                ):
                    found.append(program)
                continue
            if cost > best[state]:
                continue
            self._note(state)
            if self._may_end(state):
                steps = _path(parents, state)
                extra = self.costs.end(state) + self.costs.heads(state.used)
                end = (cost + extra, depth - 1, count := count + 1, state, steps)
                heapq.heappush(heap, end)
            for more, steps, after in self._moves(state):
                self.budget -= 1
                total = cost + more
                if total < best.get(after, float("inf")):
                    best[after], parents[after] = total, (state, steps)
                    count += 1
                    heapq.heappush(heap, (total, depth - 1, count, after, None))
        return found

    def _note(self, state: State) -> None:
        """Keep what found no place in the state that used the most."""
        if state.used.bit_count() > self.farthest:
            self.farthest = state.used.bit_count()
            self.unplaced = [
                unit.key for block in self.blocks for unit in block.members
                if not state.used >> block.number & 1
            ]  # fmt: skip

    # -- moves

    def _starts(self) -> Iterator[Move]:
        for block in self.blocks:
            if not block.rises:
                cost = self.costs.start(block)
                unused = self.costs.unused
                state = State(False, 0, block.inputs, (), 0, 0, 0, -1, unused)
                for more, steps, after in self._run(state, block, ()):
                    yield cost + more, steps, after._replace(uses=unused)

    def _moves(self, state: State) -> Iterator[Move]:
        if not state.rising:
            yield from self._downwards(state)
            yield from self._centres(state)
        if state.fresh > 0:
            yield from self._merges(state)
        elif state.rising or state.level:
            yield from self._upwards(state)

    def _free(self, state: State, channels: int) -> Iterator[Block]:
        for block in self.readers.get(channels, ()):
            if not state.used >> block.number & 1:
                yield block

    def _downwards(self, state: State) -> Iterator[Move]:
        deeper = state._replace(
            level=state.level + 1, skips=(*state.skips, state.channels), fresh=0,
            counts=(*state.counts, 0),
        )  # fmt: skip
        for block in self._free(state, state.channels):
            if block.rises:
                continue
            cost = self.costs.order(state, block, rising=False)
            stay = self.costs.stay(state, block)
            yield from self._run(state._replace(fresh=0), block, (), cost + stay)
            if deeper.level > MOST_LEVELS:
                continue
            down = cost + self.costs.down(state, block)
            yield from self._run(deeper, block, (Step("down"),), down)
            if len(block.members) == 1:
                stride = cost + self.costs.stride(block)
                for more, steps, after in self._run(deeper, block, (), stride):
                    strided = (Step("stride", block.number), *steps[1:])
                    after = after._replace(fresh=-1, counts=deeper.counts)
                    yield more, strided, after

    def _centres(self, state: State) -> Iterator[Move]:
        """Pool, and rise again in one block."""
        for block in self._free(state, state.channels):
            if block.rises and len(block.units) > 1:
                deeper = state._replace(
                    rising=True, skips=(*state.skips, state.channels),
                    fresh=state.channels,
                )  # fmt: skip
                cost = self.costs.order(state, block, rising=True) + 0.2
                yield from self._run(deeper, block, (Step("down"),), cost)

    def _upwards(self, state: State) -> Iterator[Move]:
        higher = state._replace(
            rising=True, level=state.level - 1, fresh=state.channels, here=0
        )
        leave = self.costs.unlike(state, state.here)
        for block in self._free(state, state.channels):
            cost = self.costs.order(state, block, rising=True)
            if state.level and block.rises:
                yield from self._run(higher, block, (), cost + self._left(state, block))
                continue
            if state.level:
                rise = cost + leave + self.costs.rise(block)
                yield from self._run(higher, block, (Step("rise"),), rise)
                yield from self._shuffled(higher, block, cost + leave)
            if state.rising and not block.rises:
                more = cost + self.costs.continued(block)
                yield from self._run(state, block, (), more)
        if state.level:
            for more, steps, after in self._merges(higher):
                if steps[0].act in ("concat", "add", "gate"):
                    plain = 0.1 + (1.0 if steps[0].act == "add" else 0.0)
                    yield more + leave + plain, (Step("rise"), *steps), after

    def _shuffled(self, state: State, block: Block, cost: float) -> Iterator[Move]:
        """Run a lone convolution, and make pixels of its channels."""
        if len(block.members) > 1 or block.outputs % self.spread:
            return
        for more, steps, after in self._run(state, block, (), cost + 0.8):
            channels = block.outputs // self.spread
            step = Step("shuffle", block.number)
            yield more, (step, *steps[1:]), after._replace(channels=channels)

    def _left(self, state: State, block: Block) -> float:
        """Return what it costs to leave a level by a block that rises."""
        return self.costs.unlike(state, state.here + len(block.units) - 1)

    def _merges(self, state: State) -> Iterator[Move]:
        skip = state.skips[state.level]
        merged = state._replace(fresh=0, skips=state.skips[: state.level])
        gates = list(self._gates(state, skip)) or [((), state.gated, 0.0)]
        for before, gated, gate_cost in gates:
            for block in self._free(state, state.channels + skip):
                cost = self.costs.order(state, block, rising=True) + gate_cost
                joined = merged._replace(gated=gated)
                steps = (*before, Step("concat"))
                yield from self._after_merge(joined, block, steps, cost)
            for block in self._free(state, state.channels):
                cost = self.costs.order(state, block, rising=True) + gate_cost
                if skip == state.channels:
                    joined = merged._replace(gated=gated)
                    steps = (*before, Step("add"))
                    yield from self._after_merge(joined, block, steps, cost + ADDED)
        for block in self._free(state, state.channels):
            cost = self.costs.order(state, block, rising=True)
            yield from self._after_merge(
                merged, block, (), cost + (3 if skip == state.channels else 2)
            )
            if not block.rises:
                yield from self._run(state, block, (), cost + self.costs.again(block))

    def _after_merge(
        self, state: State, block: Block, steps: tuple[Step, ...], cost: float
    ) -> Iterator[Move]:
        """Run a block after a sum; it may itself rise to the next level."""
        if not block.rises:
            yield from self._run(state, block, steps, cost)
        elif state.level:
            higher = state._replace(level=state.level - 1, fresh=state.channels, here=0)
            cost += self._left(state._replace(here=0), block)
            yield from self._run(higher, block, steps, cost)

    def _gates(
        self, state: State, skip: int
    ) -> Iterator[tuple[tuple[Step, ...], int, float]]:
        for gate in self.gates:
            if state.gated >> gate.number & 1 or gate.skip.inputs != skip:
                continue
            if gate.signal.inputs in (state.channels, state.fresh):
                steps = (Step("gate", gate.number),)
                yield steps, state.gated | 1 << gate.number, 0.0

    def _run(
        self, state: State, block: Block, before: tuple[Step, ...], cost: float = 0.0
    ) -> Iterator[Move]:
        """Yield the run of a block, alone and with another one beside it."""
        used = state.used | 1 << block.number
        more, state = self.costs.use(state, block, before[-1].act if before else "")
        cost += more
        counts, here = state.counts, state.here
        if not state.rising and not block.rises:
            counts = (*counts[:-1], counts[-1] + len(block.units))
        elif state.fresh <= 0:
            here += len(block.units)
        after = state._replace(
            channels=block.outputs, used=used, last=block.number,
            rising=state.rising or block.rises, counts=counts, here=here,
        )  # fmt: skip
        steps = (*before, Step("run", block.number))
        yield cost, steps, after
        for other in self.costs.beside(block):
            if not used >> other.number & 1:
                both = after._replace(used=used | 1 << other.number)
                yield cost + 0.1, (*steps, Step("beside", other.number)), both

    # -- ends

    def _may_end(self, state: State) -> bool:
        if state.level or state.fresh > 0 or not state.rising:
            return False
        if state.gated != (1 << len(self.gates)) - 1:
            return False
        return all(
            len(block.members) == 1 and block.outputs == state.channels
            for block in self.blocks
            if not state.used >> block.number & 1
        )

    def _expands(self, steps: tuple[Step, ...]) -> bool:
        """Tell a U-Net from convolutions that only seem to go down and up."""
        acts = [step.act for step in steps]
        if "concat" in acts or "add" not in acts:
            return "concat" in acts
        begin = min(acts.index(a) for a in ("add", "rise", "shuffle") if a in acts)
        return any(
            self.blocks[step.number].rises
            or any(u.outputs < u.inputs for u in self.blocks[step.number].units)
            for place, step in enumerate(steps[:-1])
            if step.act == "run" and (place >= begin or self.blocks[step.number].rises)
        )

    def _program(self, steps: tuple[Step, ...], state: State, cost: float) -> Program:
        heads = []
        for block in self.blocks:
            if state.used >> block.number & 1:
                continue
            places = [
                n for n, step in enumerate(steps)
                if step.act == "run"
                and self.blocks[step.number].outputs == block.inputs
            ]  # fmt: skip
            if places:
                heads.append((block.number, places[-1]))
        return Program(steps, tuple(heads), cost)


def _path(
    parents: dict[State, tuple[State | None, tuple[Step, ...]]], state: State
) -> tuple[Step, ...]:
    parts: list[tuple[Step, ...]] = []
    place: State | None = state
    while place is not None:
        place, steps = parents[place]
        parts.append(steps)
    return tuple(step for steps in reversed(parts) for step in steps)
