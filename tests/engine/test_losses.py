"""Losses: supervised pixels only, low when right."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_unet.engine.losses import dice_loss, masked_mean, objective

NAMES = ["dice", "cross-entropy", "dice+cross-entropy"]
OUTPUTS = [("instances", 2), ("foreground", 1), ("classes", 3)]


def example(output: str, channels: int) -> tuple[torch.Tensor, ...]:
    """Return logits, targets and weights of which the left half counts."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, channels, 6, 8, generator=generator, requires_grad=True)
    if output == "classes":
        targets = torch.randint(0, 3, (2, 1, 6, 8), generator=generator).float()
    else:
        targets = torch.rand(2, channels, 6, 8, generator=generator).round()
    weight = torch.zeros(2, 1, 6, 8)
    weight[..., :4] = 1
    return logits, targets, weight


@pytest.mark.parametrize(("output", "channels"), OUTPUTS)
@pytest.mark.parametrize("name", NAMES)
def test_unsupervised_pixels_teach_nothing(output, channels, name) -> None:
    logits, targets, weight = example(output, channels)
    objective(logits, targets, weight, output, name).backward()
    assert not logits.grad[..., 4:].any()
    assert logits.grad[..., :4].abs().min() > 0


@pytest.mark.parametrize(("output", "channels"), OUTPUTS)
@pytest.mark.parametrize("name", NAMES)
def test_unsupervised_targets_do_not_change_the_loss(output, channels, name) -> None:
    logits, targets, weight = example(output, channels)
    changed = targets.clone()
    changed[..., 4:] = 0
    one, other = (
        objective(logits, t, weight, output, name) for t in (targets, changed)
    )
    assert one == other


@pytest.mark.parametrize(("output", "channels"), OUTPUTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_has_a_lower_loss_than_any_other(
    output, channels, name
) -> None:
    logits, targets, weight = example(output, channels)
    if output == "classes":
        classes = torch.nn.functional.one_hot(targets[:, 0].long(), 3).movedim(-1, 1)
        perfect = 40 * classes.float() - 20
    else:
        perfect = 40 * targets - 20
    loss = objective(perfect, targets, weight, output, name)
    assert 0 <= loss < 1e-3 < objective(logits, targets, weight, output, name)


@pytest.mark.parametrize(("output", "channels"), OUTPUTS)
def test_nothing_supervised_is_no_loss_and_no_nan(output, channels) -> None:
    logits, targets, weight = example(output, channels)
    loss = objective(logits, targets, 0 * weight, output, "dice+cross-entropy")
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_dice_of_a_known_case() -> None:
    scores = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 4)
    target = torch.tensor([1.0, 0.0, 1.0, 0.0]).reshape(1, 1, 4)
    assert dice_loss(scores, target, torch.ones(1, 1, 4)) == pytest.approx(1 - 3 / 5)


def test_mean_counts_supervised_pixels_only() -> None:
    each, weight = torch.tensor([1.0, 5.0, 9.0]), torch.tensor([1.0, 1.0, 0.0])
    assert masked_mean(each, weight) == 3


def test_two_channels_of_a_foreground_model_learn_as_their_softmax() -> None:
    logits, weight = torch.randn(1, 2, 5, 6), torch.ones(1, 1, 5, 6)
    target = (torch.rand(1, 1, 5, 6) > 0.5).float()
    found = objective(logits, target, weight, "foreground", "cross-entropy")
    expected = functional.cross_entropy(logits, target[:, 0].long())
    assert torch.allclose(found, expected, atol=1e-6)


def test_independent_classes_learn_each_by_itself() -> None:
    logits, weight = torch.randn(1, 3, 5, 6), torch.ones(1, 1, 5, 6)
    numbers = torch.randint(0, 4, (1, 1, 5, 6)).float()
    found = objective(logits, numbers, weight, "multilabel", "cross-entropy")
    each = [
        functional.binary_cross_entropy_with_logits(
            logits[:, k], (numbers[:, 0] == k + 1).float()
        )
        for k in range(3)
    ]
    assert torch.allclose(found, 3 * torch.stack(each).mean(), atol=1e-5)
