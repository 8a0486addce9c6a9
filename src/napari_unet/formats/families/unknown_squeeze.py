"""Squeeze and excitation in an unknown U-Net: blocks that weigh channels by their mean.

References
----------
Hu et al.: Squeeze-and-excitation networks, CVPR 2018, arXiv:1709.01507.
Roy et al.: Concurrent spatial and channel squeeze & excitation, MICCAI 2018,
arXiv:1803.02579.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.unknown_parts import distance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet.formats.families.unknown_blocks import Block
    from napari_unet.formats.families.unknown_parts import Part

WORDS = re.compile(
    r"(?:^|[._])(?:c|sc)?se(?:[._\d]|$)|squeez|excit|\bfc|channel_?att", re.I
)
SPATIAL_WORDS = re.compile(r"sse|spatial|[._]s[._]|squeez|scse", re.I)


@dataclass(frozen=True)
class Squeeze:
    """Two pointwise layers from C channels to fewer and back; ``spatial`` to one."""

    first: Part
    second: Part
    spatial: Part | None = None

    @property
    def channels(self) -> int:
        """Channels that are weighed."""
        return self.first.shape[1]


def squeezes_of(parts: Sequence[Part]) -> list[Squeeze]:
    """Return the squeezes among parts: pairs of like layers, one behind the other."""
    pointwise = [part for part in parts if _pointwise(part)]
    found: list[Squeeze] = []
    for first, second in pairwise(pointwise):
        narrow, wide = first.shape[:2]
        if second.shape[:2] != (wide, narrow) or narrow >= wide:
            continue
        named = WORDS.search(first.key) and WORDS.search(second.key)
        linear = first.kind == second.kind == "linear"
        if first.kind == second.kind and (named or linear):
            found.append(Squeeze(first, second))
    return [_with_spatial(squeeze, pointwise) for squeeze in found]


def _pointwise(part: Part) -> bool:
    return part.kind == "linear" or (part.kind == "conv" and max(part.shape[2:]) == 1)


def _with_spatial(squeeze: Squeeze, parts: Sequence[Part]) -> Squeeze:
    """Return the squeeze with the layer beside it that gives one channel, if any."""
    beside = [
        part
        for part in parts
        if part.shape[:2] == (1, squeeze.channels)
        and part.kind == "conv"
        and distance(part.key, squeeze.first.key) <= 4
        and SPATIAL_WORDS.search(part.key)
        and part.key.split(".")[:-2] == squeeze.first.key.split(".")[:-2]
    ]
    return Squeeze(squeeze.first, squeeze.second, beside[0]) if beside else squeeze


def without(parts: Sequence[Part], squeezes: Sequence[Squeeze]) -> list[Part]:
    """Return the parts that belong to no squeeze."""
    keys = {
        part.key
        for squeeze in squeezes
        for part in (squeeze.first, squeeze.second, squeeze.spatial)
        if part is not None
    }
    return [part for part in parts if part.key not in keys]


def owners(
    squeezes: Sequence[Squeeze], blocks: Sequence[Block]
) -> dict[int, tuple[Squeeze, ...]]:
    """Give every squeeze to the nearest block of its channels.

    Raises
    ------
    Misfit
        If there is none.
    """
    owned: dict[int, tuple[Squeeze, ...]] = defaultdict(tuple)
    for squeeze in squeezes:
        fitting = [block for block in blocks if block.outputs == squeeze.channels]
        if not fitting:
            raise Misfit(f"{squeeze.first.key}.weight fits no place")
        best = min(fitting, key=lambda block: _apart(squeeze, block))
        owned[best.number] = (*owned[best.number], squeeze)
    return dict(owned)


def _apart(squeeze: Squeeze, block: Block) -> tuple[int, int]:
    last = block.units[-1].conv
    steps = squeeze.first.order - last.order
    far = distance(squeeze.first.key, last.key)
    return far, steps if steps > 0 else 1000 - steps
