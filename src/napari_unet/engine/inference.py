"""A model made ready to predict, and how it computes parts of an image."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.cost import most_held
from napari_unet.engine.cropping import Croppable
from napari_unet.engine.model import activate
from napari_unet.engine.networks import Network
from napari_unet.engine.networks.cropped import LAYOUT, Stream
from napari_unet.engine.networks.folded import folded
from napari_unet.engine.tiles import round_up
from napari_unet.engine.turns import Turn

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_unet.engine.cropping import Cropped
    from napari_unet.engine.model import Model
    from napari_unet.engine.networks import AnyNetwork
    from napari_unet.engine.receptive import Interval

Parts = tuple["Interval", ...]  # one per spatial axis
BYTES_PER_PIXEL_AND_CHANNEL = 36  # measured: 33 for the seed network in float32
UNKNOWN_WIDTH = 64  # channels, of a program; most U-Nets have fewer at full size


@dataclass(frozen=True)
class Window:
    """How a part of an image is computed.

    Attributes
    ----------
    core : the pixels that are wanted
    read : the pixels that are to be read; some may lie beyond the end of the image,
        which goes on there with its edge value
    turn : how the image is laid meanwhile
    cropped : how the network's inside is cropped; None: it computes all that it reads
    keep : pixels of what it gives then, of the turned image
    """

    core: Parts
    read: Parts
    turn: Turn
    cropped: Cropped | None
    keep: Parts


class Fetching:
    """Scores on their way from the device.

    Parameters
    ----------
    found : (K, [Z,] Y, X) float32
    half : whether half of their digits are enough; the way from a GPU is long
    """

    def __init__(self, found: Tensor, *, half: bool) -> None:
        self._event: Any = None
        if found.device.type == "cuda":  # not run on one yet
            dtype = torch.float16 if half else torch.float32
            host = torch.empty(found.shape, dtype=dtype, pin_memory=True)
            host.copy_(found.to(dtype), non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()
            found = host
        self._found = found

    def scores(self) -> NDArray[np.float32]:
        """Return them, once they are there."""
        if self._event is not None:
            self._event.synchronize()
        return np.asarray(self._found.cpu().numpy(), np.float32)


class Inference:
    """A model that only predicts: batch norm folded, weights in one number format.

    Parameters
    ----------
    model : Model
        Left as it is; weights that change are copied.
    dtype : torch.dtype
        What the network computes in; scores are made in float32 always.
    """

    def __init__(self, model: Model, dtype: torch.dtype) -> None:
        self.spec = model.spec
        self.dtype = dtype
        self.network: AnyNetwork = model.network
        self._stream: Stream | None = None
        if isinstance(model.network, Network):
            self._layout = LAYOUT[model.spec.architecture.dims + 2]
            network = folded(model.network).to(dtype)
            network.to(memory_format=self._layout)  # type: ignore[call-overload]  # 3D
            self.network, self._stream = network, Stream(network)

    def scores(
        self, pixels: NDArray[np.float32], window: Window
    ) -> NDArray[np.float32]:
        """Return the scores (K, [Z,] Y, X) of a window's core; see ``start``."""
        return self.start(pixels, window).scores()

    @torch.inference_mode()
    def start(self, pixels: NDArray[np.float32], window: Window) -> Fetching:
        """Compute a window's core; a GPU goes on with it after this returns.

        Parameters
        ----------
        pixels : (C, [Z,] Y, X), normalised, what ``window.read`` names
        window : from ``Frame.window``; where it was made ``after`` another, that one
            must have been started last
        """
        x = _sent(torch.from_numpy(pixels)[None], self.network.device)
        logits = self._logits(window.turn.of(x), window).float()
        scores = activate(logits, self.spec.likely_activation)
        back = window.turn.back(scores)[0]
        return Fetching(back, half=self.dtype != torch.float32)

    def _logits(self, x: Tensor, window: Window) -> Tensor:
        if self._stream is None:
            half = self.dtype != torch.float32  # a program has its own weights
            with torch.autocast(x.device.type, dtype=self.dtype, enabled=half):
                logits: Tensor = self.network(x)
            return logits[_slices(window.keep)]
        x = x.to(self.dtype).contiguous(memory_format=self._layout)
        if window.cropped is not None:
            return self._stream.logits(x, window.cropped)
        logits = self.network(x)
        return logits[_slices(window.keep)]

    def forget(self) -> None:
        """Let go of what was kept for a part that goes on."""
        if isinstance(self.network, Network):
            self._stream = Stream(self.network)

    def memory_of(self, window: Window) -> int:
        """Return about how many bytes are held at once while a window is computed."""
        network = self.network
        if isinstance(network, Network) and window.cropped is not None:
            return most_held(network.graph, window.cropped) * self.dtype.itemsize
        widest = next(iter(self.spec.architecture.widths), UNKNOWN_WIDTH)
        pixels = prod(stop - start for start, stop in window.read)
        return pixels * widest * BYTES_PER_PIXEL_AND_CHANNEL


