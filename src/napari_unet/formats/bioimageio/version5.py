"""Descriptions of format version 0.5, whose axes are described one by one."""

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

KINDS = ("batch", "channel", "space", "time", "index")
MOST_AXES = 8
MICROMETRES = {
    "angstrom": 1e-4, "picometer": 1e-6, "nanometer": 1e-3, "micrometer": 1.0,
    "millimeter": 1e3, "centimeter": 1e4, "decimeter": 1e5, "meter": 1e6,
}  # fmt: skip


def inputs(content: dict[str, Any]) -> Iterator[Tensor]:
    """Yield the input tensors."""
    yield from _tensors(content, "inputs", "preprocessing")


def outputs(content: dict[str, Any]) -> Iterator[Tensor]:
    """Yield the output tensors."""
    yield from _tensors(content, "outputs", "postprocessing")


def _tensors(content: dict[str, Any], which: str, steps: str) -> Iterator[Tensor]:
    for index, value in enumerate(items(content.get(which), which)):
        tensor = mapping(value, which)
        axes = tuple(_axis(one) for one in items(tensor.get("axes"), "axes"))
        if not 1 <= len(axes) <= MOST_AXES or len({a.id for a in axes}) < len(axes):
            raise Malformed(f"the axes {[axis.id for axis in axes[:MOST_AXES]]}")
        yield Tensor(
            words(tensor.get("id")) or ("input" if which == "inputs" else "output"),
            axes,
            steps_of(items(tensor.get(steps), steps), "id"),
            some_source(tensor.get("test_tensor")),
            optional=bool(tensor.get("optional", False)) and index > 0,
        )


def _axis(value: object) -> Axis:
    axis = mapping(value, "an axis")
    kind = words(axis.get("type"), 20)
    if kind not in KINDS:
        raise Malformed(f"an axis of the type {kind!r}")
    name = words(axis.get("id"), 20) or ("x" if kind == "space" else kind)
    if kind == "channel":
        names = tuple(words(n, 80) for n in items(axis.get("channel_names"), "names"))
        return Axis(kind, name, _channels(axis, names), names)
    scale = number(axis.get("scale", 1.0), "the scale of an axis")
    unit = MICROMETRES.get(words(axis.get("unit"), 20))
    if not scale > 0:
        raise Malformed(f"the scale {scale:g}")
    micrometres = scale * unit if unit and kind == "space" else None
    return Axis(
        kind, name, _size(axis), (), micrometres, scale, _offset(axis.get("size"))
    )


def _channels(axis: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """Return how many channels there are; a pattern of names stands for many."""
    size = _size(axis)
    pattern = len(names) == 1 and "{" in names[0]
    return size if pattern or size else len(names) or None


def _size(axis: dict[str, Any]) -> int | None:
    size = axis.get("size")
    return None if size is None or isinstance(size, dict) else whole(size, "a size", 1)


def _offset(size: object) -> float:
    return number(size.get("offset") or 0, "offset") if isinstance(size, dict) else 0.0


def weights(content: dict[str, Any]) -> dict[str, WeightsFile]:
    """Return the files of weights by kind."""
    found = {}
    for kind, value in mapping(content.get("weights"), "weights").items():
        entry = mapping(value, f"weights.{kind}")
        if not entry.get("source"):
            continue
        architecture = entry.get("architecture")
        made = mapping(architecture, "architecture") if architecture else {}
        data = some_source(entry.get("external_data"))
        found[kind[:60]] = WeightsFile(
            source_of(entry), (data,) if data else (),
            mapping(made.get("kwargs"), "kwargs"),
        )  # fmt: skip
    return found


def attachments(content: dict[str, Any]) -> tuple[Source, ...]:
    """Return further files of the package."""
    found = [some_source(one) for one in items(content.get("attachments"), "files")]
    return tuple(one for one in found if one is not None)
