"""What a fine-tuning does in its worker: corrections, memory, previews meanwhile."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.commands import Command, Learn
from napari_unet.engine.config import AverageDone, Preparing
from napari_unet.engine.drain import drain
from napari_unet.engine.holdout import role_masks
from napari_unet.engine.pace import Clock, pixels_of
from napari_unet.engine.protect import ACCEPTED
from napari_unet.errors import UnetError
from napari_unet.steps import IN_TRAINING, preview_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.finetune import FinetuneResult, Knowledge
    from napari_unet.engine.holdout import Roles
    from napari_unet.engine.model import Model
    from napari_unet.engine.protect import Snapshot
    from napari_unet.engine.recipe import Descent
    from napari_unet.engine.sampling import Example
    from napari_unet.engine.teaching import Memory
    from napari_unet.recording import Given
    from napari_unet.steps import Preview, View

log = logging.getLogger(__name__)
NOTHING: tuple[object, Sequence[Given]] = (None, ())
# What augmentation and an optimizer import when they are first used.
LIBRARIES = "monai.transforms", "torch._dynamo"
PREVIEW_EVERY = 3.0  # seconds of training between two previews
PREVIEW_SHARE = 6.0  # a preview waits so many times as long as the last one took


def memory_of(source: str) -> Memory | None:
    """Return the images that recall what a bundled model was trained on.

    Parameters
    ----------
    source : its name; None is returned where there is no such model
    """
    from napari_unet.engine.sampling import Example
    from napari_unet.engine.teaching import Memory
    from napari_unet.formats.bundled import bundled_memory

    pairs = bundled_memory(source)
    return Memory([Example(i, t, axes="YX") for i, t in pairs]) if pairs else None


def ready_to_learn() -> Generator[None, Any, None]:
    """Import what fine-tuning needs, in one step: it takes two to six seconds.

    The runner lets the garbage collector rest in the first step of a job.
    """
    for library in LIBRARIES:
        import_module(library)
    yield


@dataclass(frozen=True)
class Part:
    """What is corrected in one image, at one moment.

    Attributes
    ----------
    image : never written
    axes : one letter per axis of the image
    snapshot : of all of its labels
    roles : of corrected places, to learn from or held out
    reach : of the model's receptive field, in pixels
    name : of the image, as the user calls it
    pixel_size, channel : as for ``predict``
    """

    image: Any
    axes: str
    snapshot: Snapshot
    roles: Roles
    reach: float
    name: str = ""
    pixel_size: tuple[float, ...] | None = None
    channel: int | None = None

    def example(self) -> Example:
        """Return it as an example."""
        from napari_unet.engine.sampling import Example

        its = self.snapshot
        learnt, held_out = role_masks(
            self.roles, its.supervised(), its.window, its.dims, self.reach
        )
        image = np.asarray(self.image)
        return Example(
            image, its.labels, learnt | held_out, self.axes, held_out,
            its.state == ACCEPTED, self.pixel_size, self.channel,
        )  # fmt: skip

    def given(self) -> Given:
        """Return it as an example that can be taken down."""
        from napari_unet.recording import Given

        return Given(self.name, self.example(), self.snapshot.instances)


@dataclass(frozen=True)
class MoreParts:
    """Corrections as they are now, sent into a running fine-tuning."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Watch:
    """What is to be predicted again and again, sent in; None: nothing."""

    view: View | None


@dataclass(frozen=True)
class PreviewDone:
    """The model in training was tried on what is watched.

    Attributes
    ----------
    step, total : of the fine-tuning
    preview : what it finds; its number is 0
    seconds : since the fine-tuning began
    """

    step: int
    total: int
    preview: Preview
    seconds: float


def finetune_on(
    model: Model, parts: Sequence[Part], config: FinetuneConfig, known: Knowledge,
    watch: Watch, descent: Descent | None = None,
) -> Generator[Any, Any, FinetuneResult]:  # fmt: skip
    """Fine-tune on the corrections of several images.

    Parameters
    ----------
    model : the one in use
    parts : what is corrected
    config : see FinetuneConfig
    known : the loaded model, and what it shall remember
    watch : what is predicted every few seconds meanwhile
    descent : numbers of the versions, for the recipe; None: none is made

    Yields
    ------
    KindDone, RecallDone, StepDone, EpochDone, PreviewDone
        ``MoreParts`` and ``Watch`` may be sent in, and ``Command.STOP``.
    """
    from napari_unet.engine.finetune import finetune_steps
    from napari_unet.recording import Recorder

    clock = Clock()
    yield from ready_to_learn()
    given = [part.given() for part in parts]
    recorder = descent and Recorder(model, known, descent, config, given)
    steps = finetune_steps(model, [each.example for each in given], config, known)
    live = _Live(watch.view, clock.began)
    answer: Any = None
    event: Any
    fresh: Sequence[Given]
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as end:
            result: FinetuneResult = end.value
            pace = clock.pace(pixels_of(config, remembers=result.recalls))
            if pace is not None:
                pace = replace(pace, trials=result.trials, recalls=result.recalls)
            recipe = recorder.recipe(result) if recorder else None
            return replace(result, pace=pace, recipe=recipe)
        if isinstance(event, Preparing):  # how many come depends on what is recalled
            live.hear((yield event))
            answer = None
            continue
        clock.hear(event)
        if isinstance(event, AverageDone):
            event = live.look(event)
        answer, fresh = None, ()
        if event is not None:
            live.hear((yield event))
            answer, fresh = live.take()
        if recorder:
            recorder.hear(answer, fresh)
        clock.go_on()


class _Live:
    """Tries the model in training on a view, every few seconds."""

    def __init__(self, view: View | None, began: float) -> None:
        self.view = view
        self.began = began
        self._next = time.monotonic() + PREVIEW_EVERY / 2
        self._told = NOTHING

    def take(self) -> tuple[object, Sequence[Given]]:
        """Return what the training is to be told once, and what it is to learn."""
        (told, given), self._told = self._told, NOTHING
        return told, given

    def hear(self, sent: object) -> None:
        """Take note of what was sent; what is for the training waits until it asks."""
        if isinstance(sent, Watch):
            self.view = sent.view
            self._next = min(self._next, time.monotonic() + PREVIEW_EVERY / 2)
        elif self._told[0] is Command.STOP:
            return
        elif isinstance(sent, MoreParts):
            given = [part.given() for part in sent.parts]
            self._told = Learn([each.example for each in given]), given
        elif sent is not None:
            self._told = sent, ()

    def look(self, event: AverageDone) -> PreviewDone | None:
        """Return what the model finds; None: not yet, or nothing is watched."""
        now = time.monotonic()
        if self.view is None or now < self._next:
            return None
        try:
            preview = drain(preview_of(IN_TRAINING, event.model, self.view))
        except UnetError as error:  # of the image that happens to be in view
            log.info("no preview of %s: %s", self.view.name, error)
            self.view = None
            return None
        done = time.monotonic()
        self._next = done + max(PREVIEW_EVERY, PREVIEW_SHARE * (done - now))
        return PreviewDone(event.step, event.total, preview, done - self.began)
