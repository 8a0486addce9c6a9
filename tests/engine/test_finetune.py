"""Fine-tuning learns from what is supervised, from nothing else, and says what came."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_unet.engine.commands import Command, Learn
from napari_unet.engine.config import AverageDone, EpochDone, FinetuneConfig, StepDone
from napari_unet.engine.drain import drain
from napari_unet.engine.finetune import (
    Knowledge,
    finetune,
    finetune_steps,
    in_words,
)
from napari_unet.engine.metrics import count, count_trusted
from napari_unet.engine.model import between
from napari_unet.engine.normalize import normalize, statistics
from napari_unet.engine.sampling import Example
from napari_unet.engine.starts import FEW, doubt_of
from napari_unet.engine.teaching import Memory
from napari_unet.errors import TrainingError
from tiny import nuclei, tiny_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.model import Model

QUICK = FinetuneConfig(steps=3, batch=1, crop=32, evaluate_every=2, augment="off")


def example(objects: int = 9, size: int = 96) -> Example:
    """An image of which the first objects and their surroundings are supervised."""
    image, labels = nuclei(size)
    supervised = np.zeros(labels.shape, bool)
    for label in range(1, objects + 1):
        rows, columns = np.nonzero(labels == label)
        supervised[
            max(rows.min() - 2, 0) : rows.max() + 3,
            max(columns.min() - 2, 0) : columns.max() + 3,
        ] = True
    return Example(image, labels, supervised, "YX")


def weights(model) -> torch.Tensor:
    state = model.network.state_dict().values()
    return torch.cat([w.detach().float().ravel() for w in state])


def normalised(model: Model, image: NDArray[np.float32]) -> torch.Tensor:
    """The image as the network is given it, (1, 1, Y, X)."""
    found = statistics(image[None], model.spec.normalization)
    return torch.from_numpy(normalize(image[None], found))[None]


def held(given: Example) -> Example:
    """The same, all of it held out."""
    return replace(given, held_out=np.ones(given.labels.shape, bool))


def learnt(given: Example) -> Example:
    """The same, all of it to learn from."""
    return replace(given, held_out=np.zeros(given.labels.shape, bool))


@pytest.mark.parametrize(
    ("pixels", "words"), [(0, "Nothing is corrected"), (1, "Only 1 pixel is corrected")]
)
def test_nothing_or_next_to_nothing_is_refused(pixels: int, words: str) -> None:
    image, labels = nuclei()
    supervised = np.zeros(labels.shape, bool)
    supervised.ravel()[:pixels] = True
    with pytest.raises(TrainingError, match=words):
        finetune(tiny_model(), [Example(image, labels, supervised, "YX")], config=QUICK)


@pytest.mark.parametrize("output", ["instances", "foreground", "classes"])
def test_only_background_is_enough_and_is_said(output) -> None:
    image, labels = nuclei()
    given = Example(image, np.zeros_like(labels), labels == 0, "YX")
    result = finetune(tiny_model(output), [given], config=QUICK)
    assert "only background was corrected" in result.summary
    assert result.held_out == 0
    assert not result.honest


def test_background_alone_that_is_held_out_is_said_to_be_that() -> None:
    image, labels = nuclei()
    right = np.arange(labels.shape[1]) >= labels.shape[1] // 2
    held_out = (labels == 0) & right
    given = Example(image, labels, ~right | held_out, "YX", held_out)
    result = finetune(tiny_model(), [given], config=QUICK)
    assert result.honest
    assert "all that is held out is background" in result.summary


def test_stop_keeps_the_best_and_says_so() -> None:
    steps = finetune_steps(
        tiny_model(), [example()], QUICK.model_copy(update={"steps": 1000})
    )
    assert isinstance(next(steps), EpochDone)
    assert isinstance(next(steps), StepDone)
    assert isinstance(steps.send(Command.STOP), AverageDone)
    assert isinstance(next(steps), EpochDone)
    with pytest.raises(StopIteration) as end:
        next(steps)
    result = end.value.value
    assert "stopped at step 1 as asked" in result.summary
    assert len(result.history) == 3
    assert result.stopped
    assert result.steps == 1


def test_the_given_model_is_unchanged_and_the_new_one_differs() -> None:
    model = tiny_model()
    before = weights(model).clone()
    result = finetune(model, [example()], config=QUICK)
    assert torch.equal(weights(model), before)
    assert not torch.equal(weights(result.model), before)
    assert not result.model.network.training


@pytest.mark.parametrize("augment", ["off", "strong"])
@pytest.mark.parametrize("output", ["instances", "foreground", "classes"])
def test_labels_outside_the_corrections_have_no_influence(output, augment) -> None:
    given = example(4)
    if output == "classes":
        labels, other = np.minimum(given.labels, 1), 2
    else:
        labels, other = given.labels, 77
    outside = np.where(given.supervised, labels, other)
    config = QUICK.model_copy(update={"augment": augment, "batch": 4})
    results = [
        finetune(
            tiny_model(output),
            [Example(given.image, each, given.supervised, "YX")],
            config=config,
        )
        for each in (labels, outside)
    ]
    assert torch.equal(*[weights(result.model) for result in results])
    assert results[0].summary == results[1].summary


def test_batch_norm_learns_only_when_told() -> None:
    def statistics(learns: bool) -> bool:
        model = tiny_model(norm="batch")
        config = QUICK.model_copy(update={"norm_learns": learns})
        after = finetune(model, [example()], config=config).model.network
        pairs = zip(model.network.named_buffers(), after.named_buffers(), strict=True)
        kept = [torch.equal(a, b) for (_, a), (_, b) in pairs]
        assert kept
        return all(kept)

    assert statistics(learns=False)
    assert not statistics(learns=True)


LONG = FinetuneConfig(
    steps=60, batch=2, crop=32, evaluate_every=20, learning_rate=1e-2, augment="off"
)


def test_fine_tuning_finds_objects_it_missed_before() -> None:
    events: list[object] = []
    examples = [learnt(example(16)), held(example(9))]
    result = finetune(tiny_model(), examples, config=LONG, on_step=events.append)
    assert result.after["dice"] > result.before["dice"] + 0.2
    assert len(events) >= len(result.history)
    assert result.honest
    assert result.held_out == 9
    assert "held-out objects, before" in result.summary
    assert result.verdict.better
    assert not result.verdict.why


def test_what_is_held_out_is_not_learnt_from() -> None:
    image, labels = nuclei()
    given = example(9)
    wrong = replace(held(given), labels=np.where(labels > 0, 0, 1))
    results = [
        finetune(tiny_model(), [learnt(given), other], config=QUICK_FROM_HERE)
        for other in (held(given), wrong)
    ]
    steps = [
        [e.loss for e in result.history if isinstance(e, StepDone)]
        for result in results
    ]
    assert steps[0] == steps[1]
    assert image.shape == labels.shape


QUICK_FROM_HERE = QUICK.model_copy(update={"start": "current", "teacher": 0.0})


def test_places_are_held_out_by_themselves_where_nobody_said() -> None:
    result = finetune(tiny_model(), [example(4)] * 3, config=QUICK)
    assert result.honest
    assert result.held_out == 4


def test_one_small_image_is_learnt_from_and_nothing_is_proved() -> None:
    result = finetune(tiny_model(), [example(9)], config=QUICK)
    assert not result.honest
    assert not result.verdict.better
    assert "nothing is held out" in result.verdict.why


def test_where_nothing_is_held_out_the_last_weights_are_kept() -> None:
    steps = finetune_steps(tiny_model(), [example(9)], QUICK)
    checks = []
    result = drain(steps, lambda e: checks.append(e) if isinstance(e, EpochDone) else 0)
    assert not torch.equal(weights(result.model), weights(tiny_model()))
    assert checks[-1].step == QUICK.steps


def test_all_that_is_corrected_held_out_is_refused() -> None:
    with pytest.raises(TrainingError, match="held out to score"):
        finetune(tiny_model(), [held(example())], config=QUICK)


def test_a_teacher_keeps_what_it_says_where_nothing_was_corrected() -> None:
    model = finetune(tiny_model(), [learnt(example(16))], config=LONG).model
    given = learnt(example(2))
    image = normalised(model, given.image)
    elsewhere = torch.from_numpy(~given.supervised)

    def drift(teacher: float) -> float:
        config = LONG.model_copy(update={"teacher": teacher, "start": "current"})
        tuned = finetune(model, [given], config=config).model
        with torch.inference_mode():
            change = (tuned.scores(image) - model.scores(image)).abs()[0, 0]
        return float(change[elsewhere].mean())

    assert drift(10.0) < drift(0.0) / 1.5


def test_memory_keeps_what_the_loaded_model_said_of_its_images() -> None:
    kept = [Example(*nuclei(seed=seed)) for seed in range(6)]
    model = finetune(tiny_model(norm="batch"), kept, config=LONG).model
    upside_down = replace(learnt(example(16)), image=-example(16).image)
    picture = normalised(model, kept[1].image)

    def drift(remember: float) -> float:
        changes = {"remember": remember, "teacher": 0.0, "start": "current"}
        config = LONG.model_copy(update=changes)
        known = Knowledge(model, memory=Memory(kept))
        tuned = drain(finetune_steps(model, [upside_down], config, known)).model
        with torch.inference_mode():
            return float((tuned.scores(picture) - model.scores(picture)).abs().mean())

    assert drift(10.0) < drift(0.0) / 3


def test_corrections_that_come_meanwhile_join_at_the_next_check() -> None:
    config = QUICK.model_copy(update={"steps": 6, "evaluate_every": 2})
    more = Learn([learnt(example(9))])
    steps = finetune_steps(tiny_model(), [learnt(example(2))], config)
    sent = False
    answer = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as end:
            result = end.value
            break
        answer = None
        if isinstance(event, StepDone) and event.step == 3 and not sent:
            answer, sent = more, True
    assert result.learnt == ((4, more),)
    assert result.steps == 7  # half a run at least is made with them
    assert result.held_out == 0 or not result.honest


def test_every_start_can_be_asked_for() -> None:
    model, base = tiny_model(), tiny_model(seed=5)
    starts = {}
    for start in ("current", "base", "scratch"):
        config = QUICK.model_copy(update={"start": start, "steps": 1})
        result = drain(
            finetune_steps(model, [learnt(example())], config, Knowledge(base))
        )
        starts[result.start] = weights(result.model)
    assert set(starts) == {"current", "base", "scratch"}
    assert not torch.equal(starts["current"], starts["base"])


def test_the_better_start_is_found_by_held_out_corrections_and_said() -> None:
    good = finetune(
        tiny_model(), [learnt(example(16)), held(example(9))], config=LONG
    ).model
    bad = tiny_model()
    with torch.no_grad():
        for parameter in bad.network.parameters():
            parameter.fill_(0.0)
    examples = [learnt(example(9)), held(example(9))]
    config = QUICK.model_copy(update={"steps": 5, "learning_rate": 1e-6})
    result = drain(finetune_steps(bad, examples, config, Knowledge(good)))
    assert result.start == "base"
    assert "the model as it was loaded" in result.summary


def test_random_weights_are_tried_where_the_current_ones_stay_poor() -> None:
    examples = [learnt(example(16)), held(example(16))]
    stays = QUICK.model_copy(update={"steps": 5, "learning_rate": 1e-6})
    result = finetune(tiny_model(), examples, config=stays)
    assert (result.trials, result.steps) == (2, 7)
    gets_better = LONG.model_copy(update={"steps": 300})
    seen: list[StepDone] = []
    result = finetune(
        tiny_model(), examples, config=gets_better,
        on_step=lambda event: seen.append(event) if isinstance(event, StepDone) else 0,
    )  # fmt: skip
    assert (result.start, result.trials, result.steps) == ("current", 1, 360)
    assert [seen[0].total, seen[-1].step, seen[-1].total] == [420, 360, 360]


def test_what_throws_learning_away_must_be_better_by_a_standard_error() -> None:
    assert doubt_of("base", 4) == doubt_of("scratch", 4) == 0.25
    assert doubt_of("base", 25) == 0.1
    assert doubt_of("current", 4) == doubt_of("draft", 4) == 0


@pytest.mark.parametrize(("objects", "kept"), [(FEW - 1, False), (16, True)])
def test_few_held_out_objects_do_not_choose_between_checks(objects, kept) -> None:
    good = finetune(tiny_model(), [learnt(example(16))], config=LONG).model
    ruinous = QUICK.model_copy(update={"learning_rate": 1.0, "steps": 4})
    examples = [learnt(example(9)), held(example(objects))]
    result = finetune(good, examples, config=ruinous)
    assert torch.equal(weights(result.model), weights(good)) is kept


def test_the_same_inputs_give_the_same_weights() -> None:
    examples = [learnt(example(9)), held(example(4))]
    config = QUICK.model_copy(update={"augment": "strong"})
    one, two = (finetune(tiny_model(), examples, config=config) for _ in range(2))
    assert torch.equal(weights(one.model), weights(two.model))


def test_the_words_tell_missed_found_and_false_objects() -> None:
    truth = np.zeros((20, 20), np.int32)
    truth[2:8, 2:8] = 1
    wrong = np.zeros_like(truth)
    wrong[12:18, 12:18] = 1
    text = in_words(
        count(wrong, truth), count(truth + 2 * wrong, truth), "instances",
        honest=False, remark="stopped",
    )  # fmt: skip
    assert text == (
        "finds 1 of 1 objects that it learnt from, before 0; "
        "1 found that are none, before 1; stopped"
    )
    text = in_words(
        count(wrong, truth), count(wrong, truth), "instances", honest=True, remark=""
    )
    assert text == (
        "finds 0 of 1 held-out objects, before 0; 1 found that are none, before 1; "
        "Dice 0.00, before 0.00"
    )
    dice = in_words(
        count(wrong, truth), count(truth, truth), "classes", honest=True, remark=""
    )
    assert dice == "Dice 1.00 on held-out corrections, before 0.00"


def test_parts_of_objects_alone_are_told_by_their_pixels() -> None:
    truth = np.zeros((20, 20), np.int32)
    truth[2:18, 2:18] = 1
    row = np.zeros(truth.shape, bool)
    row[9] = True  # as a slice through objects of a volume
    counts = [count_trusted(p, truth, row) for p in (truth * 0, truth)]
    text = in_words(*counts, "instances", honest=False, remark="")
    assert text == "Dice 1.00 on corrections that it learnt from, before 0.00"


# -- between the old weights and the new


def test_weights_lie_between_those_of_two_models() -> None:
    old, new = tiny_model(seed=1), tiny_model(seed=2)
    found = between(old, new, 0.25)
    states = (m.network.state_dict() for m in (old, new, found))
    for a, b, c in zip(*(s.values() for s in states), strict=True):
        wanted = 0.25 * a + 0.75 * b if a.is_floating_point() else b
        torch.testing.assert_close(c, wanted)
    assert found.spec == new.spec


@pytest.mark.parametrize(
    ("start", "trusted", "kept"),
    [("current", 1.0, True), ("current", 0.0, False), ("scratch", 1.0, False)],
)
def test_what_comes_of_it_keeps_a_share_of_weights_that_were_some_good(
    start: Any, trusted: float, kept: bool, monkeypatch: Any
) -> None:
    monkeypatch.setattr("napari_unet.engine.teaching.trust", lambda *_: trusted)
    monkeypatch.setattr("napari_unet.engine.judged.OLD_SHARE", 1.0)
    model, config = tiny_model(), QUICK.model_copy(update={"start": start, "steps": 4})
    result = finetune(model, [Example(*nuclei(), axes="YX")], config=config)
    pairs = zip(
        model.network.parameters(), result.model.network.parameters(), strict=True
    )
    assert all(torch.equal(a, b) for a, b in pairs) == kept
