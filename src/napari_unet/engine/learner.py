"""A network that learns, one weight update at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from napari_unet.engine.device import choose_dtype, is_out_of_memory
from napari_unet.engine.losses import imitation, objective
from napari_unet.engine.sampling import Sampler
from napari_unet.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_unet.engine.config import LearningConfig
    from napari_unet.engine.model import Model
    from napari_unet.engine.sampling import Batch, Plane

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
class Manner:
    """How a training goes about it.

    Attributes
    ----------
    norm_learns : whether batch-norm statistics follow the new images
    average : whether the running average of the weights is scored, told by AverageDone,
        and kept, rather than the weights themselves
    compete : whether the weights that scored best are kept, those of the start among
        them; else the last ones: a score on what was learnt from proves nothing
    """

    norm_learns: bool = True
    average: bool = False
    compete: bool = True


class Learner:
    """A clone in training: its optimizer, its learning rate, its next step.

    Attributes
    ----------
    model : in training
    shown : what is scored, shown and kept: the running average, or ``model`` itself
    total : steps in all
    """

    def __init__(
        self, model: Model, lesson: Lesson, config: LearningConfig,
        manner: Manner,
    ) -> None:  # fmt: skip
        self.model = self.shown = model
        self.config = config
        self.total = config.steps
        self.norm_learns = manner.norm_learns
        self.dtype = choose_dtype("auto", model.device)
        if model.device.type != "cuda" and model.spec.architecture.dims == 2:
            model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.optimizer = torch.optim.Adam(
            model.network.parameters(), lr=config.learning_rate
        )
        self.done = self.begun = 0
        self.average = _averaged(model) if manner.average else None
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
