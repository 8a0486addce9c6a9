"""Session: what the user has open, and the jobs of the four verbs. No Qt, no napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from psygnal import Signal

from napari_unet.engine.config import PredictConfig
from napari_unet.errors import TrainingError
from napari_unet.formats.interrupt import Interrupt
from napari_unet.jobs import Job
from napari_unet.opened import (
    bounded,
    open_image,
    with_context,
)
from napari_unet.opened_model import Opening, OpenModel, Version
from napari_unet.steps import (
    finetune_on,
    load_from,
    look_at,
    predict_into,
    relabel_into,
    revise,
    save_to,
    write_labels_to,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet.engine.config import FinetuneConfig, LabelsConfig
    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.engine.look import Look
    from napari_unet.engine.model import Model
    from napari_unet.engine.protect import Merged, Region
    from napari_unet.opened import OpenImage
    from napari_unet.steps import Predicted

T = TypeVar("T")


class Session:
    """The model, the images and the jobs. All methods are for the main thread."""

    model_changed = Signal()
    images_changed = Signal()
    labels_changed = Signal(object, object)  # OpenImage, window or None
    draft_changed = Signal()
    look_changed = Signal()

    def __init__(self) -> None:
        self.images: list[OpenImage] = []
        self._state = OpenModel()

    # -- model and versions

    @property
    def model(self) -> Model | None:
        """The model that the next prediction uses."""
        version = self.version
        return version.model if version else None

    @property
    def version(self) -> Version | None:
        """The version in use."""
        return self._state.in_use

    @property
    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        return list(self._state.versions)

    @property
    def draft(self) -> FinetuneResult | None:
        """A finished fine-tuning that is neither kept nor dropped."""
        return self._state.draft

    def set_model(
        self, model: Model, note: str = "as loaded", opening: Opening | None = None
    ) -> None:
        """Start anew with a model as version 1.

        Parameters
        ----------
        model : for the next prediction
        note : on where it is from
        opening : how its file was opened, so that it can be read in another way
        """
        self._state = OpenModel([Version(1, model, note)], current=1, opening=opening)
        self._tell()

    def _tell(self) -> None:
        """Tell that the model is another one."""
        self.model_changed.emit()
        self.draft_changed.emit()
        self.look_changed.emit()

    def load_job(
        self, path: str | Path, *, device: str = "auto", trust: bool = False
    ) -> Job[Model]:
        """Open a checkpoint, a bundled model, or one of BioImage.IO by its id."""
        opening, interrupt = Opening(str(path), device, trust), Interrupt()
        return Job(
            f"Loading {path}", load_from(opening, interrupt), 1,
            lambda model: self.set_model(model, opening=opening),
            interrupt=interrupt.call,
        )  # fmt: skip

    # -- what is known of the model

    def revise_model(self, changes: Mapping[str, Any]) -> Job[Model] | None:
        """Change what is known of the model in use; its weights stay the same.

        Parameters
        ----------
        changes : fields of ModelSpec by name, as for ``load_model(overrides=...)``

        Returns
        -------
        job : where the file must be opened again ("reading") or the network made
            anew ("architecture"); None: it is done

        Raises
        ------
        UnetError
            If no model is loaded, the changes do not fit it, or a reading is asked for
            of a version that was fine-tuned.
        """
        state, model = self._state, self._state.model_of()
        number = state.current
        interrupt = Interrupt()
        if "reading" in changes:
            steps = load_from(state.reopening(changes), interrupt)
        elif "architecture" in changes:
            steps = revise(model, changes)
        else:
            from napari_unet.engine.model import revised

            self._take_revised(state, number, revised(model, changes), changes)
            return None
        return Job(
            f"Changing {model.spec.name}", steps, 1,
            lambda changed: self._take_revised(state, number, changed, changes),
            interrupt=interrupt.call,
        )  # fmt: skip

    def _take_revised(
        self, state: OpenModel, number: int, model: Model, changes: Mapping[str, Any]
    ) -> None:
        state.put(number, model, changes)
        if state is self._state:  # else another model was loaded meanwhile
            self.model_changed.emit()
            self.look_changed.emit()

    @property
    def look(self) -> Look | None:
        """What the last quick look found of the model in use."""
        return self._state.look

    def look_job(self, name: str, image: Any, axes: str) -> Job[Look]:
        """Look at the middle of an image: whether guesses about the model are likely.

        Parameters
        ----------
        name : of the image
        image, axes : as for ``add_image``; nothing is written

        Raises
        ------
        UnetError
            If no model is loaded.
        """
        model = self._state.model_of()

        def accept(look: Look) -> None:
            if self.model is model:
                self._state.look = look
                self.look_changed.emit()

        return Job(
            f"Checking {model.spec.name} on {name}",
            look_at(model, image, axes, self._state.reopened), 0, accept,
            "short" if model.trainable else "network",  # a program runs one call
            model.network.interrupt,
        )  # fmt: skip

    def save_model_job(
        self, path: Path, number: int | None = None, **asked: Any
    ) -> Job[Path]:
        """Write a version of the model, the current one unless a number is given.

        Parameters
        ----------
        path : its ending chooses the format
        number : of the version
        asked : what the format asks for, such as authors; see ``save_model``
        """
        steps = save_to(self._state.model_of(number), path, asked)
        return Job(f"Saving model to {path}", steps, 1, lambda _: None, "short")

    def restore(self, number: int) -> None:
        """Make a version the one in use."""
        self._state.use(number)
        self._tell()

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
        opened = open_image(name, image, axes, labels, self._kind())
        self.images.append(opened)
        self.images_changed.emit()
        return opened

    def _kind(self) -> tuple[int, bool]:
        """Return the model's dimensions, and whether it gives objects."""
        if self.model is None:
            return 2, True
        spec = self.model.spec
        return spec.architecture.dims, spec.gives_objects

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
        model = self._state.model_of()
        opened.follow(*self._kind(), model.spec.name)
        config = (config or PredictConfig()).model_copy(update={"keep_scores": True})
        shape = opened.corrections.labels.shape
        region = bounded(region, shape)
        window = with_context(region, shape, model.spec.architecture.dims)
        snapshot = opened.corrections.snapshot(window)
        steps = predict_into(model, opened, config, window, region, snapshot)
        return Job(
            f"Predicting {opened.name}", steps, 0,
            lambda predicted: self._take_prediction(opened, predicted),
            interrupt=model.network.interrupt,
        )  # fmt: skip

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

        def accept(_: Path) -> None:
            opened.saved_revision = snapshot.revision
            self.labels_changed.emit(opened, None)

        steps = write_labels_to(path, snapshot.labels)
        return Job(f"Saving masks to {path}", steps, 1, accept, "short")

    # -- finetune

    def finetune_job(self, config: FinetuneConfig) -> Job[FinetuneResult]:
        """Fine-tune a clone of the model on all that is corrected.

        Raises
        ------
        TrainingError
            If nothing is corrected in the kind of labels that the model gives.
        """
        model = self._state.model_of()
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
        self._state.keep()
        self._tell()

    def revert(self) -> None:
        """Drop a finished fine-tuning; without one, go back a version."""
        if self._state.draft is None:
            self._state.use_earlier()
            self._tell()
            return
        self._state.draft = None
        self.draft_changed.emit()

    @property
    def unsaved(self) -> list[OpenImage]:
        """The images whose corrections were not saved."""
        return [opened for opened in self.images if opened.unsaved]
