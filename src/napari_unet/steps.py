"""What the session's jobs do in their worker: engine calls on snapshots."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet import zoo
from napari_unet.engine.blocks import relative
from napari_unet.engine.config import TileDone
from napari_unet.errors import CheckpointError, ImageError
from napari_unet.opened import (
    KeptScores,
    UncertaintyMap,
    shape_without_channels,
    with_context,
)
from napari_unet.zoo_download import bioimageio_id, fetch_steps

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.alternatives import Alternative
    from napari_unet.engine.blocks import Region
    from napari_unet.engine.compare import Comparison
    from napari_unet.engine.config import BlockDone, LabelsConfig, PredictConfig
    from napari_unet.engine.look import Look
    from napari_unet.engine.model import Model
    from napari_unet.engine.protect import Merged, Snapshot
    from napari_unet.engine.tiling_check import TilingCheck
    from napari_unet.formats.interrupt import Interrupt
    from napari_unet.opened import Asked, OpenImage
    from napari_unet.opened_model import Opening

KEPT_BYTES = 2**30  # scores kept for the sliders
OUTLINE = 2  # pixels, of previews
IN_TRAINING, DRAFT = 0, -1  # numbers of previews that are of no version
MOST_READINGS = 6  # that a look tries; each opens the file again


@dataclass(frozen=True)
class Predicted:
    """What a prediction job hands over: see Merged, Prediction and KeptScores.

    ``within`` tells which pixels of ``region`` were asked for; None: all.
    ``seconds`` is how long the network took, ``merges`` counts how often it was merged;
    ``version`` is that of the model, 0 where kept scores are only read in another way.
    ``uncertainty`` is there where it was asked for. ``merged`` is None where parts were
    shown meanwhile, so that it has to be merged into these anyway; predictions made
    after it ``began`` are undone together with it, for sliders any.
    """

    merged: Merged | None
    labels: NDArray[np.int32]
    window: Region
    region: Region
    kept: KeptScores | None
    summary: str
    seconds: float = 0.0
    merges: int = 1
    version: int = 0
    within: NDArray[np.bool_] | None = None
    uncertainty: UncertaintyMap | None = None
    began: float = -inf

    def merged_into(self, snapshot: Snapshot) -> tuple[Predicted, Merged]:
        """Return the same, merged into what is there by now, and what that changes."""
        merged = snapshot.merge(self.labels, self.window, self.region, self.within)
        return replace(self, merged=merged, merges=self.merges + 1), merged


def load_from(
    opening: Opening, interrupt: Interrupt | None = None
) -> Generator[Any, None, Model]:
    """Open a model, downloaded first if it is in BioImage.IO's zoo only."""
    from napari_unet.formats import load_model

    yield
    place: str | Path = opening.source
    name = "" if is_here(opening.source) else bioimageio_id(opening.source)
    if name:
        place = yield from fetch_steps(name)
    model = load_model(
        place, device=opening.device, trust=opening.trust,
        overrides=opening.changes, interrupt=interrupt,
    )  # fmt: skip
    zoo.remember(place)
    return model


def is_here(source: str) -> bool:
    """Tell whether a model is bundled or a file or folder that exists."""
    from napari_unet.formats import bundled_models

    return source in bundled_models() or Path(source).expanduser().exists()


def revise(model: Model, changes: Mapping[str, Any]) -> Generator[None, None, Model]:
    """Change what is known of a model's network."""
    from napari_unet.engine.model import revised

    yield
    return revised(model, changes)


def save_to(
    model: Model, path: Path, asked: Mapping[str, Any]
) -> Generator[None, None, Path]:
    """Write a model in the format of the path's ending."""
    from napari_unet.formats import save_model

    yield
    return save_model(model, path, **asked)


