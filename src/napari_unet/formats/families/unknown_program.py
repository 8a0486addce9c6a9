"""Writes the graph of a program: the order in which blocks are computed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from napari_unet.formats.families.unknown_writer import stridable

if TYPE_CHECKING:
    from napari_unet.engine.graph import GraphSpec
    from napari_unet.formats.families.unknown_blocks import Block
    from napari_unet.formats.families.unknown_layout import Role
    from napari_unet.formats.families.unknown_search import Program, Step
    from napari_unet.formats.families.unknown_writer import Writer


class ProgramWriter:
    """Writes a program with a Writer."""

    def __init__(self, writer: Writer, program: Program) -> None:
        self.w, self.program = writer, program
        self.skips: list[int] = []
        self.below = self.x = 0
        self.values: dict[int, int] = {}
        self.traits: set[str] = set()
        self.widths: list[int] = []
        steps = program.steps
        writer.may_stride = all(
            stridable(writer.plan.blocks[after.number])
            for step, after in pairwise(steps)
            if step.act == "down"
        )

    def graph(self) -> GraphSpec:
        """Return the graph of the program."""
        steps = self.program.steps
        for number, step in enumerate(steps):
            following = steps[number + 1] if number + 1 < len(steps) else None
            self._step(number, step, following)
        out = self.x
        for head, place in self.program.heads:
            self.w.block(self.values[place], self.w.plan.blocks[head], "head")
            self.traits.add("further heads")
        return self.w.b.graph(
            "unknown U-Net", tuple(self.widths), last=out,
            norm=self.w.norm_name(), traits=tuple(sorted(self.traits)),
            residual=self.w.plan.residual,
        )  # fmt: skip

    def _step(self, number: int, step: Step, following: Step | None) -> None:
        w, blocks = self.w, self.w.plan.blocks
        if step.act == "run":
            self._run(number, blocks[step.number], following)
        elif step.act == "stride":
            self._down()
            size = self._size(len(self.skips) - 1)
            self.x = w.block(self.x, blocks[step.number], "stride", size)
            self.traits.add("strided convolutions")
        elif step.act == "down":
            self._down()
            block = blocks[following.number] if following else None
            if block is None or block.rises or not w.strided(block):
                self.x = w.pool(self.x, self._size(len(self.skips) - 1))
        elif step.act == "shuffle":
            self.below = self.x
            block = blocks[step.number]
            x = w.block(self.x, block, "up")
            channels = block.outputs // 2**w.b.dims
            self.x = w.b.function("pixel_shuffle", x, channels, factor=2)
            self.traits.add("pixel shuffle")
        elif step.act == "rise":
            self.below = self.x
            block = (
                blocks[following.number]
                if following and following.act == "run"
                else None
            )
            self.x = w.upsample(self.x, self._size(len(self.skips) - 1), block)
        elif step.act == "gate":
            gate = w.plan.gates[step.number]
            self.skips[-1] = w.gate(self.skips[-1], self.x, self.below, gate)
            self.traits.add("attention gates")
        elif step.act == "concat":
            self.x = w.concat([self.skips.pop()], self.x)
        elif step.act == "add":
            self.x = w.b.add(self.x, self.skips.pop())
            self.traits.add("added skips")

    def _down(self) -> None:
        self.skips.append(self.x)
        self.widths.append(self.w.b.channels[self.x])

    def _run(self, number: int, block: Block, following: Step | None) -> None:
        steps = self.program.steps
        before = steps[number - 1].act if number else ""
        beside = None
        if following and following.act == "beside":
            beside = self.w.plan.blocks[following.number]
        if block.rises:
            self.below = self.x
        role: Role = "block"
        if number == len(steps) - 1:
            role = "head"
        elif before == "rise":
            role = "up"
        step = None
        if before == "down" and not block.rises and self.w.strided(block):
            step = self._size(len(self.skips) - 1)
        self.x = self.w.block(self.x, block, role, step, beside)
        self.values[number] = self.x
        if before == "down" and not any(
            s.act in ("down", "stride") for s in steps[number:]
        ):
            self.widths.append(self.w.b.channels[self.x])

    def _size(self, level: int) -> tuple[int, ...]:
        """Return the stride between a level and the next, as its way up shows."""
        rising = [
            unit for step in self.program.steps if step.act == "run"
            for unit in self.w.plan.blocks[step.number].units if unit.transposed
        ]  # fmt: skip
        levels = sum(s.act in ("down", "stride") for s in self.program.steps)
        if len(rising) != levels:
            return (2,) * self.w.plan.dims
        kernel = rising[levels - 1 - level].kernel
        return tuple(1 if k == 1 else 2 for k in kernel)
