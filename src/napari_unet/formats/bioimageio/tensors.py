"""The parts of a description: files, axes, tensors, steps of processing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_unet.formats.bioimageio.document import Malformed, mapping, words

if TYPE_CHECKING:
    from collections.abc import Iterable

SPACE = ("z", "y", "x")
HASH = re.compile(r"[0-9a-f]{64}\Z")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A file that a description names, and its SHA-256 where it is given."""

    name: str
    sha256: str = ""

    @property
    def remote(self) -> bool:
        """Whether it lies on the internet."""
        return bool(ADDRESS.match(self.name))


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights.

    Attributes
    ----------
    source : the file
    beside : further files that it needs, such as ONNX' external data
    settings : plain arguments of the network's own class; the class is never run
    """

    source: Source
    beside: tuple[Source, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor.

    Attributes
    ----------
    kind : batch, channel, space, time or index
    id : "x", "channel" and so on
    size : pixels or channels, where they are fixed
    names : of channels, where they are given
    micrometres : of one pixel, where it is given
    zoom : pixels of the reference tensor that one pixel spans, times its own scale
    offset : by which an output is larger than its reference
    """

    kind: str
    id: str
    size: int | None = None
    names: tuple[str, ...] = ()
    micrometres: float | None = None
    zoom: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Step:
    """One step of pre- or post-processing."""

    id: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model."""

    id: str
    axes: tuple[Axis, ...]
    steps: tuple[Step, ...] = ()
    test: Source | None = None
    optional: bool = False

    def axis(self, kind: str) -> Axis | None:
        """Return the first axis of a kind."""
        return next((axis for axis in self.axes if axis.kind == kind), None)

    @property
    def space(self) -> tuple[Axis, ...]:
        """The spatial axes, in the order of the tensor."""
        return tuple(axis for axis in self.axes if axis.kind == "space")

    @property
    def order(self) -> str:
        """One letter per axis, such as "bcyx"."""
        letters = {"batch": "b", "channel": "c", "time": "t", "index": "i"}
        return "".join(letters.get(axis.kind, axis.id) for axis in self.axes)

    @property
    def channels(self) -> int | None:
        """The number of channels, where it is known; 1 without such an axis."""
        axis = self.axis("channel")
        return 1 if axis is None else axis.size


def source_of(value: object, sha256: object = None) -> Source:
    """Return a file that is named alone, or in a mapping with its hash."""
    if isinstance(value, dict):
        return source_of(value.get("source"), value.get("sha256"))
    name, digest = words(value, 1000), words(sha256, 64).lower()
    if not name:
        raise Malformed("a file without a name")
    if digest and not HASH.match(digest):
        raise Malformed(f"the hash of {name[:80]} has {len(digest)} characters, not 64")
    return Source(name.removeprefix("./"), digest)


def some_source(value: object, sha256: object = None) -> Source | None:
    """Return a file, or None where none is named."""
    named = value.get("source") if isinstance(value, dict) else value
    return source_of(value, sha256) if named else None


def steps_of(value: Iterable[Any], name: str) -> tuple[Step, ...]:
    """Return the steps of a list; ``name`` is the field that tells which it is."""
    found = []
    for one in value:
        step = mapping(one, "a step of processing")
        settings = mapping(step.get("kwargs"), "the settings of a step")
        found.append(Step(words(step.get(name), 60), settings))
    return tuple(found)