class Frame:
    """How parts of images of one shape are computed, equal to the whole image.

    The network's inside is cropped to what a part needs, where that can be done; else
    the part is computed with its whole halo. What a network that measures all it sees
    gives of a part is another thing, whatever is done.

    Parameters
    ----------
    inference : what computes
    shape : spatial, of the images
    turn : how they are laid
    """

    def __init__(
        self, inference: Inference, shape: tuple[int, ...], turn: Turn | None = None
    ) -> None:
        self._network = inference.network
        self._image_shape = self._padded_shape(shape, turned=turn is not None)
        self.turn = turn or Turn()
        self.shape = self.turn.shape(self._image_shape)  # laid so
        self._croppable = self._cropped_inside()

    @property
    def crops(self) -> bool:
        """Whether the network's inside is cropped."""
        return self._croppable is not None

    def laid(self, parts: Parts) -> Parts:
        """Return where pixels of the image lie once it is turned."""
        return self.turn.parts(parts, self._image_shape)

    def window(self, part: Parts, after: Window | None = None) -> Window:
        """Return how to compute a part.

        Parameters
        ----------
        part : pixels of the image as it is laid
        after : what is computed right before; nothing that it made is made again where
            it lies before the part along the first axis
        """
        keep = tuple((0, stop - start) for start, stop in part)
        cropped = None
        if self._croppable is None:
            read = self._with_halo(part)
            keep = tuple(
                (start - first, stop - first)
                for (start, stop), (first, _) in zip(part, read, strict=True)
            )
        else:
            before = after.cropped if after is not None else None
            goes_on = before is not None and before.precedes(part)
            cropped = self._croppable.cropped(part, before if goes_on else None)
            read = cropped.read
        core, read = (
            self.turn.parts_back(parts, self._image_shape) for parts in (part, read)
        )
        return Window(core, read, self.turn, cropped, keep)

    def _with_halo(self, core: Parts) -> Parts:
        """Return what the network must see, on its grid, to be right in the core."""
        stride = self._network.stride
        halo = self._network.halo if self._network.local else 0  # no halo is enough
        return tuple(
            (
                max(start // stride * stride - halo, 0),
                min(round_up(stop, stride) + halo, length),
            )
            for (start, stop), length in zip(core, self.shape, strict=True)
        )

    def _padded_shape(self, shape: tuple[int, ...], *, turned: bool) -> tuple[int, ...]:
        """Return the shape that the network sees; turned, its grid must stay."""
        network = self._network
        if turned:
            shape = tuple(round_up(n, network.stride) for n in shape)
        return network.graph.taken(shape) if isinstance(network, Network) else shape

    def _cropped_inside(self) -> Croppable | None:
        if not isinstance(self._network, Network):
            return None
        try:
            return Croppable(self._network.graph, self.shape)
        except ValueError:
            return None


def _sent(x: Tensor, device: torch.device) -> Tensor:
    """Return pixels on a device, to which CUDA copies them on its own."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def _slices(parts: Parts) -> tuple[slice, ...]:
    """Return slices over (N, C, [Z,] Y, X)."""
    return (slice(None), slice(None), *(slice(start, stop) for start, stop in parts))
