"""The part of the session about fine-tuning: what is learnt, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_unet.engine.holdout import Sites
from napari_unet.engine.pace import (
    FEW,
    POOR,
    foretold,
    pace_of_prediction,
    pixels_of,
)
from napari_unet.engine.recipe import Descent
from napari_unet.errors import TrainingError
from napari_unet.formats.bundled import memory_path
from napari_unet.jobs import Job
from napari_unet.learning import MoreParts, Part, Watch, finetune_on, memory_of
from napari_unet.session_holdout import HoldoutSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.finetune import FinetuneResult, Knowledge
    from napari_unet.engine.pace import Pace
    from napari_unet.engine.teaching import Memory
    from napari_unet.engine.verdict import LostObject
    from napari_unet.opened import OpenImage
    from napari_unet.steps import View


@dataclass(frozen=True)
class Plan:
    """What a fine-tuning would learn from.

    Attributes
    ----------
    objects, pixels : corrected and accepted
    sites : places that learn and that are held out
    seconds : it would take; None: nobody knows yet
    """

    objects: int
    pixels: int
    sites: Sites
    seconds: float | None


@dataclass(frozen=True)
class _Begun:
    """How a fine-tuning began.

    Attributes
    ----------
    base : number of the version that it started from
    strokes : made by hand, that it learns from
    taught : images that it was begun with, and is judged on
    """

    base: int
    strokes: int
    taught: tuple[OpenImage, ...]


class FinetuneSession(HoldoutSession):
    """What is taught to the model; a base of Session."""

    finetuned = Signal(object)  # FinetuneResult

    def __init__(self) -> None:
        super().__init__()
        self._taught: list[OpenImage] = []  # from which a run learns by now
        self._judged: tuple[OpenImage, ...] = ()  # those that the last was judged on
        self._pace: Pace | None = None  # of a fine-tuning of this network
        self._guess: Pace | None = None  # from a prediction
        self._paced: object = None  # the network of which both are
        self._began_with = 0  # number of the version that the last one began with
        self._memories: dict[str, Memory | None] = {}

    def corrected(self, kind: tuple[int, bool] | None = None) -> list[OpenImage]:
        """Return the images in the window in which something is corrected.

        Parameters
        ----------
        kind : of labels, as ``_kind`` returns it; None: any

        Raises
        ------
        TrainingError
            If there are none.
        """
        found = []
        for opened in self.images:
            its = opened.corrections
            fits = kind is None or (its.dims, its.instances) == kind
            if fits and opened.shown and its.tally():
                found.append(opened)
        if not found:
            raise TrainingError(
                "Nothing is corrected yet; fine-tuning learns from edited and accepted "
                "places: paint or erase some objects, or accept a view that is right."
            )
        return found

    def finetune_job(
        self, config: FinetuneConfig, view: View | None = None
    ) -> Job[FinetuneResult]:
        """Fine-tune a clone of the model on all that is corrected.

        Parameters
        ----------
        config : see FinetuneConfig
        view : what is predicted again and again meanwhile; None: nothing

        Raises
        ------
        TrainingError
            If nothing is corrected in the kind of labels that the model gives.
        """
        from napari_unet.engine.finetune import check_trainable

        model = self._state.model_of()
        check_trainable(model)
        self.held_out_share = config.held_out
        parts = self._parts()
        for opened in self._taught:
            opened.corrections.visits.close()  # what is learnt from is no news
        strokes = sum(o.corrections.work.strokes for o in self._taught)
        self._state.begins(strokes)
        steps = finetune_on(
            model, parts, config, self._known(), Watch(view), self._descent()
        )
        begun = _Begun(self._state.current, strokes, tuple(self._taught))
        return Job(
            "Fine-tuning", steps, config.steps,
            lambda result: self._take_result(result, begun),
        )  # fmt: skip

    def _parts(self) -> tuple[Part, ...]:
        """Return all that is corrected as it is now."""
        taught = self.corrected(self._kind())
        taken = [(o, o.corrections.snapshot()) for o in taught]
        self.assign_roles()
        self._taught = taught
        return tuple(
            Part(
                o.image, o.axes, s, o.roles, self.reach([o]), o.name, o.pixel_size,
                o.channel,
            )
            for o, s in taken
        )  # fmt: skip

    def more_corrections(self) -> MoreParts:
        """Return what is corrected by now, to be sent into a running fine-tuning.

        Raises
        ------
        TrainingError
            If nothing is corrected any more.
        """
        return MoreParts(self._parts())

    def _known(self) -> Knowledge:
        """Return the loaded model that the one in use came from, and its memory."""
        from napari_unet.engine.finetune import Knowledge

        origin, draft = self._state.origin(), self._state.draft_model()
        if origin is None:
            return Knowledge(draft=draft)
        opening = origin.opening
        memory = self._memory(opening.source if opening else "")
        return Knowledge(origin.model, draft, memory)

    def _descent(self) -> Descent:
        """Return the numbers of what ``_known`` returns."""
        origin, draft = self._state.origin(), self._state.draft
        source = origin.opening.source if origin and origin.opening else ""
        return Descent(
            self._state.current,
            base=origin.number if origin else None,
            draft=draft.recipe if draft and self._state.draft_model() else None,
            memory=source,
        )

    def _memory(self, source: str) -> Memory | None:
        """Return the images that recall what a bundled model was trained on."""
        if source not in self._memories:
            self._memories[source] = memory_of(source)
        return self._memories[source]

    # -- what it will do

    def plan(self, config: FinetuneConfig) -> Plan:
        """Say what a fine-tuning would do now, and how long it would take."""
        found = [o for o in self.images if o.shown]
        tallies = [o.corrections.tally() for o in found]
        sites = Sites()
        for opened in found:
            sites = sites.plus(opened.roles.sites)
        objects = sum(t.edited_objects + t.accepted_objects for t in tallies)
        pixels = sum(t.edited_pixels + t.accepted_pixels for t in tallies)
        return Plan(objects, pixels, sites, self._foretold(config, sites, objects))

    def _foretold(
        self, config: FinetuneConfig, sites: Sites, objects: int
    ) -> float | None:
        """Return how many seconds a fine-tuning would take; None: nobody knows yet."""
        version, origin = self.version, self._state.origin()
        pace = self._pace or self._guess
        if version is None or pace is None or not self._same_network():
            return None
        poor = self._is_poor(version.number)
        if self._pace is None and poor:  # the loaded network stays beside the new one
            pace = replace(pace, recalls=False)
        trials = 0
        if sites.held_out and config.start == "auto":
            trials += origin is not None and origin.number != version.number
            trials += self._state.draft_model() is not None
            share = sites.held_out / (sites.held_out + sites.learning)
            scratch = poor and not pace.recalls and objects * share >= FEW
            trials += trials > 0 or scratch  # that of the version in use
        source = origin.opening.source if origin and origin.opening else ""
        remembers = config.remember > 0 and memory_path(source).is_file()
        pixels = pixels_of(config, remembers=remembers and pace.recalls)
        if self._pace is not None and self._began_with == version.number:
            trials = max(trials, pace.trials)
        return foretold(pace, config, pixels, trials)

    def _is_poor(self, version: int) -> bool:
        """Tell whether a version was mostly wrong where it was corrected."""
        scores = [
            visit.score for opened in self.images
            for visit in opened.corrections.visits.scored()
            if visit.counts and visit.version == version
        ]  # fmt: skip
        return bool(scores) and mean(scores) < POOR

    def _same_network(self) -> bool:
        model = self.model
        return model is not None and self._paced == model.spec.architecture

    def _note_pace(self, seconds: float, pixels: int) -> None:
        """Take note of how long a prediction took."""
        if self.model is None or not seconds:
            return
        if not self._same_network():
            self._pace = None
        self._guess = pace_of_prediction(seconds, pixels)
        self._paced = self.model.spec.architecture

    # -- what comes of it

    def _take_result(self, result: FinetuneResult, begun: _Begun) -> None:
        """Take a finished fine-tuning: live if it is better, else as a draft.

        It is a draft also where another version came into use meanwhile.
        """
        self._state.ends(result, begun.base, begun.strokes)
        self._judged = begun.taught
        self.kinds = _kinds(begun.taught, result.staying)
        if result.pace is not None:
            self._pace, self._paced = result.pace, result.model.spec.architecture
            self._began_with = begun.base
        if result.verdict.better and begun.base == self._state.current:
            self.keep()
        else:
            self.draft_changed.emit()
        self.finetuned.emit(result)

    def lost_objects(
        self, result: FinetuneResult
    ) -> list[tuple[OpenImage, LostObject]]:
        """Return the objects that got worse in the last result, with their images."""
        there = dict(enumerate(self._judged))
        return [
            (there[lost.example], lost)
            for lost in result.verdict.lost
            if lost.example in there
        ]


def _kinds(
    images: Sequence[OpenImage], staying: Sequence[int]
) -> tuple[tuple[OpenImage, ...], ...]:
    """Return images by the network that learns from them; (): one learns from all."""
    if not staying:
        return ()
    stay = tuple(each for n, each in enumerate(images) if n in staying)
    return stay, tuple(each for each in images if each not in stay)
