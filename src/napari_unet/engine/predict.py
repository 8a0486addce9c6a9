"""Image to scores to labels, tile by tile, equal to the whole image at once."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_unet.engine.config import BlockDone, PartDone, PredictConfig, TileDone
from napari_unet.engine.device import told_of_no_memory
from napari_unet.engine.drain import drain
from napari_unet.engine.ensemble import Ensemble
from napari_unet.engine.instances import labels_from_scores
from napari_unet.engine.parts import Growing
from napari_unet.engine.report import Report
from napari_unet.engine.seams import label_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.config import LabelsConfig
    from napari_unet.engine.looks import Looks
    from napari_unet.engine.model import Model
    from napari_unet.engine.parts import Part
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.engine.tiles import Slices


SMALL = 2**20  # pixels; planes of a stack that are shown once all of them is there
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
    report : what the summary says beside what was found
    uncertainty : (..., Y, X) float32, 0 to 0.5: how far several looks are apart, as
        the standard deviation of the foreground's score, or of the class's in which it
        is largest; None unless asked for, and where there was only one look
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.float32] | None
    summary: str
    report: Report
    uncertainty: NDArray[np.float32] | None = None


T = TypeVar("T")
Numbering = Generator[BlockDone, None, T]
PredictSteps = Generator[TileDone, None, Prediction]


def predict(
    model: Model,
    image: Any,
    *,
    axes: str | None = None,
    config: PredictConfig | None = None,
    pixel_size: tuple[float, ...] | None = None,
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
    pixel_size : of the image along its last axes, micrometres, at least one for each
        spatial axis of the model. Where the model's is known too, and another, the
        network sees the image scaled to it; its scores are put back on the image's
        pixels, of which labels are made. None: pixels are taken as they are
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
        predict_steps(
            model,
            image,
            axes=axes,
            config=config,
            pixel_size=pixel_size,
            partners=partners,
        )
    )


def predict_steps(
    model: Model,
    image: Any,
    *,
    axes: str | None = None,
    config: PredictConfig | None = None,
    region: tuple[slice, ...] | None = None,
    counted: NDArray[np.bool_] | None = None,
    pixel_size: tuple[float, ...] | None = None,
    partners: Sequence[Model] = (),
    parts: bool = False,
    near: tuple[slice, ...] | None = None,
) -> PredictSteps:
    """Predict labels, one tile a step.

    Parameters
    ----------
    model, image, axes, config, pixel_size, partners : as for ``predict``
    region : slices over the image's axes without channels; None: everything. Statistics
        and scores are always those of the whole image: what lies around it is read too
    counted : bool, of the region's shape: where objects are counted; None: in all of it
    parts : whether to yield what can be shown meanwhile: small planes of a stack, and
        parts of large ones and of volumes, as the first look has them; large ones of
        networks that measure all they see have none
    near : where to begin, like ``region``

    Yields
    ------
    TileDone, some of them PartDone; then, of large planes, BlockDone

    Returns
    -------
    Prediction
        Of the shape of the region.

    Raises
    ------
    UnetError
        As ``predict``.
    """
    began, config = time.perf_counter(), config or PredictConfig()
    with told_of_no_memory():
        models = Ensemble((model, *partners), image, axes, config, pixel_size)
        dims = model.spec.architecture.dims
        window = _window(models.shape, region)
        stack, inner = window[:-dims], window[-dims:]
        models.prepare(stack, inner)
        found = _Found(models, window)
        planes = _nearest_first(stack, near and near[:-dims])
        small = len(planes) > 1 and prod(s.stop - s.start for s in inner) <= SMALL
        for index in planes:
            looks = models.looks(inner, spread=found.apart is not None)
            steps = models.look(index, inner, looks, near and near[-dims:])
            if parts and not small:
                steps = _with_parts(steps, models, index, inner)
            yield from steps
            yield from found.take(index, looks)
            if parts and small:
                yield found.part(index, models.done)
        return found.prediction(counted, began)


def _nearest_first(stack: Slices, near: Slices | None) -> list[tuple[int, ...]]:
    """Return the planes of a stack, those nearest to a place first."""
    planes = list(product(*(range(part.start, part.stop) for part in stack)))
    if near is None:
        return planes
    return sorted(planes, key=lambda index: _away(index, near))


def _away(index: tuple[int, ...], near: Slices) -> int:
    pairs = zip(index, near, strict=True)
    return sum(max(part.start - i, i - part.stop + 1, 0) for i, part in pairs)


class _Found:
    """What is found of the planes of a region, one after the other."""

    def __init__(self, models: Ensemble, window: Slices) -> None:
        self._models, self._window = models, window
        shape = tuple(part.stop - part.start for part in window)
        spec, config = models.spec, models.config
        self._labels = np.zeros(shape, np.int32)
        self._highest = 0
        self._scores: NDArray[np.float32] | None = None
        if config.keep_scores and len(shape) > spec.architecture.dims:
            self._scores = np.zeros(
                (spec.architecture.out_channels, *shape), np.float32
            )
        spread = config.uncertainty and models.looks_often
        self.apart = np.zeros(shape, np.float32) if spread else None

    def take(self, index: tuple[int, ...], looks: Looks) -> Numbering[None]:
        """Take what was seen of a plane of the image."""
        place = self._place(index)
        spec, config, scores = self._models.spec, self._models.config, looks.mean()
        at: tuple[Any, ...] = (*place, ...)
        self._highest = yield from _number(
            self._labels[at], scores, spec, config, self._highest
        )
        if self._scores is not None:
            self._scores[_all_channels(place)] = scores
        elif config.keep_scores:  # a single plane's need no copy
            self._scores = scores.astype(np.float32, copy=False)
        if self.apart is not None:
            self.apart[at] = looks.spread()

    def part(self, index: tuple[int, ...], done: TileDone) -> PartDone:
        """Return a plane that was taken, to be shown."""
        region = (*_at(index), *self._window[len(index) :])
        labels = self._labels[_at(self._place(index))].copy()
        return PartDone(done.done, done.total, labels, region, region)

    def _place(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Return where a plane of the image lies in what is found."""
        return tuple(i - s.start for i, s in zip(index, self._window, strict=False))

    def prediction(self, counted: NDArray[np.bool_] | None, began: float) -> Prediction:
        """Return all that was found; see ``predict_steps``."""
        models, notes = self._models, self._models.notes
        if models.config.uncertainty and self.apart is None:
            notes = (*notes, ONE_LOOK)
        seen = self._labels if counted is None else self._labels[counted]
        seconds = time.perf_counter() - began
        constant = models.measured.constant
        report = Report(seconds, notes, constant, models.smallest)
        said = report.of(seen, models.spec, models.config)
        return Prediction(self._labels, self._scores, said, report, self.apart)


