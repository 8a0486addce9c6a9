"""What an order of blocks costs that goes against names, numbers and habits."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from napari_unet.formats.families.unknown_blocks import SHORTCUT_WORDS
from napari_unet.formats.families.unknown_parts import DOWN_WORDS, UP_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet.formats.families.unknown_blocks import Block
    from napari_unet.formats.families.unknown_search import State

CONTRACTING = re.compile(r"enc|down|contract|left|analy", re.I)
EXPANDING = re.compile(
    r"(?:^|[._\d])up|up(?=[._\d]|$)|up(?=[A-Z])|dec|expan|right|synth", re.I
)
LAST = re.compile(r"^(?:\w*[._])?(?:out|final|head|last|segm|class|logit|pred)", re.I)
FIRST = re.compile(r"^(?:in|inc|input|first|stem|start|init|head_?conv)\w{0,5}\b", re.I)
USUAL_INPUTS = {1: 0.0, 3: 0.0, 2: 0.1, 4: 0.1}


class Costs:
    """Costs of moves between the blocks of one network."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = blocks
        self._families: dict[str, list[Block]] = defaultdict(list)
        self._groups: dict[str, int] = defaultdict(int)
        for block in blocks:
            self._families[block.family].append(block)
            if block.group:
                self._groups[block.group] |= 1 << block.number
        for family in self._families.values():
            family.sort(key=lambda block: block.numbers)
        kinds = dict.fromkeys(map(_kind, blocks))
        self._places = {kind: n for n, kind in enumerate(kinds)}
        self._phases = {
            (block.number, rising): _phase(block, rising=rising)
            for block in blocks
            for rising in (False, True)
        }
        self._kinds = [self._places[_kind(block)] for block in blocks]
        self._turns = {
            family: tuple((block.number, 1 << block.number) for block in members)
            for family, members in self._families.items()
        }
        self._names = [block.family for block in blocks]
        self._outside = [
            (self._groups[last.group], frozenset(
                block.number for block in blocks
                if block.key.startswith(f"{last.group}.")
            )) if last.group else (0, frozenset())
            for last in blocks
        ]  # fmt: skip
        several = sum(len(block.units) > 1 for block in blocks)
        self._several = 4 * several >= len(blocks)
        self._sizes = {len(block.units) for block in blocks[:-1]}
        self._growing = any(b.outputs > b.inputs > blocks[0].inputs for b in blocks)
        self._beside = {block.number: self._besides(block) for block in blocks}

    @property
    def unused(self) -> tuple[str, ...]:
        """Return that no block is used yet, as states note it."""
        return ("",) * len(self._places)

    def start(self, block: Block) -> float:
        """Return what it costs to begin with a block."""
        early = block.number == 0 or bool(FIRST.search(block.key))
        cost = USUAL_INPUTS.get(block.inputs, 0.8 if block.inputs <= 10 else 2.0)
        cost += 2.0 if LAST.search(block.key) and not FIRST.search(block.key) else 0.0
        return cost + (0.0 if early else 0.3) + self._phases[block.number, False]

    def order(self, state: State, block: Block, *, rising: bool) -> float:
        """Return what it costs to take a block after the last one."""
        cost = self._phases[block.number, rising]
        if block.number != state.last + 1:
            cost += self._out_of_turn(state.used, block.number)
        group, members = self._outside[state.last]
        if group & ~state.used and block.number not in members:
            cost += 0.6
        return cost

    def _out_of_turn(self, used: int, number: int) -> float:
        """Return little for the first and the last of a family that are left."""
        turns = self._turns[self._names[number]]
        for order, cost in ((turns, 0.1), (turns[::-1], 0.15)):
            idle = next(n for n, bit in order if not used & bit)
            if idle == number:
                return cost
        return 1.0

    def stay(self, state: State, block: Block) -> float:
        """Return what it costs to stay at a level of the contracting path."""
        last = self.blocks[state.last]
        if state.fresh < 0 or (block.group and block.group == last.group):
            return 0.0
        if block.outputs > state.channels:
            return 1.0
        if block.outputs < state.channels:
            return 0.1
        if self._lone(block):
            return 0.5
        return 0.0 if len(block.units) == 1 else 0.5

    def down(self, state: State, block: Block) -> float:
        """Return what it costs to pool before a block."""
        last = self.blocks[state.last]
        cost = 0.6 if block.group and block.group == last.group else 0.0
        if state.fresh < 0:
            cost += 1.5
        if block.outputs <= state.channels:
            usual = 0.7 if len(block.units) == 1 else 0.3
            cost += usual if self._growing else 0.1
        return cost

    def stride(self, block: Block) -> float:
        """Return what it costs to take a lone convolution as the way down."""
        name = block.key.rpartition(".")[2]
        even = all(k % 2 == 0 for k in block.units[0].kernel)
        if even or max(block.units[0].kernel) == 1:
            return 0.0 if even else 2.0
        if DOWN_WORDS.search(block.key) and (
            DOWN_WORDS.search(name) or len(self._sizes) > 1
        ):
            return 0.05
        return 0.2 if self._lone(block) else 0.8

    def _lone(self, block: Block) -> bool:
        """Tell a convolution that stands alone among blocks of several."""
        single = len(block.members) == 1 and block.inputs == block.outputs
        return single and self._several

    def rise(self, block: Block) -> float:
        """Return what it costs to up-sample without weights before a block."""
        if len(block.units) > 1:
            return 1.0
        unit = block.units[0]
        if max(unit.kernel) <= 2 or UP_WORDS.search(block.key):
            return 0.0
        return 0.05 if unit.lead == 1 else 0.3

    def continued(self, block: Block) -> float:
        """Return what it costs to stay at a level of the expanding path."""
        even = all(k % 2 == 0 for k in block.units[0].kernel)
        return 1.0 if even else 0.1

    def again(self, block: Block) -> float:
        """Return what it costs to convolve once more before the merge."""
        return 1.0 if len(block.units) == 1 else 1.5

    def unlike(self, state: State, here: int) -> float:
        """Return what it costs to leave a level with so many convolutions."""
        if not state.rising or state.level >= len(state.counts):
            return 0.0
        return 0.15 * abs(state.counts[state.level] - here)

    def use(self, state: State, block: Block, act: str) -> tuple[float, State]:
        """Note how a block is used; like blocks that are used unlike cost."""
        place = self._kinds[block.number]
        known = state.uses[place]
        if not known:
            uses = (*state.uses[:place], act, *state.uses[place + 1 :])
            return 0.0, state._replace(uses=uses)
        return (0.0 if known == act else 0.4), state

    def end(self, state: State) -> float:
        """Return what it costs to end here."""
        block = self.blocks[state.last]
        return self._end(block) + self.unlike(state, state.here - len(block.units))

    def _end(self, block: Block) -> float:
        unit = block.units[-1]
        cost = 0.5 if len(block.units) > 1 else 0.0
        cost += 0.3 if unit.post else 0.0
        return cost + (0.1 if max(unit.kernel) > 1 else 0.0)

    def heads(self, used: int) -> float:
        """Return what heads beside the main way cost."""
        idle = [block for block in self.blocks if not used >> block.number & 1]
        return sum(0.2 if max(block.units[0].kernel) == 1 else 0.6 for block in idle)

    def beside(self, block: Block) -> list[Block]:
        """Return the blocks whose results may be added to that of a block."""
        return self._beside[block.number]

    def _besides(self, block: Block) -> list[Block]:
        if block.kind != "chain" or block.rises:
            return []
        return [
            other
            for other in self.blocks
            if other is not block
            and len(other.members) == 1
            and (other.inputs, other.outputs) == (block.inputs, block.outputs)
            and not other.rises
            and SHORTCUT_WORDS.search(other.key)
        ]


def _kind(block: Block) -> tuple[str, int, bool, int]:
    """Return what blocks have in common that are used alike."""
    grows = (block.outputs > block.inputs) - (block.outputs < block.inputs)
    return block.family, len(block.units), block.rises, grows


def _phase(block: Block, *, rising: bool) -> float:
    """Return what it costs that a name speaks of the other path."""
    down = bool(CONTRACTING.search(block.key))
    up = bool(EXPANDING.search(block.key))
    if down == up or (up and block.rises):
        return 0.0
    return 1.5 if up != rising else 0.0
