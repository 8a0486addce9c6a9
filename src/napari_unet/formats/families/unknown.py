"""U-Nets of someone's own class, rebuilt from the names and shapes of their weights.

Nothing but the state dict is known. Blocks are found by names and channels, their order
by a search (unknown_search.py), and what shapes do not show (order of norm and
activation, of a concatenation, kinds of pooling and up-sampling) is a choice: batch
norms that have seen images decide it where they can (unknown_evidence.py), else habit
does, and all readings are listed, so that the user can take another one.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.common import reading
from napari_unet.formats.families.unknown_choices import (
    MOST_READINGS,
    sentence,
    single_changes,
    ways,
)
from napari_unet.formats.families.unknown_evidence import Evidence
from napari_unet.formats.families.unknown_refusals import check_biases
from napari_unet.formats.families.unknown_structure import structures_of

if TYPE_CHECKING:
    from napari_unet.engine.spec import Source
    from napari_unet.formats.families.unknown_choices import Open
    from napari_unet.formats.families.unknown_structure import Structures
    from napari_unet.formats.reading import Contents, Reading

NAME = "a U-Net of someone's own"
CLEAR = 0.95  # likelihood of a reading that statistics decided


def read(contents: Contents) -> Reading | None:
    """Rebuild the network of an unknown class; see the module.

    Raises
    ------
    Misfit
        With the reason, if no U-Net fits the weights.
    """
    structures = structures_of(contents.shapes)
    check_biases(contents.shapes)
    evidence = Evidence(structures, contents.weights)
    choices, _, spoke = evidence.weighed(_met(structures))
    listed = _readings(structures, choices, set(contents.weights))
    chosen = contents.wanted if contents.wanted in listed else ""
    taken = chosen or next(iter(listed))
    graph, b = structures.graph(structures.choices(listed[taken]))
    alone = len(listed) == 1
    clear = alone or (spoke and next(ways(choices))[0] > CLEAR)
    source: Source = "chosen" if chosen else "inferred" if clear else "guessed"
    return reading(
        contents, graph, b, reading=taken, readings=() if alone else tuple(listed),
        sources={"architecture": source},
        remarks=() if alone else (_remark(len(listed), spoke),),
    )  # fmt: skip


def _met(structures: Structures) -> Open:
    """Return the choices that the likeliest reading meets."""
    choices = structures.choices()
    structures.graph(choices)
    return choices.met


def _readings(
    structures: Structures, choices: Open, keys: set[str]
) -> dict[str, dict[str, str]]:
    """Return the likeliest ways that use all weights, by their sentences."""
    likeliest = list(islice(ways(choices), MOST_READINGS))
    listed: dict[str, dict[str, str]] = {}
    for way in (*(way for _, way in likeliest), *single_changes(choices)):
        said = sentence(way, choices)
        if said not in listed and _uses_all(structures, way, keys):
            listed[said] = way
    if not listed:
        raise Misfit("no reading of its weights uses them all")
    return listed


def _uses_all(structures: Structures, way: dict[str, str], keys: set[str]) -> bool:
    try:
        _, b = structures.graph(structures.choices(way))
    except Misfit:
        return False
    return keys <= b.used


def _remark(count: int, spoke: bool) -> str:
    how = "its batch norms" if spoke else "habit"
    return (
        f"the weights leave {count} readings; {how} made the first the likeliest: "
        "compare them on an image"
    )
