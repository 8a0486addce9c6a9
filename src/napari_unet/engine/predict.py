"""Image to scores to labels, tile by tile, equal to the whole image at once."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.axes import arrange, in_channel_order
from napari_unet.engine.config import PredictConfig, TileDone
from napari_unet.engine.device import (
    choose_dtype,
    empty_cache,
    free_memory,
    is_out_of_memory,
)
from napari_unet.engine.drain import drain
from napari_unet.engine.instances import labels_from_scores
from napari_unet.engine.kinds import LARGEST
from napari_unet.engine.networks import pad_to_multiple
from napari_unet.engine.normalize import normalize, statistics
from napari_unet.engine.tiles import plan, round_up
from napari_unet.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_unet.engine.config import LabelsConfig
    from napari_unet.engine.model import Model
    from napari_unet.engine.normalize import Statistics
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.engine.tiles import Slices, Tile

LARGEST_CORE = {2: 1024, 3: 96}  # pixels; more gains no speed
BYTES_PER_PIXEL_AND_CHANNEL = 36  # measured: 33 for the seed network in float32
UNKNOWN_WIDTH = 64  # channels, for a program; most U-Nets have fewer at full size


@dataclass(frozen=True)
class Prediction:
    """What the network says of an image.

    Attributes
    ----------
    labels : (..., Y, X) int32, like the image without its channels; 0 is background
    scores : (K, ..., Y, X) float32, 0 to 1; None unless asked for
    summary : one line for the user
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.float32] | None
    summary: str


PredictSteps = Generator[TileDone, None, Prediction]


def predict(
    model: Model,
    image: NDArray[Any],
    *,
    axes: str | None = None,
    config: PredictConfig | None = None,
) -> Prediction:
    """Predict labels for a whole image.

    Parameters
    ----------
    model : from ``load_model``
    image : array with one axis per letter of ``axes``, raw intensity
    axes : letters such as "YX", "ZYX", "YXC"; None: a last axis of length 3 or 4 in a
        3-dimensional array is colour, other leading axes are stacks, done slice by
        slice by a 2D model
    config : see PredictConfig

    Raises
    ------
    ImageError
        If the image cannot be used.
    DeviceError
        If even the smallest tile does not fit into memory.
    """
    return drain(predict_steps(model, image, axes=axes, config=config))


def predict_steps(
    model: Model,
    image: NDArray[Any],
    *,
    axes: str | None = None,
    config: PredictConfig | None = None,
    region: tuple[slice, ...] | None = None,
) -> PredictSteps:
    """Predict labels, one tile a step.

    Parameters
    ----------
    model, image, axes, config : as for ``predict``
    region : slices over the image's axes without channels; None: everything. Statistics
        are always those of the whole image, and what lies around the region is read,
        so that its scores are those of the whole image.

    Yields
    ------
    TileDone

    Returns
    -------
    Prediction
        Of the shape of the region.

    Raises
    ------
    ImageError
        If the image cannot be used.
    DeviceError
        If even the smallest tile does not fit into memory.
    """
    config = config or PredictConfig()
    began = time.perf_counter()
    spec = model.spec
    arranged = arrange(image, axes, spec.architecture, config.channel)
    picture = in_channel_order(arranged.image, spec.channel_order)
    stats = statistics(picture, spec.normalization)
    model, chosen = _for_kind(model, picture, stats)
    window = _window(picture.shape[1:], region)
    stack, inner = window[: -spec.architecture.dims], window[-spec.architecture.dims :]
    labels = np.zeros([part.stop - part.start for part in window], np.int32)
    kept = _room(labels.shape, spec) if config.keep_scores else None
    runner = _TileRunner(model, stats, config, prod(labels.shape[: len(stack)]))
    highest = 0
    for index in product(*(range(part.start, part.stop) for part in stack)):
        plane = picture[_all_channels(index)]
        scores = yield from runner.scores(plane, inner)
        place = tuple(i - part.start for i, part in zip(index, stack, strict=True))
        labels[place], highest = _numbered(scores, spec, config, highest)
        if kept is not None:
            kept[_all_channels(place)] = scores
    notes = (*arranged.notes, *chosen, *runner.notes)
    seconds = time.perf_counter() - began
    return Prediction(labels, kept, _summary(labels, spec, stats, notes, seconds))


