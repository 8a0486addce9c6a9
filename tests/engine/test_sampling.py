"""Crops: supervised, aligned, repeatable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_unet.engine.config import FinetuneConfig, TrainConfig
from napari_unet.engine.sampling import Example, Sampler, all_planes, planes
from napari_unet.errors import ImageError, LabelsError
from tiny import discs, noise, nuclei, tiny_spec

if TYPE_CHECKING:
    from napari_unet.engine.sampling import Batch

CPU = torch.device("cpu")


def draw(example: Example, output: str = "instances", **changes: Any) -> Batch:
    """Return one batch of crops of an example."""
    settings = {"batch": 6, "crop": 32, "augment": "off", **changes}
    dims = settings.pop("dims", 2)
    spec = tiny_spec(output, dims=dims)
    return Sampler(planes(example, spec), TrainConfig(**settings), spec).draw(CPU)


def test_every_crop_holds_supervised_pixels() -> None:
    image, labels = nuclei(200)
    supervised = np.zeros(labels.shape, bool)
    supervised[3:6, 190:195] = True
    batch = draw(Example(image, labels, supervised), batch=20)
    assert batch.supervised.flatten(1).any(dim=1).all()
    assert batch.supervised.flatten(1).sum(dim=1).max() <= supervised.sum()


def test_unsupervised_pixels_have_weight_zero() -> None:
    _, labels = nuclei(96)
    batch = draw(Example(labels.astype(float), labels, labels > 0))
    assert torch.equal(batch.supervised[:, 0] > 0, batch.targets[:, 0] > 0)


def test_augmentation_keeps_image_and_targets_aligned() -> None:
    _, labels = nuclei(128)
    image = (labels > 0).astype(np.float32)
    batch = draw(Example(image, labels), batch=16, augment="mild")
    pairs = torch.stack([batch.images.flatten(), batch.targets[:, 0].flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.9
    assert torch.corrcoef(torch.stack([pairs[0], pairs[1].roll(9)]))[0, 1] < 0.7


def test_strong_augmentation_varies_intensities_more() -> None:
    image, labels = nuclei(128)
    apart = {
        augment: float(
            draw(Example(image, labels), batch=48, augment=augment)
            .images.flatten(1).mean(dim=1).std()
        )
        for augment in ("off", "mild", "strong")
    }  # fmt: skip
    assert apart["off"] < apart["mild"] < apart["strong"] / 1.3


def test_recipes_of_older_versions_say_yes_or_no() -> None:
    for said, meant in ((True, "mild"), (False, "off"), ("strong", "strong")):
        config = FinetuneConfig.model_validate({"augment": said})
        assert config.augment == meant
    with pytest.raises(ValidationError):
        FinetuneConfig.model_validate({"augment": "wild"})


@pytest.mark.parametrize("augment", ["off", "mild", "strong"])
def test_the_same_seed_draws_the_same_batch(augment: str) -> None:
    example = Example(*nuclei(96))
    one, same, other = (draw(example, augment=augment, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.targets, same.targets)
    assert not torch.equal(one.images, other.images)


@pytest.mark.parametrize("shape", [(1, 1), (5, 70), (33, 7)])
def test_small_images_are_padded_without_supervision(shape: tuple) -> None:
    labels = np.ones(shape, int)
    batch = draw(Example(noise(shape), labels), batch=2)
    assert batch.images.shape == (2, 1, 32, 32)
    inside = min(shape[0], 32) * min(shape[1], 32)
    assert (batch.supervised.flatten(1).sum(dim=1) == inside).all()


@pytest.mark.parametrize("augment", ["off", "mild", "strong"])
def test_volumes_are_cropped_and_augmented(augment: str) -> None:
    labels = discs((20, 40, 40), 8, [(10, 20, 20)])
    batch = draw(Example(noise(labels.shape), labels), dims=3, crop=64, augment=augment)
    assert batch.images.shape == (6, 1, 16, 16, 16)
    assert batch.targets.shape == (6, 2, 16, 16, 16)


def test_classes_stay_whole_numbers_when_augmented() -> None:
    labels = nuclei(96)[1] % 3
    batch = draw(
        Example(noise(labels.shape), labels), "classes", augment="mild", batch=16
    )
    assert set(batch.targets.unique().tolist()) <= {0.0, 1.0, 2.0}


def test_a_stack_becomes_planes_and_those_without_supervision_are_left_out() -> None:
    labels = np.ones((4, 20, 20), int)
    supervised = np.zeros(labels.shape, bool)
    supervised[2, 5, 5] = True
    found = planes(Example(noise(labels.shape), labels, supervised), tiny_spec())
    assert len(found) == 1
    assert found[0].supervised.sum() == 1
    assert len(all_planes([Example(noise(labels.shape), labels)] * 2, tiny_spec())) == 8


def test_a_mask_of_true_and_false_is_taken_apart_into_objects() -> None:
    _, labels = nuclei(64)
    (plane,) = planes(Example(noise(labels.shape), labels > 0), tiny_spec())
    assert plane.labels.max() > 1


@pytest.mark.parametrize(
    ("example", "output", "error", "words"),
    [
        (Example(noise((9, 9)), np.ones((9, 8), int)), "instances",
         LabelsError, "9, 8"),
        (Example(noise((9, 9)), np.ones((9, 9))), "instances", LabelsError, "float64"),
        (Example(noise((9, 9)), np.full((9, 9), 3)), "classes", LabelsError, "class 3"),
        (
            Example(noise((9, 9)), np.ones((9, 9), int), np.ones((3, 9), bool)),
            "instances", LabelsError, "supervised has the shape",
        ),
        (Example(noise(9), np.ones(9, int)), "instances", ImageError, "1 axes"),
    ],
)  # fmt: skip
def test_examples_that_do_not_fit_are_refused(example, output, error, words) -> None:
    with pytest.raises(error, match=words):
        planes(example, tiny_spec(output))
