"""What the readers of foreign families share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_unet.engine.spec import ModelSpec
from napari_unet.formats.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from napari_unet.engine.builder import Builder
    from napari_unet.engine.graph import GraphSpec
    from napari_unet.engine.spec import Output, Source
    from napari_unet.formats.reading import Contents


def dims_of(shapes: dict[str, tuple[int, ...]]) -> int:
    """Return 2 or 3, as the kernels of most convolutions say."""
    ranks = [len(shape) - 2 for shape in shapes.values() if len(shape) in (4, 5)]
    return max(set(ranks), key=ranks.count) if ranks else 2


def numbered(shapes: Iterable[str], pattern: str) -> list[int]:
    r"""Return the sorted numbers that keys have at the group of a pattern.

    ``numbered(shapes, r"down(\d+)\.")`` is [1, 2, 3, 4] for a network of four such.
    """
    found = {int(m[1]) for key in shapes if (m := re.match(pattern, key))}
    return sorted(found)


def reading(
    contents: Contents, graph: GraphSpec, b: Builder, *, output: Output | None = None,
    sources: dict[str, Source] | None = None, ignored: tuple[str, ...] = (),
    **fields: Any,
) -> Reading:  # fmt: skip
    """Return the reading of a graph whose layers took their sizes from the weights.

    Parameters
    ----------
    contents : the file's
    graph, b : what the builder made
    output : what the channels mean, as far as the family or the file says; None: guess
    sources : of what was read from the file, by field
    ignored : starts of keys that are known and not needed, such as further heads
    fields : further ones of ModelSpec
    """
    said: dict[str, Source] = {
        "architecture": "inferred", "output": "guessed", "normalization": "guessed",
    }  # fmt: skip
    spec = ModelSpec(
        name=contents.title,
        architecture=graph,
        output=output or likely_output(graph.out_channels),
        sources={**said, **(sources or {})},
        remarks=(*contents.remarks, *fields.pop("remarks", ())),
        **fields,
    )
    weights = {
        key: value
        for key, value in contents.weights.items()
        if key in b.used or not key.startswith(ignored or ("\0",))
    }
    return Reading(spec, weights)


def likely_output(channels: int) -> Output:
    """Return what foreign networks with so many channels usually give."""
    return "foreground" if channels <= 2 else "classes"
