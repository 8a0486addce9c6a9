"""What the makers of Keras' layers share: the graph and the weights in the making."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.builder import Misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_unet.engine.builder import Builder
    from napari_unet.formats.families.keras.config import Layer
    from napari_unet.formats.families.keras.stored import Stored

    Handler = Callable[["Writer", "Step"], int]


@dataclass(frozen=True)
class Step:
    """One use of a layer: the values and numbers that it reads."""

    layer: Layer
    path: tuple[str, ...]
    inputs: tuple[int | float, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """What Keras stored of the layer."""
        return self.layer.config

    @property
    def x(self) -> int:
        """The one value that is read."""
        return self.values(1)[0]

    def values(self, count: int | None = None) -> list[int]:
        """Return the values that are read."""
        values = [i for i in self.inputs if isinstance(i, int)]
        if len(values) != len(self.inputs) or count not in (None, len(values)):
            raise Misfit(f"its layer {self.said} reads {len(self.inputs)} things")
        return values

    @property
    def said(self) -> str:
        """The layer's name, for messages."""
        return repr(self.path[-1][:80])


@dataclass
class Writer:
    """A graph in the making.

    Attributes
    ----------
    b : takes the nodes
    stored : the weights in the file
    weights : those that were taken, in torch's order, by key
    channels_first : how Keras counts axes in this network
    major : of Keras' version
    lambdas : names of layers of code that an explicit scaling stands in for
    pixels : values that are images of one pixel
    """

    b: Builder
    stored: Stored
    channels_first: bool = False
    major: int = 3
    weights: dict[str, Tensor] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    keys: dict[tuple[str, ...], str] = field(default_factory=dict)
    lambdas: list[str] = field(default_factory=list)
    pixels: set[int | float] = field(default_factory=set)

    def key(self, path: tuple[str, ...]) -> str:
        """Return the place of a layer's weights in the state dict."""
        if path not in self.keys:
            name = "".join(c if c.isalnum() or c == "_" else "_" for c in path[-1])
            used, unique, number = set(self.keys.values()), name or "layer", 1
            while unique in used:
                number += 1
                unique = f"{name}__{number}"
            self.keys[path] = unique
        return self.keys[path]

    def stored_weights(
        self, step: Step, names: Sequence[str]
    ) -> dict[str, NDArray[np.generic]]:
        """Return the weights of a layer by name: all of these, in Keras' order."""
        found = self.stored.of(step.path)
        if len(found) != len(names):
            raise Misfit(
                f"its layer {step.said} has {len(found)} weights, not {len(names)}"
            )
        if {name for name, _ in found} == set(names):
            return dict(found)
        return {name: value for name, (_, value) in zip(names, found, strict=True)}

    def keep(self, key: str, values: NDArray[np.generic]) -> None:
        """Take weights that are in torch's order already."""
        native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
        if native.dtype.kind not in "fiub":
            raise Misfit(f"its weight {key} is no number")
        self.weights[key] = torch.from_numpy(native.copy())
        self.shapes[key] = tuple(native.shape)

    def is_channels(self, axis: Any) -> bool:
        """Tell whether an axis, as Keras counts, is that of the channels."""
        (axis,) = axis if isinstance(axis, (list, tuple)) and len(axis) == 1 else [axis]
        dims = self.b.dims
        return axis in ((1, -1 - dims) if self.channels_first else (-1, dims + 1))


def whole(
    step: Step, name: str, dims: int, default: int | None = None
) -> tuple[int, ...]:
    """Return an option of one whole number per axis."""
    value = step.config.get(name)
    value = default if value is None else value
    if not isinstance(value, (list, tuple)):
        value = [value] * dims
    many = list(value)
    if len(many) != dims or not all(type(n) is int and 0 < n < 4096 for n in many):
        raise Misfit(f"its layer {step.said} has the {name} {str(value)[:40]}")
    return tuple(many)


def number(step: Step, name: str, default: float) -> float:
    """Return an option that is a number, however Keras wrapped it."""
    value = step.config.get(name, default)
    if isinstance(value, dict):  # numpy's numbers
        value = value.get("value", value.get("config", {}).get("value"))
    value = default if value is None else value
    if not isinstance(value, (int, float)) or not np.isfinite(value):
        raise Misfit(f"its layer {step.said} has the {name} {str(value)[:40]}")
    return float(value)


def same_padding(
    size: Sequence[int], stride: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return what TensorFlow's "same" adds before and after, per axis."""
    totals = [max(k - s, 0) for k, s in zip(size, stride, strict=True)]
    return [t // 2 for t in totals], [t - t // 2 for t in totals]


def is_same(step: Step) -> bool:
    """Tell whether the padding is TensorFlow's "same", not "valid"."""
    padding = step.config.get("padding", "valid")
    if padding not in ("same", "valid"):
        raise Misfit(f"its layer {step.said} has the padding {str(padding)[:40]!r}")
    return bool(padding == "same")


def scaled(
    w: Writer, step: Step, x: int, scale: NDArray[np.float64] | float,
    offset: NDArray[np.float64] | float = 0.0,
) -> int:  # fmt: skip
    """Add a scaling by one number, or by one per channel."""
    channels = w.b.channels[x]
    options: dict[str, Any] = {}
    for name, value in (("scale", scale), ("offset", offset)):
        numbers = np.ravel(np.asarray(value, float))
        if numbers.size not in (1, channels) or not np.isfinite(numbers).all():
            raise Misfit(f"its layer {step.said} scales {numbers.size} channels")
        one = (numbers == numbers[0]).all()
        options[name] = float(numbers[0]) if one else tuple(numbers.tolist())
    return w.b.function("scale", x, channels, **options)
