"""The training loop: one for new networks and for corrections."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from napari_unet.engine.commands import Command, Learn
from napari_unet.engine.config import (
    AverageDone,
    EpochDone,
    PredictConfig,
    StepDone,
)
from napari_unet.engine.device import choose_dtype, is_out_of_memory
from napari_unet.engine.instances import labels_from_scores
from napari_unet.engine.losses import imitation, objective
from napari_unet.engine.metrics import count_trusted, measures, pooled
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
AVERAGE = 0.95  # share of the old in a running average of weights
GRADIENT_LIMIT = 1.0  # norm


@dataclass(frozen=True)
class Lesson:
    """What a training learns from, and how much each part counts.

    Attributes
    ----------
    planes : with their truth where it is known
    memory : planes of which only the teacher's scores are learnt; may be empty
    teacher, remember : weight of the teacher in ``planes``, and in ``memory``
    """

    planes: Sequence[Plane]
    memory: Sequence[Plane] = ()
    teacher: float = 0.0
    remember: float = 0.0


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes
    ----------
    model : with the best weights seen, in evaluation mode
    history : every event, for the curve
    remark : why it ended early, or ""
    steps : weight updates that were made
    stopped : whether that was asked for before the end
    learnt : corrections that joined, and after which step
    score : of the last check
    """

    model: Model
    history: tuple[StepDone | EpochDone, ...]
    remark: str = ""
    steps: int = 0
    stopped: bool = False
    learnt: tuple[tuple[int, Learn], ...] = ()
    score: float = 0.0


FitSteps = Generator[Any, Any, Fitted]
Scorer = Callable[[Model], float]
Teach = Callable[[Model, Learn | None], Lesson]


def fit_steps(
    model: Model, lesson: Lesson, config: LearningConfig, score: Scorer,
    *, teach: Teach | None = None, norm_learns: bool = True, average: bool = False,
    compete: bool = True,
) -> FitSteps:  # fmt: skip
    """Train a clone of the model.

    Parameters
    ----------
    model : where training starts; never changed
    lesson : what to learn from
    config : steps, learning rate, batch, crop, loss, augmentation
    score : of a model on held-out data; higher is better
    teach : gives the lesson after a check, for the model as it then is and the
        corrections that were sent in since (None: none were); None: always the same
    norm_learns : whether batch-norm statistics follow the new images
    average : whether the running average of the weights is scored, told by AverageDone,
        and kept, rather than the weights themselves
    compete : whether the weights that scored best are kept, those of the start among
        them; else the last ones: a score on what was learnt from proves nothing

    Yields
    ------
    StepDone, EpochDone, AverageDone
        ``Command.STOP`` may be sent in to end early with the best, and ``Learn`` to go
        on with more corrections from the next check on.

    Returns
    -------
    Fitted
    """
    run = _Run(model.clone(), lesson, config, norm_learns, average)
    best = _Best(run.shown, compete)
    history: list[StepDone | EpochDone] = [best.check(score(model), 0, run.total)]
    inbox = _Inbox()
    inbox.take((yield history[0]))
    remark, step = "", 0
    while step < run.total:
        if inbox.stop:
            remark = f"stopped at step {step} as asked, the best so far was kept"
            break
        step += 1
        loss = run.step()
        if not math.isfinite(loss):
            remark = (
                f"the loss became {loss} at step {step}, the last good weights were "
                "kept: try a lower learning rate"
            )
            break
        history.append(StepDone(step, run.total, loss))
        inbox.take((yield history[-1]))
        if average:
            inbox.take((yield AverageDone(step, run.total, run.shown)))
        if inbox.stop or step % config.evaluate_every == 0 or step == run.total:
            history.append(best.check(score(run.shown), step, run.total))
            inbox.take((yield history[-1]))
            if config.patience and best.checks_without_gain >= config.patience:
                remark = f"stopped at step {step}: no gain in {config.patience} checks"
                break
            if teach is not None and not inbox.stop and inbox.opens(step, run.total):
                fresh = inbox.open(step)
                run.learn(teach(run.shown, fresh), more=fresh is not None)
    return Fitted(
        best.restored(),
        tuple(history),
        remark,
        step,
        inbox.stop,
        tuple(inbox.learnt),
        best.last,
    )


class _Inbox:
    """What was sent into a training and is not yet done."""

    def __init__(self) -> None:
        self.stop = False
        self.learn: Learn | None = None
        self.learnt: list[tuple[int, Learn]] = []

    def opens(self, step: int, total: int) -> bool:
        """Tell whether another lesson is to come."""
        return step < total or self.learn is not None

    def open(self, step: int) -> Learn | None:
        """Return the corrections that came since it was last opened."""
        fresh, self.learn = self.learn, None
        if fresh is not None:
            self.learnt.append((step, fresh))
        return fresh

    def take(self, sent: object) -> None:
        """Take note of what was sent, None mostly."""
        if sent is Command.STOP:
            self.stop = True
        elif isinstance(sent, Learn):
            self.learn = sent


