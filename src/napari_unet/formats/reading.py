"""What passes from a file's container to a family, and from a family to a Model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_unet.engine.spec import ModelSpec


@dataclass(frozen=True)
class Contents:
    """What a file holds, seen through all wrappers; nothing of it was run.

    Attributes
    ----------
    name : of the file, for messages
    title : what the model is called
    weights : tensors by key, without prefixes such as "module."
    beside : plain values that were stored beside the weights, by name
    remarks : sentences on what was found, such as that an average copy was taken
    wanted : the reading that the user asks for, "" for the likeliest
    wrapper : names of the dictionaries around the weights, outermost first
    prefix : what the keys of the file begin with, and the keys of ``weights`` do not
    """

    name: str
    title: str
    weights: Mapping[str, Tensor]
    beside: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    wanted: str = ""
    wrapper: tuple[str, ...] = ()
    prefix: str = ""

    def remarked(self, *remarks: str) -> Contents:
        """Return the same with further remarks."""
        return replace(self, remarks=(*self.remarks, *remarks))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        return {key: tuple(value.shape) for key, value in self.weights.items()}


@dataclass(frozen=True)
class Reading:
    """How a family understands the weights of a file.

    Attributes
    ----------
    spec : what is known; its architecture is a graph, or one of the project's own
    weights : tensors by the keys of the architecture
    """

    spec: ModelSpec
    weights: Mapping[str, Tensor]
