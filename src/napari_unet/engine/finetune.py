"""Teaching a trained network what was corrected, and measuring whether it helped."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.config import (
    EpochDone,
    FinetuneConfig,
    StepDone,
)
from napari_unet.engine.drain import drain
from napari_unet.engine.kinds import describe, gate_between
from napari_unet.engine.lessons import course_of
from napari_unet.engine.metrics import measures
from napari_unet.engine.model import FROZEN, Elder, between
from napari_unet.engine.own_kind import own_kind
from napari_unet.engine.spec import OBJECTS
from napari_unet.engine.starts import STARTS, fit_from_best
from napari_unet.engine.teaching import Teaching
from napari_unet.engine.verdict import (
    Verdict,
    judge,
    kept_elsewhere,
    remembered,
    standing,
)
from napari_unet.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_unet.engine.commands import Learn
    from napari_unet.engine.lessons import Course
    from napari_unet.engine.metrics import Counts
    from napari_unet.engine.model import Model
    from napari_unet.engine.own_kind import OwnKind
    from napari_unet.engine.pace import Pace
    from napari_unet.engine.recipe import Recipe
    from napari_unet.engine.sampling import Example, Plane
    from napari_unet.engine.teaching import Memory

OLD_SHARE = 0.3  # at most, of the weights that learning began from, in what comes of it
SURE = 0.95  # of the images of the old kind: an elder that gets them is enough


@dataclass(frozen=True)
class FinetuneResult:
    """A finished fine-tuning.

    Attributes
    ----------
    model : the new model; the old one is unchanged
    history : every event, for the curve
    before, after : measures on the held-out corrections, old and new model
    held_out : objects that the measures are of
    honest : whether those were kept out of training; too few corrections cannot be
    remark : why it ended early, or ""
    summary : all of it in words
    verdict : whether it may take the old one's place
    start : where learning started: "current", "base" or "scratch"
    steps : weight updates that were made, those of trials too
    stopped : whether it was asked to stop
    learnt : corrections that joined, and after which step
    pace : how fast it went; None: it was not measured
    recipe : how it can be repeated; None: it was not taken down
    """

    model: Model
    history: tuple[StepDone | EpochDone, ...]
    before: dict[str, float]
    after: dict[str, float]
    held_out: int
    honest: bool
    remark: str
    summary: str
    verdict: Verdict = field(default_factory=lambda: Verdict(False, "", ()))
    start: str = "current"
    steps: int = 0
    stopped: bool = False
    learnt: tuple[tuple[int, Learn], ...] = ()
    pace: Pace | None = None
    recipe: Recipe | None = None


FinetuneSteps = Generator[Any, Any, FinetuneResult]


@dataclass(frozen=True)
class Knowledge:
    """What a fine-tuning knows beside the corrections.

    Attributes
    ----------
    base : the model as it was loaded; None: the one in use
    draft : what the last fine-tuning came to, if it did not go live: learning can go on
        with it; None: there is none
    memory : images of the kind that it was trained on; None: there are none
    """

    base: Model | None = None
    draft: Model | None = None
    memory: Memory | None = None


def finetune(
    model: Model,
    examples: Sequence[Example],
    *,
    config: FinetuneConfig | None = None,
    on_step: Callable[[StepDone | EpochDone], Any] | None = None,
) -> FinetuneResult:
    """Fine-tune a clone of a model on corrected examples.

    Parameters
    ----------
    model : where learning starts; never changed
    examples : images, labels, and where the labels can be trusted
    config : see FinetuneConfig
    on_step : called with every StepDone and EpochDone

    Raises
    ------
    TrainingError
        If nothing, or too little, is supervised, or the model is a program.
    """

    def tell(event: object) -> None:
        if on_step is not None and isinstance(event, (StepDone, EpochDone)):
            on_step(event)

    return drain(finetune_steps(model, examples, config or FinetuneConfig()), tell)


def finetune_steps(
    model: Model, examples: Sequence[Example], config: FinetuneConfig,
    known: Knowledge | None = None,
) -> FinetuneSteps:  # fmt: skip
    """Fine-tune, one weight update a step.

    Parameters
    ----------
    model : the one in use; never changed
    examples : images, labels, and where the labels can be trusted
    config : see FinetuneConfig
    known : see Knowledge

    Yields
    ------
    RecallDone, StepDone, EpochDone, AverageDone
        ``Command.STOP`` may be sent in to end with the best, and ``Learn`` to go on
        with more corrections from the next check on; neither after a RecallDone.

    Returns
    -------
    FinetuneResult

    Raises
    ------
    TrainingError
        If nothing, or too little, is supervised, or the model is a program.
    """
    check_trainable(model)
    known, unfit = fitting(known or Knowledge(), model)
    base = known.base or model
    memory = known.memory if config.remember > 0 else None
    knowing = base.turned_over(negative=False)  # as it takes the images it learnt from
    own = own_kind(examples, knowing, model, memory, config)
    learnt, left_out = own.of(examples)
    course = course_of(learnt, model, config)
    elder, recalled = yield from _remembering(own, examples, course, memory)
    before = standing(model, course, memory)
    reference = before.memory if knowing is model else remembered(knowing, memory)
    teach = Teaching(model, course, recalled, config, own)
    starts = {"current": model, "base": base, "draft": known.draft or model}
    start, fitted = yield from fit_from_best(starts, course, teach, config)
    tuned = replace(_steadied(starts.get(start), fitted.model, teach), elder=elder)
    after = standing(tuned, course, memory)
    kept = None
    if teach.course.only_background:  # also after corrections joined
        kept = kept_elsewhere(model, tuned, teach.course.training)
    verdict = judge(
        before, after, model.spec, allowed=config.allowed_loss, honest=course.honest,
        reference=reference, kept=kept,
    )  # fmt: skip
    remark = "; ".join(each for each in (fitted.remark, unfit) if each)
    scored = before.checking, after.checking
    said = in_words(*scored, model.spec.output, honest=course.honest, remark=remark)
    return FinetuneResult(
        tuned, fitted.history, measures(scored[0]), measures(scored[1]),
        after.checking["true"], course.honest, remark,
        with_verdict(said, verdict, start, config, elder, left_out), verdict, start,
        fitted.steps, fitted.stopped, fitted.learnt,
    )  # fmt: skip


def _remembering(
    own: OwnKind, examples: Sequence[Example], course: Course, memory: Memory | None
) -> Generator[Any, Any, tuple[Elder | None, list[Plane]]]:
    """Return who stays with images of the old kind, and what is learnt of them anew.

    Parameters
    ----------
    own : tells which corrections are left out, as they are of the old kind
    examples : all corrections
    course : what is to be learnt
    memory : images of the old kind; None: there are none
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


