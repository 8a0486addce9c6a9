"""The models of a prediction, one or several, each with the image as it takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from napari_unet.engine.axes import arrange, guess_axes, in_channel_order
from napari_unet.engine.config import TileDone
from napari_unet.engine.kinds import LARGEST
from napari_unet.engine.lazy import read
from napari_unet.engine.looks import check_alike
from napari_unet.engine.normalize import Measured, normalize
from napari_unet.engine.precision import best_dtype
from napari_unet.engine.tile_runner import TileRunner
from napari_unet.engine.zoom import Zoomed, ZoomedLooks, zoom_for

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet.engine.config import PredictConfig
    from napari_unet.engine.looks import Looks
    from napari_unet.engine.model import Model
    from napari_unet.engine.tiles import Slices
    from napari_unet.engine.zoom import Zoom


class Ensemble:
    """Looks at the planes of an image with all models, each in its own way.

    Parameters
    ----------
    models : that give the same; the first says what axes mean
    image, axes, config, pixel_size : as for ``predict``

    Attributes
    ----------
    spec : of the first model
    smallest : pixels of the image that an object has by the first model; None: unknown
    config : with that, where it does not say
    shape : of the image without its channels
    measured : statistics of the image, as the first model takes it
    latest : tile, in pixels of the region
    first_look : whether that was of the first look at its plane
    done : what was told last

    Raises
    ------
    CheckpointError
        If models give other things than the first.
    ImageError
        If the image cannot be used.
    """

    def __init__(
        self, models: Sequence[Model], image: Any, axes: str | None,
        config: PredictConfig, pixel_size: tuple[float, ...] | None = None,
    ) -> None:  # fmt: skip
        check_alike(models)
        self.spec = models[0].spec
        self._members = _members(models, image, axes, config, pixel_size)
        self.smallest = self._members[0].smallest
        self.config = config.with_smallest(self.smallest)
        self._runners: list[TileRunner] = []
        self._progress = _Progress(len(models))
        self.shape: tuple[int, ...] = self._members[0].picture.shape[1:]
        self.measured = self._members[0].measured
        self.latest: Slices = ()
        self.first_look = True
        self.done = TileDone(0, 0)
        self._seen: Looks | ZoomedLooks | None = None

    @property
    def looks_often(self) -> bool:
        """Whether there are several looks at a plane."""
        config = self.config
        return len(self._members) > 1 or config.tta or config.rotate

    @property
    def shows_parts(self) -> bool:
        """Whether a tile of a plane can be shown once the first look has seen it."""
        return self._runners[0].shows

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it went."""
        first = self._members[0]
        notes = (*first.notes, *self._runners[0].notes, *_sampled(first.measured))
        if len(self._members) > 1:
            names = ", ".join(each.model.spec.name for each in self._members)
            return (f"mean of {len(self._members)} models ({names})", *notes)
        return notes

    def prepare(self, stack: Slices, inner: Slices) -> None:
        """Get ready for the planes of a region: slices of stack axes, and of planes."""
        planes = prod(part.stop - part.start for part in stack)
        self._runners = [
            _runner(each, self.config, planes, stack, inner) for each in self._members
        ]

    def looks(self, inner: Slices, *, spread: bool) -> Looks:
        """Return room for what is seen of a plane; see ``TileRunner.looks``."""
        several = len(self._members) > 1
        return self._runners[0].looks(inner, several=several, spread=spread)

    def look(
        self, index: tuple[int, ...], inner: Slices, looks: Looks, near: Slices | None
    ) -> Generator[TileDone, None, None]:
        """Look at a plane with every model; see ``TileRunner.look``."""
        pairs = zip(self._members, self._runners, strict=True)
        for number, (member, runner) in enumerate(pairs):
            seen, region, first = self._seen_by(member, inner, looks, near)
            pixels = member.plane(index), member.measured.of(index)
            for event in runner.look(*pixels, region, seen, first):
                self.latest = runner.latest
                if isinstance(seen, ZoomedLooks):
                    self.latest = seen.covered(runner.latest)
                self.first_look = number == 0 and runner.first_look
                self.done = self._progress.by(number, event)
                yield self.done

    def _seen_by(
        self, member: _Member, inner: Slices, looks: Looks, near: Slices | None
    ) -> tuple[Looks | ZoomedLooks, Slices, Slices | None]:
        """Return what takes a model's scores, and places as they are on its grid."""
        self._seen, zoom = looks, member.zoom
        if zoom is None:
            return looks, inner, near
        shape = self.shape[-len(inner) :]
        self._seen = seen = ZoomedLooks(looks, zoom, shape, inner)
        return seen, seen.window, near and zoom.window(near, shape)

    def so_far(self, part: Slices) -> NDArray[np.float32]:
        """Return the scores of a part of a region, (K, Y, X), of the look so far."""
        if self._seen is None:
            raise ValueError("nothing is looked at")
        return self._seen.so_far(part)