def look_at(
    model: Model, image: Any, axes: str, opening: Opening | None,
    pixel_size: tuple[float, ...] | None = None, channel: int | None = None,
) -> Generator[Any, None, Look]:  # fmt: skip
    """Look at the middle of an image, and try what was guessed otherwise.

    Nobody may have asked for it, so an image that does not fit is no error.
    """
    from napari_unet.engine.alternatives import alternatives_of
    from napari_unet.engine.look import Look, look_steps

    others = [*alternatives_of(model), *_readings(model, opening)]
    try:
        return (yield from look_steps(model, image, axes, others, channel, pixel_size))
    except (ImageError, CheckpointError) as error:
        return Look(reason=str(error))


def _readings(model: Model, opening: Opening | None) -> list[Alternative]:
    """Return the other ways in which the weights of a file can be understood."""
    from napari_unet.engine.alternatives import Alternative
    from napari_unet.formats import load_model

    spec = model.spec
    chosen = spec.source("reading") == "chosen"
    if opening is None or chosen or not is_here(opening.source):
        return []
    others = [one for one in spec.readings if one != spec.reading]

    def make(reading: str) -> Model:
        changed = opening.changed({"reading": reading})
        return load_model(
            changed.source, device=str(model.device), trust=changed.trust,
            overrides=changed.changes,
        )  # fmt: skip

    return [
        Alternative(f'the reading "{each}"', {"reading": each}, partial(make, each))
        for each in others[:MOST_READINGS]
    ]


def check_tiling(
    model: Model, image: Any, axes: str, channel: int | None
) -> Generator[Any, None, TilingCheck]:
    """Compare tiles with the whole in the middle of an image."""
    from napari_unet.engine.tiling_check import check_tiling_steps

    yield
    return (yield from check_tiling_steps(model, image, axes, channel))


def predict_into(
    models: Sequence[Model], opened: OpenImage, config: PredictConfig, asked: Asked,
    snapshot: Snapshot | None,
) -> Generator[Any, None, Predicted]:  # fmt: skip
    """Predict a window and merge what was asked for into the snapshot.

    The scores of several models are averaged. Without a snapshot, parts are told of as
    they are computed.
    """
    from napari_unet.engine.predict import predict_steps

    window, region, within = asked.window, asked.region, asked.within
    began = time.monotonic()
    prediction = yield from predict_steps(
        models[0], opened.image, axes=opened.axes, config=config, region=window,
        counted=_asked_pixels(asked), partners=models[1:], parts=snapshot is None,
        near=asked.near, pixel_size=opened.pixel_size,
    )  # fmt: skip
    seconds = time.monotonic() - began
    merged = None
    if snapshot is not None:
        merged = snapshot.merge(prediction.labels, window, region, within)
    kept = None
    if prediction.scores is not None and prediction.scores.nbytes <= 2 * KEPT_BYTES:
        scores = prediction.scores.astype(np.float16)
        kept = KeptScores(
            scores, models[0].spec, prediction.report, window, region, within,
            config.channel,
        )  # fmt: skip
    apart, doubt = prediction.uncertainty, None
    if apart is not None:
        doubt = UncertaintyMap(region, apart[relative(region, window)])
    return Predicted(
        merged, prediction.labels, window, region, kept, prediction.summary, seconds,
        int(merged is not None), within=within, uncertainty=doubt,
    )  # fmt: skip


def _asked_pixels(asked: Asked) -> NDArray[np.bool_]:
    """Return which pixels of a window were asked for, not only predicted beside."""
    pixels = np.zeros([s.stop - s.start for s in asked.window], bool)
    part = relative(asked.region, asked.window)
    pixels[part] = True if asked.within is None else asked.within
    return pixels


def merge_again(
    predicted: Predicted, snapshot: Snapshot
) -> Generator[None, None, Predicted]:
    """Merge a prediction into what the user corrected while it was made."""
    yield
    return predicted.merged_into(snapshot)[0]


def relabel_into(
    kept: KeptScores, config: LabelsConfig, snapshot: Snapshot
) -> Generator[BlockDone | None, None, Predicted]:
    """Make labels of kept scores again and merge them into the snapshot."""
    from napari_unet.engine.predict import relabel_steps

    yield None
    config = config.with_smallest(kept.report.smallest)
    labels = yield from relabel_steps(kept.scores, kept.spec, config)
    merged = snapshot.merge(labels, kept.window, kept.region, kept.within)
    seen = labels[relative(kept.region, kept.window)]
    seen = seen if kept.within is None else seen[kept.within]
    summary = kept.report.of(seen, kept.spec, config)
    return Predicted(
        merged, labels, kept.window, kept.region, kept, summary, within=kept.within
    )


