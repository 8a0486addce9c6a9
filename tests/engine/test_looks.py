"""Several looks at one image: flips, turns and models, their mean and spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet.engine.config import PredictConfig
from napari_unet.engine.looks import Looks
from napari_unet.engine.model import revised
from napari_unet.engine.predict import ONE_LOOK, predict, predict_steps
from napari_unet.errors import CheckpointError
from tiny import noise, tiny_model

if TYPE_CHECKING:
    from napari_unet.engine.predict import Prediction

EXACT = PredictConfig(precision="float32", keep_scores=True, smallest=1, tile=32)


def run(*models: Any, image: np.ndarray, **changes: Any) -> Prediction:
    config = EXACT.model_copy(update=changes)
    return predict(models[0], image, config=config, partners=models[1:])


@pytest.mark.parametrize("output", ["instances", "foreground", "classes"])
def test_an_ensemble_gives_the_mean_of_its_models(output: Any) -> None:
    models = [tiny_model(output, seed) for seed in range(3)]
    image = noise((45, 70))
    together = run(*models, image=image, uncertainty=True)
    alone = np.stack([run(model, image=image).scores for model in models])
    np.testing.assert_allclose(together.scores, alone.mean(axis=0), atol=1e-6)
    channels = {"instances": [0], "foreground": [-1], "classes": [0, 1, 2]}[output]
    expected = alone[:, channels].std(axis=0).max(axis=0)
    assert together.uncertainty is not None
    np.testing.assert_allclose(together.uncertainty, expected, atol=1e-3)
    assert together.uncertainty.max() > 0.05
    assert "mean of 3 models" in together.summary


def test_flips_and_models_count_as_looks_alike() -> None:
    models = [tiny_model(seed=seed) for seed in range(2)]
    image = noise((3, 40, 52))
    both = run(*models, image=image, tta=True, uncertainty=True)
    apart = [run(model, image=image, tta=True, uncertainty=True) for model in models]
    mean = np.mean([one.scores for one in apart], axis=0)
    np.testing.assert_allclose(both.scores, mean, atol=1e-6)
    assert both.uncertainty is not None
    assert both.uncertainty.shape == image.shape
    inner = np.mean([one.uncertainty**2 for one in apart], axis=0)
    between = np.var([one.scores[0] for one in apart], axis=0)
    np.testing.assert_allclose(both.uncertainty**2, inner + between, atol=1e-3)


def test_each_model_of_an_ensemble_scales_the_image_in_its_own_way() -> None:
    one = tiny_model(seed=0)
    other = revised(tiny_model(seed=1), {"normalization": {"kind": "zscore"}})
    image = noise((40, 44))
    together = run(one, other, image=image)
    alone = [run(model, image=image).scores for model in (one, other)]
    np.testing.assert_allclose(together.scores, np.mean(alone, axis=0), atol=1e-6)


def test_a_map_is_of_the_region_that_was_asked_for() -> None:
    model, image = tiny_model(), noise((80, 90))
    whole = run(model, image=image, rotate=True, uncertainty=True).uncertainty
    config = EXACT.model_copy(update={"rotate": True, "uncertainty": True})
    region = (slice(20, 61), slice(7, 55))
    steps = predict_steps(model, image, config=config, region=region)
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            part = end.value.uncertainty
            break
        assert event.done <= event.total
    assert whole is not None
    np.testing.assert_allclose(part, whole[region], atol=1e-3)


def test_progress_of_an_ensemble_ends_where_it_said() -> None:
    models = [tiny_model(seed=seed) for seed in range(3)]
    steps = predict_steps(models[0], noise((64, 64)), config=EXACT, partners=models[1:])
    events = list(steps)
    assert [event.done for event in events] == list(range(1, len(events) + 1))
    assert {event.total for event in events} == {len(events)}


def test_one_look_has_no_spread_and_says_how_to_get_one() -> None:
    found = run(tiny_model(), image=noise((40, 40)), uncertainty=True)
    assert found.uncertainty is None
    assert ONE_LOOK in found.summary


def test_models_that_give_other_things_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r'"classes" in 3 channels'):
        run(tiny_model(), tiny_model("classes"), image=noise((40, 40)))
    with pytest.raises(CheckpointError, match="3D"):
        run(tiny_model(), tiny_model(dims=3), image=noise((40, 40)))


def test_a_model_of_colour_is_averaged_with_one_of_grey() -> None:
    colour, grey = tiny_model(in_channels=3), tiny_model(seed=1)
    image = noise((40, 44, 3))
    together = run(colour, grey, image=image)
    alone = [run(model, image=image).scores for model in (colour, grey)]
    np.testing.assert_allclose(together.scores, np.mean(alone, axis=0), atol=1e-6)


def test_looks_without_spread_hold_only_their_sum() -> None:
    looks = Looks((1, 2, 2), np.float32, "foreground", spread=False)
    for value in (1.0, 3.0):
        with looks.one() as scores:
            scores += value
    assert (looks.mean() == 2).all()
    with pytest.raises(ValueError, match="only the mean"):
        looks.spread()
