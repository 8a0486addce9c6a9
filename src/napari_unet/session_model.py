"""The half of the session about the model: its versions, what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_unet.engine import precision
from napari_unet.engine.looks import check_alike
from napari_unet.errors import UnetError
from napari_unet.formats.interrupt import Interrupt
from napari_unet.jobs import Job
from napari_unet.opened_model import Opening, OpenModel, Version
from napari_unet.settings import PRECISIONS, Table
from napari_unet.steps import (
    DRAFT,
    check_tiling,
    compare_on,
    load_from,
    look_at,
    preview_of,
    revise,
    save_to,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.engine.look import Look
    from napari_unet.engine.model import Model
    from napari_unet.engine.protect import Snapshot
    from napari_unet.engine.tiling_check import TilingCheck
    from napari_unet.steps import Compared, Preview, View


def interrupt_all(models: Iterable[Model]) -> None:
    """End a step of programs that others compute; see ``Job.interrupt``."""
    for model in models:
        model.network.interrupt()


class ModelSession:
    """The model that is open and its versions; the base of Session."""

    model_changed = Signal()
    draft_changed = Signal()
    look_changed = Signal()
    previewed = Signal(object)  # Preview
    compared = Signal(object)  # Compared
    partners_changed = Signal()

    def __init__(self) -> None:
        self._state = OpenModel()
        precision.remember_in(Table(PRECISIONS))
        self.partners: tuple[Model, ...] = ()  # averaged with the model in use

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
        """Use a model that was loaded.

        It starts anew as version 1 unless there is or was a fine-tuned version, or one
        is being made: then all stay, and it is the next.

        Parameters
        ----------
        model : for the next prediction
        note : on where it is from
        opening : how its file was opened, so that it can be read in another way
        """
        state = self._state
        if state.highest > 1 or state.draft is not None or state.begun_from:
            state.add_loaded(model, note, opening)
        else:
            first = Version(1, model, note, opening=opening)
            self._state = OpenModel([first], current=1)
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

    def add_partner_job(
        self, path: str | Path, *, device: str = "auto", trust: bool = False
    ) -> Job[Model]:
        """Open a checkpoint whose scores are averaged with those of the model in use.

        Raises
        ------
        UnetError
            If no model is loaded; when it is accepted, if it gives other things.
        """
        self._state.model_of()
        opening, interrupt = Opening(str(path), device, trust), Interrupt()
        return Job(
            f"Adding {path}", load_from(opening, interrupt), 1, self._take_partner,
            interrupt=interrupt.call,
        )  # fmt: skip

    def _take_partner(self, partner: Model) -> None:
        check_alike((self._state.model_of(), partner))
        self.partners = (*self.partners, partner)
        self.partners_changed.emit()

    def drop_partners(self) -> None:
        """Predict with the model in use alone."""
        self.partners = ()
        self.partners_changed.emit()

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

    def look_job(
        self, name: str, image: Any, axes: str,
        pixel_size: tuple[float, ...] | None = None, channel: int | None = None,
    ) -> Job[Look]:  # fmt: skip
        """Look at the middle of an image: whether guesses about the model are likely.

        Parameters
        ----------
        name : of the image
        image, axes, pixel_size, channel : as for ``add_image``; nothing is written

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
            look_at(model, image, axes, self._state.reopened, pixel_size, channel), 0,
            accept,
            "short" if model.trainable else "network",  # a program runs one call
            model.network.interrupt,
        )  # fmt: skip

    def check_tiling_job(
        self, name: str, image: Any, axes: str, accept: Callable[[TilingCheck], None],
        channel: int | None = None,
    ) -> Job[TilingCheck]:  # fmt: skip
        """Compare tiles with the whole in the middle of an image.

        Parameters
        ----------
        name : of the image
        image, axes, channel : as for ``add_image``; nothing is written
        accept : gets what was found

        Raises
        ------
        UnetError
            If no model is loaded.
        """
        model = self._state.model_of()
        return Job(
            f"Comparing tiles of {name}", check_tiling(model, image, axes, channel), 0,
            accept, interrupt=model.network.interrupt,
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
        """Make a version the one in use; a draft becomes a version, not in use."""
        self._state.use(number)
        self._tell()

    def delete_version(self, number: int) -> None:
        """Take a version out of the list; this cannot be undone.

        Raises
        ------
        UnetError
            If it is in use, or there is none.
        """
        self._state.delete(number)
        self.model_changed.emit()

    # -- versions, tried out beside the labels

    def preview_job(self, number: int, view: View) -> Job[Preview]:
        """Predict a part of an image with a version; no labels change.

        Parameters
        ----------
        number : of the version
        view : where and how; ``previewed`` tells the result

        Raises
        ------
        UnetError
            If there is no such version.
        """
        model = self._state.model_of(number)
        return Job(
            f"Previewing version {number} on {view.name}",
            preview_of(number, model, view), 0, self.previewed.emit,
            interrupt=model.network.interrupt,
        )  # fmt: skip

    def preview_draft_job(self, look: Callable[[Model], View]) -> Job[Preview]:
        """Predict a part of an image with the draft; no labels change.

        Parameters
        ----------
        look : says for the draft where and how; ``previewed`` tells the result, whose
            number is ``DRAFT``

        Raises
        ------
        UnetError
            If there is no draft.
        """
        if self.draft is None:
            raise UnetError("There is no draft to look at: fine-tune first.")
        model = self.draft.model
        view = look(model)
        return Job(
            f"Looking at the draft on {view.name}", preview_of(DRAFT, model, view), 0,
            self.previewed.emit, interrupt=model.network.interrupt,
        )  # fmt: skip

    def compare_job(
        self, one: int, other: int, view: View, corrected: Snapshot | None = None
    ) -> Job[Compared]:
        """Predict a part of an image with two versions and say how they differ.

        Parameters
        ----------
        one, other : numbers of the versions
        view : where and how; ``compared`` tells the result
        corrected : what holds the view, with what is corrected there

        Raises
        ------
        UnetError
            If there are no such versions, or one gives objects and the other classes.
        """
        models = self._state.model_of(one), self._state.model_of(other)
        kinds = [model.spec.gives_objects for model in models]
        if kinds[0] != kinds[1]:
            objects, classes = (one, other) if kinds[0] else (other, one)
            raise UnetError(
                f"Version {objects} gives objects and version {classes} classes, "
                "expected one kind: choose two versions that give the same."
            )
        if corrected is not None and corrected.instances != kinds[0]:
            corrected = None

        return Job(
            f"Comparing versions {one} and {other} on {view.name}",
            compare_on((one, models[0]), (other, models[1]), view, corrected), 0,
            self.compared.emit, interrupt=lambda: interrupt_all(models),
        )  # fmt: skip

    def _kind(self) -> tuple[int, bool]:
        """Return the model's dimensions, and whether it gives objects."""
        if self.model is None:
            return 2, True
        spec = self.model.spec
        return spec.architecture.dims, spec.gives_objects

    # -- drafts and versions

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
        self._state.drop()
        self.draft_changed.emit()
