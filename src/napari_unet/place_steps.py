"""What the search for doubtful places does in its worker."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.blocks import relative, shape_of
from napari_unet.engine.choosing import choose
from napari_unet.engine.config import TileDone
from napari_unet.engine.grid import grid_over
from napari_unet.engine.places import (
    Candidates,
    close_up,
    joined,
    marked,
    recall,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Key, Region
    from napari_unet.engine.config import PredictConfig
    from napari_unet.engine.grid import Grid
    from napari_unet.engine.model import Model
    from napari_unet.engine.normalize import Measured
    from napari_unet.engine.progress import Visit
    from napari_unet.engine.protect import Snapshot
    from napari_unet.engine.zoom import Zoom
    from napari_unet.opened import KeptScores, OpenImage

PIECE = {2: (1024, 1024), 3: (32, 256, 256)}  # pixels looked at in one step
MOST_PIXELS = 2**24  # of all images together; of more, pieces evenly spread
FLIPPED = {2: 24, 3: 6}  # of the best places, flips are tried
JUST_NOW = 4  # visits of an image that are scored anew, of those that changed
MARGIN = 32  # pixels around a place that flips see too


@dataclass(frozen=True)
class Part:
    """A part of an image in which places are looked for.

    Attributes
    ----------
    number : of the image
    image, axes : never written; one letter per axis
    kept : scores of the model in use that cover it; None: predict first
    pieces : what is corrected, piece by piece
    visits : what is known of how right predictions were in it
    pixel_size, channel : as for ``predict``
    """

    number: int
    image: Any
    axes: str
    kept: KeptScores | None
    pieces: tuple[Snapshot, ...]
    visits: tuple[Visit, ...]
    pixel_size: tuple[float, ...] | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Surveyed:
    """The windows of one piece.

    Attributes
    ----------
    number : of the image
    window : the piece, slices over the labels' axes
    grid : its places
    first : number of its first place among all candidates
    """

    number: int
    window: Region
    grid: Grid
    first: int


@dataclass(frozen=True)
class Ranked:
    """What a search found; nothing of it is in an order yet.

    Attributes
    ----------
    candidates : all places
    pieces : that were looked at
    nearest : places of visits; see ``recall``
    """

    candidates: Candidates
    pieces: tuple[Surveyed, ...]
    nearest: dict[tuple[int, Key], int | None]


def parts_of(
    images: Sequence[tuple[OpenImage, KeptScores | None, Region]], dims: int
) -> tuple[list[Part], float]:
    """Return what to look at, and which share of all that is, 0 to 1.

    Parameters
    ----------
    images : with scores of the model in use, and the region in question
    dims : of the model
    """
    regions = [_pieces(region, dims) for _, _, region in images]
    pixels = sum(prod(shape_of(piece)) for each in regions for piece in each)
    share = min(MOST_PIXELS / max(pixels, 1), 1.0)
    parts = []
    for number, ((opened, kept, _), pieces) in enumerate(
        zip(images, regions, strict=True)
    ):
        wanted = max(round(share * len(pieces)), 1)
        places = np.linspace(0, len(pieces) - 1, wanted).round().astype(int)
        seen = tuple(close_up(opened.corrections, pieces[each]) for each in places)
        parts.append(
            Part(
                number, opened.image, opened.axes, kept, seen,
                opened.corrections.visits.scored(JUST_NOW), opened.pixel_size,
                opened.channel,
            )
        )  # fmt: skip
    return parts, share


def _pieces(region: Region, dims: int) -> list[Region]:
    """Cut a region into planes, and those into pieces of about equal size."""
    spans = []
    for axis, s in enumerate(region):
        place = axis - (len(region) - dims)
        side = 1 if place < 0 else PIECE[dims][place]
        count = max(-(-(s.stop - s.start) // side), 1)
        cuts = np.linspace(s.start, s.stop, count + 1).astype(int).tolist()
        spans.append([slice(a, b) for a, b in pairwise(cuts)])
    return list(product(*spans))


def rank_steps(
    model: Model, parts: Sequence[Part], config: PredictConfig
) -> Generator[TileDone, None, Ranked]:
    """Look at all pieces, then try flips on the best places; no labels change."""
    yield TileDone(0, 0)
    if model.trainable:  # another thread may predict with the same layers
        model = model.clone()
    surveyor = _Surveyor(model, config, sum(len(part.pieces) for part in parts))
    for part in parts:
        yield from surveyor.look(part)
    ranked = Ranked(joined(surveyor.found), tuple(surveyor.pieces), {})
    visits = [(part.number, visit) for part in parts for visit in part.visits]
    recall(ranked.candidates, visits, ranked.nearest)
    yield from surveyor.flips(ranked.candidates)
    return ranked


class _Surveyor:
    """Goes from piece to piece, and remembers the images."""

    def __init__(self, model: Model, config: PredictConfig, total: int) -> None:
        self.model = model
        self.config = config
        self.found: list[Candidates] = []
        self.closed: list[NDArray[np.bool_]] = []
        self.pieces: list[Surveyed] = []
        self._pictures: dict[int, tuple[NDArray[Any], Measured]] = {}
        self._zooms: dict[int, Zoom | None] = {}
        self._planes: dict[tuple[int, ...], int] = {}
        self._count = 0
        self._done = 0
        self._total = total + FLIPPED[model.spec.architecture.dims]

    def _step(self) -> TileDone:
        self._done += 1
        return TileDone(self._done, self._total)

    def look(self, part: Part) -> Generator[TileDone, None, None]:
        """Look at the pieces of a part."""
        from napari_unet.engine.axes import arrange, in_channel_order
        from napari_unet.engine.normalize import Measured
        from napari_unet.engine.zoom import zoom_for

        spec = self.model.spec
        arranged = arrange(part.image, part.axes, spec.architecture, part.channel)
        picture = in_channel_order(arranged.image, spec.channel_order)
        measured = Measured(picture, spec.normalization, arranged.stack)
        self._pictures[part.number] = picture, measured
        self._zooms[part.number] = zoom_for(spec, part.pixel_size)
        for piece in part.pieces:
            scores = kept_in(part.kept, piece.window)
            if scores is None:
                scores = yield from self._predicted(arranged.image, part, piece.window)
            self._survey(part.number, piece, scores)
            yield self._step()

    def _predicted(
        self, image: NDArray[Any], part: Part, window: Region
    ) -> Generator[TileDone, None, NDArray[Any]]:
        from napari_unet.engine.predict import predict_steps

        config = self.config.model_copy(update={"keep_scores": True, "channel": None})
        steps = predict_steps(
            self.model, image, axes="C" + part.axes.replace("C", ""), config=config,
            region=window, pixel_size=part.pixel_size,
        )  # fmt: skip
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return np.asarray(end.value.scores)
            yield TileDone(self._done, self._total)

    def _survey(self, number: int, piece: Snapshot, scores: NDArray[Any]) -> None:
        """Measure the places of a piece."""
        from napari_unet.engine.uncertainty import survey

        dims = self.model.spec.architecture.dims
        window, extent = piece.window, shape_of(piece.window)[-dims:]
        scores = scores.reshape(len(scores), *extent)
        grid = grid_over(extent)
        seen = self._normalised(number, window).reshape(-1, *extent)
        found = survey(seen, scores, self.model.spec.output, grid)
        self.closed.append(marked(piece.state, grid))
        flat = window[: len(window) - dims]
        key = (number, *(s.start for s in flat))
        plane = self._planes.setdefault(key, len(self._planes))
        starts = [s.start for s in window[len(flat) :]]
        windows = tuple(
            (*flat, *(_moved(s, by) for s, by in zip(each, starts, strict=True)))
            for each in grid.windows
        )
        count = len(windows)
        self.pieces.append(Surveyed(number, window, grid, self._count))
        self._count += count
        self.found.append(
            Candidates(
                windows, np.full(count, number), np.full(count, plane),
                found.unsure, found.trust, found.looks, found.structure,
                np.zeros(count), np.zeros(count), np.full(count, np.nan),
            )
        )  # fmt: skip

    def _normalised(self, number: int, window: Region) -> NDArray[np.float32]:
        from napari_unet.engine.normalize import normalize

        picture, measured = self._pictures[number]
        flat = window[: len(window) - self.model.spec.architecture.dims]
        stats = measured.of(tuple(part.start for part in flat))
        return normalize(picture[(slice(None), *window)], stats)

    def flips(self, candidates: Candidates) -> Generator[TileDone, None, None]:
        """Take down how far flips disagree in the best places."""
        from napari_unet.engine.uncertainty import flip_disagreement
        from napari_unet.engine.zoom import zoomed

        dims = self.model.spec.architecture.dims
        closed = np.concatenate(self.closed)
        for number, place in choose(candidates, (), closed, most=FLIPPED[dims]):
            image = int(candidates.image[number])
            shape = self._pictures[image][0].shape[1:]
            wide, inner = _with_margin(place.window, shape, dims)
            seen = self._normalised(image, wide)
            seen = seen.reshape(-1, *seen.shape[-dims:])
            zoom = self._zooms[image]
            spread = flip_disagreement(self.model, zoomed(seen, zoom))
            if zoom is not None:
                inner = zoom.window(inner, seen.shape[1:])
            candidates.flips[number] = float(spread[inner].mean())
            yield self._step()


def kept_in(kept: KeptScores | None, window: Region) -> NDArray[np.float32] | None:
    """Return the kept scores (K, ...) of a window that they cover; None without."""
    if kept is None:
        return None
    inside = (slice(None), *relative(window, kept.window))
    return np.asarray(kept.scores[inside], np.float32)


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _with_margin(
    window: Region, shape: tuple[int, ...], dims: int
) -> tuple[Region, Region]:
    """Return a place with what is around it in its plane, and its place in that."""
    wide = tuple(
        slice(max(s.start - MARGIN, 0), min(s.stop + MARGIN, shape[axis]))
        if axis >= len(shape) - 2
        else s
        for axis, s in enumerate(window)
    )
    return wide, relative(window, wide)[-dims:]
