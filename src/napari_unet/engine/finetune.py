"""Teaching a trained network what was corrected, and measuring whether it helped."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet.engine.config import EpochDone, FinetuneConfig, StepDone
from napari_unet.engine.drain import drain
from napari_unet.engine.elders import (
    elder_steps,
    first_of_two,
    remembering,
    steps_of_elder,
    with_elder,
)
from napari_unet.engine.judged import judged_steps
from napari_unet.engine.lessons import course_of
from napari_unet.engine.metrics import measures
from napari_unet.engine.model import FROZEN
from napari_unet.engine.own_kind import own_kind_steps
from napari_unet.engine.spec import OBJECTS
from napari_unet.engine.starts import STARTS
from napari_unet.engine.teaching import Teaching
from napari_unet.engine.verdict import Verdict
from napari_unet.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_unet.engine.commands import Learn
    from napari_unet.engine.judged import Judged
    from napari_unet.engine.metrics import Counts
    from napari_unet.engine.model import Elder, Model
    from napari_unet.engine.own_kind import OwnKind
    from napari_unet.engine.pace import Pace
    from napari_unet.engine.recipe import Recipe
    from napari_unet.engine.sampling import Example, Plane
    from napari_unet.engine.teaching import Memory

NOTHING_OF_IT = (
    "nothing of the kind that it learnt is held out, so nothing is proved (correct "
    "another place in such images)"
)


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
    staying : which of the examples, as they were given at first, stay with the network
        beside the new one
    steps : weight updates that were made, those of trials too
    trials : starts that were tried; 0: there was no choice
    recalls : whether images of the memory were learnt beside the corrections
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
    staying: tuple[int, ...] = ()
    trials: int = 0
    recalls: bool = False


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
    KindDone, RecallDone, StepDone, EpochDone, AverageDone
        ``Command.STOP`` may be sent in to end with the best, and ``Learn`` to go on
        with more corrections from the next check on; neither while it prepares.

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
    # as it takes the images that it learnt from
    knowing = base if base.elder else base.turned_over(negative=False)
    own = yield from own_kind_steps(examples, knowing, model, memory, config)
    mine = theirs = more = None
    elder = model.elder
    recalled: list[Plane] = []
    if own.teaches(examples):
        course = course_of(own.of(examples), model, config)
        elder, recalled = yield from remembering(own, examples, course, memory)
        teach = Teaching(model, course, recalled, config, own.of)
        starts = {"current": model, "base": base, "draft": known.draft or model}
        steps = judged_steps(
            starts, teach, config, knowing, memory, partial(replace, elder=elder)
        )
        later = steps_of_elder(own, elder, examples, config)
        mine = yield from first_of_two(steps, elder, later)
        more = teach.joined
    if elder is not None and own.gate is not None:
        every = more or examples
        theirs = yield from elder_steps(own, elder, every, config, memory, mine)
    result = _result(own, elder, mine, theirs, unfit, config)
    staying = own.staying(examples)
    said = result.summary + who_stays(elder, mine, theirs, len(staying))
    return replace(result, summary=said, staying=staying, recalls=bool(recalled))


def _result(
    own: OwnKind, elder: Elder | None, mine: Judged | None, theirs: Judged | None,
    unfit: str, config: FinetuneConfig,
) -> FinetuneResult:  # fmt: skip
    """Return what came of learning the unknown kind, the known one, or both.

    What decides is the unknown kind, where there is one; the elder changes where it is
    better.

    Parameters
    ----------
    own : tells the kinds apart
    elder : who stays with images of the old kind; None: there are none
    mine, theirs : what was learnt of the unknown kind, and by the elder; not both None
    unfit : what was left out, one clause, or ""
    config : see FinetuneConfig
    """
    main = mine or theirs
    if main is None:
        raise ValueError("nothing was learnt")
    tuned, lost = main.model, main.verdict.lost
    if mine is None or (theirs is not None and theirs.verdict.better):
        tuned = with_elder(mine.model if mine else own.model, elder, theirs)
        lost = lost if theirs is main or theirs is None else lost + theirs.verdict.lost
    parts = [each.fitted for each in (mine, theirs) if each is not None]
    remark = "; ".join(each for each in (main.fitted.remark, unfit) if each)
    scored = main.before.checking, main.after.checking
    text = in_words(*scored, own.model.spec.output, honest=main.honest, remark=remark)
    verdict = replace(main.verdict, lost=lost)
    if own.gate is not None and not main.honest:
        verdict = replace(verdict, why=NOTHING_OF_IT)
    text = with_verdict(text, verdict, main.start, config)
    return FinetuneResult(
        tuned, tuple(event for each in parts for event in each.history),
        measures(scored[0]), measures(scored[1]), scored[1]["true"], main.honest,
        remark, text, verdict, main.start,
        sum(each.steps for each in parts), any(each.stopped for each in parts),
        tuple(each for part in parts for each in part.learnt),
        trials=main.fitted.trials,
    )  # fmt: skip


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


def with_verdict(
    said: str, verdict: Verdict, start: str, config: FinetuneConfig
) -> str:
    """Return what changed, what got worse, where learning started."""
    lost = len(verdict.lost)
    if lost:
        objects = "accepted object" if lost == 1 else "accepted objects"
        said = f"{said}; {lost} {objects} got worse"
    if config.start == "auto" and start != "current":
        said = f"{said}; learning from {STARTS[start]} was better than from the current"
    return said


def who_stays(
    elder: Elder | None, mine: Judged | None, theirs: Judged | None, left_out: int
) -> str:
    """Return who goes on with images of the old kind, and what it learnt, or ""."""
    if elder is None:
        return ""
    kind = f"images of the kind that {elder.gate.name} knows"
    if mine is None:
        return f"; this is of the network for {kind}"
    said = f"; {kind} stay with it"
    if not left_out:
        return said
    if theirs is not None and theirs.verdict.better:
        output = theirs.model.spec.output
        counts = theirs.before.checking, theirs.after.checking
        learnt = in_words(*counts, output, honest=True, remark="")
        return f"{said}, and it learnt too: {learnt}"
    these = "one of them" if left_out == 1 else f"{left_out} of them"
    why = "too little yet to learn from it and to score that"
    if theirs is not None:
        why = theirs.verdict.why
    elif mine.fitted.stopped:
        why = "nothing was learnt from there"
    return f"{said} (you corrected {these}: {why})"


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
