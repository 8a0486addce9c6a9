"""Which number format a model computes fastest in on this machine, found by trying.

Imports no torch. What was found is remembered for each network and machine.
"""

from __future__ import annotations

import platform
import time
from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_unet.engine.lazy import read
from napari_unet.engine.normalize import normalize

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from napari_unet.engine.config import Precision
    from napari_unet.engine.model import Model
    from napari_unet.engine.normalize import Statistics
    from napari_unet.engine.tiles import Slices

# float16 is taken only where it is asked for: with some weights it overflows
FULL, HALF = "float32", "bfloat16"
TRIED_ON = ("cpu", "cuda")
GAIN = 1.25  # times faster than float32, or it is not worth its rounding
FARTHEST = 0.05  # of a score; what rounds more is not taken
NEARLY_ALL = 99.5  # percent of the pixels of which that must be true
SIDES = {2: 256, 3: 64}  # pixels of what is tried
LEAST = 2**14  # pixels; less tells nothing of the time
TRIALS = 3


class Memory(Protocol):
    """What remembers texts by key."""

    def get(self, key: str) -> str | None:
        """Return what is remembered; None: nothing."""

    def put(self, key: str, value: str) -> None:
        """Remember a text."""


class _Forgetful:
    """Remembers until the program ends."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        return self._known.get(key)

    def put(self, key: str, value: str) -> None:
        self._known[key] = value


class _Known:
    memory: Memory = _Forgetful()


def remember_in(memory: Memory) -> None:
    """Remember from now on what was found by trying where it outlives the program."""
    _Known.memory = memory


def best_dtype(
    model: Model, precision: Precision, plane: Any, stats: Statistics, region: Slices,
) -> torch.dtype:  # fmt: skip
    """Return the number format to predict in.

    Parameters
    ----------
    model : what computes
    precision : "auto" takes what is fastest, if its scores are those of float32
    plane : (C, [Z,] Y, X), raw intensity
    stats : of the image
    region : slices with start and stop over the spatial axes; its middle is tried

    Raises
    ------
    ImageError
        If the middle of the plane cannot be read.
    """
    import torch

    from napari_unet.engine.device import choose_dtype
    from napari_unet.engine.networks import Network

    device = model.device
    small = prod(part.stop - part.start for part in region) < LEAST
    tried = device.type in TRIED_ON and isinstance(model.network, Network)
    if precision != "auto" or small or not tried:
        return choose_dtype(precision, device)
    key = _key(model)
    known = _Known.memory.get(key)
    if known not in (FULL, HALF):
        known = _tried(model, _middle(plane, stats, region))
        if known is None:
            return choose_dtype(precision, device)
        _Known.memory.put(key, known)
    dtype: torch.dtype = getattr(torch, known)
    return dtype


def _middle(plane: Any, stats: Statistics, region: Slices) -> NDArray[np.float32]:
    """Return what is tried, (C, [Z,] Y, X) float32, normalised."""
    side = SIDES[plane.ndim - 1]
    spare = (max(part.stop - part.start - side, 0) // 2 for part in region)
    starts = [part.start + rest for part, rest in zip(region, spare, strict=True)]
    inside = tuple(
        slice(start, min(start + side, part.stop))
        for start, part in zip(starts, region, strict=True)
    )
    return normalize(read(plane[(slice(None), *inside)], [0, *starts]), stats)


def _key(model: Model) -> str:
    """Return what the choice depends on: the machine, and the network's layers."""
    import torch

    device = model.device
    name = platform.node()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    layers = sha256(model.spec.architecture.model_dump_json().encode()).hexdigest()
    return (
        f"{device.type} {name}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, network {layers[:16]}"
    )


def _tried(model: Model, sample: NDArray[np.float32]) -> str | None:
    """Return the fastest format whose scores are right.

    None: it cannot be told, for want of memory or because the sample gives no scores.
    """
    from napari_unet.engine.device import is_out_of_memory

    try:
        expected, seconds = _timed(model, sample, FULL, np.inf)
        if not np.isfinite(expected).all():
            return None
        limit = seconds / GAIN
        scores, seconds = _timed(model, sample, HALF, limit)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    return HALF if seconds < limit and _agrees(scores, expected) else FULL


def _timed(
    model: Model, sample: NDArray[np.float32], name: str, limit: float
) -> tuple[NDArray[np.float32], float]:
    """Return the scores of a sample and the shortest time; few trials if it is slow."""
    import torch

    from napari_unet.engine.inference import Frame, Inference

    inference = Inference(model, getattr(torch, name))
    frame = Frame(inference, sample.shape[1:])
    window = frame.window(tuple((0, n) for n in frame.shape))
    beyond = [(0, 0)] + [
        (0, stop - n)
        for (_, stop), n in zip(window.read, sample.shape[1:], strict=True)
    ]
    pixels = np.pad(sample, beyond, mode="edge")
    times: list[float] = []
    for _ in range(TRIALS):
        began = time.perf_counter()
        scores = inference.scores(pixels, window)
        times.append(time.perf_counter() - began)
        if times[-1] > 3 * limit:  # the first one also prepares, but not so long
            break
    return scores, min(times)


def _agrees(scores: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    """Tell whether scores are nearly those of float32; infinity and NaN are not."""
    away = np.percentile(np.abs(scores - expected), NEARLY_ALL)
    return bool(np.isfinite(scores).all() and away <= FARTHEST)
