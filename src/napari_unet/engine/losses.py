"""What training makes small: Dice, cross-entropy or both, on supervised pixels only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from napari_unet.engine.config import LossName
    from napari_unet.engine.spec import Activation, Output

DISTANCE_WEIGHT = 2.0
TINY = 1e-6


def objective(
    logits: Tensor, targets: Tensor, weight: Tensor, output: Output, name: LossName
) -> Tensor:
    """Return the loss of a batch, a scalar.

    Parameters
    ----------
    logits : (N, K, [Z,] Y, X), the network's output
    targets : (N, T, [Z,] Y, X), from ``targets_from_labels``
    weight : (N, 1, [Z,] Y, X), 1 where a pixel is supervised, else 0
    output : the meaning of the K channels
    name : which loss
    """
    if output == "classes":
        return _classes(logits, targets[:, 0].long(), weight, name)
    if output == "multilabel":
        classes = torch.arange(1, logits.shape[1] + 1, device=logits.device)
        column = classes.reshape(1, -1, *[1] * (logits.ndim - 2))
        return _foreground(logits, (targets[:, :1] == column).float(), weight, name)
    if output == "foreground" and logits.shape[1] == 2:  # their softmax is a sigmoid
        logits = logits[:, 1:] - logits[:, :1]
    loss = _foreground(logits[:, :1], targets[:, :1], weight, name)
    if output == "instances":
        loss = loss + DISTANCE_WEIGHT * _distance(logits[:, 1:], targets[:, 1:], weight)
    return loss


def _foreground(logits: Tensor, target: Tensor, weight: Tensor, name: str) -> Tensor:
    loss = logits.new_zeros(())
    if "cross-entropy" in name:
        each = functional.binary_cross_entropy_with_logits(
            logits, target, reduction="none"
        )
        loss = loss + masked_mean(each, weight)
    if "dice" in name:
        loss = loss + dice_loss(logits.sigmoid(), target, weight)
    return loss


def _distance(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    each = functional.smooth_l1_loss(
        logits.sigmoid(), target, reduction="none", beta=0.1
    )
    return masked_mean(each, weight * (target > 0)) + masked_mean(each, weight)


def _classes(logits: Tensor, target: Tensor, weight: Tensor, name: str) -> Tensor:
    loss = logits.new_zeros(())
    if "cross-entropy" in name:
        each = functional.cross_entropy(logits, target, reduction="none")
        loss = loss + masked_mean(each[:, None], weight)
    if "dice" in name:
        classes = functional.one_hot(target, logits.shape[1]).movedim(-1, 1)
        loss = loss + dice_loss(logits.softmax(dim=1), classes.float(), weight)
    return loss


def imitation(
    logits: Tensor, teacher: Tensor, follow: Tensor, activation: Activation
) -> Tensor:
    """Return how far scores are from those of a teacher, a scalar.

    Parameters
    ----------
    logits : (N, K, [Z,] Y, X), the network's output
    teacher : (N, K, [Z,] Y, X), scores from 0 to 1
    follow : (N, 1, [Z,] Y, X), 1 where the teacher is followed, else 0
    activation : that makes scores of logits

    References
    ----------
    Hinton et al.: Distilling the knowledge in a neural network, arXiv:1503.02531.
    Li and Hoiem: Learning without forgetting, ECCV 2016, arXiv:1606.09282.
    """
    if activation == "softmax":
        each = -(teacher * functional.log_softmax(logits, dim=1)).sum(1, keepdim=True)
        floor = -(teacher * teacher.clamp(min=TINY).log()).sum(1, keepdim=True)
    else:
        each = functional.binary_cross_entropy_with_logits(
            logits, teacher, reduction="none"
        ).sum(1, keepdim=True)
        floor = functional.binary_cross_entropy(teacher, teacher, reduction="none").sum(
            1, keepdim=True
        )
    return masked_mean(each - floor, follow)  # 0 where the scores are the teacher's


def masked_mean(each: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of ``each`` over the supervised pixels, 0 if there are none."""
    return (each * weight).sum() / weight.sum().clamp(min=1.0)


def dice_loss(scores: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return 1 - soft Dice over the supervised pixels, the mean over channels.

    References
    ----------
    Milletari et al.: V-Net, 3DV 2016, arXiv:1606.04797.
    """
    axes = [axis for axis in range(scores.ndim) if axis != 1]
    both = (scores * target * weight).sum(axes)
    either = ((scores + target) * weight).sum(axes)
    return (1 - (2 * both + 1) / (either + 1)).mean()
