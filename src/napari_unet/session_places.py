"""The part of the session about where to correct next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np
from psygnal import Signal

from napari_unet.engine.blocks import everything
from napari_unet.engine.choosing import LONGEST, choose
from napari_unet.engine.config import PredictConfig
from napari_unet.engine.places import (
    is_done,
    marked,
    most_shared,
    recall,
)
from napari_unet.errors import ImageError
from napari_unet.jobs import Job
from napari_unet.place_steps import JUST_NOW, parts_of, rank_steps
from napari_unet.session_project import ProjectSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.choosing import Place
    from napari_unet.engine.model import Model
    from napari_unet.opened import KeptScores, OpenImage
    from napari_unet.place_steps import Ranked

SEARCH = "Looking for doubtful places"
NOTHING_LEFT = (
    "All doubtful places were visited; predict again, or accept the rest."
)  # fmt: skip


class Prediction(NamedTuple):
    """Which prediction an image had at some moment, and which channel was chosen.

    The summary tells where no scores are kept; else sliders change it.
    """

    kept: Callable[[], KeptScores | None]
    summary: str
    channel: int | None

    def is_last_of(self, opened: OpenImage) -> bool:
        """Tell whether the image had no other prediction since."""
        kept = self.kept()
        same = kept is not None or self.summary == opened.summary
        return kept is opened.kept and same and self.channel == opened.channel


def _last_of(opened: OpenImage) -> Prediction:
    kept = opened.kept
    last = (lambda: None) if kept is None else ref(kept)
    return Prediction(last, opened.summary, opened.channel)


@dataclass
class Visits:
    """Where the user has been in an image; ``earlier``: for earlier predictions."""

    prediction: Prediction
    now: list[Region] = field(default_factory=list)
    earlier: list[Region] = field(default_factory=list)


@dataclass(eq=False)
class Ranking:
    """What a search found, and where the user has been since.

    Attributes
    ----------
    model : that is in doubt
    images, predictions : in which it looked, and what they held then
    chosen : whether somebody named the images
    share : of the pixels that it looked at, 0 to 1
    ranked : what it found
    visited, earlier : numbers of candidates, see ``choose``
    """

    model: Model
    images: tuple[OpenImage, ...]
    predictions: tuple[Prediction, ...]
    chosen: bool
    share: float
    ranked: Ranked
    visited: list[int] = field(default_factory=list)
    earlier: list[int] = field(default_factory=list)

    def image_of(self, number: int) -> OpenImage:
        """Return the image of a candidate."""
        return self.images[int(self.ranked.candidates.image[number])]


class PlacesSession(ProjectSession):
    """Where the model is in doubt; a base of Session."""

    place_reached = Signal(object, object)  # OpenImage, Place

    def __init__(self) -> None:
        super().__init__()
        self._ranking: Ranking | None = None
        self._visits: WeakKeyDictionary[OpenImage, Visits] = WeakKeyDictionary()
        self._left = 0

    def places_job(
        self, images: Sequence[OpenImage] | None = None,
        config: PredictConfig | None = None,
    ) -> Job[Ranked]:  # fmt: skip
        """Look where the model is in doubt; labels stay as they are.

        It looks where the last prediction of each image did, at up to 16 million
        pixels; of more, at pieces that are evenly spread.

        Parameters
        ----------
        images : where to look; None: all in the window that were predicted
        config : of predictions

        Raises
        ------
        UnetError
            If no model is loaded, or no image was predicted.
        """
        model = self._state.model_of()
        looked_at = tuple(self._predicted() if images is None else images)
        if not looked_at:
            raise ImageError(
                "No open image has a prediction of this model's kind, expected one in "
                "which to look for doubtful places: predict first."
            )
        spec, config = model.spec, config or PredictConfig()
        sources = [(each, *_source(each, model)) for each in looked_at]
        parts, share = parts_of(sources, spec.architecture.dims)
        predictions = tuple(_last_of(each) for each in looked_at)

        def accept(ranked: Ranked) -> None:
            self._take_ranking(
                Ranking(model, looked_at, predictions, images is not None, share,
                        ranked)
            )  # fmt: skip

        return Job(
            SEARCH, rank_steps(model, parts, config), 0, accept,
            "short" if model.trainable else "network",  # a program runs one call
            model.network.interrupt,
        )  # fmt: skip

    def _predicted(self) -> list[OpenImage]:
        """Return the images in the window that were predicted, of the model's kind."""
        return [
            each for each in self.images
            if each.shown and was_predicted(each)
            and (each.corrections.dims, each.corrections.instances) == self._kind()
        ]  # fmt: skip

    @property
    def can_look(self) -> str:
        """Why no places can be looked for; empty if they can."""
        if self.model is None:
            return "load a model first"
        return "" if self._predicted() else "predict first"

    @property
    def places_fresh(self) -> bool:
        """Whether the places are of the model in use and of the last predictions."""
        ranking = self._ranking
        if ranking is None or ranking.model is not self.model:
            return False
        if not ranking.chosen and set(ranking.images) != set(self._predicted()):
            return False
        pairs = zip(ranking.images, ranking.predictions, strict=True)
        return all(prediction.is_last_of(opened) for opened, prediction in pairs)

    def _take_ranking(self, ranking: Ranking) -> None:
        """Keep what was found; places visited for the same prediction stay so."""
        for number, opened in enumerate(ranking.images):
            visits = self._visits_of(opened)
            for regions, into in (
                (visits.now, ranking.visited), (visits.earlier, ranking.earlier),
            ):  # fmt: skip
                for region in regions:
                    nearest = most_shared(ranking.ranked.candidates, number, region)
                    into += [] if nearest is None else [nearest]
        self._ranking = ranking

    def _visits_of(self, opened: OpenImage) -> Visits:
        visits = self._visits.get(opened)
        if visits is None:
            visits = self._visits[opened] = Visits(_last_of(opened))
        elif not visits.prediction.is_last_of(opened):
            earlier = [*visits.earlier, *visits.now]
            visits = self._visits[opened] = Visits(_last_of(opened), earlier=earlier)
        return visits

    def next_place(self) -> tuple[OpenImage, Place] | None:
        """Return the most doubtful place that is not done and was not visited.

        None: none is left, or none were looked for.
        """
        ranking = self._ranking
        if ranking is None:
            return None
        self._learn(ranking)
        closed = self._closed(ranking)
        while True:
            found = _listed(ranking, closed)
            left = [each for each in found if not _is_done(ranking, *each)]
            if left or not found:
                break
            closed[[number for number, _ in found]] = True
        self._left = max(len(left) - 1, 0)
        if not left:
            return None
        number, place = left[0]
        opened = ranking.image_of(number)
        ranking.visited.append(number)
        self._visits_of(opened).now.append(place.window)
        self.place_reached.emit(opened, place)
        return opened, place

    @property
    def place_count(self) -> tuple[int, int]:
        """Places visited since the last prediction, and those with what is left."""
        seen = len(self._ranking.visited) if self._ranking else 0
        return seen, seen + self._left

    @property
    def places_share(self) -> float:
        """Which share of the pixels the last search looked at, 0 to 1."""
        return self._ranking.share if self._ranking else 0.0

    def _closed(self, ranking: Ranking) -> NDArray[np.bool_]:
        """Return which places are done or not in the window any more."""
        closed = np.zeros(len(ranking.ranked.candidates.windows), bool)
        for piece in ranking.ranked.pieces:
            opened = ranking.images[piece.number]
            its = slice(piece.first, piece.first + len(piece.grid.windows))
            if opened not in self.images or not opened.shown:
                closed[its] = True
            else:
                closed[its] = marked(opened.corrections.state[piece.window], piece.grid)
        return closed

    def _learn(self, ranking: Ranking) -> None:
        """Take note how wrong predictions were where they were corrected."""
        visits = [
            (number, visit) for number, opened in enumerate(ranking.images)
            for visit in opened.corrections.visits.scored(JUST_NOW)
        ]  # fmt: skip
        recall(ranking.ranked.candidates, visits, ranking.ranked.nearest)


def _listed(ranking: Ranking, closed: NDArray[np.bool_]) -> list[tuple[int, Place]]:
    """Return what is left of a list of ``LONGEST``; at least one, if there is one."""
    most = max(LONGEST - len(ranking.visited), 1)
    candidates = ranking.ranked.candidates
    return choose(candidates, ranking.visited, closed, ranking.earlier, most)


def _is_done(ranking: Ranking, number: int, place: Place) -> bool:
    return is_done(ranking.image_of(number).corrections, place.window)


def was_predicted(opened: OpenImage) -> bool:
    """Tell whether an image holds a prediction, or labels from elsewhere."""
    found = opened.kept is not None or bool(opened.summary)
    return found or opened.corrections.next_label > 1


def _source(opened: OpenImage, model: Model) -> tuple[KeptScores | None, Region]:
    """Return the model's own scores, if they are kept, and where to look."""
    kept = opened.kept
    if kept is None:
        return None, everything(opened.corrections.shape)
    own = kept.spec is model.spec and kept.channel == opened.channel
    return (kept if own else None), kept.region
