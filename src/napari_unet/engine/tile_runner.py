"""Runs a model over the planes of an image, tile by tile, in the memory there is."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from napari_unet.engine.blending import Blend
from napari_unet.engine.config import TileDone
from napari_unet.engine.cpu_check import CpuCheck
from napari_unet.engine.device import (
    empty_cache,
    free_memory,
    is_out_of_memory,
)
from napari_unet.engine.inference import Frame, Inference
from napari_unet.engine.lazy import check_finite, is_lazy, read
from napari_unet.engine.looks import Looks
from napari_unet.engine.normalize import normalize
from napari_unet.engine.parts import nearest_first
from napari_unet.engine.seams import LARGEST
from napari_unet.engine.tiles import plan, round_up
from napari_unet.engine.turns import Turn, turns
from napari_unet.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Future

    import torch
    from numpy.typing import NDArray

    from napari_unet.engine.config import PredictConfig
    from napari_unet.engine.inference import Fetching, Window
    from napari_unet.engine.model import Model
    from napari_unet.engine.normalize import Statistics
    from napari_unet.engine.tiles import Slices, Tile
    from napari_unet.engine.zoom import ZoomedLooks

# Sides along all axes but the first, and pixels of a tile. Along the first axis a tile
# goes on from the one before, so it may be short: what it holds is to stay in caches.
CORES = {
    2: ((2048, 196_608), (2048, 98_304), (1024, 49_152), (512, 24_576), (256, 8192),
        (64, 2048), (32, 1024)),
    3: ((256, 2**20), (128, 2**18), (96, 2**17), (64, 2**15), (32, 2**13)),
}  # fmt: skip
STARTED_AHEAD = ("cuda",)  # devices that compute the next tile meanwhile
_FITTED: dict[str, tuple[int, ...]] = {}  # tiles, where larger ones were too large
CORE_OF_PROGRAM = {2: 512, 3: 96}  # has to read its halo each time


class TileRunner:
    """Computes the scores of planes of one image.

    Parameters
    ----------
    model : what computes
    config : tile, averaging
    planes : how many there will be, for the progress
    dtype : that it computes in
    """

    def __init__(
        self, model: Model, config: PredictConfig, planes: int, dtype: torch.dtype
    ) -> None:
        dims = model.spec.architecture.dims
        self._spec = model.spec
        self._turns = turns(dims, flips=config.tta, rotations=config.rotate)
        self._inference = Inference(model, dtype)
        self._check = CpuCheck(model)
        self._ahead = int(model.device.type in STARTED_AHEAD)
        self._network = self._inference.network
        self._passes_left = planes * len(self._turns)
        self._done = 0
        self._tiled = False
        self._asked = config.tile
        self._core: tuple[int, ...] = ()  # not chosen yet
        self._kind = f"{model.device} {model.spec.architecture.model_dump_json()}"
        self._reduced = False
        self.latest: Slices = ()  # tile, in pixels of the region as it is laid
        self.first_look = True  # whether that was of the first look at its plane

    @property
    def shows(self) -> bool:
        """Whether a look's scores of a tile are final once it is computed."""
        return self._network.local

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it went."""
        said, core = [], _in_words(self._core)
        if self._reduced:
            said.append(f"tile reduced to {core} pixels to fit into memory")
        if self._check.difference is not None:
            said.append(
                f"on {self._network.device} the scores of the first tile were wrong by "
                f"{self._check.difference:.2g}, so all was computed on the CPU"
            )
        if self._tiled and not self._network.local:
            said.append(
                f"this network measures all that it sees, so tiles of {core} pixels "
                "were blended and differ from the whole"
            )
        return tuple(said)

    def release(self) -> None:
        """Give back the memory that was kept to go on."""
        self._inference.forget()
        empty_cache(self._network.device)

    def looks(self, region: Slices, *, several: bool, spread: bool) -> Looks:
        """Return room for what is seen of a region; see ``look``.

        Parameters
        ----------
        region : slices with start and stop over the spatial axes
        several : whether others look at it too
        spread : whether it is to be known how far looks are apart
        """
        extent = tuple(part.stop - part.start for part in region)
        shape = (self._spec.architecture.out_channels, *extent)
        once = not several and len(self._turns) == 1 and self._network.local
        dtype = np.float16 if once and prod(extent) > LARGEST else np.float32
        return Looks(shape, dtype, self._spec.output, spread=spread)

    def look(
        self, plane: Any, stats: Statistics, region: Slices, looks: Looks | ZoomedLooks,
        near: Slices | None = None,
    ) -> Generator[TileDone, None, None]:  # fmt: skip
        """Look at a plane once for each turn, yielding TileDone for each tile.

        Parameters
        ----------
        plane : (C, [Z,] Y, X), raw intensity; read tile by tile
        stats : to normalise it with
        region : slices with start and stop over its spatial axes
        looks : takes the region's scores
        near : where in the plane tiles are computed first; None: anywhere
        """
        with ExitStack() as stack:
            stack.callback(self.release)  # also when it is cancelled
            reader = stack.enter_context(_Reader(plane, stats))
            for number, turn in enumerate(self._turns):
                many, self.first_look = len(self._turns) > 1, number == 0
                frame = Frame(self._inference, plane.shape[1:], turn if many else None)
                self._passes_left -= 1
                with looks.one() as total:
                    yield from self._one_pass(frame, reader, region, total, near)

    def _one_pass(
        self, frame: Frame, reader: _Reader, region: Slices, total: NDArray[Any],
        near: Slices | None,
    ) -> Generator[TileDone, None, None]:  # fmt: skip
        """Add the scores of the image as it is laid to a total."""
        laid = frame.laid(tuple((part.start, part.stop) for part in region))
        area = tuple(slice(start, stop) for start, stop in laid)
        self._choose_core(frame)
        near = near if frame.turn == Turn() else None
        whole = todo = nearest_first(self._plan(frame, area), near)
        placed = _Placed(total, region, blends=not self._network.local)
        window: Window | None = None
        started: deque[_Started] = deque()

        def finish() -> TileDone:
            tile = started.popleft()
            placed.put(tile.fetching.scores(), tile.window)
            self.latest = tile.place
            self._done += 1
            ahead = len(started) + len(todo) + self._passes_left * len(whole)
            return TileDone(self._done, self._done + ahead)

        while todo:
            self._tiled = self._tiled or len(whole) > 1
            window = window or self._window(frame, todo[0], None)
            then = self._window(frame, todo[1], window) if todo[1:] else None
            fetching = self._attempt(reader, window, then)
            if fetching is None:
                while started:
                    yield finish()
                self._halve(area)
                whole, window = nearest_first(self._plan(frame, area), near), None
                todo = _unfinished(todo, whole, self._network.stride)
                continue
            started.append(_Started(fetching, window, todo[0].place))
            todo, window = todo[1:], then
            while len(started) > self._ahead:
                yield finish()
        while started:
            yield finish()
        placed.finish()

    def _plan(self, frame: Frame, area: Slices) -> list[Tile]:
        stride, halo = self._network.stride, self._network.halo
        return plan(frame.shape, self._core, halo, stride, area)

    def _window(self, frame: Frame, tile: Tile, before: Window | None) -> Window:
        """Return what is computed of a tile: all of it where tiles are blended."""
        part = tile.core if self._network.local else tile.read
        return frame.window(tuple((s.start, s.stop) for s in part), before)

    def _choose_core(self, frame: Frame) -> None:
        """Choose, at first, the largest core that fits half of the memory."""
        if self._core:
            return
        dims, stride = len(frame.shape), self._network.stride
        if self._asked or not frame.crops:
            self._core = (self._asked or CORE_OF_PROGRAM[dims],) * dims
        else:
            room = free_memory(self._network.device) // 2
            cores = [_core(frame.shape, *each) for each in CORES[dims]]
            fitting = (core for core in cores if self._bytes(frame, core) <= room)
            self._core = next(fitting, cores[-1])
        self._core = tuple(round_up(side, stride) for side in self._core)
        if fitted := _FITTED.get(self._kind):
            self._core = tuple(map(min, self._core, fitted))

    def _bytes(self, frame: Frame, core: tuple[int, ...]) -> int:
        """Return what a tile in the middle of an image costs."""
        corner = [
            max(n - side, 0) // 2 for n, side in zip(frame.shape, core, strict=True)
        ]
        spans = zip(corner, core, frame.shape, strict=True)
        part = tuple((start, min(start + side, n)) for start, side, n in spans)
        return self._inference.memory_of(frame.window(part))

    def _attempt(
        self, reader: _Reader, window: Window, then: Window | None
    ) -> Fetching | None:
        """Start to compute a tile; None when that needs more memory than there is."""
        try:
            pixels = reader.read(window, then)
            fetching = self._inference.start(pixels, window)
            instead = self._check.instead(fetching, pixels, window)
            if instead is not None:
                self._inference, fetching = instead
            return fetching
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if max(self._core) <= self._network.stride:
                raise DeviceError(
                    f"Out of memory on {self._network.device} even with a tile of "
                    f"{_in_words(self._core)} pixels: close other programs, or choose "
                    "another device."
                ) from error
        return None  # only here does nothing hold the tensors of the failed attempt

    def _halve(self, area: Slices) -> None:
        """Make the core smaller, and smaller than what there is to compute."""
        stride = self._network.stride
        extent = (round_up(part.stop - part.start, stride) for part in area)
        core = [min(pair) for pair in zip(self._core, extent, strict=True)]
        self._core = tuple(max(round_up(side // 2, stride), stride) for side in core)
        self._reduced = True
        _FITTED[self._kind] = self._core
        self.release()


def _core(shape: tuple[int, ...], side: int, pixels: int) -> tuple[int, ...]:
    """Return the sides of a tile: wide, and as long as its pixels allow."""
    wide = [min(n, side) for n in shape[1:]]
    return (max(min(pixels // prod(wide), shape[0]), 1), *wide)


def _in_words(core: tuple[int, ...]) -> str:
    return " x ".join(map(str, core))


class _Started(NamedTuple):
    """A tile that is computed, whose scores are on their way."""

    fetching: Fetching
    window: Window
    place: Slices


class _Placed:
    """Adds tiles to a total; blends them where they differ at their borders."""

    def __init__(self, total: NDArray[Any], region: Slices, *, blends: bool) -> None:
        self._total = total
        self._region = region
        self._blend = Blend(total.shape) if blends else None

    def put(self, scores: NDArray[np.float32], window: Window) -> None:
        """Add what was computed of a window."""
        shared = [
            (max(start, part.start), min(stop, part.stop))
            for (start, stop), part in zip(window.core, self._region, strict=True)
        ]
        keep, place = (
            tuple(
                slice(start - corner, stop - corner)
                for (start, stop), corner in zip(shared, corners, strict=True)
            )
            for corners in (
                [c for c, _ in window.core],
                [r.start for r in self._region],
            )
        )
        if self._blend is not None:
            self._blend.add(scores, keep, place)
        else:
            self._total[(slice(None), *place)] += scores[(slice(None), *keep)]

    def finish(self) -> None:
        """Add what was blended."""
        if self._blend is not None:
            self._total += self._blend.mean()


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
        coming, self._ahead = self._ahead, None
        if coming is None or coming[0].read != window.read:
            coming = (window, self._pool.submit(self._pixels, window))
        pixels = coming[1].result()
        if then is not None:
            self._ahead = (then, self._pool.submit(self._pixels, then))
        return pixels

    def _pixels(self, window: Window) -> NDArray[np.float32]:
        """Return normalised pixels; beyond its end the image has its edge value."""
        spans = list(zip(window.read, self._plane.shape[1:], strict=True))
        firsts = [min(start, n - 1) for (start, _), n in spans]
        inside = tuple(
            slice(first, min(stop, n))
            for first, ((_, stop), n) in zip(firsts, spans, strict=True)
        )
        part = self._plane[(slice(None), *inside)]
        raw = read(part, [0, *firsts])
        if is_lazy(part):
            check_finite(raw, inside)
        pixels = normalize(raw, self._stats)
        beyond = [(0, 0), *((0, max(stop - n, 0)) for (_, stop), n in spans)]
        if any(after for _, after in beyond):
            pixels = np.pad(pixels, beyond, mode="edge")
            late = (start - f for f, ((start, _), _) in zip(firsts, spans, strict=True))
            pixels = pixels[(slice(None), *(slice(n, None) for n in late))]
        return np.ascontiguousarray(pixels)


def _unfinished(todo: list[Tile], smaller: list[Tile], stride: int) -> list[Tile]:
    """Return the smaller tiles that cover what the tiles to do would have covered.

    Tiles end at the cells of the network's stride, or where the region ends.
    """

    def cells(tile: Tile) -> Slices:
        return tuple(slice(s.start // stride, -(-s.stop // stride)) for s in tile.core)

    ends = zip(*([part.stop for part in cells(tile)] for tile in smaller), strict=True)
    missing = np.zeros([max(end) for end in ends], bool)
    for tile in todo:
        missing[cells(tile)] = True
    return [tile for tile in smaller if missing[cells(tile)].any()]
