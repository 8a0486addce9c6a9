"""A model made ready to predict, and how it computes parts of an image."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_unet.engine.cost import most_held
from napari_unet.engine.cropping import Croppable
from napari_unet.engine.model import activate
from napari_unet.engine.networks import Network
from napari_unet.engine.networks.cropped import compute
from napari_unet.engine.networks.folded import folded
from napari_unet.engine.tiles import round_up
from napari_unet.engine.turns import AS_IT_IS, Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_unet.engine.cropping import Cropped
    from napari_unet.engine.model import Model
    from napari_unet.engine.networks import AnyNetwork
    from napari_unet.engine.receptive import Interval

Parts = tuple["Interval", ...]  # one per spatial axis
BYTES_PER_PIXEL_AND_CHANNEL = 36  # measured: 33 for the seed network in float32
UNKNOWN_WIDTH = 64  # channels, of a program; most U-Nets have fewer at full size
LAYOUT = {2: torch.channels_last, 3: torch.channels_last_3d}


@dataclass(frozen=True)
class Way:
    """How a part is computed with the image laid in one way.

    Attributes
    ----------
    turn : the way
    read : pixels of the image that are needed
    cropped : how the network's inside is cropped; None: it computes all that it reads
    keep : pixels of what it gives then, of the turned image
    """

    turn: Turn
    read: Parts
    cropped: Cropped | None
    keep: Parts


@dataclass(frozen=True)
class Window:
    """How a part of an image is computed.

    Attributes
    ----------
    core : the pixels that are wanted
    read : the pixels that are needed; some may lie beyond the end of the image, which
        goes on there with its edge value
    ways : as many as there are turns
    """

    core: Parts
    read: Parts
    ways: tuple[Way, ...]


class Inference:
    """A model that only predicts: batch norm folded, weights in one number format.

    Parameters
    ----------
    model : Model
        Left as it is; weights that change are copied.
    dtype : torch.dtype
        What the network computes in; scores are made in float32 always.
    turns : the ways to lay an image over which scores are averaged
    """

    def __init__(
        self, model: Model, dtype: torch.dtype, turns: Sequence[Turn] = AS_IT_IS
    ) -> None:
        self.spec = model.spec
        self.turns = turns
        self.dtype = dtype
        self.network: AnyNetwork = model.network
        self._layout = torch.preserve_format
        if isinstance(model.network, Network):
            self._layout = LAYOUT[model.spec.architecture.dims]
            self.network = folded(model.network).to(dtype)
            self.network.to(memory_format=self._layout)  # type: ignore[call-overload]  # 3D

    @torch.inference_mode()
    def scores(
        self, pixels: NDArray[np.float32], window: Window
    ) -> NDArray[np.float32]:
        """Return the mean scores (K, [Z,] Y, X) of all turns of a window's core.

        Parameters
        ----------
        pixels : (C, [Z,] Y, X), normalised, what ``window.read`` names
        window : from ``Frame.window``
        """
        x = torch.from_numpy(pixels)[None].to(self.network.device)
        corner = [start for start, _ in window.read]
        total: Tensor | None = None
        for way in window.ways:
            part = x[_slices(way.read, corner)]
            scores = self._turned_scores(way.turn.of(part), way)
            scores = way.turn.back(scores)
            total = scores if total is None else total + scores
        if total is None:
            raise ValueError("no way to lay the image")
        mean = total[0] / len(window.ways)
        return np.asarray(mean.cpu().numpy(), np.float32)

    def memory_of(self, window: Window) -> int:
        """Return about how many bytes are held at once while a window is computed."""
        return max(self._memory_of(way) for way in window.ways)

    def _memory_of(self, way: Way) -> int:
        network = self.network
        if isinstance(network, Network) and way.cropped is not None:
            return most_held(network.graph, way.cropped) * self.dtype.itemsize
        widest = next(iter(self.spec.architecture.widths), UNKNOWN_WIDTH)
        pixels = prod(stop - start for start, stop in way.read)
        return pixels * widest * BYTES_PER_PIXEL_AND_CHANNEL

    def _turned_scores(self, x: Tensor, way: Way) -> Tensor:
        if not isinstance(self.network, Network):
            logits = self._program(x)
        else:
            x = x.to(self.dtype).contiguous(memory_format=self._layout)
            if way.cropped is not None:
                logits = compute(self.network, x, way.cropped)
            else:
                logits = self.network(x)
        logits = logits[_slices(way.keep)].float()
        return activate(logits, self.spec.likely_activation)

    def _program(self, x: Tensor) -> Tensor:
        """Let a program compute, which has its own number format."""
        half = self.dtype != torch.float32
        with torch.autocast(x.device.type, dtype=self.dtype, enabled=half):
            logits: Tensor = self.network(x)
        return logits


class Frame:
    """How parts of images of one shape are computed, equal to the whole image.

    The network's inside is cropped to what a part needs, where that can be done; else
    the part is computed with its whole halo. What a network that measures all it sees
    gives of a part is another thing, whatever is done.

    Parameters
    ----------
    inference : what computes
    shape : spatial, of the images
    """

    def __init__(self, inference: Inference, shape: tuple[int, ...]) -> None:
        self._network = inference.network
        self._turns = inference.turns
        self._padded = self._padded_shape(shape)
        self._croppable = {
            swap: self._cropped_inside(Turn(swap).shape(self._padded))
            for swap in {turn.swap for turn in self._turns}
        }

    def window(self, core: Parts) -> Window:
        """Return how to compute a part of the image."""
        ways = tuple(self._way(turn, core) for turn in self._turns)
        read = tuple(
            (min(start for start, _ in spans), max(stop for _, stop in spans))
            for spans in zip(*(way.read for way in ways), strict=True)
        )
        return Window(core, read, ways)

    def _way(self, turn: Turn, core: Parts) -> Way:
        wanted = turn.parts(core, self._padded)
        croppable = self._croppable[turn.swap]
        if croppable is not None:
            cropped = croppable.cropped(wanted)
            keep = tuple((0, stop - start) for start, stop in wanted)
            return Way(turn, turn.parts_back(cropped.read, self._padded), cropped, keep)
        read = self._with_halo(wanted, turn.shape(self._padded))
        keep = tuple(
            (start - first, stop - first)
            for (start, stop), (first, _) in zip(wanted, read, strict=True)
        )
        return Way(turn, turn.parts_back(read, self._padded), None, keep)

    def _with_halo(self, core: Parts, shape: tuple[int, ...]) -> Parts:
        """Return what the network must see, on its grid, to be right in the core."""
        stride = self._network.stride
        halo = self._network.halo if self._network.local else 0  # no halo is enough
        return tuple(
            (
                max(start // stride * stride - halo, 0),
                min(round_up(stop, stride) + halo, length),
            )
            for (start, stop), length in zip(core, shape, strict=True)
        )

    def _padded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that the network sees; turned, its grid must stay."""
        network, many = self._network, len(self._turns) > 1
        pads = isinstance(network, Network) and network.graph.fit == "pad"
        if not (pads or many):
            return shape
        steps: Iterable[int] = (network.stride,) * len(shape)
        if isinstance(network, Network) and not many:
            steps = network.graph.strides
        return tuple(round_up(n, step) for n, step in zip(shape, steps, strict=True))

    def _cropped_inside(self, shape: tuple[int, ...]) -> Croppable | None:
        if not isinstance(self._network, Network):
            return None
        try:
            return Croppable(self._network.graph, shape)
        except ValueError:
            return None


def _slices(parts: Parts, corner: Sequence[int] | None = None) -> tuple[slice, ...]:
    """Return slices over (N, C, [Z,] Y, X), counted from a corner."""
    corner = corner or (0,) * len(parts)
    spans = zip(parts, corner, strict=True)
    both = (slice(None), slice(None))
    return (*both, *(slice(start - c, stop - c) for (start, stop), c in spans))
