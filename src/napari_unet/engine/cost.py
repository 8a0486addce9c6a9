"""How much memory a network needs for a part of an image. Imports no torch."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from napari_unet.engine.receptive import users

if TYPE_CHECKING:
    from napari_unet.engine.cropping import Cropped
    from napari_unet.engine.graph import GraphSpec


def most_held(graph: GraphSpec, cropped: Cropped) -> int:
    """Return how many numbers are held at once when a part is computed, at most.

    Those of all values that are read later, and of what is made of them; each layer's
    input counts twice, because some copy it.
    """
    channels, last = channels_of(graph), users(graph.nodes)
    sizes = {
        value: channels[value] * prod(stop - start for start, stop in parts)
        for value, parts in cropped.needed.items()
    }
    held, most = sizes[0], 0
    for number, node in enumerate(graph.nodes, start=1):
        if number not in last:
            continue
        given = set(node.inputs)
        held += sizes[number]
        most = max(most, held + sum(sizes[value] for value in given))
        held -= sum(sizes[value] for value in given if last[value] == number)
    return most


def channels_of(graph: GraphSpec) -> list[int]:
    """Return the channels of each value."""
    found = [graph.in_channels]
    for node in graph.nodes:
        given = [found[value] for value in node.inputs]
        options = node.options
        if node.op in ("conv", "conv_transpose", "linear"):
            count = int(str(options["outputs"]))
        elif node.op == "concat":
            count = sum(given)
        elif node.op == "take":
            count = int(str(options["stop"])) - int(str(options["start"]))
        elif node.op == "pixel_shuffle":
            count = given[0] // int(str(options["factor"])) ** graph.dims
        else:
            count = given[0]
        found.append(count)
    return found
