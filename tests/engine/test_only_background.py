"""Where only false objects are deleted, the true ones elsewhere are not unlearnt."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_unet.engine.config import FinetuneConfig
from napari_unet.engine.finetune import finetune
from napari_unet.engine.lessons import course_of
from napari_unet.engine.metrics import count_trusted
from napari_unet.engine.sampling import Example
from napari_unet.engine.scoring import plane_labels
from napari_unet.engine.teaching import Teaching
from napari_unet.engine.verdict import Standing, judge, kept_elsewhere
from tiny import nuclei, tiny_model, tiny_spec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.lessons import Course
    from napari_unet.engine.model import Model

LONG = FinetuneConfig(
    steps=120, batch=2, crop=32, evaluate_every=40, learning_rate=1e-2, augment="off",
    start="current", teacher=0.0,
)  # fmt: skip


def with_debris() -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.bool_]]:
    """An image of discs, its labels, and which of them are dim: those are debris."""
    image, labels = nuclei(192)
    dim = (labels > 0) & (labels <= 6)
    return np.where(dim, image - np.minimum(image, 90), image), labels, dim


def deleted() -> Example:
    """An image whose debris was deleted; nothing is corrected elsewhere."""
    image, labels, gone = with_debris()
    left = np.where(gone, 0, labels)
    return Example(image, left, gone, "YX", np.zeros(labels.shape, bool))


@cache
def knowing(output: Any = "foreground") -> Model:
    """A model that takes debris for objects, too."""
    image, labels, _ = with_debris()
    if output == "classes":
        labels = np.minimum(labels, 1)
    everything = np.ones(labels.shape, bool)
    given = Example(image, labels, everything, "YX", np.zeros(labels.shape, bool))
    return finetune(tiny_model(output), [given], config=LONG).model


def blind(model: Model) -> Model:
    """The same, but it finds nothing."""
    found = model.clone()
    with torch.no_grad():
        for weights in found.network.parameters():
            weights.zero_()
        *_, last = found.network.parameters()
        last.fill_(-9.0)
        if model.spec.output == "classes":
            last[0] = 9.0
    return found


def course(model: Model, given: Example) -> Course:
    if model.spec.output == "classes":
        given = replace(given, labels=np.minimum(given.labels, 1))
    return course_of([given], model, LONG)


def test_objects_that_are_corrected_or_accepted_are_seen() -> None:
    model = tiny_model("foreground")
    given = deleted()
    assert course(model, given).only_background
    accepted = replace(given, supervised=np.ones(given.labels.shape, bool))
    assert not course(model, accepted).only_background


def test_a_model_that_sees_what_there_is_is_followed_elsewhere() -> None:
    given = deleted()
    model = knowing()
    assert Teaching(model, course(model, given), [], LONG).trusted > 0.5
    nothing = blind(model)
    assert Teaching(nothing, course(nothing, given), [], LONG).trusted == 0.0


def test_true_objects_are_still_found_after_false_ones_were_deleted() -> None:
    model, given = knowing(), deleted()
    planes = course(model, given).training
    followed, alone = (
        finetune(model, [given], config=LONG.model_copy(update={"teacher": teacher}))
        for teacher in (0.5, 0.0)
    )
    kept, left = (kept_elsewhere(model, r.model, planes) for r in (followed, alone))
    assert kept is not None
    assert left is not None
    assert kept > 0.8 > 0.3 > left
    debris = plane_labels(followed.model, planes[0].image)
    assert (debris[planes[0].supervised[0] > 0] > 0).mean() < 0.3
    assert "of what the model marked elsewhere" in alone.verdict.why
    assert "correct or accept some of that, too" in alone.verdict.why
    assert "elsewhere" not in followed.verdict.why


@pytest.mark.parametrize("output", ["foreground", "instances", "classes"])
def test_what_is_left_elsewhere_is_measured(output: Any) -> None:
    model = knowing(output)
    planes = course(model, deleted()).training
    assert kept_elsewhere(model, model, planes) == 1.0
    assert kept_elsewhere(model, blind(model), planes) == 0.0
    assert kept_elsewhere(blind(model), model, planes) is None


@pytest.mark.parametrize(("kept", "better"), [(None, True), (0.9, True), (0.3, False)])
def test_a_model_that_finds_little_any_more_does_not_go_live(
    kept: float | None, better: bool
) -> None:
    truth = np.zeros((40, 40), np.int32)
    false = truth.copy()
    false[5:15, 5:15] = 1
    everywhere = np.ones(truth.shape, bool)
    worse, right = (count_trusted(p, truth, everywhere, None) for p in (false, truth))
    before, after = (Standing(c, c, frozenset(), None) for c in (worse, right))
    verdict = judge(
        before, after, tiny_spec("foreground"), allowed=0.05, honest=True,
        reference=None, kept=kept,
    )  # fmt: skip
    assert verdict.better == better
    if not better:
        assert "leaves only 30 % of what the model marked elsewhere" in verdict.why
