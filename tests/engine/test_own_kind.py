"""Of corrections in images of two kinds, those of the unknown kind are learnt."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet.engine.commands import Learn
from napari_unet.engine.config import FinetuneConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.finetune import Knowledge, finetune, finetune_steps
from napari_unet.engine.lessons import course_of
from napari_unet.engine.own_kind import Seen, own_kind_steps
from napari_unet.engine.sampling import Example, all_planes
from napari_unet.engine.teaching import Memory, Teaching
from tiny import nuclei, tiny_model

if TYPE_CHECKING:
    from napari_unet.engine.model import Model
    from napari_unet.engine.own_kind import OwnKind

CONFIG = FinetuneConfig(steps=2, batch=1, crop=32, augment="off", start="current")
LONG = CONFIG.model_copy(
    update={"steps": 150, "batch": 2, "learning_rate": 1e-2, "teacher": 0.0}
)
SHORT = LONG.model_copy(update={"steps": 60})
SIZE = 192


def light(seed: int) -> Example:
    """A few bright discs on a dark ground, all labelled, nothing held out."""
    image, labels = nuclei(SIZE, seed)
    left_out = labels % 4 > 0
    image, labels = np.where(left_out, 30, image), np.where(left_out, 0, labels)
    return Example(image, labels, held_out=np.zeros(labels.shape, bool))


def dark(seed: int) -> Example:
    example = light(seed)
    return replace(example, image=255 - example.image)


@cache
def knowing() -> Model:
    """A model that sees light discs, and not dark ones."""
    return finetune(tiny_model("foreground"), [light(0)], config=LONG).model


@cache
def memory() -> Memory:
    return Memory([light(seed) for seed in range(6)])


def own_kind(*given: Any) -> OwnKind:
    return drain(own_kind_steps(*given))


def supervised(examples: list[Example]) -> list[bool]:
    return [e.supervised is None or bool(e.supervised.any()) for e in examples]


def test_of_two_kinds_the_unknown_one_is_learnt() -> None:
    examples = [light(7), dark(8), light(9)]
    own = own_kind(examples, knowing(), knowing(), memory(), CONFIG)
    left = own.of(examples)
    assert own.staying(examples) == (0, 2)
    assert supervised(left) == [False, True, False]
    assert left[1] is examples[1]


@pytest.mark.parametrize("kinds", [[light, light], [dark, dark], [dark]])
def test_of_one_kind_all_is_learnt(kinds) -> None:
    examples = [make(seed) for seed, make in enumerate(kinds, start=7)]
    own = own_kind(examples, knowing(), knowing(), memory(), CONFIG)
    assert own.of(examples) == examples


def test_an_odd_image_among_many_does_not_leave_the_others_out() -> None:
    corner = np.zeros((SIZE, SIZE), bool)
    corner[:130, :100] = True
    odd = replace(dark(8), supervised=corner)
    examples = [light(7), light(9), odd]
    own = own_kind(examples, knowing(), knowing(), memory(), CONFIG)
    assert own.of(examples) == examples
    right = replace(light(7), accepted=np.ones((SIZE, SIZE), bool))
    own = own_kind([right, odd], knowing(), knowing(), memory(), CONFIG)
    assert own.staying([right, odd]) == (
        0,
    )  # what is only accepted does not outweigh it


def test_an_image_of_the_known_kind_that_was_only_wrong_is_known_by_its_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari_unet.engine.scoring.trust_in", lambda *_: 0.2)
    corner = np.zeros((SIZE, SIZE), bool)
    corner[60:130, 60:130] = True
    upside_down = np.where(light(9).labels > 0, 0, 1)
    missed = replace(light(9), labels=upside_down, supervised=corner)
    examples = [light(7), dark(8), missed]
    own = own_kind(examples, knowing(), knowing(), memory(), CONFIG)
    assert own.look(missed) == Seen(0.2, pytest.approx(0.0, abs=0.2), stray=True)
    assert own.staying(examples) == (0, 2)
    others = [light(7), dark(8), dark(10), missed]
    own = own_kind(others, knowing(), knowing(), memory(), CONFIG)
    assert own.staying(others) == (0, 3)
    assert not own.look(others[1]).stray


def test_where_the_rest_is_all_held_out_nothing_is_left_out() -> None:
    examples = [light(7), replace(dark(8), held_out=np.ones((SIZE, SIZE), bool))]
    own = own_kind(examples, knowing(), knowing(), memory(), CONFIG)
    assert own.gate is None
    assert own.of(examples) == examples


def test_a_stack_is_of_one_kind_and_few_of_its_slices_are_looked_at() -> None:
    one, other = light(7), dark(8)

    def stack(example: Example, many: int) -> Example:
        image, labels = (np.stack([a] * many) for a in (example.image, example.labels))
        nothing = np.zeros(labels.shape, bool)
        return Example(image, labels, ~nothing, "TYX", nothing)

    examples = [stack(one, 7), stack(other, 6)]
    own = own_kind(examples, knowing(), knowing(), memory(), CONFIG)
    left = own.of(examples)
    assert own.staying(examples) == (0,)
    assert supervised(left) == [False, True]
    assert left[1] is examples[1]
    assert left[0].supervised.shape == examples[0].labels.shape


def test_what_holds_no_correction_speaks_for_no_kind() -> None:
    nothing = replace(light(7), supervised=np.zeros((SIZE, SIZE), bool))
    examples = [nothing, dark(8)]
    own = own_kind(examples, knowing(), knowing(), memory(), CONFIG)
    assert own.of(examples) == examples


def test_without_a_memory_the_images_themselves_tell_the_kinds_apart() -> None:
    examples = [light(7), dark(8), light(9)]
    own = own_kind(examples, knowing(), knowing(), None, CONFIG)
    assert supervised(own.of(examples)) == [False, True, False]
    result = drain(finetune_steps(knowing(), examples, CONFIG))
    assert result.model.elder is not None
    assert result.model.fitting(seen(light(30))).network is knowing().network
    assert result.model.fitting(seen(dark(30))).network is result.model.network
    later = drain(finetune_steps(result.model, [dark(8)], CONFIG))
    assert later.model.elder == result.model.elder  # it knows no other images of them


def seen(example: Example) -> np.ndarray:
    """Return an image as the model sees it."""
    return all_planes([example], knowing().spec)[0].image


def test_who_wants_nothing_remembered_has_all_learnt() -> None:
    examples = [light(7), dark(8)]
    forgetful = CONFIG.model_copy(update={"remember": 0.0})
    own = own_kind(examples, knowing(), knowing(), memory(), forgetful)
    assert own.of(examples) == examples


def test_the_summary_says_what_was_not_learnt() -> None:
    base = knowing()
    known = Knowledge(base, memory=memory())
    examples = [light(7), dark(8)]
    result = drain(finetune_steps(base, examples, CONFIG, known))
    assert result.model.elder is not None
    assert result.model.elder.network is base.network
    assert "you corrected one of them: too little yet to learn from" in result.summary
    alone = drain(finetune_steps(base, [examples[1]], CONFIG, known))
    assert "you corrected" not in alone.summary
    assert alone.before == result.before


def test_what_was_learnt_of_the_known_kind_before_stays() -> None:
    begun = finetune(tiny_model("foreground"), [light(0)], config=SHORT).model
    examples = [light(7), dark(8)]
    known = Knowledge(begun, memory=memory())
    result = drain(finetune_steps(knowing(), examples, CONFIG, known))
    assert result.model.elder is not None
    assert result.model.elder.network is knowing().network
    again = drain(finetune_steps(result.model, [dark(8)], CONFIG, known))
    assert again.model.elder is not None
    assert again.model.elder.network is knowing().network
    alone = drain(finetune_steps(knowing(), [dark(8)], CONFIG, known))
    assert alone.model.elder is not None
    assert alone.model.elder.network is begun.network


def test_what_joins_of_the_known_kind_is_left_out_too() -> None:
    examples = [light(7), dark(8)]
    own = own_kind(examples, knowing(), knowing(), memory(), CONFIG)
    course = course_of(own.of(examples), knowing(), CONFIG)
    teach = Teaching(knowing(), course, [], CONFIG, own.of)
    teach(knowing(), Learn([*examples, light(9), dark(10)]))
    assert {plane.example for plane in teach.course.training} == {1, 3}
