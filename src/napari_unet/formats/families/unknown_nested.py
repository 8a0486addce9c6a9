"""Nested U-Nets (U-Net++) of someone's own: a triangle of blocks, two numbers each.

Block (i, j) lies at level i and reads all blocks (i, 0) to (i, j - 1) and the
up-sampled block (i + 1, j - 1).

References
----------
Zhou et al.: UNet++: a nested U-Net architecture for medical image segmentation,
DLMIA 2018, arXiv:1807.10165.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_unet.engine.graph import GraphSpec
    from napari_unet.formats.families.unknown_blocks import Block
    from napari_unet.formats.families.unknown_writer import Writer

Place = tuple[int, int]


@dataclass(frozen=True)
class Triangle:
    """A nested U-Net: blocks by place, ways up by the place that they lead to."""

    nodes: Mapping[Place, Block]
    ups: Mapping[Place, Block]
    heads: tuple[Block, ...]

    @property
    def depth(self) -> int:
        """The number of the coarsest level."""
        return max(level for level, _ in self.nodes)


def triangle_of(blocks: Sequence[Block]) -> Triangle | None:
    """Return the triangle that blocks make by their numbers and channels, if any."""
    nodes = _nodes(blocks)
    depth = max((level for level, _ in nodes), default=0)
    whole = {(i, j) for i in range(depth + 1) for j in range(depth + 1 - i)}
    if depth < 2 or set(nodes) != whole:
        return None
    rest = [block for block in blocks if block not in nodes.values()]
    width = nodes[0, depth].outputs
    heads = tuple(
        block for block in rest
        if block.inputs == width and not block.rises and len(block.members) == 1
    )  # fmt: skip
    ups = _ups([block for block in rest if block not in heads], nodes)
    if ups is None or not heads or not _fits(nodes, ups):
        return None
    return Triangle(nodes, ups, heads)


def _nodes(blocks: Sequence[Block]) -> dict[Place, Block]:
    """Return the blocks of the largest family with two numbers, by these."""
    families: dict[str, dict[Place, Block]] = {}
    for block in blocks:
        place = _place(block)
        if place is not None and not block.rises:
            families.setdefault(re.sub(r"\d", "#", block.key), {})[place] = block
    return max(families.values(), key=len, default={})


def _place(block: Block) -> Place | None:
    digits = re.findall(r"\d", block.key.partition(".")[0])
    if len(digits) != 2:
        digits = re.findall(r"\d", block.key)
    return (int(digits[0]), int(digits[1])) if len(digits) == 2 else None


def _ups(
    blocks: Sequence[Block], nodes: Mapping[Place, Block]
) -> dict[Place, Block] | None:
    """Return the convolutions of the ways up by the place that they lead to."""
    targets = [place for place in nodes if place[1] > 0]
    if not blocks:
        return {}
    if len(blocks) != len(targets):
        return None
    places = [_place(block) for block in blocks]
    for shift in (0, 1):
        by_place = {
            (place[0] - shift, place[1] + shift): block
            for place, block in zip(places, blocks, strict=True)
            if place is not None
        }
        if set(by_place) == set(targets):
            return by_place
    return None


def _fits(nodes: Mapping[Place, Block], ups: Mapping[Place, Block]) -> bool:
    depth = max(level for level, _ in nodes)
    for (level, number), block in nodes.items():
        if level + number > depth:
            return False
        if number == 0:
            above = nodes[level - 1, 0].outputs if level else block.inputs
            fits = block.inputs == above
        else:
            below = nodes[level + 1, number - 1].outputs
            up = ups.get((level, number))
            if up is not None and up.inputs != below:
                return False
            made = below if up is None else up.outputs
            row = sum(nodes[level, n].outputs for n in range(number))
            fits = block.inputs == row + made
        if not fits:
            return False
    return True


def nested_graph(writer: Writer, triangle: Triangle) -> GraphSpec:
    """Write the graph of a triangle."""
    b, values = writer.b, dict[Place, int]()
    step = (2,) * b.dims
    for number in range(triangle.depth + 1):
        for level in range(triangle.depth + 1 - number):
            block = triangle.nodes[level, number]
            if number == 0:
                x = writer.pool(values[level - 1, 0], step) if level else 0
            else:
                row = [values[level, n] for n in range(number)]
                below = values[level + 1, number - 1]
                up = _up(writer, triangle.ups.get((level, number)), below, step)
                x = writer.concat(row, up)
            values[level, number] = writer.block(x, block)
    traits = ["nested"]
    ends = [values[0, n] for n in range(1, triangle.depth + 1)]
    heads = sorted(triangle.heads, key=lambda head: head.numbers)
    if len(heads) > 1:
        traits.append("further heads")
    starts = ends[-len(heads) :]
    out = [
        writer.block(x, head, "head") for x, head in zip(starts, heads, strict=True)
    ][-1]
    widths = tuple(b.channels[values[n, 0]] for n in range(triangle.depth + 1))
    return b.graph(
        "unknown U-Net", widths, last=out, norm=writer.norm_name(),
        traits=tuple(traits),
    )  # fmt: skip


def _up(writer: Writer, up: Block | None, x: int, step: tuple[int, ...]) -> int:
    if up is not None and up.rises:
        return writer.block(x, up)
    x = writer.upsample(x, step, up)
    return writer.block(x, up, "up") if up is not None else x