class _Best:
    """The best weights that a model in training has had."""

    def __init__(self, model: Model, compete: bool) -> None:
        self.model = model
        self.compete = compete
        self.weights = _weights(model)
        self.score = -math.inf
        self.checks_without_gain = 0
        self.last = 0.0

    def check(self, score: float, step: int, total: int) -> EpochDone:
        """Keep the model's weights if they score as well as any before."""
        better = score >= self.score
        if better or not self.compete:
            self.weights = _weights(self.model)
        self.score, self.last = max(score, self.score), score
        self.checks_without_gain = 0 if better else self.checks_without_gain + 1
        return EpochDone(step, total, score, better)

    def restored(self) -> Model:
        """Return the model with its best weights, laid out as those of a file are.

        Another layout computes scores that differ in the last bit.
        """
        self.model.network.load_state_dict(self.weights)
        self.model.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub lacks it
        return self.model


def _weights(model: Model) -> dict[str, Tensor]:
    return deepcopy(model.network.state_dict())


class _Run:
    """A clone in training: its optimizer, its learning rate, its next step.

    Attributes
    ----------
    model : in training
    shown : what is scored, shown and kept: the running average, or ``model`` itself
    total : steps in all
    """

    def __init__(
        self, model: Model, lesson: Lesson, config: LearningConfig,
        norm_learns: bool, average: bool,
    ) -> None:  # fmt: skip
        self.model = self.shown = model
        self.config = config
        self.total = config.steps
        self.norm_learns = norm_learns
        self.dtype = choose_dtype("auto", model.device)
        if model.device.type != "cuda" and model.spec.architecture.dims == 2:
            model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.optimizer = torch.optim.Adam(
            model.network.parameters(), lr=config.learning_rate
        )
        self.done = self.begun = 0
        self.average = _averaged(model) if average else None
        if self.average is not None:
            averaged = self.average.module.eval()
            self.shown = replace(model, network=averaged)  # type: ignore[arg-type]  # a copy of the network
        self.lesson = lesson
        self.sampler = Sampler(lesson.planes, config, model.spec)
        self.recall: Sampler | None = None
        if lesson.memory and lesson.remember > 0:
            other = config.model_copy(update={"seed": config.seed + 1})
            self.recall = Sampler(lesson.memory, other, model.spec)

    def learn(self, lesson: Lesson, *, more: bool) -> None:
        """Go on with another lesson, of the same memory.

        Parameters
        ----------
        lesson : what to learn from now on
        more : whether there is something new in it: half a run is made at least
        """
        if lesson is not self.lesson:
            self.lesson = lesson
            self.sampler.use(lesson.planes)
        if more and self.total - self.done < self.config.steps // 2:
            self.begun, self.total = self.done, self.done + self.config.steps // 2

    @property
    def _length(self) -> int:
        """Steps of this rise and fall of the learning rate."""
        return self.total - self.begun

    def _rate(self) -> float:
        """Return the learning rate's factor: a linear rise, then half a cosine."""
        step, steps = self.done - self.begun, self._length
        rise = max(round(WARM_UP * steps), 1)
        if step < rise:
            return (step + 1) / rise
        progress = (step - rise) / max(steps - rise, 1)
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
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss()
        value = float(loss.detach())
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub
            nn.utils.clip_grad_norm_(self.model.network.parameters(), GRADIENT_LIMIT)
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.model.network)
        self.done += 1
        self.model.network.eval()
        return value

    def _training_mode(self) -> None:
        self.model.network.train()
        if not self.norm_learns:
            for module in self.model.network.modules():
                if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                    module.eval()

    def _loss(self) -> Tensor:
        """Return the loss of new crops, those of the memory beside them."""
        device, spec, lesson = self.model.device, self.model.spec, self.lesson
        batch = self.sampler.draw(device)
        images, count = batch.images, len(batch.images)
        recalled = None
        if self.recall is not None:
            recalled = self.recall.draw(device)
            images = torch.cat([images, recalled.images])
        with torch.autocast(
            device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        ):
            logits = self.model.network(images)
        logits = logits.float()
        loss = objective(
            logits[:count], batch.targets, batch.supervised, spec.output,
            self.config.loss,
        )  # fmt: skip
        if lesson.teacher > 0:
            loss = loss + lesson.teacher * self._imitation(logits[:count], batch)
        if recalled is not None:
            loss = loss + lesson.remember * self._imitation(logits[count:], recalled)
        return loss

    def _imitation(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.teacher is None or batch.follow is None:
            return logits.new_zeros(())
        activation = self.model.spec.likely_activation
        return imitation(logits, batch.teacher, batch.follow, activation)


def _averaged(model: Model) -> AveragedModel:
    """Return a running average of a model's weights, quick at first.

    References
    ----------
    Izmailov et al.: Averaging weights leads to wider optima and better generalization,
    UAI 2018, arXiv:1803.05407; the warm-up is that of TensorFlow's moving averages.
    """

    def blend(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        if not old.is_floating_point():
            return new
        steps = int(count)
        share = min(AVERAGE, (1 + steps) / (10 + steps))
        return old.lerp(new.to(old.dtype), 1 - share)

    return AveragedModel(model.network, avg_fn=blend, use_buffers=True)


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
        counts.append(count_trusted(predicted, plane.labels, trusted))
    return pooled(counts)


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

    return (yield from fit_steps(model, Lesson(training), config, score))
