"""Session: what the user has open, and the jobs of the four verbs. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from psygnal import Signal

from napari_unet.engine.config import PredictConfig
from napari_unet.engine.corrections import Corrections
from napari_unet.errors import LabelsError, TrainingError, UnetError
from napari_unet.jobs import Job
from napari_unet.opened import (
    OpenImage,
    bounded,
    check_range,
    shape_without_channels,
    with_context,
)
from napari_unet.steps import finetune_on, predict_into, relabel_into

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet.engine.config import FinetuneConfig, LabelsConfig
    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.engine.model import Model
    from napari_unet.engine.protect import Merged, Region
    from napari_unet.steps import Predicted

T = TypeVar("T")


@dataclass(frozen=True)
class Version:
    """A model that the user kept; number 1 is the one that was loaded."""

    number: int
    model: Model
    note: str


@dataclass
class _State:
    """What can change; replaced only on the main thread."""

    versions: list[Version] = field(default_factory=list)
    current: int = 0
    draft: FinetuneResult | None = None


class Session:
    """The model, the images and the jobs. All methods are for the main thread."""

    model_changed = Signal()
    images_changed = Signal()
    labels_changed = Signal(object, object)  # OpenImage, window or None
    draft_changed = Signal()

    def __init__(self) -> None:
        self.images: list[OpenImage] = []
        self._state = _State()

    # -- model and versions

    @property
    def model(self) -> Model | None:
        """The model that the next prediction uses."""
        version = self.version
        return version.model if version else None

    @property
    def version(self) -> Version | None:
        """The version in use."""
        numbers = {version.number: version for version in self._state.versions}
        return numbers.get(self._state.current)

    @property
    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        return list(self._state.versions)

    @property
    def draft(self) -> FinetuneResult | None:
        """A finished fine-tuning that is neither kept nor dropped."""
        return self._state.draft

    def set_model(self, model: Model, note: str = "as loaded") -> None:
        """Start anew with a model as version 1."""
        self._state = _State([Version(1, model, note)], current=1)
        self.model_changed.emit()
        self.draft_changed.emit()

    def load_job(
        self, path: str | Path, *, device: str = "auto", trust: bool = False
    ) -> Job[Model]:
        """Open a checkpoint."""

        def steps() -> Generator[None, None, Model]:
            from napari_unet.formats import load_model

            yield
            return load_model(path, device=device, trust=trust)

        return Job(f"Loading {path}", steps(), 1, self.set_model)

    def save_model_job(self, path: Path, number: int | None = None) -> Job[Path]:
        """Write a version of the model, the current one unless a number is given."""
        model = self._model_of(number)

        def steps() -> Generator[None, None, Path]:
            from napari_unet.formats import save_model

            yield
            return save_model(model, path)

        return Job(f"Saving model to {path}", steps(), 1, lambda _: None, "short")

    def _model_of(self, number: int | None = None) -> Model:
        for version in self._state.versions:
            if version.number == (number or self._state.current):
                return version.model
        raise UnetError("No model is loaded: choose one in the Model panel first.")

    def restore(self, number: int) -> None:
        """Make a version the one in use."""
        self._model_of(number)
        self._state.current = number
        self._state.draft = None
        self.model_changed.emit()
        self.draft_changed.emit()

    # -- images

    def add_image(
        self, name: str, image: Any, axes: str, labels: NDArray[Any] | None = None
    ) -> OpenImage:
        """Take an image into the session.

        Parameters
        ----------
        name : as the user calls it
        image : array with one axis per letter of ``axes``; never written
        axes : letters such as "YX", "ZYX", "YXC"
        labels : labels to start from, copied; None: empty

        Raises
        ------
        LabelsError
            If the labels do not fit the image.
        """
        from napari_unet.engine.axes import check_axes, check_labels

        axes = check_axes(axes, len(image.shape))
        shape = shape_without_channels(image.shape, axes)
        if labels is None:
            labels = np.zeros(shape, np.int32)
        check_labels(labels, shape)
        check_range(labels)
        dims, instances = self._kind()
        corrections = Corrections(labels, dims=dims, instances=instances)
        opened = OpenImage(name, image, axes, corrections)
        self.images.append(opened)
        self.images_changed.emit()
        return opened

    def _kind(self) -> tuple[int, bool]:
        """Return the model's dimensions, and whether it gives objects."""
        if self.model is None:
            return 2, True
        spec = self.model.spec
        return spec.architecture.dims, spec.output != "classes"

    def remove_image(self, opened: OpenImage) -> None:
        """Forget an image and its corrections."""
        self.images = [each for each in self.images if each is not opened]
        self.images_changed.emit()

    # -- predict

    def predict_job(
        self,
        opened: OpenImage,
        config: PredictConfig | None = None,
        region: Region | None = None,
    ) -> Job[Any]:
        """Predict labels and put them under what is protected.

        Parameters
        ----------
        opened : the image
        config : see PredictConfig
        region : slices over the labels' axes; None: everything

        Raises
        ------
        UnetError
            If no model is loaded, or the labels are of another kind than it gives.
        """
        model = self._model_of()
        self._check_kind(opened, model)
        config = (config or PredictConfig()).model_copy(update={"keep_scores": True})
        shape = opened.corrections.labels.shape
        region = bounded(region, shape)
        window = with_context(region, shape, model.spec.architecture.dims)
        snapshot = opened.corrections.snapshot(window)
        steps = predict_into(model, opened, config, window, region, snapshot)
        return Job(
            f"Predicting {opened.name}", steps, 0,
            lambda predicted: self._take_prediction(opened, predicted),
        )  # fmt: skip

    def _check_kind(self, opened: OpenImage, model: Model) -> None:
        """Let empty layers follow the model; refuse to mix objects and classes."""
        dims, instances = self._kind()
        corrections = opened.corrections
        if (corrections.dims, corrections.instances) == (dims, instances):
            return
        if corrections.tally():
            kinds = {True: "objects", False: "classes"}
            raise LabelsError(
                f"The labels hold corrected {kinds[corrections.instances]}, the model "
                f"{model.spec.name} gives {dims}D {kinds[instances]}: predict into a "
                "new layer."
            )
        corrections.dims, corrections.instances = dims, instances

    def _take_prediction(self, opened: OpenImage, predicted: Predicted) -> None:
        merged = self._fresh(opened, predicted)
        changed = opened.corrections.put(merged)
        opened.kept, opened.summary = predicted.kept, predicted.summary
        self.labels_changed.emit(opened, changed)

    def _fresh(self, opened: OpenImage, predicted: Predicted) -> Merged:
        """Return the merge, made anew if the user went on correcting meanwhile."""
        if not opened.corrections.is_stale(predicted.merged):
            return predicted.merged
        snapshot = opened.corrections.snapshot(predicted.window)
        return snapshot.merge(predicted.labels, predicted.window, predicted.region)

    def relabel_job(self, opened: OpenImage, config: LabelsConfig) -> Job[Any] | None:
        """Make the labels of the last prediction again from its kept scores.

        Returns None when no scores are kept.
        """
        kept = opened.kept
        if kept is None:
            return None
        snapshot = opened.corrections.snapshot(kept.window)
        steps = relabel_into(kept, config, snapshot, opened.summary)

        def accept(predicted: Predicted) -> None:
            merged = self._fresh(opened, predicted)
            changed = opened.corrections.put(merged, again=True)
            self.labels_changed.emit(opened, changed)

        return Job(f"Labels of {opened.name}", steps, 1, accept, "short")

    # -- correct

    def accept(self, opened: OpenImage, region: Region) -> None:
        """Mark what lies in a region as right."""
        opened.corrections.accept(region)
        self.labels_changed.emit(opened, None)

    def accept_object(self, opened: OpenImage, label: int, region: Region) -> None:
        """Mark one object as right."""
        opened.corrections.accept_object(label, region)
        self.labels_changed.emit(opened, None)

    def unaccept(self, opened: OpenImage, region: Region) -> None:
        """Take back what was accepted in a region."""
        opened.corrections.unaccept(region)
        self.labels_changed.emit(opened, None)

    def undo(self, opened: OpenImage) -> None:
        """Take back the last step: a stroke, a prediction, an acceptance."""
        self.labels_changed.emit(opened, opened.corrections.undo())

    def redo(self, opened: OpenImage) -> None:
        """Do the last undone step again."""
        self.labels_changed.emit(opened, opened.corrections.redo())

    def save_labels_job(self, opened: OpenImage, path: Path) -> Job[Path]:
        """Write an image's labels as TIFF or PNG."""
        snapshot = opened.corrections.snapshot()

        def steps() -> Generator[None, None, Path]:
            from napari_unet.io.images import write_labels

            yield
            return write_labels(path, snapshot.labels)

        def accept(_: Path) -> None:
            opened.saved_revision = snapshot.revision
            self.labels_changed.emit(opened, None)

        return Job(f"Saving masks to {path}", steps(), 1, accept, "short")

    # -- finetune

    def finetune_job(self, config: FinetuneConfig) -> Job[FinetuneResult]:
        """Fine-tune a clone of the model on all that is corrected.

        Raises
        ------
        TrainingError
            If nothing is corrected in the kind of labels that the model gives.
        """
        model = self._model_of()
        kind = self._kind()
        fitting = [
            opened for opened in self.images
            if (opened.corrections.dims, opened.corrections.instances) == kind
            and opened.corrections.tally()
        ]  # fmt: skip
        if not fitting:
            raise TrainingError(
                "Nothing is corrected yet; fine-tuning learns from edited and accepted "
                "places: paint or erase some objects, or accept a view that is right."
            )
        parts = [(o.image, o.axes, o.corrections.snapshot()) for o in fitting]
        return Job(
            "Fine-tuning", finetune_on(model, parts, config), config.steps,
            self._take_draft,
        )  # fmt: skip

    def _take_draft(self, result: FinetuneResult) -> None:
        self._state.draft = result
        self.draft_changed.emit()

    def keep(self) -> None:
        """Make the finished fine-tuning a new version, and use it."""
        draft, base = self._state.draft, self.version
        if draft is None or base is None:
            raise UnetError(
                "There is no finished fine-tuning to keep: start one first."
            )
        number = self._state.versions[-1].number + 1
        provenance = {
            **draft.model.spec.provenance,
            f"version {number}": f"fine-tuned from version {base.number}: "
            f"{draft.summary}",
        }
        spec = draft.model.spec.model_copy(update={"provenance": provenance})
        model = replace(draft.model, spec=spec)
        self._state.versions.append(Version(number, model, draft.summary))
        self._state.current, self._state.draft = number, None
        self.model_changed.emit()
        self.draft_changed.emit()

    def revert(self) -> None:
        """Drop a finished fine-tuning; without one, go back a version."""
        if self._state.draft is not None:
            self._state.draft = None
            self.draft_changed.emit()
            return
        numbers = [version.number for version in self._state.versions]
        earlier = [number for number in numbers if number < self._state.current]
        if not earlier:
            raise UnetError(
                "This is the first version: there is nothing to go back to."
            )
        self.restore(earlier[-1])

    @property
    def unsaved(self) -> list[OpenImage]:
        """The images whose corrections were not saved."""
        return [opened for opened in self.images if opened.unsaved]
