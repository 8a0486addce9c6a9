"""The training loop: one for new networks and for corrections."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_unet.engine.config import (
    EpochDone,
    PredictConfig,
    StepDone,
)
from napari_unet.engine.device import choose_dtype, is_out_of_memory
from napari_unet.engine.instances import labels_from_scores
from napari_unet.engine.losses import objective
from napari_unet.engine.metrics import count, measures, pooled
from napari_unet.engine.model import Model
from napari_unet.engine.sampling import Sampler, all_planes
from napari_unet.errors import DeviceError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_unet.engine.config import LearningConfig, TrainConfig
    from napari_unet.engine.metrics import Counts
    from napari_unet.engine.sampling import Batch, Example, Plane
    from napari_unet.engine.spec import Output

WARM_UP = 0.05  # share of the steps in which the learning rate rises
GRADIENT_LIMIT = 1.0  # norm


class Command(Enum):
    """What can be sent into a running training."""

    STOP = "stop and keep the best so far"


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes
    ----------
    model : with the best weights seen, in evaluation mode
    history : every event, for the curve
    remark : why it ended early, or ""
    """

    model: Model
    history: tuple[StepDone | EpochDone, ...]
    remark: str = ""


FitSteps = Generator[StepDone | EpochDone, Command | None, Fitted]
Scorer = Callable[[Model], float]


def fit_steps(
    model: Model,
    training: Sequence[Plane],
    config: LearningConfig,
    score: Scorer,
    *,
    norm_learns: bool = True,
) -> FitSteps:
    """Train a clone of the model; send ``Command.STOP`` to end early with the best.

    Parameters
    ----------
    model : where training starts; never changed
    training : what to learn from
    config : steps, learning rate, batch, crop, loss, augmentation
    score : of a model on held-out data; higher is better
    norm_learns : whether batch-norm statistics follow the new images

    Yields
    ------
    StepDone, EpochDone

    Returns
    -------
    Fitted
        With the weights that scored best; those of the start compete.
    """
    sampler = Sampler(training, config, model.spec)
    run = _Run(model.clone(), sampler, config, norm_learns)
    best = _Best(run.model)
    history: list[StepDone | EpochDone] = [best.check(score(model), 0, config.steps)]
    stop = (yield history[0]) is Command.STOP
    remark = ""
    for step in range(1, config.steps + 1):
        if stop:
            remark = f"stopped at step {step - 1} as asked, the best so far was kept"
            break
        loss = run.step()
        if not math.isfinite(loss):
            remark = (
                f"the loss became {loss} at step {step}, the last good weights were "
                "kept: try a lower learning rate"
            )
            break
        history.append(StepDone(step, config.steps, loss))
        stop = (yield history[-1]) is Command.STOP
        if stop or step % config.evaluate_every == 0 or step == config.steps:
            history.append(best.check(score(run.model), step, config.steps))
            stop = (yield history[-1]) is Command.STOP or stop
            if config.patience and best.checks_without_gain >= config.patience:
                remark = f"stopped at step {step}: no gain in {config.patience} checks"
                break
    return Fitted(best.restored(), tuple(history), remark)


class _Best:
    """The best weights that a model in training has had."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.weights = _weights(model)
        self.score = -math.inf
        self.checks_without_gain = 0

    def check(self, score: float, step: int, total: int) -> EpochDone:
        """Keep the model's weights if they score as well as any before."""
        better = score >= self.score
        if better:
            self.weights, self.score = _weights(self.model), score
        self.checks_without_gain = 0 if better else self.checks_without_gain + 1
        return EpochDone(step, total, score, better)

    def restored(self) -> Model:
        """Return the model with its best weights."""
        self.model.network.load_state_dict(self.weights)
        return self.model


def _weights(model: Model) -> dict[str, Tensor]:
    return deepcopy(model.network.state_dict())


