"""One training on corrections, and whether what comes of it is better than before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_unet.engine.model import between
from napari_unet.engine.starts import fit_from_best
from napari_unet.engine.verdict import judge, kept_elsewhere, remembered, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.model import Model
    from napari_unet.engine.teaching import Memory, Teaching
    from napari_unet.engine.training import Fitted
    from napari_unet.engine.verdict import Standing, Verdict

OLD_SHARE = 0.3  # at most, of the weights that learning began from, in what comes of it


@dataclass(frozen=True)
class Judged:
    """A training on corrections, judged.

    Attributes
    ----------
    model : what came of it
    fitted : how the training went
    start : where it started; see ``starts.STARTS``
    before, after : how the old model stands, and the new one
    verdict : whether the new one may take the place of the old one
    honest : whether what scores it was kept out of it
    """

    model: Model
    fitted: Fitted
    start: str
    before: Standing
    after: Standing
    verdict: Verdict
    honest: bool


def judged_steps(
    starts: dict[str, Model], teach: Teaching, config: FinetuneConfig,
    knowing: Model, memory: Memory | None, finished: Callable[[Model], Model],
) -> Generator[Any, Any, Judged]:  # fmt: skip
    """Train from the best start and compare the old model with the new one.

    Parameters
    ----------
    starts : models by the keys of ``starts.STARTS``
    teach : gives the lessons; its teacher is the model in use
    config : see FinetuneConfig
    knowing : the model as it was loaded
    memory : images of its kind; None: there are none
    finished : makes of a trained model what will be used

    Yields
    ------
    StepDone, EpochDone, AverageDone
    """
    model, course = teach.teacher, teach.course
    before = standing(model, course, memory)
    reference = before.memory if knowing is model else remembered(knowing, memory)
    start, fitted = yield from fit_from_best(starts, course, teach, config)
    tuned = finished(_steadied(starts.get(start), fitted.model, teach))
    after = standing(tuned, course, memory)
    kept = None
    if teach.course.only_background:  # also after corrections joined
        kept = kept_elsewhere(model, tuned, teach.course.training)
    verdict = judge(
        before, after, model.spec, allowed=config.allowed_loss, honest=course.honest,
        reference=reference, kept=kept,
    )  # fmt: skip
    return Judged(tuned, fitted, start, before, after, verdict, course.honest)


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