def _with_parts(
    steps: Iterable[TileDone], models: Ensemble, index: tuple[int, ...], corner: Slices
) -> Generator[TileDone, None, None]:
    """Yield what is done of a plane, and the labels of parts as they are computed."""
    stack = _at(index)
    growing = Growing(tuple(part.stop - part.start for part in corner))
    event = TileDone(0, 0)

    def shown(parts: Iterable[Part]) -> Generator[PartDone, None, None]:
        for part in parts:
            scores = models.so_far(part.window)
            labels = labels_from_scores(scores, models.spec.output, models.config)
            window, region = (
                (*stack, *_moved(each, corner)) for each in (part.window, part.region)
            )
            labels = labels.reshape((1,) * len(stack) + labels.shape)
            yield PartDone(event.done, event.total, labels, window, region)

    for event in steps:
        yield event
        if models.shows_parts and models.first_look:
            yield from shown(growing.add(models.latest))


def _at(index: tuple[int, ...]) -> Slices:
    """Return slices that hold nothing but an index."""
    return tuple(slice(i, i + 1) for i in index)


def _moved(part: Slices, corner: Slices) -> Slices:
    """Return slices counted from where those of a corner are counted from."""
    return tuple(
        slice(s.start + c.start, s.stop + c.start)
        for s, c in zip(part, corner, strict=True)
    )


def _window(shape: tuple[int, ...], region: tuple[slice, ...] | None) -> Slices:
    """Return the region with a start and a stop on every axis."""
    region = region or (slice(None),) * len(shape)
    ranges = [range(n)[part] for n, part in zip(shape, region, strict=True)]
    return tuple(slice(r.start, max(r.start, r.stop)) for r in ranges)


def _all_channels(index: Iterable[int | slice]) -> tuple[int | slice, ...]:
    return (slice(None), *index)


def relabel(
    scores: NDArray[np.floating[Any]], spec: ModelSpec, config: LabelsConfig
) -> NDArray[np.int32]:
    """Make labels from kept scores again at once; see ``relabel_steps``."""
    return drain(relabel_steps(scores, spec, config))


def relabel_steps(
    scores: NDArray[np.floating[Any]], spec: ModelSpec, config: LabelsConfig
) -> Numbering[NDArray[np.int32]]:
    """Make labels from kept scores again, without the network.

    Parameters
    ----------
    scores : (K, ..., Y, X) float, 0 to 1, as in ``Prediction.scores``
    spec : of the model that gave them
    config : threshold, splitting, smallest object, holes

    Yields
    ------
    BlockDone, of large planes

    Returns
    -------
    labels : (..., Y, X) int32; objects of different planes are different
    """
    labels = np.zeros(scores.shape[1:], np.int32)
    highest = 0
    for index in product(*map(range, labels.shape[: -spec.architecture.dims])):
        plane = scores[_all_channels(index)]
        at: tuple[Any, ...] = (*index, ...)
        highest = yield from _number(labels[at], plane, spec, config, highest)
    return labels


def _number(
    labels: NDArray[np.int32], scores: NDArray[Any], spec: ModelSpec,
    config: LabelsConfig, highest: int,
) -> Numbering[int]:  # fmt: skip
    """Write a plane's labels, objects above ``highest``; return the new highest."""
    yield from label_steps(labels, scores, spec.output, config)
    if not spec.gives_objects:
        return highest
    if highest:
        labels[labels > 0] += highest
    return max(highest, int(labels.max(initial=0)))