def _steadied(begun: Model | None, tuned: Model, teach: Teaching) -> Model:
    """Return a tuned model with a share of the weights that it began from.

    Corrections are few and the worst that there were: between the old weights and the
    new ones a network is better on other images than with either, where the old ones
    were some good.
    """
    if begun is None:  # random weights
        return tuned
    known = begun is teach.teacher
    trusted = teach.trusted if known else teach.trust_in(begun)
    return between(begun, tuned, min(OLD_SHARE, trusted))


def check_trainable(model: Model) -> None:
    """Refuse a model that cannot learn.

    Raises
    ------
    TrainingError
        Saying why.
    """
    if not model.trainable:
        raise TrainingError(FROZEN.format(name=model.spec.name))
    if model.spec.likely_activation == "none":
        raise TrainingError(
            f"{model.spec.name} gives raw values, expected scores to learn: choose a "
            "sigmoid or softmax as its final activation in the Model panel."
        )


def elder_of(
    own: OwnKind, examples: Sequence[Example], old: Sequence[Plane],
    learnt: Sequence[Plane],
) -> Elder | None:  # fmt: skip
    """Return who goes on with images of the loaded model's kind, if there is a gate.

    Parameters
    ----------
    own : tells which corrections are left out, as they are of the old kind
    examples : all corrections
    old, learnt : images of its kind, and what is to be learnt, as the model sees them
    """
    base = own.knowing
    if base.spec.architecture != own.model.spec.architecture:
        return None  # one file could not hold both
    gate = own.gate or gate_between(
        base.spec.name, [p.image for p in old], [p.image for p in learnt]
    )
    if gate is None:
        return None
    return Elder(own.keeper(examples), gate, base.spec.normalization)


