"""A quick look: nonsense is seen, and the right guess is found among others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet.engine.alternatives import Alternative, alternatives_of
from napari_unet.engine.config import LookDone
from napari_unet.engine.drain import drain
from napari_unet.engine.look import (
    judge,
    look_steps,
    middle,
)
from napari_unet.engine.model import revised
from napari_unet.errors import ImageError
from napari_unet.formats import load_model
from napari_unet.sample_data import synthetic_nuclei_2d
from tiny import noise, tiny_model, tiny_spec

if TYPE_CHECKING:
    from napari_unet.engine.look import Look
    from napari_unet.engine.model import Model

GUESSED: dict[str, Any] = {
    "architecture": "inferred", "output": "guessed", "normalization": "guessed",
    "activation": "guessed",
}  # fmt: skip


@pytest.fixture(scope="module")
def nuclei_image() -> np.ndarray:
    return np.asarray(synthetic_nuclei_2d()[0][0])


def guessed(model: Model, **changes: Any) -> Model:
    changed = revised(model, changes)
    spec = changed.spec.model_copy(update={"sources": GUESSED})
    return replace(changed, spec=spec)


def look(model: Model, image: np.ndarray, axes: str | None = None) -> Look:
    return drain(look_steps(model, image, axes, alternatives_of(model)))


def test_a_right_guess_looks_plausible(nuclei_image: np.ndarray) -> None:
    found = look(guessed(load_model("nuclei-2d", device="cpu")), nuclei_image)
    assert not found.suspicious
    assert found.best is None
    assert "plausible" in found.sentence
    assert 0.1 < found.findings[0].foreground < 0.4


@pytest.mark.parametrize(
    "wrong",
    [
        {"normalization": {"kind": "none"}},
        {"normalization": {"kind": "zscore"}},
        {"activation": "none"},
    ],
    ids=str,
)
def test_a_wrong_guess_is_suspicious_and_a_better_one_is_offered(
    nuclei_image: np.ndarray, wrong: dict[str, Any]
) -> None:
    model = guessed(load_model("nuclei-2d", device="cpu"), **wrong)
    found = look(model, nuclei_image)
    assert found.suspicious
    assert found.best is not None
    better = revised(model, found.best.changes)
    after = look(replace(better, spec=better.spec), nuclei_image)
    assert not after.suspicious, after.sentence
    assert found.best.name in found.sentence


def test_what_was_read_is_not_tried_otherwise() -> None:
    (negative,) = alternatives_of(tiny_model())
    assert negative.changes == {"normalization": {"negative": True}}
    names = [a.name for a in alternatives_of(guessed(tiny_model(in_channels=3)))]
    assert any("BGR" in name for name in names)
    assert any("mean and standard deviation" in name for name in names)


def test_the_model_is_not_changed_and_steps_are_counted() -> None:
    model = guessed(tiny_model())
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    events = list(look_steps(model, noise((40, 40)), "YX", alternatives_of(model)))
    assert all(isinstance(event, LookDone) for event in events)
    assert events[-1].done == events[-1].total
    assert all((before[k] == v).all() for k, v in model.network.state_dict().items())


def test_readings_are_always_tried_and_made_one_by_one() -> None:
    model, made = tiny_model(), []

    def make() -> Model:
        made.append(1)
        return model

    steps = look_steps(
        model, noise((40, 40)), "YX", [Alternative("other", {"reading": "b"}, make)] * 2
    )
    next(steps)
    next(steps)
    assert made == []
    assert len(drain(steps).findings) == 3


def test_of_a_stack_only_the_plane_in_the_middle_is_read() -> None:
    class Lazy:
        shape = (9, 20, 30, 3)

        def __getitem__(self, place: tuple[Any, ...]) -> np.ndarray:
            assert place[0] == 4
            return noise((20, 30, 3))

    plane, axes = middle(Lazy(), "TYXC", tiny_model())
    assert (plane.shape, axes) == ((20, 30, 3), "YXC")


def test_an_image_of_other_channels_is_refused_in_a_sentence() -> None:
    with pytest.raises(ImageError, match="5 channels"):
        look(tiny_model(), noise((5, 30, 30)), "CYX")


def test_the_layers_of_the_model_in_use_are_left_to_others() -> None:
    model, called = guessed(tiny_model()), []
    model.network.register_forward_hook(lambda network, *_: called.append(network))
    found = look(model, noise((40, 40)), "YX")
    assert len(found.findings) > 1
    assert called  # clones have the hook too
    assert not any(network is model.network for network in called)


@pytest.mark.parametrize("shape", [(1, 1), (300, 17), (16, 16)])
def test_any_size_can_be_looked_at(shape: tuple[int, int]) -> None:
    assert look(tiny_model(), noise(shape), "YX").sentence


def test_a_volume_is_looked_at_by_a_3d_model() -> None:
    found = look(tiny_model(dims=3), noise((10, 40, 40)), "ZYX")
    assert found.findings[0].name == ""
    assert len(found.findings) == 2  # and the volume turned over


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "NaN"), (0.0, "the same everywhere"), (3.0, "expected 0 to 1"),
        (-0.5, "expected 0 to 1"),
    ],
)  # fmt: skip
def test_scores_that_are_nonsense_are_named(value: float, words: str) -> None:
    scores = np.full((1, 50, 50), value, np.float32)
    problem, _, _ = judge(scores, tiny_spec("foreground", out_channels=1))
    assert words in problem


def test_everything_and_nothing_are_suspicious() -> None:
    spread = np.linspace(0.6, 1.0, 2500, dtype=np.float32).reshape(1, 50, 50)
    spec = tiny_spec("foreground", out_channels=1)
    assert judge(spread, spec)[0] == "everything is foreground"
    assert judge(1 - spread, spec)[0] == "nothing is foreground"


def test_even_areas_are_worth_more_than_salt_and_pepper() -> None:
    spec = tiny_spec("foreground", out_channels=1)
    even = np.zeros((1, 64, 64), np.float32)
    even[:, 16:40, 16:40] = 1
    salt = np.random.default_rng(0).permutation(even.ravel()).reshape(even.shape)
    assert judge(even, spec)[1] > 2 * judge(salt, spec)[1]
