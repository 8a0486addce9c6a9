"""The network that stays with images of the loaded model's kind learns of these."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_unet.engine.commands import Command, Learn
from napari_unet.engine.config import (
    AverageDone,
    EpochDone,
    KindDone,
    StepDone,
)
from napari_unet.engine.drain import drain
from napari_unet.engine.finetune import Knowledge, finetune_steps
from napari_unet.engine.model import Elder
from napari_unet.engine.sampling import all_planes
from napari_unet.errors import TrainingError
from two_kinds import CONFIG, SIZE, dark, knowing, light

if TYPE_CHECKING:
    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.engine.model import Model
    from napari_unet.engine.sampling import Example


def both() -> list[Example]:
    return [light(7), dark(8)]


@cache
def run() -> tuple[FinetuneResult, list[list[float]]]:
    """Fine-tune on both; return the Dice of both kinds at the end of each training."""
    views = []

    def look(event: object) -> None:
        if isinstance(event, AverageDone) and event.step in (40, 60):
            views.append([dice_on(event.model, each) for each in (light(30), dark(30))])

    steps = finetune_steps(knowing(), both(), CONFIG, Knowledge(knowing()))
    return drain(steps, look), views


def learnt() -> FinetuneResult:
    return run()[0]


def dice_on(model: Model, example: Example) -> float:
    """Return the Dice of a model on an image, as it is predicted."""
    plane = all_planes([example], model.spec)[0]
    fitting = model.fitting(plane.image)
    found = fitting.scores(torch.from_numpy(plane.image)[np.newaxis])[0, 0] > 0.5
    truth = torch.from_numpy(example.labels > 0)
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_of_two_kinds_both_are_learnt() -> None:
    result = learnt()
    assert result.model.elder is not None
    old = replace(knowing(), elder=None)
    for unseen in (light(30), dark(30)):
        assert dice_on(result.model, unseen) > dice_on(old, unseen) + 0.02
    assert "stay with it, and it learnt too: finds" in result.summary
    assert result.verdict.better
    assert result.staying == (0,)


def test_the_steps_of_both_are_counted_as_one() -> None:
    told = [each for each in learnt().history if isinstance(each, StepDone)]
    assert [each.step for each in told] == list(range(1, 61))
    assert {each.total for each in told} == {60}
    assert [each.kind for each in told] == [""] * 40 + ["tiny"] * 20
    assert learnt().steps == 60
    scores = [each for each in learnt().history if isinstance(each, EpochDone)]
    assert [(each.step, each.kind) for each in scores if each.kind] == [
        (40, "tiny"), (60, "tiny")
    ]  # fmt: skip


def test_what_is_seen_meanwhile_is_of_the_network_for_the_image() -> None:
    first, last = run()[1]
    assert first[0] == dice_on(knowing(), light(30))  # the elder, not the new network
    assert last[0] != first[0]
    assert last[1] == dice_on(learnt().model, dark(30))


def test_an_elder_that_is_no_better_stays_as_it_was() -> None:
    config = CONFIG.model_copy(update={"learning_rate": 1e-9})
    result = drain(finetune_steps(knowing(), both(), config, Knowledge(knowing())))
    assert result.model.elder is not None
    assert result.model.elder.network is knowing().network
    assert "(you corrected one of them: it gains nothing on held-out corrections)" in (
        result.summary
    )


def test_where_nothing_could_score_it_the_elder_does_not_learn() -> None:
    examples = [light(7, held=False), dark(8)]
    result = drain(finetune_steps(knowing(), examples, CONFIG, Knowledge(knowing())))
    assert result.steps == CONFIG.steps
    assert result.model.elder is not None
    assert result.model.elder.network is knowing().network
    assert "too little yet to learn from it and to score that" in result.summary


def test_where_nothing_could_score_the_new_kind_it_is_said_of_that_kind() -> None:
    example = dark(8)
    examples = [light(7), replace(example, held_out=np.zeros((SIZE, SIZE), bool))]
    quick = CONFIG.model_copy(update={"steps": 4})
    result = drain(finetune_steps(knowing(), examples, quick, Knowledge(knowing())))
    assert result.verdict.why.startswith("nothing of the kind that it learnt is held")
    assert not result.verdict.better


def test_of_which_kind_images_are_is_told_one_by_one() -> None:
    steps = finetune_steps(knowing(), both(), CONFIG, Knowledge(knowing()))
    assert [next(steps), next(steps)] == [KindDone(1, 2), KindDone(2, 2)]
    alone = finetune_steps(knowing(), [dark(8)], CONFIG, Knowledge(knowing()))
    assert isinstance(next(alone), EpochDone)


def sending(
    what: object, after: int, model: Model | None = None,
    examples: list[Example] | None = None,
) -> FinetuneResult:  # fmt: skip
    """Fine-tune, on both kinds if nothing else is said, and send something in."""
    model = model or knowing()
    known = Knowledge(model)
    steps = finetune_steps(model, examples or both(), CONFIG, known)
    answer: Any = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as end:
            return end.value
        now = isinstance(event, StepDone) and event.step == after
        answer = what if now else None


def test_who_stops_the_first_stops_both() -> None:
    result = sending(Command.STOP, 10)
    assert (result.steps, result.stopped) == (10, True)
    assert "nothing was learnt from there" in result.summary
    result = sending(Command.STOP, 45)
    assert (result.steps, result.stopped) == (45, True)


def test_corrections_that_join_are_learnt_by_both_and_later_ones_wait() -> None:
    more = Learn([light(7), dark(8), light(9), dark(10)])
    early = sending(more, 10)
    assert [step for step, _ in early.learnt] == [20]
    state = early.model.elder.network.state_dict()
    before = learnt().model.elder.network.state_dict()
    assert any(not torch.equal(state[key], before[key]) for key in state)
    late = sending(more, 45)
    assert late.learnt == ()
    state = late.model.elder.network.state_dict()
    assert all(torch.equal(state[key], before[key]) for key in state)


# -- a model that was loaded with an elder


@cache
def loaded() -> Model:
    """A model for dark discs, and beside it the one for light ones."""
    gate = learnt().model.elder.gate
    elder = Elder(knowing().network, gate, knowing().spec.normalization)
    return replace(learnt().model, elder=elder)


def test_of_a_loaded_pair_that_network_learns_which_predicts_the_image() -> None:
    pair = loaded()
    known = Knowledge(pair)
    result = drain(finetune_steps(pair, [light(7)], CONFIG, known))
    assert result.model.network is pair.network
    assert result.verdict.better
    assert result.steps == CONFIG.steps
    unseen = light(30)
    assert dice_on(result.model, unseen) > dice_on(pair, unseen) + 0.02
    assert "this is of the network for images of the kind that tiny knows" in (
        result.summary
    )
    result = drain(finetune_steps(pair, [dark(8)], CONFIG, known))
    assert result.model.elder == pair.elder
    assert result.steps == CONFIG.steps
    result = drain(finetune_steps(pair, both(), CONFIG, known))
    assert result.steps == 60


def test_an_elder_of_an_earlier_run_learns_alone_too() -> None:
    pair = learnt().model
    for again in ([light(7)], [light(7), light(9)]):
        result = drain(finetune_steps(pair, again, CONFIG, Knowledge(knowing())))
        assert result.model.network is pair.network
        assert result.steps == CONFIG.steps


def test_corrections_join_the_learning_of_an_elder_alone() -> None:
    result = sending(Learn([light(7), light(9)]), 10, loaded(), [light(7)])
    assert [step for step, _ in result.learnt] == [20]


def test_where_neither_can_learn_it_is_said() -> None:
    every = np.ones((SIZE, SIZE), bool)
    examples = [replace(light(7), held_out=every), replace(dark(8), held_out=every)]
    with pytest.raises(TrainingError, match="All that is corrected is held out"):
        drain(finetune_steps(loaded(), examples, CONFIG, Knowledge(loaded())))
