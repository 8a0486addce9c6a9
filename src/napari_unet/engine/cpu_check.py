"""The first tile computed on the CPU too, where a device is known to err silently.

PyTorch's MPS has given wrong numbers for some layers without any error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

import numpy as np
import torch

from napari_unet.engine.inference import Inference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.inference import Fetching, Window
    from napari_unet.engine.model import Model
    from napari_unet.engine.networks import AnyNetwork

DOUBTED = ("mps",)
NEARLY_ALL = 99.9  # percent of the scores
FARTHEST = 0.05  # that these may be away, 0 to 1; rounding in half precision is less
_RIGHT: WeakSet[AnyNetwork] = WeakSet()  # networks that were compared before


class CpuCheck:
    """Compares the first tile that a device gives with the CPU.

    Parameters
    ----------
    model : on the device

    Attributes
    ----------
    difference : of the scores, where it was too large; None: it was not
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._done = model.device.type not in DOUBTED or model.network in _RIGHT
        self.difference: float | None = None

    def instead(
        self, given: Fetching, pixels: NDArray[np.float32], window: Window
    ) -> tuple[Inference, Fetching] | None:
        """Return what computes on the CPU, and its scores, if those given are wrong.

        Parameters
        ----------
        given : by the device, for a tile
        pixels, window : of what; see ``Inference.scores``
        """
        if self._done:
            return None
        self._done = True
        there = Inference(self._model.to(torch.device("cpu")), torch.float32)
        right = there.start(pixels, window)
        scores, expected = given.scores(), right.scores()
        away = float(np.percentile(np.abs(scores - expected), NEARLY_ALL))
        if np.isfinite(scores).all() and away <= FARTHEST:
            _RIGHT.add(self._model.network)
            return None
        self.difference = away
        return there, right
