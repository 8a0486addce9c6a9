"""Session: what the user has open, and the jobs of the four verbs. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

from psygnal import Signal

from napari_unet.engine.blocks import (
    bounded,
    common,
    everything,
    overlap,
    relative,
    shape_of,
)
from napari_unet.engine.config import PredictConfig
from napari_unet.errors import Interrupted, UnetError
from napari_unet.handover import provenance_of, write_masks, write_pairs
from napari_unet.jobs import Job
from napari_unet.opened import (
    Asked,
    open_image,
    with_context,
)
from napari_unet.session_finetune import FinetuneSession
from napari_unet.session_model import interrupt_all
from napari_unet.session_progress import ProgressSession
from napari_unet.session_tools import ToolSession
from napari_unet.steps import (
    merge_again,
    predict_into,
    relabel_into,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.config import LabelsConfig, PartDone
    from napari_unet.handover import Grid
    from napari_unet.jobs import Lane
    from napari_unet.opened import OpenImage
    from napari_unet.steps import Predicted

T = TypeVar("T")
Next = Callable[[], "Job[Any] | None"] | None  # makes the job that follows
SOON = 2**21  # pixels; fewer are predicted so soon that no part need be shown before
AT_ONCE = 2**20  # pixels; merging more would stop the window for more than 60 ms
MOST_MERGES = 3  # in the worker, of one prediction; then it is put in at once


@dataclass(frozen=True)
class _Growing:
    """A prediction of which parts are shown before all of it is there.

    Attributes
    ----------
    opened : the image
    region, within : what was asked for
    began : when, in seconds since the epoch; what comes of it is one step to undo
    near : where to begin
    soon : less is read around it, so large objects at its edge may be cut; all of it is
        predicted again
    """

    opened: OpenImage
    region: Region
    within: NDArray[np.bool_] | None
    began: float
    near: Region | None = None
    soon: bool = False


@dataclass
class Several:
    """Predictions of several images, one after another.

    Attributes
    ----------
    total : images in all
    predicted : those that were, by now
    left_out : name of each that could not be, and why
    """

    total: int
    predicted: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)


class Session(ToolSession, ProgressSession, FinetuneSession):
    """The model, the images and the jobs. All methods are for the main thread."""

    uncertainty_found = Signal(object, object)  # OpenImage, UncertaintyMap

    # -- images

    def add_image(
        self, name: str, image: Any, axes: str, labels: NDArray[Any] | None = None,
        pixel_size: tuple[float, ...] | None = None, channel: int | None = None,
    ) -> OpenImage:  # fmt: skip
        """Take an image into the session.

        Parameters
        ----------
        name : as the user calls it
        image : array with one axis per letter of ``axes``; never written
        axes : letters such as "YX", "ZYX", "YXC"
        labels : labels to start from, copied; None: empty
        pixel_size, channel : as for ``predict``

        Raises
        ------
        LabelsError
            If the labels do not fit the image.
        """
        opened = open_image(name, image, axes, labels, self._kind())
        opened.pixel_size, opened.channel = pixel_size, channel
        self.images.append(opened)
        self.images_changed.emit()
        return opened

    def remove_image(self, opened: OpenImage) -> None:
        """Forget an image and its corrections."""
        self.images = [each for each in self.images if each is not opened]
        self.images_changed.emit()

    # -- predict

    def predict_job(
        self, opened: OpenImage, config: PredictConfig | None = None,
        region: Region | None = None, within: NDArray[np.bool_] | None = None,
        first: Region | None = None, then: Next = None,
    ) -> Job[Any]:  # fmt: skip
        """Predict labels and put them under what is protected.

        Parameters
        ----------
        opened : the image
        config : see PredictConfig; a channel in it is the image's from then on
        region : slices over the labels' axes; None: everything
        within : bool, of the region's shape, which pixels of it; None: all. Objects
            that touch them are replaced as a whole
        first : a part that is predicted before, by a job of its own, so that it is seen
            early, though large objects at its edge may be cut; None: there is none
        then : makes the job that follows when all of it is there; None: there is none

        Raises
        ------
        UnetError
            If no model is loaded, or the labels are of another kind than it gives.
        """
        config = config or PredictConfig()
        if config.channel is not None:
            opened.channel = config.channel
        asked = {"keep_scores": True, "channel": opened.channel}
        config = config.model_copy(update=asked)
        shape, began = opened.corrections.shape, opened.corrections.clock()
        whole = bounded(region or everything(shape), shape)
        if first is None:
            growing = _Growing(opened, whole, within, began)
            return self._predict_job(config, growing, then)
        view = bounded(first, shape)
        rest = _Growing(opened, whole, within, began, view)
        return self._predict_job(
            config, _Growing(opened, view, None, began, soon=True),
            lambda: self._predict_job(config, rest, then),
        )  # fmt: skip

    def predict_several_job(
        self, images: Sequence[tuple[str, Callable[[], OpenImage]]],
        config: PredictConfig, several: Several,
    ) -> Job[Any] | None:  # fmt: skip
        """Predict all of several images, one after another; each is one step of undo.

        Parameters
        ----------
        images : name of each, and what opens it when its turn has come; what cannot be
            opened or predicted is left out
        config : see PredictConfig; the channel of each is its own
        several : is told what becomes of them

        Returns
        -------
        job : its ``accept`` returns that of the next image; None: all were left out

        Raises
        ------
        UnetError
            If no model is loaded.
        """
        self._state.model_of()
        config = config.model_copy(update={"channel": None})
        for number, (name, opens) in enumerate(images, start=1):
            rest = partial(self.predict_several_job, images[number:], config, several)
            try:
                opened = opens()
                job = self.predict_job(opened, config, then=_counting(several, rest))
            except UnetError as error:
                several.left_out.append((name, str(error)))
            else:
                return _leaving_out(job, name, several, rest)
        return None

    def _predict_job(
        self, config: PredictConfig, growing: _Growing, then: Next = None
    ) -> Job[Any]:
        """Return a job for a part of an image, and what is to be done after it."""
        model, number = self._state.model_of(), self._state.current
        opened, region = growing.opened, growing.region
        opened.follow(*self._kind(), model.spec.name)
        shape = opened.corrections.shape
        window = with_context(
            region, shape, model.spec, opened.pixel_size, soon=growing.soon
        )
        asked = Asked(region, growing.within, window, growing.near)
        shows = prod(shape_of(window)) > SOON
        snapshot = None if shows else opened.corrections.snapshot(window)
        models = (model, *self.partners)
        return Job(
            f"Predicting {opened.name}",
            predict_into(models, opened, config, asked, snapshot), 0,
            lambda predicted: self._take_prediction(
                opened, replace(predicted, version=number, began=growing.began),
                then=then,
            ),
            interrupt=lambda: interrupt_all(models),
            take=lambda part: self._take_part(growing, part, number),
        )  # fmt: skip

    def _take_part(self, growing: _Growing, part: PartDone, version: int) -> None:
        """Show a part of a prediction; all of it will be one step of the history.

        Where the user is drawing, or objects reach far, it waits for the whole.
        """
        corrections = growing.opened.corrections
        if corrections.drawing or not overlap(part.region, growing.region):
            return
        if prod(shape_of(corrections.whole_objects(part.window))) > AT_ONCE:
            return
        region, within = common(part.region, growing.region), growing.within
        if within is not None:
            within = within[relative(region, growing.region)]
        snapshot = corrections.snapshot(part.window)
        merged = snapshot.merge(part.labels, part.window, region, within)
        changed = corrections.put(merged, since=growing.began)
        self._note_prediction(growing.opened, region, version)
        self.labels_changed.emit(growing.opened, changed)

    def _take_prediction(
        self, opened: OpenImage, predicted: Predicted, lane: Lane = "network",
        then: Next = None,
    ) -> Job[Any] | None:  # fmt: skip
        """Put a prediction into the labels; first merge it anew if they changed."""
        corrections = opened.corrections
        if lane == "short" and opened.kept is not predicted.kept:
            return None  # sliders were moved, and then something else was predicted
        merged = predicted.merged
        if merged is None or corrections.is_stale(merged):
            if predicted.merges < MOST_MERGES:
                return self._merge_again(opened, predicted, lane, then)
            snapshot = corrections.snapshot(predicted.window)
            predicted, merged = predicted.merged_into(snapshot)
        self._note_pace(predicted.seconds, predicted.labels.size)
        changed = corrections.put(merged, since=predicted.began)
        self._note_prediction(opened, predicted.region, predicted.version)
        opened.kept, opened.summary = predicted.kept, predicted.summary
        self.labels_changed.emit(opened, changed)
        if predicted.uncertainty is not None:
            self.uncertainty_found.emit(opened, predicted.uncertainty)
        return None if then is None else then()

    def _merge_again(
        self, opened: OpenImage, predicted: Predicted, lane: Lane, then: Next
    ) -> Job[Any]:
        """Merge a prediction into what the user corrected while it was made."""
        steps = merge_again(predicted, opened.corrections.snapshot(predicted.window))
        return Job(
            f"Predicting {opened.name}", steps, 1,
            lambda fresh: self._take_prediction(opened, fresh, lane, then), lane,
        )  # fmt: skip

    def relabel_job(self, opened: OpenImage, config: LabelsConfig) -> Job[Any] | None:
        """Make the labels of the last prediction again from its kept scores.

        Returns None when no scores are kept.
        """
        kept = opened.kept
        if kept is None:
            return None
        snapshot = opened.corrections.snapshot(kept.window)
        steps = relabel_into(kept, config, snapshot)
        return Job(
            f"Labels of {opened.name}", steps, 1,
            lambda predicted: self._take_prediction(opened, predicted, "short"),
            "short",
        )  # fmt: skip

    # -- correct

    def save_labels_job(
        self, opened: OpenImage, path: Path, grid: Grid | None = None
    ) -> Job[Path]:
        """Write an image's labels, with where they come from.

        Parameters
        ----------
        opened : the image
        path : its ending chooses the format, see ``io.masks``
        grid : how large its pixels are
        """
        snapshot = opened.corrections.snapshot()

        def accept(_: Path) -> None:
            opened.saved_revision = snapshot.revision
            self.labels_changed.emit(opened, None)

        steps = write_masks(
            path, snapshot, opened.axes.replace("C", ""), grid,
            provenance_of(opened, self.version),
        )  # fmt: skip
        return Job(f"Saving masks to {path}", steps, 0, accept, "short")

    def save_pairs_job(self, folder: Path) -> Job[Path]:
        """Write all that is corrected as a folder that ``napari-unet train`` reads.

        Raises
        ------
        TrainingError
            If nothing is corrected.
        """
        corrected = self.corrected()
        dims = corrected[0].corrections.dims
        images = [
            (o, o.corrections.snapshot()) for o in corrected
            if o.corrections.dims == dims
        ]  # fmt: skip
        alone = self.model is None or self.model.spec.architecture.in_channels == 1
        steps = write_pairs(
            folder, images, dims, provenance_of(corrected[0], self.version),
            alone=alone,
        )  # fmt: skip
        return Job(f"Saving pairs to {folder}", steps, 0, lambda _: None, "short")

    @property
    def unsaved(self) -> list[OpenImage]:
        """The images whose corrections were not saved."""
        return [opened for opened in self.images if opened.unsaved]


def _counting(several: Several, rest: Callable[[], Job[Any] | None]) -> Next:
    """Return what takes note of a predicted image and goes on."""

    def then() -> Job[Any] | None:
        several.predicted += 1
        return rest()

    return then


def _leaving_out(
    job: Job[Any], name: str, several: Several, rest: Callable[[], Job[Any] | None]
) -> Job[Any]:
    """Return a job that goes on with the rest where its image cannot be predicted."""

    def steps() -> Generator[Any, Any, Any]:
        try:
            return (yield from job.steps)
        except Interrupted:
            raise
        except UnetError as error:
            return error

    def accept(result: Any) -> Job[Any] | None:
        if not isinstance(result, UnetError):
            return job.accept(result)
        several.left_out.append((name, str(result)))
        return rest()

    return replace(job, steps=steps(), accept=accept)
