"""Fine-tuning learns from what is supervised, from nothing else, and says what came."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet.engine.config import EpochDone, FinetuneConfig, StepDone
from napari_unet.engine.finetune import (
    around_supervision,
    finetune,
    finetune_steps,
    in_words,
    split_plane,
)
from napari_unet.engine.metrics import count
from napari_unet.engine.sampling import Example, planes
from napari_unet.engine.training import Command
from napari_unet.errors import TrainingError
from tiny import nuclei, tiny_model

QUICK = FinetuneConfig(steps=3, batch=1, crop=32, evaluate_every=2, augment=False)


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


def plane_of(given: Example, output: str = "instances"):
    return planes(given, tiny_model(output).spec)[0]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_no_object_is_on_both_sides_of_the_split(share: float) -> None:
    plane = plane_of(example())
    training, checking = split_plane(plane, share, whole_objects=True)
    assert checking is not None
    ids = [
        set(np.unique(plane.labels[part.supervised[0] > 0])) - {0}
        for part in (training, checking)
    ]
    assert not ids[0] & ids[1]
    assert len(ids[1]) == round(share * 9)
    np.testing.assert_array_equal(
        training.supervised + checking.supervised, plane.supervised
    )


@pytest.mark.parametrize(("objects", "share"), [(1, 0.2), (2, 0.5), (9, 0.0)])
def test_too_few_objects_are_not_split(objects: int, share: float) -> None:
    plane = plane_of(example(objects))
    training, checking = split_plane(plane, share, whole_objects=True)
    assert training is plane
    assert checking is None


def test_patches_of_a_class_are_split_like_objects() -> None:
    given = example()
    classes = Example(given.image, np.minimum(given.labels, 1), given.supervised, "YX")
    plane = plane_of(classes, "classes")
    training, checking = split_plane(plane, 0.3, whole_objects=False)
    assert checking is not None
    assert checking.supervised.sum() < training.supervised.sum()
    assert not (checking.supervised * training.supervised).any()


def test_only_the_surroundings_of_corrections_are_kept() -> None:
    plane = plane_of(example(1))
    part = around_supervision(plane, 5)
    rows = np.flatnonzero(plane.supervised[0].any(axis=1))
    assert part.labels.shape[0] == min(rows.max() + 6, 96) - max(rows.min() - 5, 0)
    assert part.image.shape[1:] == part.labels.shape == part.targets.shape[1:]
    assert part.supervised.sum() == plane.supervised.sum()


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


def test_stop_keeps_the_best_and_says_so() -> None:
    steps = finetune_steps(
        tiny_model(), [example()], QUICK.model_copy(update={"steps": 1000})
    )
    assert isinstance(next(steps), EpochDone)
    assert isinstance(next(steps), StepDone)
    assert isinstance(steps.send(Command.STOP), EpochDone)
    with pytest.raises(StopIteration) as end:
        next(steps)
    result = end.value.value
    assert "stopped at step 1 as asked" in result.summary
    assert len(result.history) == 3


def test_the_given_model_is_unchanged_and_the_new_one_differs() -> None:
    model = tiny_model()
    before = weights(model).clone()
    result = finetune(model, [example()], config=QUICK)
    assert torch.equal(weights(model), before)
    assert not torch.equal(weights(result.model), before)
    assert not result.model.network.training


@pytest.mark.parametrize("augment", [False, True])
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


def test_fine_tuning_finds_objects_it_missed_before() -> None:
    config = QUICK.model_copy(
        update={"steps": 60, "evaluate_every": 20, "batch": 2, "learning_rate": 1e-2}
    )
    events: list[object] = []
    result = finetune(tiny_model(), [example(16)], config=config, on_step=events.append)
    assert result.after["dice"] > result.before["dice"] + 0.2
    assert tuple(events) == result.history
    assert result.honest
    assert result.held_out == 3
    assert "held-out objects, before" in result.summary


def test_several_images_teach_one_model() -> None:
    first, second = example(2), example(9)
    result = finetune(tiny_model(), [first, second], config=QUICK)
    assert result.honest  # the second can be split
    assert result.held_out == 2


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
        "finds 1 of 1 corrected (too few to hold some out) objects, before 0; "
        "1 found that are none; stopped"
    )
    dice = in_words(
        count(wrong, truth), count(truth, truth), "classes", honest=True, remark=""
    )
    assert dice == "Dice 1.00 on held-out corrections, before 0.00"
