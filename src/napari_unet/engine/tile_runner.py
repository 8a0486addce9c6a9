"""Runs a model over the planes of an image, tile by tile, in the memory there is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_unet.engine.blending import Blend
from napari_unet.engine.config import TileDone
from napari_unet.engine.device import (
    choose_dtype,
    empty_cache,
    free_memory,
    is_out_of_memory,
)
from napari_unet.engine.inference import Frame, Inference
from napari_unet.engine.normalize import normalize
from napari_unet.engine.tiles import plan, round_up
from napari_unet.engine.turns import turns
from napari_unet.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from napari_unet.engine.config import PredictConfig
    from napari_unet.engine.inference import Window
    from napari_unet.engine.model import Model
    from napari_unet.engine.normalize import Statistics
    from napari_unet.engine.tiles import Slices, Tile

CORES = {2: (512, 384, 256, 192, 128, 96, 64, 32), 3: (96, 64, 48, 32, 16)}  # pixels


class TileRunner:
    """Computes the scores of planes of one image.

    Parameters
    ----------
    model : what computes
    stats : of the image
    config : precision, tile, averaging
    planes : how many there will be, for the progress
    """

    def __init__(
        self, model: Model, stats: Statistics, config: PredictConfig, planes: int
    ) -> None:
        self._spec = model.spec
        dims = model.spec.architecture.dims
        ways = turns(dims, flips=config.tta, rotations=config.rotate)
        dtype = choose_dtype(config.precision, model.device)
        self._inference = Inference(model, dtype, ways)
        self._network = self._inference.network
        self._stats = stats
        self._planes_left = planes
        self._done = 0
        self._tiled = False
        self._asked = config.tile
        self._core = self._wanted = 0  # not chosen yet

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it went."""
        said = []
        if self._core != self._wanted:
            said.append(f"tile reduced to {self._core} pixels to fit into memory")
        if self._tiled and not self._network.local:
            said.append(
                "this network measures all that it sees, so tiles of "
                f"{self._core} pixels were blended and differ from the whole"
            )
        return tuple(said)

    def scores(
        self, plane: Any, region: Slices
    ) -> Generator[TileDone, None, NDArray[np.float32]]:
        """Yield TileDone for each tile; return the region's scores (K, [Z,] Y, X).

        Parameters
        ----------
        plane : (C, [Z,] Y, X), raw intensity; read tile by tile
        region : slices with start and stop over its spatial axes
        """
        shape = plane.shape[1:]
        frame = Frame(self._inference, shape)
        self._choose_core(frame, shape)
        extent = tuple(part.stop - part.start for part in region)
        result = np.zeros((self._spec.architecture.out_channels, *extent), np.float32)
        whole = todo = self._plan(shape, region)
        self._planes_left -= 1
        placed = _Placed(result, region, blends=not self._network.local)
        with _Reader(plane, self._stats) as reader:
            while todo:
                self._tiled = self._tiled or len(whole) > 1
                window = self._window(frame, todo[0])
                then = self._window(frame, todo[1]) if todo[1:] else None
                scores = self._attempt(reader.read(window, then), window)
                if scores is None:
                    self._halve(extent)
                    whole = self._plan(shape, region)
                    todo = _unfinished(todo, whole, extent)
                    continue
                placed.put(scores, todo[0])
                todo = todo[1:]
                self._done += 1
                ahead = len(todo) + self._planes_left * len(whole)
                yield TileDone(self._done, self._done + ahead)
        return result

    def _plan(self, shape: tuple[int, ...], region: Slices) -> list[Tile]:
        stride, halo = self._network.stride, self._network.halo
        return plan(shape, self._core, halo, stride, region)

    def _window(self, frame: Frame, tile: Tile) -> Window:
        """Return what is computed of a tile: all of it where tiles are blended."""
        part = tile.core if self._network.local else tile.read
        return frame.window(tuple((s.start, s.stop) for s in part))

    def _choose_core(self, frame: Frame, shape: tuple[int, ...]) -> None:
        """Choose, at the first plane, the largest core that fits half of the memory."""
        if self._wanted:
            return
        room = free_memory(self._network.device) // 2
        cores = [core for core in CORES[len(shape)] if core >= self._network.stride]
        fitting = (c for c in cores if self._bytes(frame, shape, c) <= room)
        affordable = next(fitting, self._network.stride)
        self._core = self._wanted = self._asked or affordable

    def _bytes(self, frame: Frame, shape: tuple[int, ...], core: int) -> int:
        """Return what a tile in the middle of an image costs."""
        wanted = tuple((n // 2, min(n // 2 + core, n)) for n in shape)
        return self._inference.memory_of(frame.window(wanted))

    def _attempt(
        self, pixels: NDArray[np.float32], window: Window
    ) -> NDArray[np.float32] | None:
        """Return a tile's scores, None when they need more memory than there is."""
        try:
            return self._inference.scores(pixels, window)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self._core <= self._network.stride:
                raise DeviceError(
                    f"Out of memory on {self._network.device} even with a tile of "
                    f"{self._core} pixels: close other programs, or choose another "
                    "device."
                ) from error
        return None  # only here does nothing hold the tensors of the failed attempt

    def _halve(self, extent: tuple[int, ...]) -> None:
        """Make the core smaller, and smaller than what there is to compute."""
        stride = self._network.stride
        self._core = max(min(self._core, round_up(max(extent), stride)) // 2, stride)
        empty_cache(self._network.device)


class _Placed:
    """Puts tiles into the result; blends them where they differ at their borders."""

    def __init__(
        self, result: NDArray[np.float32], region: Slices, *, blends: bool
    ) -> None:
        self._result = result
        self._region = region
        self._blend = Blend(result) if blends else None

    def put(self, scores: NDArray[np.float32], tile: Tile) -> None:
        """Put in place what was computed of a tile: its core, or all that it reads."""
        if self._blend is None:
            self._result[(slice(None), *tile.place)] = scores
            return
        shared = [
            (max(r.start, part.start), min(r.stop, part.stop))
            for r, part in zip(tile.read, self._region, strict=True)
        ]
        keep, place = (
            tuple(
                slice(start - corner.start, stop - corner.start)
                for (start, stop), corner in zip(shared, corners, strict=True)
            )
            for corners in (tile.read, self._region)
        )
        self._blend.add(scores, keep, place)


class _Reader:
    """Reads and normalises tiles; the next one while the last is computed."""

    def __init__(self, plane: Any, stats: Statistics) -> None:
        self._plane = plane
        self._stats = stats
        self._pool = ThreadPoolExecutor(1, "tile-reader")
        self._ahead: tuple[Window, Future[NDArray[np.float32]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, window: Window, then: Window | None) -> NDArray[np.float32]:
        """Return what a window needs, (C, [Z,] Y, X) float32, and begin the next."""
        coming = self._ahead
        if coming is None or coming[0].read != window.read:
            coming = (window, self._pool.submit(self._pixels, window))
        pixels = coming[1].result()
        self._ahead = None
        if then is not None:
            self._ahead = (then, self._pool.submit(self._pixels, then))
        return pixels

    def _pixels(self, window: Window) -> NDArray[np.float32]:
        shape = self._plane.shape[1:]
        spans = list(zip(window.read, shape, strict=True))
        inside = tuple(slice(start, min(stop, n)) for (start, stop), n in spans)
        pixels = normalize(np.asarray(self._plane[(slice(None), *inside)]), self._stats)
        beyond = [(0, 0), *((0, max(stop - n, 0)) for (_, stop), n in spans)]
        if not any(after for _, after in beyond):
            return pixels
        return np.pad(pixels, beyond, mode="edge")


def _unfinished(
    todo: list[Tile], smaller: list[Tile], extent: tuple[int, ...]
) -> list[Tile]:
    """Return the smaller tiles that cover what the tiles to do would have covered."""
    missing = np.zeros(extent, bool)
    for tile in todo:
        missing[tile.place] = True
    return [tile for tile in smaller if missing[tile.place].any()]
