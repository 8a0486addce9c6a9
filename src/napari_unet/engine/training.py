"""The training loop: one for new networks and for corrections."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from napari_unet.engine.commands import Command, Learn
from napari_unet.engine.config import AverageDone, EpochDone, StepDone
from napari_unet.engine.learner import Learner, Lesson, Manner
from napari_unet.engine.model import Model
from napari_unet.engine.sampling import all_planes
from napari_unet.engine.scoring import headline, score_planes
from napari_unet.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_unet.engine.config import LearningConfig, TrainConfig
    from napari_unet.engine.sampling import Example

STOPPED = "stopped at step {step} as asked, {kept} kept"
DIVERGED = (
    "the loss became {loss} at step {step}, the last good weights were kept: try a "
    "lower learning rate"
)


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes
    ----------
    model : with the best weights seen, in evaluation mode
    history : every event, for the curve
    remark : why it ended early, or ""
    steps : weight updates that were made
    stopped : whether that was asked for before the end
    learnt : corrections that joined, and after which step
    score : of the last check
    trials : starts that were tried; 0: there was no choice
    """

    model: Model
    history: tuple[StepDone | EpochDone, ...]
    remark: str = ""
    steps: int = 0
    stopped: bool = False
    learnt: tuple[tuple[int, Learn], ...] = ()
    score: float = 0.0
    trials: int = 0


FitSteps = Generator[Any, Any, Fitted]
Scorer = Callable[[Model], float]
Teach = Callable[[Model, Learn | None], Lesson]


def fit_steps(
    model: Model, lesson: Lesson, config: LearningConfig, score: Scorer,
    teach: Teach | None = None, manner: Manner | None = None,
) -> FitSteps:  # fmt: skip
    """Train a clone of the model.

    Parameters
    ----------
    model : where training starts; never changed
    lesson : what to learn from
    config : steps, learning rate, batch, crop, loss, augmentation
    score : of a model on held-out data; higher is better
    teach : gives the lesson after a check, for the model as it then is and the
        corrections that were sent in since (None: none were); None: always the same
    manner : see Manner

    Yields
    ------
    StepDone, EpochDone, AverageDone
        ``Command.STOP`` may be sent in to end early with the best, and ``Learn`` to go
        on with more corrections from the next check on.

    Returns
    -------
    Fitted
    """
    manner = manner or Manner()
    learner = Learner(model.clone(), lesson, config, manner)
    best = _Best(learner.shown, manner.compete)
    told: list[StepDone | EpochDone] = [best.check(score(model), 0, learner.total)]
    inbox = _Inbox()
    inbox.take((yield told[0]))
    remark = ""
    while not remark and learner.done < learner.total:
        if inbox.stop:
            remark = STOPPED.format(step=learner.done, kept=best.kept)
            break
        loss = learner.step()
        step, total = learner.done, learner.total
        if not math.isfinite(loss):
            remark = DIVERGED.format(loss=loss, step=step)
            break
        told.append(StepDone(step, total, loss))
        inbox.take((yield told[-1]))
        if manner.average:
            inbox.take((yield AverageDone(step, total, learner.shown)))
        if inbox.stop or step % config.evaluate_every == 0 or step == total:
            told.append(best.check(score(learner.shown), step, total))
            inbox.take((yield told[-1]))
            remark = best.no_gain_for(config.patience, step)
            if not remark and teach is not None:
                _next_lesson(learner, inbox, teach)
    done = best.restored(), tuple(told), remark, learner.done, inbox.stop
    return Fitted(*done, tuple(inbox.learnt), best.last)


def _next_lesson(learner: Learner, inbox: _Inbox, teach: Teach) -> None:
    """Give the learner its next lesson, with the corrections that came."""
    if inbox.stop or not inbox.opens(learner.done, learner.total):
        return
    fresh = inbox.open(learner.done)
    learner.learn(teach(learner.shown, fresh), more=fresh is not None)


class _Inbox:
    """What was sent into a training and is not yet done."""

    def __init__(self) -> None:
        self.stop = False
        self.learn: Learn | None = None
        self.learnt: list[tuple[int, Learn]] = []

    def opens(self, step: int, total: int) -> bool:
        """Tell whether another lesson is to come."""
        return step < total or self.learn is not None

    def open(self, step: int) -> Learn | None:
        """Return the corrections that came since it was last opened."""
        fresh, self.learn = self.learn, None
        if fresh is not None:
            self.learnt.append((step, fresh))
        return fresh

    def take(self, sent: object) -> None:
        """Take note of what was sent, None mostly."""
        if sent is Command.STOP:
            self.stop = True
        elif isinstance(sent, Learn):
            self.learn = sent


class _Best:
    """The best weights that a model in training has had."""

    def __init__(self, model: Model, compete: bool) -> None:
        self.model = model
        self.compete = compete
        self.weights = _weights(model)
        self.score = -math.inf
        self.checks_without_gain = 0
        self.last = 0.0

    def check(self, score: float, step: int, total: int) -> EpochDone:
        """Keep the model's weights if they score as well as any before."""
        better = score >= self.score
        if better or not self.compete:
            self.weights = _weights(self.model)
        self.score, self.last = max(score, self.score), score
        self.checks_without_gain = 0 if better else self.checks_without_gain + 1
        return EpochDone(step, total, score, better)

    @property
    def kept(self) -> str:
        """What ``restored`` returns, in words."""
        return "the best so far was" if self.compete else "the last weights were"

    def no_gain_for(self, patience: int | None, step: int) -> str:
        """Return why to end, if the last so many checks gained nothing; 0: never."""
        if not patience or self.checks_without_gain < patience:
            return ""
        return f"stopped at step {step}: no gain in {patience} checks"

    def restored(self) -> Model:
        """Return the model with its best weights, laid out as those of a file are.

        Another layout computes scores that differ in the last bit.
        """
        self.model.network.load_state_dict(self.weights)
        self.model.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub lacks it
        return self.model


def _weights(model: Model) -> dict[str, Tensor]:
    return deepcopy(model.network.state_dict())


def train_steps(
    model: Model,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    config: TrainConfig,
) -> FitSteps:
    """Train a network from pairs; the best weights on ``held_out`` are kept.

    Parameters
    ----------
    model : where training starts; never changed
    examples : images and labels to learn from
    held_out : images and labels to check with
    config : see TrainConfig

    Yields
    ------
    StepDone, EpochDone

    Returns
    -------
    Fitted

    Raises
    ------
    TrainingError
        If there is nothing to learn from or nothing to check with.
    """
    training = all_planes(examples, model.spec)
    checking = all_planes(held_out, model.spec)
    if not training or not checking:
        raise TrainingError(
            f"{len(training)} images to train on and {len(checking)} to check with; "
            "at least one of each is needed: add images with masks."
        )

    def score(current: Model) -> float:
        return headline(score_planes(current, checking), model.spec.output)

    return (yield from fit_steps(model, Lesson(training), config, score))
