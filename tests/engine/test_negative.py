"""Images that are the negative of those that a network was trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_unet import Example, FinetuneConfig, load_model, predict, save_model
from napari_unet.engine.alternatives import alternatives_of
from napari_unet.engine.config import PredictConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.finetune import Knowledge, finetune_steps
from napari_unet.engine.look import look_steps
from napari_unet.engine.model import revised
from napari_unet.engine.normalize import normalize, statistics
from napari_unet.engine.spec import Normalization
from napari_unet.engine.teaching import Memory
from napari_unet.sample_data import synthetic_nuclei_2d
from tiny import noise, nuclei, tiny_model

SCORES = PredictConfig(keep_scores=True)
CONFIG = FinetuneConfig(steps=20, evaluate_every=10, batch=2, crop=64)
FIXED: dict[str, Any] = {
    "kind": "fixed", "means": (400.0, 90.0), "deviations": (2.0, 3.0),
    "clip": ((100.0, 700.0),),
}  # fmt: skip


def turned(model):
    return revised(model, {"normalization": {"negative": True}})


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "percentile"},
        {"kind": "percentile", "eps": 0.5, "gain": 2.0, "shift": -1.0},
        {"kind": "minmax", "together": True},
        {"kind": "zscore"},
        {"kind": "scale", "divisor": 255.0},
        {"kind": "scale", "together": True},
        {"kind": "none", "limits": (0.0, 500.0)},
        FIXED,
    ],
    ids=str,
)
def test_a_negative_is_seen_as_the_image_turned_over_is(fields: dict[str, Any]) -> None:
    image = np.stack([noise((31, 33)), noise((31, 33), seed=1) / 3])
    its = Normalization(**fields)
    axes = None if its.together else (1, 2)
    ends = image.min(axis=axes, keepdims=True) + image.max(axis=axes, keepdims=True)
    over = its.model_copy(update={"negative": True})
    found = normalize(image, statistics(image, over))
    wanted = normalize(ends - image, statistics(ends - image, its))
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert "turned over" in str(over)


def test_a_constant_image_has_no_negative() -> None:
    image = np.full((1, 9, 9), 70, np.uint8)
    over = Normalization(negative=True)
    assert not normalize(image, statistics(image, over)).any()


# -- a look


def test_a_negative_is_seen_and_offered_though_it_looks_plausible() -> None:
    image = np.asarray(synthetic_nuclei_2d()[0][0])
    model = load_model("nuclei-2d", device="cpu")
    for seen, model_for in ((image, model), (image.max() - image, turned(model))):
        steps = look_steps(model_for, seen, "YX", alternatives_of(model_for))
        assert drain(steps).best is None
    for seen, model_for in ((image.max() - image, model), (image, turned(model))):
        steps = look_steps(model_for, seen, "YX", alternatives_of(model_for))
        found = drain(steps)
        assert found.best is not None
        assert "Negative" in found.sentence
        better = revised(model_for, found.best.changes)
        negative = seen is not image
        assert better.spec.normalization.negative == negative


def test_colours_are_not_turned_over() -> None:
    names = [each.name for each in alternatives_of(tiny_model(in_channels=3))]
    assert not any("Negative" in name for name in names)


def test_the_negative_of_an_image_is_predicted_as_the_image_is() -> None:
    image = nuclei()[0].astype(np.float32)
    model = tiny_model()
    plain = predict(model, image, config=SCORES)
    over = predict(turned(model), 255 - image, config=SCORES)
    np.testing.assert_allclose(over.scores, plain.scores, atol=2e-3)


# -- fine-tuning


def taught():
    """A model fine-tuned on dark nuclei that its base sees as negatives."""
    base = turned(tiny_model())
    memory = Memory([Example(*nuclei(seed=seed)) for seed in range(6)])
    image, labels = nuclei(256, seed=7)
    example = Example(255 - image, labels, held_out=np.zeros(labels.shape, bool))
    known = Knowledge(base, memory=memory)
    return base, drain(finetune_steps(base, [example], CONFIG, known))


def test_images_of_the_loaded_kind_stay_as_they_were_with_its_network(tmp_path) -> None:
    base, result = taught()
    assert "stay with it" in result.summary
    plain = base.turned_over(negative=False)
    save_model(result.model, tmp_path / "both.safetensors")
    again = load_model(tmp_path / "both.safetensors", device="cpu")
    image = nuclei(seed=30)[0]
    wanted = predict(plain, image, config=SCORES).scores
    for model in (result.model, again):
        assert model.elder is not None
        assert not model.elder.normalization.negative
        found = predict(model, image, config=SCORES)
        np.testing.assert_array_equal(found.scores, wanted)
        assert "its weights were used" in found.summary


def test_what_is_forgotten_is_measured_on_images_as_they_are() -> None:
    base, result = taught()
    assert result.model.elder is not None
    assert "trained on it falls" not in result.verdict.why
    memory = Memory([Example(*nuclei(seed=seed)) for seed in range(6)])
    for model in (base, base.turned_over(negative=False)):
        seen = memory.learnt(model.spec)[0].image
        assert (seen.mean() > 0.5) == model.spec.normalization.negative


def test_images_too_much_alike_are_remembered_as_the_learning_model_sees_them() -> None:
    base = tiny_model()
    memory = Memory([Example(*nuclei(seed=seed)) for seed in range(6)])
    learnt = drain(memory.steps(base, turned(base).spec))
    plain = drain(memory.steps(base, base.spec))
    for one, two in zip(learnt, plain, strict=True):
        np.testing.assert_allclose(one.image, 1 - two.image, atol=0.05)
        np.testing.assert_array_equal(one.teacher, two.teacher)


@pytest.mark.parametrize("negative", [True, False])
def test_the_loaded_model_follows_how_the_version_in_use_takes_images(
    negative: bool,
) -> None:
    model = tiny_model(seed=1).turned_over(negative)
    base = tiny_model().turned_over(not negative)
    example = Example(*nuclei(), axes="YX")
    config = CONFIG.model_copy(update={"start": "base"})
    result = drain(finetune_steps(model, [example], config, Knowledge(base)))
    assert "nothing was taken from it" not in result.summary
    assert result.start == "base"
    assert result.model.spec.normalization.negative == negative


def test_an_elder_that_does_not_fit_is_refused(tmp_path) -> None:
    _, result = taught()
    elder = result.model.elder
    assert elder is not None
    many = replace(elder, normalization=Normalization(kind="fixed", means=(0.0,) * 5))
    native_file = tmp_path / "many.safetensors"
    with pytest.raises(Exception, match="does not describe its network"):
        save_model(replace(result.model, elder=many), native_file)
    assert not native_file.exists()
