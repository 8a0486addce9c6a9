"""How long a fine-tuning takes is foretold from predictions and earlier ones."""

from __future__ import annotations

import pytest

from napari_unet.engine.config import FinetuneConfig, StepDone
from napari_unet.engine.pace import (
    Clock,
    Pace,
    foretold,
    pace_of_prediction,
    pixels_of,
)

CONFIG = FinetuneConfig(steps=100, batch=4, crop=100, evaluate_every=50)


def test_crops_of_the_memory_count_as_much_as_others() -> None:
    assert pixels_of(CONFIG, remembers=False) == 40_000
    assert pixels_of(CONFIG, remembers=True) == 80_000


def test_steps_checks_and_what_is_before_and_after_add_up() -> None:
    pace = Pace(prepare=3.0, pixel=1e-5, check=2.0)
    assert foretold(pace, CONFIG, 40_000, 0) == pytest.approx(3 + 100 * 0.4 + 3 * 2)


def test_trials_take_a_fifth_of_the_steps_each() -> None:
    pace = Pace(prepare=0.0, pixel=1e-5)
    alone, three = (foretold(pace, CONFIG, 40_000, trials) for trials in (0, 3))
    assert three == pytest.approx(alone * 1.6)


def test_steps_of_the_network_beside_it_are_foretold_from_the_last_time() -> None:
    clock = Clock()
    for step in range(1, 7):
        clock.hear(StepDone(step, 6, 0.5, "nuclei-2d" if step > 4 else ""))
    told = clock.pace(40_000)
    assert told is not None
    assert told.beside == pytest.approx(2 / 3)  # the first event is only the beginning
    pace = Pace(prepare=3.0, pixel=1e-5, check=2.0, beside=0.5)
    assert foretold(pace, CONFIG, 40_000, 0) == pytest.approx(3 + 150 * 0.4 + 5 * 2)


def test_training_is_guessed_from_predicting() -> None:
    pace = pace_of_prediction(2.0, 1_000_000)
    assert pace.pixel == pytest.approx(6e-6)
    assert foretold(pace, CONFIG, 40_000, 0) > 20
