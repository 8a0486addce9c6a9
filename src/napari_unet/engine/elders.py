"""The network that stays with images of the kind that the loaded model knows.

It is kept beside the one that learns the user's own kind, and learns of what is
corrected in images of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.commands import Command
from napari_unet.engine.config import AverageDone
from napari_unet.engine.judged import judged_steps
from napari_unet.engine.kinds import describe, gate_between
from napari_unet.engine.lessons import course_of
from napari_unet.engine.model import Elder
from napari_unet.engine.teaching import Teaching
from napari_unet.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.judged import Judged
    from napari_unet.engine.lessons import Course
    from napari_unet.engine.model import Model
    from napari_unet.engine.own_kind import OwnKind
    from napari_unet.engine.sampling import Example, Plane
    from napari_unet.engine.teaching import Memory

SURE = 0.95  # of the images of the old kind: an elder that gets them is enough
SHARE = 0.5  # of the steps, for what was mostly right before


def remembering(
    own: OwnKind, examples: Sequence[Example], course: Course, memory: Memory | None
) -> Generator[Any, Any, tuple[Elder | None, list[Plane]]]:
    """Return who stays with images of the old kind, and what is learnt of them anew.

    Parameters
    ----------
    own : tells which corrections are of the old kind
    examples : all corrections
    course : what is to be learnt of the other kind
    memory : images of the old kind; None: there are none

    Yields
    ------
    RecallDone
    """
    model = own.model
    if memory is None:
        found = elder_of(own, examples, [], course.training) if own.gate else None
        return found or model.elder, []
    old = memory.learnt(model.spec)
    elder = elder_of(own, examples, old, course.training)
    if elder is not None and is_sure(elder, old):
        return elder, []
    return elder, (yield from memory.steps(own.knowing, model.spec))


def elder_of(
    own: OwnKind, examples: Sequence[Example], old: Sequence[Plane],
    learnt: Sequence[Plane],
) -> Elder | None:  # fmt: skip
    """Return who goes on with images of the loaded model's kind, if there is a gate.

    Parameters
    ----------
    own : tells which corrections are of the old kind
    examples : all corrections
    old, learnt : images of its kind, and what is to be learnt, as the model sees them
    """
    if own.stays_by_gate:
        return own.model.elder
    base = own.knowing
    if base.spec.architecture != own.model.spec.architecture:
        return None  # one file could not hold both
    gate = own.gate or gate_between(
        base.spec.name, [p.image for p in old], [p.image for p in learnt]
    )
    if gate is None:
        return None
    return Elder(own.keeper(examples), gate, base.spec.normalization)


def is_sure(elder: Elder, old: Sequence[Plane]) -> bool:
    """Tell whether an elder gets nearly all images of its kind.

    Then the new network need not know what the elder knows.
    """
    theirs = [elder.gate.is_old(describe(plane.image)) for plane in old]
    return bool(np.mean(theirs) >= SURE)


# -- it learns, too


def steps_of_elder(
    own: OwnKind, elder: Elder | None, examples: Sequence[Example],
    config: FinetuneConfig,
) -> int:  # fmt: skip
    """Return how many steps an elder will make after the other network; 0: none."""
    if elder is None or own.gate is None:
        return 0
    its = _course_of_elder(elder.alone(own.model.spec), own, examples, config)
    return 0 if its is None else _steps(config)


def first_of_two(
    steps: Generator[Any, Any, Judged], elder: Elder | None, later: int
) -> Generator[Any, Any, Judged]:
    """Run the training of a network beside an elder, as it will be used.

    Parameters
    ----------
    steps : of the training
    elder : who will stay with images of its kind; None: nobody
    later : steps of the elder's own training, after this one
    """

    def told(event: Any) -> Any:
        if isinstance(event, AverageDone):
            event = replace(event, model=replace(event.model, elder=elder))
        return replace(event, total=event.total + later)

    return (yield from _telling(steps, told))


def _telling(
    steps: Generator[Any, Any, Judged],
    told: Callable[[Any], Any],
    *,
    joins: bool = True,
) -> Generator[Any, Any, Judged]:
    """Run a training whose events are told in another way.

    Parameters
    ----------
    told : returns what is told instead
    joins : whether corrections that are sent in are learnt; else they wait for the next
        fine-tuning
    """
    answer: Any = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as end:
            judged: Judged = end.value
            history = tuple(map(told, judged.fitted.history))
            return replace(judged, fitted=replace(judged.fitted, history=history))
        answer = yield told(event)
        if not joins and answer is not Command.STOP:
            answer = None


def elder_steps(
    own: OwnKind, elder: Elder, examples: Sequence[Example], config: FinetuneConfig,
    memory: Memory | None, mine: Judged | None,
) -> Generator[Any, Any, Judged | None]:  # fmt: skip
    """Teach an elder what is corrected in images of its kind.

    Beside another training it learns only where it can be told whether that helped.

    Parameters
    ----------
    own : tells which corrections are of its kind
    elder : left as it is
    examples : all corrections
    config : see FinetuneConfig
    memory : images of its kind; None: there are none
    mine : what the other network learnt before; None: it learnt nothing

    Yields
    ------
    RecallDone, StepDone, EpochDone, AverageDone
        ``Command.STOP`` may be sent in; more corrections only where ``mine`` is None.

    Returns
    -------
    judged : of the elder alone; None: it learnt nothing
    """
    old = elder.alone(own.model.spec)
    if mine is None:
        course: Course | None = course_of(own.rest(examples), old, config)
    elif mine.fitted.stopped:
        course = None
    else:
        course = _course_of_elder(old, own, examples, config)
        config = config.model_copy(update={"steps": _steps(config)})
    if course is None:
        return None
    loaded = own.knowing.network is elder.network or own.stays_by_gate
    base = old if loaded else replace(old, network=own.knowing.network)
    recalled = [] if memory is None else (yield from memory.steps(base, old.spec))
    if config.start not in ("auto", "base"):
        config = config.model_copy(update={"start": "current"})
    steps = judged_steps(
        {"current": old, "base": base, "draft": old},
        Teaching(old, course, recalled, config, own.rest),
        config, base, memory, lambda tuned: replace(tuned, spec=old.spec),
    )  # fmt: skip
    done = 0 if mine is None else mine.fitted.steps
    beside = own.model if mine is None else mine.model

    def told(event: Any) -> Any:
        counted = {"step": event.step + done, "total": event.total + done}
        if isinstance(event, AverageDone):
            grown = replace(elder, network=event.model.network)
            return AverageDone(model=replace(beside, elder=grown), **counted)
        return replace(event, kind=elder.gate.name, **counted)

    return (yield from _telling(steps, told, joins=mine is None))


def with_elder(model: Model, elder: Elder | None, learnt: Judged | None) -> Model:
    """Return a model beside an elder that has learnt."""
    if elder is not None and learnt is not None:
        elder = replace(elder, network=learnt.model.network)
    return replace(model, elder=elder)


def _steps(config: FinetuneConfig) -> int:
    return max(round(SHARE * config.steps), 1)


def _course_of_elder(
    old: Model, own: OwnKind, examples: Sequence[Example], config: FinetuneConfig
) -> Course | None:
    """Return what an elder can learn; None: too little, or nothing to score it with."""
    try:
        course = course_of(own.rest(examples), old, config)
    except TrainingError:
        return None
    return course if course.honest else None
