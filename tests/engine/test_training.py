"""Training: learns, ends well, never touches the model it started from."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_unet.engine.commands import Command
from napari_unet.engine.config import EpochDone, StepDone, TrainConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.learner import Lesson, Manner
from napari_unet.engine.model import new_model
from napari_unet.engine.sampling import Example, planes
from napari_unet.engine.scoring import headline, score_planes
from napari_unet.engine.training import fit_steps, train_steps
from napari_unet.errors import TrainingError
from tiny import nuclei, tiny_model, tiny_spec

if TYPE_CHECKING:
    from napari_unet.engine.model import Model
    from napari_unet.engine.training import (
        Fitted,
    )

STATISTIC = "encoder.0.first.1.running_mean"


def config(**changes: Any) -> TrainConfig:
    """Return a training of a few small steps."""
    few = {"steps": 6, "crop": 32, "batch": 2, "augment": "off", "evaluate_every": 2}
    return TrainConfig(**{**few, **changes})


def fit(settings: TrainConfig, score: Any, model: Model | None = None) -> Any:
    """Return the steps of a training on synthetic nuclei."""
    model = model or tiny_model()
    return fit_steps(
        model, Lesson(planes(Example(*nuclei()), model.spec)), settings, score
    )


def weights(model: Model) -> torch.Tensor:
    """Return all weights and statistics in one row."""
    return torch.cat(
        [v.flatten().double() for v in model.network.state_dict().values()]
    )


def test_a_tiny_network_learns_to_find_discs() -> None:
    spec = tiny_spec("foreground", widths=(8, 16))
    model = new_model(spec)
    held_out = planes(Example(*nuclei(seed=9)), spec)
    before = score_planes(model, held_out)["dice"]
    settings = config(steps=40, batch=4, evaluate_every=20, learning_rate=1e-2)
    steps = train_steps(
        model, [Example(*nuclei())], [Example(*nuclei(seed=9))], settings
    )
    fitted = drain(steps)
    assert score_planes(fitted.model, held_out)["dice"] > max(0.9, before)
    losses = [event.loss for event in fitted.history if isinstance(event, StepDone)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_the_model_it_started_from_is_unchanged() -> None:
    model = tiny_model()
    before = weights(model)
    fitted = drain(fit(config(), lambda _: 0.5, model))
    assert torch.equal(weights(model), before)
    assert not torch.equal(weights(fitted.model), before)
    assert not fitted.model.network.training


def test_the_same_seed_trains_the_same_network() -> None:
    one, same = (drain(fit(config(), lambda _: 0.5)) for _ in range(2))
    assert torch.equal(weights(one.model), weights(same.model))


def test_events_come_in_order() -> None:
    fitted = drain(fit(config(steps=5), lambda _: 0.5))
    kinds = [(type(event), event.step) for event in fitted.history]
    steps, checks = (
        [(StepDone, n) for n in range(1, 6)],
        [(EpochDone, n) for n in (2, 4)],
    )
    assert kinds == [
        (EpochDone, 0),
        *steps[:2],
        checks[0],
        *steps[2:4],
        checks[1],
        steps[4],
        (EpochDone, 5),
    ]
    assert fitted.remark == ""


def test_the_weights_of_the_best_check_are_kept() -> None:
    seen: list[torch.Tensor] = []
    scores = iter((0.0, 0.1, 0.9, 0.2))

    def score(model: Model) -> float:
        seen.append(weights(model))
        return next(scores)

    fitted = drain(fit(config(), score))
    assert torch.equal(weights(fitted.model), seen[2])
    checks = [e.best for e in fitted.history if isinstance(e, EpochDone)]
    assert checks == [True, True, True, False]


@pytest.mark.parametrize("steps_before", [1, 3])
def test_stop_checks_once_more_and_keeps_the_best(steps_before: int) -> None:
    scores = itertools.count(1)
    steps = fit(config(steps=100, evaluate_every=100), lambda _: next(scores))
    for _ in range(1 + steps_before):  # the start is checked first
        next(steps)
    checked = steps.send(Command.STOP)
    with pytest.raises(StopIteration) as end:
        next(steps)
    fitted: Fitted = end.value.value
    assert checked == EpochDone(steps_before, 100, 2, True)
    assert (
        fitted.remark
        == f"stopped at step {steps_before} as asked, the best so far was kept"
    )


def test_stop_after_a_check_ends_without_another() -> None:
    steps = fit(config(steps=100, evaluate_every=1), lambda _: 0.5)
    for kind in (EpochDone, StepDone, EpochDone):
        assert isinstance(next(steps), kind)
    with pytest.raises(StopIteration) as end:
        steps.send(Command.STOP)
    assert "as asked" in end.value.value.remark


def test_patience_ends_a_training_without_gain() -> None:
    scores = iter((0.5, 0.9, 0.8, 0.7, 0.6))
    fitted = drain(fit(config(steps=50, patience=2), lambda _: next(scores)))
    assert fitted.remark == "stopped at step 6: no gain in 2 checks"


def test_a_start_that_is_never_beaten_is_kept() -> None:
    scores = iter((0.9, 0.1, 0.2, 0.3))
    model = tiny_model()
    training = planes(Example(*nuclei()), model.spec)
    fitted = drain(fit_steps(model, Lesson(training), config(), lambda _: next(scores)))
    assert torch.equal(weights(fitted.model), weights(model))


def test_a_stop_before_the_first_step_keeps_the_start() -> None:
    steps = fit(config(steps=100), lambda _: 0.5)
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(Command.STOP)
    assert "stopped at step 0 as asked" in end.value.value.remark


def test_a_loss_of_nan_stops_with_finite_weights_and_says_so() -> None:
    image, labels = nuclei()
    model = tiny_model()
    (plane,) = planes(Example(image, labels), model.spec)
    after = 3

    checks = itertools.count()

    def score(_: Model) -> float:
        if next(checks):  # the images go bad after the first check behind the start
            plane.image[...] = np.nan
        return 0.5

    fitted = drain(
        fit_steps(model, Lesson([plane]), config(evaluate_every=after), score)
    )
    assert f"the loss became nan at step {after + 1}" in fitted.remark
    assert "lower learning rate" in fitted.remark
    assert torch.isfinite(weights(fitted.model)).all()
    assert all(math.isfinite(e.loss) for e in fitted.history if isinstance(e, StepDone))


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    model = tiny_model()
    training = planes(Example(*nuclei()), model.spec)
    for learns in (True, False):
        steps = fit_steps(
            model, Lesson(training), config(), lambda _: 0.5, None, Manner(learns)
        )
        after = drain(steps).model.network.get_buffer(STATISTIC)
        same = torch.equal(after, model.network.get_buffer(STATISTIC))
        assert same is not learns


def test_nothing_to_learn_from_is_refused() -> None:
    model, example = tiny_model(), Example(*nuclei())
    for examples, held_out in (([], [example]), ([example], [])):
        with pytest.raises(TrainingError, match="at least one of each is needed"):
            next(train_steps(model, examples, held_out, config()))


def test_the_headline_is_the_measure_that_matters() -> None:
    measured = {"ap50": 0.8, "ap75": 0.6, "dice": 0.9}
    assert headline(measured, "instances") == pytest.approx(0.7)
    assert headline(measured, "foreground") == headline(measured, "classes") == 0.9
