"""Where a fine-tuning starts: each candidate is tried for a part of the steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_unet.engine.commands import Learn
from napari_unet.engine.learner import Manner
from napari_unet.engine.metrics import measures
from napari_unet.engine.model import new_model
from napari_unet.engine.pace import FEW, POOR, TRIAL
from napari_unet.engine.scoring import count_planes, overall
from napari_unet.engine.training import fit_steps

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.lessons import Course
    from napari_unet.engine.model import Model
    from napari_unet.engine.teaching import Teaching
    from napari_unet.engine.training import FitSteps, Fitted, Scorer

LEARNT = ("current", "draft")  # starts from which nothing that was learnt gets lost
STARTS = {
    "current": "the version in use",
    "draft": "the last draft",
    "base": "the model as it was loaded",
    "scratch": "random weights",
}


def fit_from_best(
    starts: dict[str, Model], course: Course, teach: Teaching,
    config: FinetuneConfig,
) -> Generator[Any, Any, tuple[str, Fitted]]:  # fmt: skip
    """Choose a start and train from it; steps are numbered from the first trial on.

    What would throw away all that was learnt must be better by a standard error of
    the held-out score. Where that is of few objects, random weights are not tried, and
    the last weights are kept, which are an average, not those of the best check. They
    are not tried either where something that was learnt is no longer poor after its
    trial: then it leads to better things.
    """

    def score(current: Model) -> float:
        return overall(measures(count_planes(current, course.checking)), current.spec)

    def train(begin: Model, settings: FinetuneConfig, compete: bool) -> FitSteps:
        smallest = course.smallest(begin.spec)
        begin = begin if smallest is None else begin.saying(smallest)
        return fit_steps(
            begin, teach(begin), settings, score, teach,
            Manner(config.norm_learns, average=True, compete=compete),
        )  # fmt: skip

    known = course.evidence(teach.teacher.spec)
    enough = course.honest and known >= FEW
    candidates = _candidates(starts, score, teach, config, enough=enough)
    if len(candidates) == 1:
        ((start, chosen),) = candidates.items()
        return start, (yield from train(chosen, config, enough))
    trial = max(round(TRIAL * config.steps), 1)
    short = config.model_copy(update={"steps": trial, "evaluate_every": trial})
    whole = _Whole(config.steps + trial * len(candidates))
    tried: dict[str, tuple[float, Model]] = {}
    for start, candidate in candidates.items():
        if start == "scratch" and max(score for score, _ in tried.values()) >= POOR:
            whole.total -= trial
            continue
        fitted = yield from whole.part(train(candidate, short, False), trial)
        if fitted.stopped:
            return start, fitted
        tried[start] = fitted.score - doubt_of(start, known), fitted.model
    start = max(tried, key=lambda each: tried[each][0])
    best = train(tried[start][1], config, enough)
    fitted = yield from whole.part(best, config.steps, last=True)
    return start, replace(fitted, trials=len(tried))


def doubt_of(start: str, objects: int) -> float:
    """Return by how much a start must score better, 0 to 1.

    Parameters
    ----------
    start : a key of STARTS
    objects : of which the score is; its standard error is a half by their root at most
    """
    return 0.0 if start in LEARNT else 0.5 / math.sqrt(max(objects, 1))


class _Whole:
    """Runs trials and what follows them as one training.

    Parameters
    ----------
    total : steps of all parts
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._learn: Learn | None = None  # waits for the last part

    def part(self, steps: FitSteps, planned: int, *, last: bool = False) -> FitSteps:
        """Run a part, its steps numbered as those of the whole."""
        answer: object = None
        while True:
            try:
                event = steps.send(answer)
            except StopIteration as end:
                return self._ended(end.value)
            total = self.total + max(event.total - planned, 0)
            answer = yield replace(event, step=event.step + self.done, total=total)
            if isinstance(answer, Learn):
                self._learn, answer = answer, None
            if last and answer is None and self._learn is not None:
                answer, self._learn = self._learn, None

    def _ended(self, fitted: Fitted) -> Fitted:
        before, self.done = self.done, self.done + fitted.steps
        learnt = tuple((step + before, learn) for step, learn in fitted.learnt)
        return replace(fitted, steps=self.done, learnt=learnt)


def _candidates(
    starts: dict[str, Model], score: Scorer, teach: Teaching,
    config: FinetuneConfig, *, enough: bool,
) -> dict[str, Model]:  # fmt: skip
    """Return the starts that are to be tried, by ``enough`` held-out objects or few."""
    model = starts["current"]
    scratch = new_model(model.spec, config.seed).to(model.device)
    if config.start != "auto":
        return {config.start: {**starts, "scratch": scratch}[config.start]}
    wanted = {"current": model}
    if not teach.course.honest:
        return wanted
    for name in ("base", "draft"):
        other = starts[name]
        if other is not model:
            wanted[name] = other
    if enough and not teach.memory and score(model) < POOR:
        wanted["scratch"] = scratch
    return wanted
