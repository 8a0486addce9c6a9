"""Image to scores to labels, tile by tile, equal to the whole image at once."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import fastremap
import numpy as np

from napari_unet.engine.axes import arrange, guess_axes, in_channel_order
from napari_unet.engine.config import PredictConfig, TileDone
from napari_unet.engine.drain import drain
from napari_unet.engine.kinds import LARGEST
from napari_unet.engine.lazy import read
from napari_unet.engine.looks import check_alike
from napari_unet.engine.normalize import normalize, statistics
from napari_unet.engine.precision import best_dtype
from napari_unet.engine.seams import label
from napari_unet.engine.tile_runner import TileRunner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.config import LabelsConfig
    from napari_unet.engine.model import Model
    from napari_unet.engine.normalize import Statistics
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.engine.tiles import Slices


ONE_LOOK = (
    "no uncertainty map: average over flips, rotations or several models to get one"
)


@dataclass(frozen=True)
class Prediction:
    """What the network says of an image.

    Attributes
    ----------
    labels : (..., Y, X) int32, like the image without its channels; 0 is background
    scores : (K, ..., Y, X) float32, 0 to 1; None unless asked for
    summary : one line for the user
    uncertainty : (..., Y, X) float32, 0 to 0.5: how far several looks are apart, as
        the standard deviation of the foreground's score, or of the class's in which it
        is largest; None unless asked for, and where there was only one look
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.float32] | None
    summary: str
    uncertainty: NDArray[np.float32] | None = None


PredictSteps = Generator[TileDone, None, Prediction]


def predict(
    model: Model,
    image: Any,
    *,
    axes: str | None = None,
    config: PredictConfig | None = None,
    partners: Sequence[Model] = (),
) -> Prediction:
    """Predict labels for a whole image.

    Parameters
    ----------
    model : from ``load_model``
    image : array with one axis per letter of ``axes``, raw intensity; dask, zarr and
        HDF5 arrays are read tile by tile
    axes : letters such as "YX", "ZYX", "YXC"; None: a last axis of length 3 or 4 in a
        3-dimensional array is colour, other leading axes are stacks, done slice by
        slice by a 2D model
    config : see PredictConfig
    partners : further models of an ensemble, whose scores are averaged with those of
        the first

    Raises
    ------
    ImageError
        If the image cannot be used.
    CheckpointError
        If the partners give other things than the model.
    DeviceError
        If even the smallest tile does not fit into memory.
    """
    return drain(
        predict_steps(model, image, axes=axes, config=config, partners=partners)
    )


def predict_steps(
    model: Model,
    image: Any,
    *,
    axes: str | None = None,
    config: PredictConfig | None = None,
    region: tuple[slice, ...] | None = None,
    counted: NDArray[np.bool_] | None = None,
    partners: Sequence[Model] = (),
) -> PredictSteps:
    """Predict labels, one tile a step.

    Parameters
    ----------
    model, image, axes, config, partners : as for ``predict``
    region : slices over the image's axes without channels; None: everything. Statistics
        are always those of the whole image, and what lies around the region is read,
        so that its scores are those of the whole image.
    counted : bool, of the region's shape, where the summary counts objects; None: in
        all of it

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
    CheckpointError
        If the partners give other things than the model.
    DeviceError
        If even the smallest tile does not fit into memory.
    """
    config = config or PredictConfig()
    began = time.perf_counter()
    spec = model.spec
    check_alike((model, *partners))
    members = _members((model, *partners), image, axes, config)
    first = members[0]
    window = _window(first.picture.shape[1:], region)
    stack, inner = window[: -spec.architecture.dims], window[-spec.architecture.dims :]
    labels = np.zeros([part.stop - part.start for part in window], np.int32)
    kept = _room(labels.shape, spec) if config.keep_scores and stack else None
    planes = prod(labels.shape[: len(stack)])
    runners = [_runner(each, config, planes, stack, inner) for each in members]
    several = len(members) > 1
    spread = config.uncertainty and (several or config.tta or config.rotate)
    apart = np.zeros(labels.shape, np.float32) if spread else None
    highest, told = 0, _Progress(len(runners))
    for index in product(*(range(part.start, part.stop) for part in stack)):
        looks = runners[0].looks(inner, several=several, spread=spread)
        for number, (each, runner) in enumerate(zip(members, runners, strict=True)):
            plane = each.picture[_all_channels(index)]
            for event in runner.look(plane, inner, looks):
                yield told.by(number, event)
        scores = looks.mean()
        place = tuple(i - part.start for i, part in zip(index, stack, strict=True))
        highest = _number(labels[(*place, ...)], scores, spec, config, highest)
        if kept is not None:
            kept[_all_channels(place)] = scores
        if apart is not None:
            apart[(*place, ...)] = looks.spread()
    if config.keep_scores and kept is None:  # a single plane's need no copy
        kept = scores.astype(np.float32, copy=False)
    notes = [*first.notes, *runners[0].notes, *_sampled(first.stats)]
    if several:
        notes.insert(0, f"mean of {len(members)} models")
    if config.uncertainty and apart is None:
        notes.append(ONE_LOOK)
    seen = labels if counted is None else labels[counted]
    seconds = time.perf_counter() - began
    summary = _summary(seen, spec, first.stats, tuple(notes), seconds)
    return Prediction(labels, kept, summary, apart)