class _Run:
    """A clone in training: its optimizer, its learning rate, its next step."""

    def __init__(
        self, model: Model, sampler: Sampler, config: LearningConfig, norm_learns: bool
    ) -> None:
        self.model = model
        self.sampler = sampler
        self.config = config
        self.norm_learns = norm_learns
        self.dtype = choose_dtype("auto", model.device)
        if model.device.type != "cuda" and model.spec.architecture.dims == 2:
            model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.optimizer = torch.optim.Adam(
            model.network.parameters(), lr=config.learning_rate
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)

    def _rate(self, step: int) -> float:
        """Return the learning rate's factor: a linear rise, then half a cosine."""
        rise = max(round(WARM_UP * self.config.steps), 1)
        if step < rise:
            return (step + 1) / rise
        progress = (step - rise) / max(self.config.steps - rise, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    def step(self) -> float:
        """Update the weights once and return the loss.

        Raises
        ------
        DeviceError
            If the crops do not fit into memory.
        """
        try:
            return self._update()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"Out of memory on {self.model.device} with {self.config.batch} crops "
                f"of {self.config.crop} pixels: choose a smaller batch or crop under "
                "More; the model is as it was."
            ) from error

    def _update(self) -> float:
        self._training_mode()
        batch = self.sampler.draw(self.model.device)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch)
        value = float(loss.detach())
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub
            nn.utils.clip_grad_norm_(self.model.network.parameters(), GRADIENT_LIMIT)
            self.optimizer.step()
            self.schedule.step()
        self.model.network.eval()
        return value

    def _training_mode(self) -> None:
        self.model.network.train()
        if not self.norm_learns:
            for module in self.model.network.modules():
                if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                    module.eval()

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast(
            self.model.device.type,
            dtype=self.dtype,
            enabled=self.dtype != torch.float32,
        ):
            logits = self.model.network(batch.images)
        return objective(
            logits.float(), batch.targets, batch.supervised,
            self.model.spec.output, self.config.loss,
        )  # fmt: skip


def score_planes(model: Model, held_out: Sequence[Plane]) -> dict[str, float]:
    """Return Dice, AP and the rest, pooled over the supervised parts of planes."""
    return measures(count_planes(model, held_out))


def count_planes(model: Model, held_out: Sequence[Plane]) -> Counts:
    """Count pixels and objects right and wrong in the supervised parts of planes.

    Parameters
    ----------
    model : to check
    held_out : planes with the truth; an object counts when most of it is supervised,
        every supervised pixel counts

    Returns
    -------
    counts : as from ``metrics.count``, added up
    """
    config = PredictConfig()
    counts = []
    for plane in held_out:
        scores = plane_scores(model, plane.image)
        predicted = labels_from_scores(scores, model.spec.output, config)
        trusted = plane.supervised[0] > 0
        counts.append(_count_trusted(predicted, plane.labels, trusted))
    return pooled(counts)


def _count_trusted(
    predicted: NDArray[Any], truth: NDArray[Any], trusted: NDArray[np.bool_]
) -> Counts:
    """Count objects that lie mostly in trusted pixels, and all trusted pixels."""
    objects = count(mostly(predicted, trusted), mostly(truth, trusted))
    pixels = count(predicted * trusted, truth * trusted)
    return objects | {key: pixels[key] for key in pixels if key.startswith("pixels")}


def mostly(labels: NDArray[Any], trusted: NDArray[np.bool_]) -> NDArray[Any]:
    """Return labels with only the objects that lie mostly in trusted pixels.

    Parameters
    ----------
    labels : ([Z,] Y, X) integers, 0 is background
    trusted : like labels, bool
    """
    if trusted.all():
        return labels
    _, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape)
    inside = np.bincount(compact.ravel(), trusted.ravel().astype(float))
    keep = inside > 0.5 * np.bincount(compact.ravel())
    return np.where(keep[compact], labels, 0)


@torch.inference_mode()
def plane_scores(model: Model, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of a whole plane at once.

    Parameters
    ----------
    model : any
    image : (C, [Z,] Y, X) float32, normalised

    Returns
    -------
    scores : (K, [Z,] Y, X) float32, 0 to 1
    """
    dtype = choose_dtype("auto", model.device)
    x = torch.from_numpy(image)[np.newaxis].to(model.device)
    with torch.autocast(x.device.type, dtype=dtype, enabled=dtype != torch.float32):
        scores = model.scores(x)
    return np.asarray(scores[0].float().cpu().numpy())


def headline(measured: dict[str, float], output: Output) -> float:
    """Return the one number that training follows."""
    if output == "instances":
        return 0.5 * (measured["ap50"] + measured["ap75"])
    return measured["dice"]


def train_steps(
    model: Model,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    config: TrainConfig,
) -> FitSteps:
    """Train a network from pairs; the best weights on ``held_out`` are kept.

    Parameters
    ----------
    model : where training starts; never changed
    examples : images and labels to learn from
    held_out : images and labels to check with
    config : see TrainConfig

    Yields
    ------
    StepDone, EpochDone

    Returns
    -------
    Fitted

    Raises
    ------
    TrainingError
        If there is nothing to learn from or nothing to check with.
    """
    training = all_planes(examples, model.spec)
    checking = all_planes(held_out, model.spec)
    if not training or not checking:
        raise TrainingError(
            f"{len(training)} images to train on and {len(checking)} to check with; "
            "at least one of each is needed: add images with masks."
        )

    def score(current: Model) -> float:
        return headline(score_planes(current, checking), model.spec.output)

    return (yield from fit_steps(model, training, config, score))
