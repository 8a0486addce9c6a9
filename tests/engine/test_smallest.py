"""How small objects are is learnt from those that were corrected."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_unet import load_model, predict, save_model
from napari_unet.engine.config import USUAL, FinetuneConfig, LabelsConfig, PredictConfig
from napari_unet.engine.finetune import finetune
from napari_unet.engine.lessons import ENOUGH, course_of
from napari_unet.engine.sampling import Example
from napari_unet.engine.scoring import count_planes
from napari_unet.engine.teaching import Memory
from napari_unet.engine.verdict import standing
from tiny import noise, nuclei, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model

QUICK = FinetuneConfig(steps=2, batch=1, crop=32, evaluate_every=2, augment="off")


def lessons(objects: int, size: int = 120) -> Example:
    """An image of which so many objects and the ground around them are learnt."""
    image, labels = nuclei(size)
    supervised = (labels > 0) & (labels <= objects)
    return Example(image, labels, supervised, "YX", np.zeros(labels.shape, bool))


def seeing_one(smallest: int | None) -> Model:
    """A model that takes all of an image for one object."""
    model = tiny_model("foreground")
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.fill_(10.0 if parameter.shape == (1,) else 0.0)
    return model.saying(smallest)


def test_half_of_the_smallest_twentieth_is_expected() -> None:
    model = tiny_model()
    example = lessons(25)
    areas = np.bincount(example.labels.ravel())[1:]
    course = course_of([example], model, QUICK)
    assert course.smallest(model.spec) == round(0.5 * np.percentile(areas, 5))


def test_few_objects_say_nothing_and_classes_neither() -> None:
    few = course_of([lessons(ENOUGH - 1)], tiny_model(), QUICK)
    assert few.smallest(tiny_model().spec) is None
    many = course_of([lessons(ENOUGH)], tiny_model(), QUICK)
    assert many.smallest(tiny_model().spec) is not None
    assert many.smallest(tiny_model("classes").spec) is None


def test_what_is_held_out_is_not_looked_at() -> None:
    example, model = lessons(25), tiny_model()
    areas = np.bincount(example.labels.ravel())
    held = np.isin(example.labels, np.argsort(areas[1:])[:10] + 1)
    course = course_of([replace(example, held_out=held)], model, QUICK)
    rest = np.sort(areas[1:])[10:]
    assert course.smallest(model.spec) == round(0.5 * np.percentile(rest, 5))


def test_a_fine_tuned_model_knows_it_and_keeps_it(tmp_path: Path) -> None:
    result = finetune(tiny_model(), [lessons(25)], config=QUICK)
    smallest = result.model.spec.smallest
    assert smallest is not None
    assert smallest > USUAL
    save_model(result.model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors", device="cpu")
    assert again.spec.smallest == smallest
    more = finetune(result.model, [lessons(ENOUGH - 1)], config=QUICK)
    assert more.model.spec.smallest == smallest


@pytest.mark.parametrize(
    ("known", "asked", "kept"),
    [(None, None, True), (2000, None, True), (5000, None, False), (5000, 1, True)],
)
def test_smaller_objects_are_left_out_unless_the_user_says(
    known: int | None, asked: int | None, kept: bool
) -> None:
    model = seeing_one(known)
    image = noise((64, 64))
    found = predict(model, image, axes="YX", config=PredictConfig(smallest=asked))
    assert found.labels.any() == kept
    told = known is not None and asked is None
    assert (f"smaller than {known or 0:,} pixels are left out" in found.summary) == told
    assert found.report.smallest == known


def test_it_is_not_taken_for_forgetting() -> None:
    model = seeing_one(None)
    memory = Memory([Example(noise((64, 64)), np.ones((64, 64), int))])
    course = course_of([lessons(25)], model, QUICK)
    for smallest in (None, 5000):
        known = model.saying(smallest)
        assert standing(known, course, memory).memory == 1.0
        found = count_planes(known, memory.measuring(model.spec))["predicted"]
        assert found == (smallest is None)


def test_it_is_counted_in_the_images_own_pixels() -> None:
    model = seeing_one(100)
    sized = replace(
        model, spec=model.spec.model_copy(update={"pixel_size": (1.0, 1.0)})
    )
    image = noise((64, 64))
    for side, expected in ((1.0, 100), (0.5, 400), (2.0, 25)):
        found = predict(sized, image, axes="YX", pixel_size=(side, side))
        assert found.report.smallest == expected


def test_a_form_says_what_the_model_says_where_it_is_left_alone() -> None:
    assert LabelsConfig().least == USUAL
    assert LabelsConfig().with_smallest(40).least == 40
    assert LabelsConfig().with_smallest(None).least == USUAL
    assert LabelsConfig(smallest=0).with_smallest(40).least == 0