def _for_kind(
    model: Model, picture: NDArray[Any], stats: Statistics
) -> tuple[Model, tuple[str, ...]]:
    """Return the model for an image's kind, and a note if it is not the usual one."""
    if model.elder is None:
        return model, ()
    dims = model.spec.architecture.dims
    middle = tuple(n // 2 for n in picture.shape[1 : picture.ndim - dims])
    plane = picture[_all_channels((*middle, *_middles(picture.shape[-dims:])))]
    fitting = model.fitting(normalize(plane, stats))
    if fitting.network is model.network:
        return fitting, ()
    name = model.elder.gate.name
    return fitting, (f"an image of the kind that {name} knows: its weights were used",)


def _middles(shape: tuple[int, ...]) -> Iterable[slice]:
    """Return what is looked at of a plane or volume to see its kind."""
    for length in shape:
        spare = max(length - LARGEST, 0)
        yield slice(spare // 2, length - (spare - spare // 2))


def _window(shape: tuple[int, ...], region: tuple[slice, ...] | None) -> Slices:
    """Return the region with a start and a stop on every axis."""
    region = region or (slice(None),) * len(shape)
    ranges = [range(n)[part] for n, part in zip(shape, region, strict=True)]
    return tuple(slice(r.start, max(r.start, r.stop)) for r in ranges)


def _room(shape: tuple[int, ...], spec: ModelSpec) -> NDArray[np.float32]:
    return np.zeros((spec.architecture.out_channels, *shape), np.float32)


def _all_channels(index: Iterable[int | slice]) -> tuple[int | slice, ...]:
    return (slice(None), *index)


class _TileRunner:
    """Runs the network over the planes of an image; halves the tile when it must."""

    def __init__(
        self, model: Model, stats: Statistics, config: PredictConfig, planes: int
    ) -> None:
        self.model = model
        self.stats = stats
        self.tta = config.tta
        self.dtype = choose_dtype(config.precision, model.device)
        self.planes_left = planes
        self.done = 0
        self.tiled = False
        self.core = self.wanted = config.tile or self._affordable_core()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it went."""
        said = []
        if self.core != self.wanted:
            said.append(f"tile reduced to {self.core} pixels to fit into memory")
        if self.tiled and not self.model.network.local:
            said.append(
                "this network measures all that it sees, so its tiles of "
                f"{self.core} pixels may differ at their borders"
            )
        return tuple(said)

    def scores(
        self, plane: NDArray[Any], region: Slices
    ) -> Generator[TileDone, None, NDArray[np.float32]]:
        """Yield TileDone for each tile; return the region's scores (K, [Z,] Y, X)."""
        extent = tuple(part.stop - part.start for part in region)
        result = _room(extent, self.model.spec)
        whole = todo = self._plan(plane, region)
        self.planes_left -= 1
        self.tiled = self.tiled or len(todo) > 1
        while todo:
            scores = self._attempt(plane, todo[0])
            if scores is None:
                self._halve(extent)
                whole = self._plan(plane, region)
                todo = _unfinished(todo, whole, extent)
                continue
            result[_all_channels(todo[0].place)] = scores
            todo = todo[1:]
            self.done += 1
            ahead = len(todo) + self.planes_left * len(whole)
            yield TileDone(self.done, self.done + ahead)
        return result

    def _plan(self, plane: NDArray[Any], region: Slices) -> list[Tile]:
        stride, halo = self.model.network.stride, self.model.network.halo
        return plan(plane.shape[1:], self.core, halo, stride, region)

    def _affordable_core(self) -> int:
        """Return the largest core whose features fit into half of the free memory."""
        architecture = self.model.spec.architecture
        widest = next(iter(architecture.widths), UNKNOWN_WIDTH)
        cost = BYTES_PER_PIXEL_AND_CHANNEL * widest
        cost += 4 * (architecture.in_channels + 3 * architecture.out_channels)
        pixels = free_memory(self.model.device) // 2 // cost
        side = int(pixels ** (1 / architecture.dims)) - 2 * self.model.network.halo
        return max(min(side, LARGEST_CORE[architecture.dims]), architecture.stride)

    def _attempt(self, plane: NDArray[Any], tile: Tile) -> NDArray[np.float32] | None:
        """Return a tile's scores, None when they need more memory than there is."""
        try:
            return self._one(plane, tile)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self.core <= self.model.network.stride:
                raise DeviceError(
                    f"Out of memory on {self.model.device} even with a tile of "
                    f"{self.core} pixels: close other programs, or choose another "
                    "device."
                ) from error
        return None  # only here does nothing hold the tensors of the failed attempt

    def _halve(self, extent: tuple[int, ...]) -> None:
        """Make the core smaller, and smaller than what there is to compute."""
        stride = self.model.network.stride
        self.core = max(min(self.core, round_up(max(extent), stride)) // 2, stride)
        empty_cache(self.model.device)

    @torch.inference_mode()
    def _one(self, plane: NDArray[Any], tile: Tile) -> NDArray[np.float32]:
        """Return the scores of a tile's core (K, [Z,] Y, X)."""
        pixels = normalize(plane[_all_channels(tile.read)], self.stats)
        x = torch.from_numpy(pixels)[np.newaxis].to(self.model.device)
        scores = self._averaged(x) if self.tta else self._run(x)
        core = scores[0][_all_channels(tile.keep)].float().cpu()
        return np.asarray(core.numpy(), np.float32)

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(
            x.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        ):
            return self.model.scores(x)

    def _averaged(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of the scores over all flips of the spatial axes.

        Padded before it is flipped, so that the network's grid stays where it is.
        """
        x = pad_to_multiple(x, self.model.network.stride)
        axes = range(2, x.ndim)
        flips = [f for n in range(x.ndim - 1) for f in combinations(axes, n)]
        total = torch.zeros(())
        for flip in flips:
            total = self._run(x.flip(flip)).flip(flip).float() + total.to(x.device)
        return total / len(flips)


def _unfinished(
    todo: list[Tile], smaller: list[Tile], extent: tuple[int, ...]
) -> list[Tile]:
    """Return the smaller tiles that cover what the tiles to do would have covered."""
    missing = np.zeros(extent, bool)
    for tile in todo:
        missing[tile.place] = True
    return [tile for tile in smaller if missing[tile.place].any()]


def _summary(
    labels: NDArray[np.int32], spec: ModelSpec, stats: Statistics,
    notes: tuple[str, ...], seconds: float,
) -> str:  # fmt: skip
    if not spec.gives_objects:
        present = np.count_nonzero(np.bincount(labels.ravel()))
        found = f"{present} of {spec.architecture.out_channels} classes"
    else:
        count = int(labels.max(initial=0))
        found = f"{count:,} object{'' if count == 1 else 's'}"
    said = [f"{found} in {seconds:.1f} s", *notes]
    if stats.constant:
        said.append("the image is constant, there is nothing to see in it")
    elif not labels.any():
        said.append(
            "nothing found: try a lower threshold, or check scaling and pixel size"
        )
    return "; ".join(said)


def relabel(
    scores: NDArray[np.floating[Any]], spec: ModelSpec, config: LabelsConfig
) -> NDArray[np.int32]:
    """Make labels from kept scores again, without the network.

    Parameters
    ----------
    scores : (K, ..., Y, X) float, 0 to 1, as in ``Prediction.scores``
    spec : of the model that gave them
    config : threshold, splitting, smallest object, holes

    Returns
    -------
    labels : (..., Y, X) int32; objects of different planes are different
    """
    labels = np.zeros(scores.shape[1:], np.int32)
    highest = 0
    for index in product(*map(range, labels.shape[: -spec.architecture.dims])):
        plane = scores[_all_channels(index)].astype(np.float32)
        labels[index], highest = _numbered(plane, spec, config, highest)
    return labels


def _numbered(
    scores: NDArray[np.float32], spec: ModelSpec, config: LabelsConfig, highest: int
) -> tuple[NDArray[np.int32], int]:
    """Return a plane's labels, objects above ``highest``, and the new highest id."""
    found = labels_from_scores(scores, spec.output, config)
    if spec.gives_objects:
        found[found > 0] += highest
        highest = max(highest, int(found.max(initial=0)))
    return found, highest