def fitting(known: Knowledge, model: Model) -> tuple[Knowledge, str]:
    """Leave out what cannot teach a model, and say so.

    The loaded model may have been read in another way since, so that it expects or
    gives something else than the model in use; then its memory does not fit either.

    Returns
    -------
    known : what fits
    remark : what was left out, one clause, or ""
    """
    if known.base is not None:
        turned = known.base.turned_over(model.spec.normalization.negative)
        known = replace(known, base=turned)
    draft = known.draft
    if draft is not None and not draft.spec.is_like(model.spec):
        draft = None
    if known.base is None or known.base.spec.is_like(model.spec):
        return replace(known, draft=draft), ""
    return Knowledge(draft=draft), (
        "the model as it was loaded expects or gives something else than the one in "
        "use, so nothing was taken from it"
    )


def is_sure(elder: Elder, old: Sequence[Plane]) -> bool:
    """Tell whether an elder gets nearly all images of its kind.

    Then the new network need not know what the elder knows.
    """
    theirs = [elder.gate.is_old(describe(plane.image)) for plane in old]
    return bool(np.mean(theirs) >= SURE)


def with_verdict(
    said: str, verdict: Verdict, start: str, config: FinetuneConfig,
    elder: Elder | None, left_out: int,
) -> str:  # fmt: skip
    """Return what changed, what got worse, where learning started, who is kept."""
    lost = len(verdict.lost)
    if lost:
        objects = "accepted object" if lost == 1 else "accepted objects"
        said = f"{said}; {lost} {objects} got worse"
    if config.start == "auto" and start != "current":
        said = f"{said}; learning from {STARTS[start]} was better than from the current"
    if elder is not None:
        said = f"{said}; images of the kind that {elder.gate.name} knows stay with it"
        if left_out:
            these = "one of them" if left_out == 1 else f"{left_out} of them"
            said = f"{said} (you corrected {these}: nothing was learnt from there)"
    return said


def in_words(
    before: Counts, after: Counts, output: str, *, honest: bool, remark: str
) -> str:
    """Return what changed, for the user."""
    objects = after["true"]
    old, new = measures(before)["dice"], measures(after)["dice"]
    if output in OBJECTS and objects:
        which = "held-out objects" if honest else "objects that it learnt from"
        found = before["matched50"], after["matched50"]
        text = f"finds {found[1]} of {objects} {which}, before {found[0]}"
        extra, had = (c["predicted"] - c["matched50"] for c in (after, before))
        if extra or had:
            text += f"; {extra} found that are none, before {had}"
        if found[0] == found[1]:  # what decided then
            text += f"; Dice {new:.2f}, before {old:.2f}"
    else:
        which = "held-out corrections" if honest else "corrections that it learnt from"
        text = f"Dice {new:.2f} on {which}, before {old:.2f}"
    if not objects and not after["pixels_true"]:
        spurious = f"{after['predicted']}, before {before['predicted']}"
        what = (
            "all that is held out is background"
            if honest
            else "only background was corrected"
        )
        text = f"{what}; objects wrongly found there: {spurious}"
    return f"{text}; {remark}" if remark else text