@dataclass(frozen=True)
class _Member:
    """A model of an ensemble, and the image as it takes it."""

    model: Model
    picture: Any
    measured: Measured
    notes: tuple[str, ...]
    zoom: Zoom | None

    @property
    def smallest(self) -> int | None:
        """Fewest pixels of the image that an object has; None: not known."""
        least = self.model.spec.smallest
        if least is None or self.zoom is None:
            return least
        return max(round(least / prod(self.zoom.factors)), 1)

    def plane(self, index: tuple[int, ...]) -> Any:
        """Return a plane (C, [Z,] Y, X), on the grid of the model's pixels."""
        plane = self.picture[(slice(None), *index)]
        return plane if self.zoom is None else Zoomed(plane, self.zoom)


def _members(
    models: Sequence[Model], image: Any, axes: str | None, config: PredictConfig,
    pixel_size: tuple[float, ...] | None,
) -> list[_Member]:  # fmt: skip
    """Return the models of an ensemble, each with the image as it takes it."""
    found = []
    for model in models:
        spec = model.spec
        arranged = arrange(image, axes, spec.architecture, config.channel)
        picture = in_channel_order(arranged.image, spec.channel_order)
        measured = Measured(picture, spec.normalization, arranged.stack)
        zoom = zoom_for(spec, pixel_size)
        scaled = (
            () if zoom is None else (f"image scaled by {zoom} to the model's pixels",)
        )
        member = _Member(model, picture, measured, (*arranged.notes, *scaled), zoom)
        found.append(_for_kind(member, arranged.stack))
        axes = axes or guess_axes(image.shape, spec.architecture)  # as by the first
    return found


def _runner(
    member: _Member, config: PredictConfig, planes: int, stack: Slices, inner: Slices
) -> TileRunner:
    """Return what computes a region; its first plane says in which number format."""
    shape = member.picture.shape
    pairs = zip(stack, shape[1:], strict=False)
    index = tuple(min(part.start, n - 1) for part, n in pairs)
    region = inner
    if member.zoom is not None:
        region = member.zoom.window(inner, shape[-len(inner) :])
    plane, stats = member.plane(index), member.measured.of(index)
    dtype = best_dtype(member.model, config.precision, plane, stats, region)
    return TileRunner(member.model, config, planes, dtype)


class _Progress:
    """The tiles of several runners as one count."""

    def __init__(self, count: int) -> None:
        self._done = [0] * count
        self._totals = [0] * count

    def by(self, number: int, event: TileDone) -> TileDone:
        """Return what a runner tells, with what the others did or will do."""
        self._done[number], self._totals[number] = event.done, event.total
        likely = max(self._totals)
        total = sum(each or likely for each in self._totals)
        return TileDone(sum(self._done), total)


def _sampled(measured: Measured) -> tuple[str, ...]:
    """Return what is to be said where not all pixels were measured."""
    if not measured.sampled:
        return ()
    return (f"intensities measured on a sample of {measured.sampled:,} pixels",)


def _for_kind(member: _Member, stack: str) -> _Member:
    """Return a member with the model for its image's kind, and a note on it."""
    model, shape = member.model, member.picture.shape
    if model.elder is None:
        return member
    index = tuple(n // 2 for n in shape[1 : -model.spec.architecture.dims])
    plane = member.plane(index)
    middle = read(plane[(slice(None), *_middles(plane.shape[1:]))])
    fitting = model.fitting(normalize(middle, member.measured.of(index)))
    if fitting.network is model.network:
        return replace(member, model=fitting)
    name = model.elder.gate.name
    said = f"an image of the kind that {name} knows: its weights were used"
    measured, taken = member.measured, fitting.spec.normalization
    if taken != model.spec.normalization:
        measured = Measured(member.picture, taken, stack)
    notes = (*member.notes, said)
    return replace(member, model=fitting, measured=measured, notes=notes)


def _middles(shape: tuple[int, ...]) -> Iterable[slice]:
    """Return what is looked at of a plane or volume to see its kind."""
    for length in shape:
        spare = max(length - LARGEST, 0)
        yield slice(spare // 2, length - (spare - spare // 2))