# -- versions, tried out beside the labels


@dataclass(frozen=True)
class View:
    """A part of an image on which versions are tried out.

    Attributes
    ----------
    name : of the image
    image : never written
    axes : one letter per axis of the image
    region : slices with numbers, over the axes without channels
    config : for the prediction
    pixel_size : as for ``predict``
    """

    name: str
    image: Any
    axes: str
    region: Region
    config: PredictConfig
    pixel_size: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Preview:
    """What a version finds in a part of an image; it is in no ledger.

    Attributes
    ----------
    view : of what
    number : of the version; or ``IN_TRAINING`` or ``DRAFT``
    labels : int32, of the view's region
    outline : uint8, their edges; see ``engine.compare.outlines``
    objects : whether values are objects; else classes
    found : how many there are, in words
    """

    view: View
    number: int
    labels: NDArray[np.int32]
    outline: NDArray[np.uint8]
    objects: bool
    found: str


@dataclass(frozen=True)
class Compared:
    """Two versions tried on one part of an image.

    Attributes
    ----------
    comparison : how they differ
    previews : what each finds
    outline : uint8, 1 on edges that only the first has, 2 the second, 3 both
    """

    comparison: Comparison
    previews: tuple[Preview, Preview]
    outline: NDArray[np.uint8]


def preview_of(number: int, model: Model, view: View) -> Generator[Any, None, Preview]:
    """Predict a view with a version; what lies around is predicted and cut away."""
    from napari_unet.engine.compare import outlines
    from napari_unet.engine.predict import predict_steps

    shape = shape_without_channels(view.image.shape, view.axes)
    window = with_context(view.region, shape, model.spec, view.pixel_size)
    config = view.config.model_copy(update={"keep_scores": False})
    prediction = yield from predict_steps(
        model, view.image, axes=view.axes, config=config, region=window,
        pixel_size=view.pixel_size,
    )  # fmt: skip
    labels = prediction.labels[relative(view.region, window)].copy()
    objects = model.spec.gives_objects
    count = int(np.count_nonzero(np.bincount(labels.ravel(), minlength=1)[1:]))
    kind = ("object" if count == 1 else "objects") if objects else "classes"
    found = f"{count:,} {kind}" if count else "nothing"
    edges = outlines(labels, OUTLINE, objects)
    return Preview(view, number, labels, edges, objects, found)


def compare_on(
    one: tuple[int, Model], other: tuple[int, Model], view: View,
    corrected: Snapshot | None,
) -> Generator[Any, None, Compared]:  # fmt: skip
    """Predict a view with two versions, and say how far they agree.

    Parameters
    ----------
    one, other : number and model of a version
    view : where
    corrected : what holds the view; None: nothing is corrected there
    """
    from napari_unet.engine.compare import Truth, compare

    first = yield from _turn(preview_of(*one, view), 0)
    second = yield from _turn(preview_of(*other, view), 1)
    truth = None
    if corrected is not None:
        here = relative(view.region, corrected.window)
        truth = Truth(corrected.labels[here], corrected.supervised()[here])
    comparison = compare(
        (first.number, second.number), first.labels, second.labels,
        objects=one[1].spec.gives_objects, truth=truth,
    )  # fmt: skip
    both = np.where(first.outline, 1, 0) + np.where(second.outline, 2, 0)
    return Compared(comparison, (first, second), both.astype(np.uint8))


def _turn(
    steps: Generator[Any, None, Preview], done: int
) -> Generator[TileDone, None, Preview]:
    """Run the first or second of two predictions that count as one."""
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            preview: Preview = end.value
            return preview
        yield TileDone(event.done + done * event.total, 2 * event.total)
