"""Descriptions of format versions 0.3 and 0.4, whose axes are letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet.formats.bioimageio.document import (
    Malformed,
    items,
    mapping,
    number,
    whole,
    words,
)
from napari_unet.formats.bioimageio.tensors import (
    Axis,
    Tensor,
    WeightsFile,
    some_source,
    source_of,
    steps_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_unet.formats.bioimageio.tensors import Source

KINDS = {"b": "batch", "c": "channel", "t": "time", "i": "index"}
LETTERS = "bitczyx"


def inputs(content: dict[str, Any]) -> Iterator[Tensor]:
    """Yield the input tensors."""
    yield from _tensors(content, "inputs", "test_inputs", "preprocessing")


def outputs(content: dict[str, Any]) -> Iterator[Tensor]:
    """Yield the output tensors."""
    yield from _tensors(content, "outputs", "test_outputs", "postprocessing")


def _tensors(
    content: dict[str, Any], which: str, tests: str, steps: str
) -> Iterator[Tensor]:
    tried = items(content.get(tests), tests)
    for index, value in enumerate(items(content.get(which), which)):
        tensor = mapping(value, which)
        letters = words(tensor.get("axes"), 20)
        if (
            not letters
            or set(letters) - set(LETTERS)
            or len(set(letters)) < len(letters)
        ):
            raise Malformed(f"the axes {letters!r}")
        yield Tensor(
            words(tensor.get("name")) or f"{which}[{index}]",
            tuple(_axes(letters, tensor.get("shape"))),
            steps_of(items(tensor.get(steps), steps), "name"),
            some_source(tried[index]) if index < len(tried) else None,
        )


def _axes(letters: str, shape: object) -> Iterator[Axis]:
    sizes = _sizes(shape, len(letters))
    zooms, offsets = _relation(shape, len(letters))
    for letter, size, zoom, offset in zip(letters, sizes, zooms, offsets, strict=True):
        kind = KINDS.get(letter, "space")
        if kind == "space":
            yield Axis(kind, letter, size, zoom=zoom, offset=offset)
        else:
            added = int(offset) if not zoom else None  # an axis that is new
            yield Axis(kind, kind, size or added)


def _sizes(shape: object, count: int) -> list[int | None]:
    """Return the sizes that are fixed: listed, or without a step."""
    if isinstance(shape, list):
        found = [whole(n, "a size", 1) for n in items(shape, "the shape")]
        return _as_many([*found], count)
    given = mapping(shape, "the shape")
    least = [whole(n, "a size", 1) for n in items(given.get("min"), "the shape")]
    steps = [whole(n, "a step") for n in items(given.get("step"), "the shape")]
    if not least:
        return [None] * count
    return _as_many(
        [None if step else n for n, step in zip(least, steps, strict=False)], count
    )


def _as_many(sizes: list[int | None], count: int) -> list[int | None]:
    if len(sizes) != count:
        raise Malformed(f"{len(sizes)} sizes for {count} axes")
    return sizes


def _relation(shape: object, count: int) -> tuple[list[float], list[float]]:
    """Return how many output pixels there are per input pixel, and how many more."""
    given = {} if isinstance(shape, list) else mapping(shape, "the shape")
    zooms = [number(n or 0, "a scale") for n in items(given.get("scale"), "scale")]
    offsets = [2 * number(n, "an offset") for n in items(given.get("offset"), "offset")]
    zooms, offsets = zooms or [1.0] * count, offsets or [0.0] * count
    if len(zooms) != count or len(offsets) != count:
        raise Malformed(f"{len(zooms)} scales and {len(offsets)} offsets")
    return zooms, offsets


def weights(content: dict[str, Any]) -> dict[str, WeightsFile]:
    """Return the files of weights by kind."""
    found = {}
    for kind, value in mapping(content.get("weights"), "weights").items():
        entry = mapping(value, f"weights.{kind}")
        if not entry.get("source"):
            continue
        found[kind[:60]] = WeightsFile(
            source_of(entry), settings=mapping(entry.get("kwargs"), "kwargs")
        )
    return found


def attachments(content: dict[str, Any]) -> tuple[Source, ...]:
    """Return further files of the package."""
    given = content.get("attachments")
    files = given.get("files") if isinstance(given, dict) else given
    found = [some_source(one) for one in items(files, "attachments")]
    return tuple(one for one in found if one is not None)
