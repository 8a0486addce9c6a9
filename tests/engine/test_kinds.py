"""Images of the kind that a loaded model knows stay with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_unet import load_model, predict, save_model
from napari_unet.engine.config import FinetuneConfig, PredictConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.finetune import Knowledge, finetune_steps
from napari_unet.engine.kinds import Gate, describe, gate_between
from napari_unet.engine.model import Elder
from napari_unet.engine.sampling import Example
from napari_unet.engine.teaching import Memory
from tiny import nuclei, tiny_model

CONFIG = FinetuneConfig(steps=2, batch=1, crop=32, augment="off", start="current")
SCORES = PredictConfig(keep_scores=True, smallest=0)


def light(seed: int, size: int = 96) -> np.ndarray:
    """Bright discs on a dark ground, as a normalised image."""
    return nuclei(size, seed)[0][np.newaxis].astype(np.float32) / 255


def dark(seed: int, size: int = 96) -> np.ndarray:
    return 1 - light(seed, size)


def test_light_and_dark_nuclei_are_told_apart() -> None:
    gate = gate_between("light", [light(s) for s in range(6)], [dark(9, 256)])
    assert gate is not None
    others = range(20, 30)
    assert all(gate.is_old(describe(light(s))) for s in others)
    assert not any(gate.is_old(describe(dark(s))) for s in others)


def test_images_of_one_kind_are_not_told_apart() -> None:
    old, own = ([light(s) for s in seeds] for seeds in (range(30), range(30, 60)))
    assert gate_between("light", old, own) is None


def test_too_few_images_make_no_gate() -> None:
    assert gate_between("light", [light(0)], [dark(0)]) is None


def test_a_large_image_is_judged_by_its_middle() -> None:
    image = np.zeros((1, 3, 1500, 1400), np.float32)
    image[:, 1, 238:1262, 188:1212] = np.tile(light(0, 128)[0], (8, 8))
    np.testing.assert_allclose(
        describe(image), describe(image[:, 1:2, 238:1262, 188:1212])
    )


def test_a_gate_of_another_number_of_features_is_refused() -> None:
    with pytest.raises(ValidationError, match="another number of features"):
        Gate(name="a", middle=(0.0,), weights=(1.0,))


def with_elder():
    """A model whose elder is another network, for light nuclei."""
    gate = gate_between("light", [light(s) for s in range(6)], [dark(9, 256)])
    assert gate is not None
    other = tiny_model(seed=3)
    elder = Elder(other.network, gate, other.spec.normalization)
    return replace(tiny_model(), elder=elder), other


def test_each_image_is_predicted_by_the_network_of_its_kind() -> None:
    model, elder = with_elder()
    plain = replace(model, elder=None)
    for image, expected, said in (
        (nuclei(seed=30)[0], elder, True),
        (255 - nuclei(seed=30)[0], plain, False),
    ):
        found = predict(model, image, config=SCORES)
        wanted = predict(replace(expected, spec=model.spec), image, config=SCORES)
        np.testing.assert_array_equal(found.scores, wanted.scores)
        assert ("of the kind that light knows" in found.summary) == said


def test_how_small_objects_are_is_known_of_the_new_kind_only() -> None:
    model, _ = with_elder()
    sized = replace(model, spec=model.spec.model_copy(update={"smallest": 99}))
    assert sized.fitting(light(30)).spec.smallest is None
    assert sized.fitting(dark(30)).spec.smallest == 99


def test_an_elder_is_saved_and_loaded_with_its_model(tmp_path) -> None:
    model, _ = with_elder()
    save_model(model, tmp_path / "both.safetensors")
    again = load_model(tmp_path / "both.safetensors", device="cpu")
    assert again.elder is not None
    assert again.elder.gate == model.elder.gate
    for image in (nuclei()[0], 255 - nuclei()[0]):
        one, two = (predict(m, image, config=SCORES).scores for m in (model, again))
        np.testing.assert_array_equal(one, two)


def test_fine_tuning_on_another_kind_keeps_the_loaded_network_for_its_own() -> None:
    base = tiny_model()
    memory = Memory([Example(*nuclei(seed=seed)) for seed in range(6)])
    image, labels = nuclei(256, seed=7)
    example = Example(255 - image, labels, held_out=np.zeros(labels.shape, bool))
    result = drain(
        finetune_steps(base, [example], CONFIG, Knowledge(base, memory=memory))
    )
    elder = result.model.elder
    assert elder is not None
    assert elder.network is base.network
    assert "stay with it" in result.summary
    before, after = (
        predict(m, image, config=SCORES).scores for m in (base, result.model)
    )
    np.testing.assert_array_equal(before, after)


def test_fine_tuning_on_the_same_kind_remembers_by_replay() -> None:
    base = tiny_model()
    memory = Memory([Example(*nuclei(seed=seed)) for seed in range(30)])
    examples = [
        Example(image, labels, held_out=np.zeros(labels.shape, bool))
        for image, labels in (nuclei(seed=seed) for seed in range(30, 50))
    ]
    known = Knowledge(base, memory=memory)
    result = drain(finetune_steps(base, examples, CONFIG, known))
    forgetful = CONFIG.model_copy(update={"remember": 0.0})
    other = drain(finetune_steps(base, examples, forgetful, known))
    assert result.model.elder is None
    states = (r.model.network.state_dict().values() for r in (result, other))
    assert not all(torch.equal(a, b) for a, b in zip(*states, strict=True))
