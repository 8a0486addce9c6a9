"""The button that leads to the next doubtful place; a part of the Correct panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject

from napari_unet.errors import UnetError
from napari_unet.qt.actions import keys_of
from napari_unet.qt.correct_words import percent, with_key
from napari_unet.qt.flying import show_place
from napari_unet.qt.parts import enable
from napari_unet.session_places import NOTHING_LEFT, SEARCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.choosing import Place
    from napari_unet.jobs import Job
    from napari_unet.opened import OpenImage
    from napari_unet.qt.parts import LayerChooser, Panel

ACTION = "next"
TIP = (
    "Go where the model is in doubt: first to images of a kind that it does not know, "
    "and to what looks like places in which you found it wrong; what was accepted, "
    "edited or visited does not come again until you predict again"
)


class NextPlace(QObject):
    """Looks for doubtful places when there is need, and flies to one after another.

    Parameters
    ----------
    panel : to which the button belongs, and that says what is found
    labels : the panel's chooser, which follows
    begin : called before the view moves
    """

    def __init__(
        self, panel: Panel, labels: LayerChooser, begin: Callable[[], None]
    ) -> None:
        super().__init__(panel)
        self._panel, self._bench, self._labels = panel, panel.bench, labels
        self._begin = begin
        self._job: Job[Any] | None = None
        self._why_not = ""
        self.button = panel.button(
            ACTION, "Next doubtful place", with_key(TIP, keys_of(ACTION)), self._go
        )
        bench = self._bench
        bench.requested.connect(self._on_bench_requested)
        bench.corrections_changed.connect(self._update)
        bench.layers_changed.connect(self._update)
        bench.runner.ended.connect(self._on_runner_ended)
        bench.session.model_changed.connect(self._update)
        bench.session.labels_changed.connect(self._update)
        bench.session.images_changed.connect(self._update)
        bench.session.place_reached.connect(self._on_session_place_reached)
        self._update()

    def _on_bench_requested(self, action: str) -> None:
        """Press the button for its key, or say why it cannot be pressed."""
        if action != ACTION or self._bench.answered:
            return
        self._bench.answered = True
        if self._why_not:
            said = f"{self.button.text()}: {self._why_not}."
            self._bench.said.emit(self._panel.name, said)
        else:
            self.button.click()

    def _go(self) -> None:
        self._begin()
        self._bench.settle()
        if self._bench.session.places_fresh:
            self._bench.try_now(self._panel.name, self._take)
        elif self._bench.run(self._panel.name, self._make_job):
            self._bench.said.emit(self._panel.name, f"{SEARCH} ...")
        self._update()

    def _make_job(self) -> Job[Any]:
        session, config = self._bench.session, self._bench.predict_config
        self._job = session.places_job(config=config)
        return self._job

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        if job.title != SEARCH:
            self._update()
            return
        mine, self._job = job is self._job, None
        self._update()
        if mine and problem:
            self._bench.said.emit(self._panel.name, problem.capitalize())
        elif mine:
            self._bench.try_now(self._panel.name, self._take)

    def _take(self) -> None:
        before = self._bench.image
        found = self._bench.session.next_place()
        if found is None:
            raise UnetError(NOTHING_LEFT)
        opened, place = found
        show_place(self._bench, opened, place.window, before)
        self._bench.said.emit(self._panel.name, self._words(opened, place))

    def _words(self, opened: OpenImage, place: Place) -> str:
        session = self._bench.session
        number, total = session.place_count
        where = where_of(place.window)
        if len(session.images) > 1:
            where = f"{opened.name}, {where}" if where else opened.name
        said = f"Place {number} of {total}: {place.why}"
        said = f"{said} ({where})" if where else said
        share = session.places_share
        if share < 1:
            looked = percent(round(1000 * share), 1000)
            said += f". Only {looked} of the pixels were looked at, evenly spread"
        return f"{said}."

    def _on_session_place_reached(self, opened: OpenImage, _: Any) -> None:
        layer = self._bench.layer_of(opened)
        if layer is not None and isalive(self):
            self._labels.choose(layer)

    def _update(self, *_: Any) -> None:
        if not isalive(self):
            return
        session = self._bench.session
        locked = session.project is not None and session.project.read_only
        self._why_not = session.can_look
        if locked and session.project is not None:
            self._why_not = session.project.reason.rstrip(".")
        elif self._job is not None:
            self._why_not = "doubtful places are being looked for"
        enable(self.button, self._why_not)


def where_of(window: Region) -> str:
    """Return the slices in which a place lies, counted as napari's sliders do."""
    outer = window[:-2]
    if not outer:
        return ""
    spans = [
        str(s.start) if s.stop - s.start == 1 else f"{s.start} to {s.stop - 1}"
        for s in outer
    ]
    several = len(outer) == 1 and outer[0].stop - outer[0].start > 1
    return f"slice{'s' if several else ''} {', '.join(spans)}"