@dataclass(frozen=True)
class _Member:
    """A model of an ensemble, and the image as it takes it."""

    model: Model
    picture: Any
    stats: Statistics
    notes: tuple[str, ...]


def _members(
    models: Sequence[Model], image: Any, axes: str | None, config: PredictConfig
) -> list[_Member]:
    """Return the models of an ensemble, each with the image as it takes it."""
    found = []
    for model in models:
        spec = model.spec
        arranged = arrange(image, axes, spec.architecture, config.channel)
        picture = in_channel_order(arranged.image, spec.channel_order)
        stats = statistics(picture, spec.normalization)
        fitting, chosen = _for_kind(model, picture, stats)
        notes = (*arranged.notes, *chosen)
        found.append(_Member(fitting, picture, stats, notes))
        axes = axes or guess_axes(image.shape, spec.architecture)  # as by the first
    return found


def _runner(
    member: _Member, config: PredictConfig, planes: int, stack: Slices, inner: Slices
) -> TileRunner:
    """Return what computes a region; its first plane says in which number format."""
    lengths = member.picture.shape[1:]
    index = (min(part.start, n - 1) for part, n in zip(stack, lengths, strict=False))
    plane = member.picture[_all_channels(index)]
    dtype = best_dtype(member.model, config.precision, plane, member.stats, inner)
    return TileRunner(member.model, member.stats, config, planes, dtype)


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


def _sampled(stats: Statistics) -> tuple[str, ...]:
    """Return what is to be said where not all pixels were measured."""
    if not stats.sampled:
        return ()
    return (f"intensities measured on a sample of {stats.sampled:,} pixels",)


def _for_kind(
    model: Model, picture: Any, stats: Statistics
) -> tuple[Model, tuple[str, ...]]:
    """Return the model for an image's kind, and a note if it is not the usual one."""
    if model.elder is None:
        return model, ()
    dims = model.spec.architecture.dims
    middle = tuple(n // 2 for n in picture.shape[1 : picture.ndim - dims])
    plane = read(picture[_all_channels((*middle, *_middles(picture.shape[-dims:])))])
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


def _summary(
    labels: NDArray[np.int32], spec: ModelSpec, stats: Statistics,
    notes: tuple[str, ...], seconds: float,
) -> str:  # fmt: skip
    if not spec.gives_objects:
        present = np.count_nonzero(np.bincount(labels.ravel()))
        found = f"{present} of {spec.architecture.out_channels} classes"
    else:
        count = np.count_nonzero(fastremap.unique(labels))
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
        plane = scores[_all_channels(index)]
        at: tuple[Any, ...] = (*index, ...)
        highest = _number(labels[at], plane, spec, config, highest)
    return labels


def _number(
    labels: NDArray[np.int32], scores: NDArray[Any], spec: ModelSpec,
    config: LabelsConfig, highest: int,
) -> int:  # fmt: skip
    """Write a plane's labels, objects above ``highest``; return the new highest."""
    label(labels, scores, spec.output, config)
    if not spec.gives_objects:
        return highest
    if highest:
        labels[labels > 0] += highest
    return max(highest, int(labels.max(initial=0)))
