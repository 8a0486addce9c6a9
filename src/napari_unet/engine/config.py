"""Frozen inputs of the four verbs and the events they report. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

Precision = Literal["auto", "float32", "bfloat16", "float16"]
LossName = Literal["dice", "cross-entropy", "dice+cross-entropy"]
Start = Literal["auto", "current", "base", "scratch"]
Augment = Literal["off", "mild", "strong"]
USUAL = 15  # pixels of the smallest object, where nothing is known
AUGMENTED = (
    "Rotate, flip, scale, bend and re-light the crops at random; strong: brightness, "
    "contrast, gamma and noise vary more, so that other images of the kind are known"
)


class Frozen(BaseModel):
    """A validated value that nobody changes; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelsConfig(Frozen):
    """How scores become labels; none of it needs the network again.

    ``smallest`` None: as the model says (``ModelSpec.smallest``), else ``USUAL``.
    """

    threshold: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        title="Threshold",
        description="Lowest foreground score (0 to 1) that counts as object",
    )
    split: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        title="Split touching",
        description="How readily touching objects are separated: 0 never, 1 eagerly",
    )
    smallest: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        title="Smallest",
        description="Objects of fewer pixels than this are dropped; auto: half of what "
        f"the smallest corrected ones had, or {USUAL} before the model learnt any",
    )
    fill_holes: bool = Field(
        True, title="Fill holes", description="Close holes inside objects",
    )  # fmt: skip

    @property
    def least(self) -> int:
        """Fewest pixels of an object."""
        return USUAL if self.smallest is None else self.smallest

    def with_smallest(self, pixels: int | None) -> Self:
        """Return this with the fewest pixels of an object, where it does not say."""
        if self.smallest is not None:
            return self
        return self.model_copy(update={"smallest": pixels})


class PredictConfig(LabelsConfig):
    """How to run the network on an image."""

    precision: Precision = Field(
        "auto", title="Precision",
        description="Number format of the computation; auto tries once for each "
        "network which is fastest here, and remembers it",
    )  # fmt: skip
    tile: int | None = Field(
        None, ge=16, title="Tile",
        description="Side of a tile in pixels; empty: chosen from free memory",
    )  # fmt: skip
    tta: bool = Field(
        False, title="Average over flips",
        description="Run every flip of the image and average: slower, a little better",
    )  # fmt: skip
    rotate: bool = Field(
        False, title="Average over rotations",
        description="Run every quarter turn of the image and average; with flips, all "
        "flips of them too",
    )  # fmt: skip
    uncertainty: bool = Field(
        False, title="Uncertainty map",
        description="Also show how far averaged flips, rotations and models are apart: "
        "the standard deviation of their scores, 0 to 0.5",
    )  # fmt: skip
    channel: int | None = Field(
        None, ge=0, title="Channel",
        description="The image channel given to a one-channel model; empty: luminance",
    )  # fmt: skip
    keep_scores: bool = Field(
        False, title="Keep scores", description="Return the scores beside the labels",
    )  # fmt: skip


class LearningConfig(Frozen):
    """What training from pairs and fine-tuning on corrections have in common."""

    steps: int = Field(
        150, ge=1, le=1_000_000, title="Steps",
        description="Number of weight updates",
    )  # fmt: skip
    learning_rate: float = Field(
        1e-3, gt=0.0, le=1.0, title="Learning rate",
        description="Size of a weight update (Adam)",
    )  # fmt: skip
    batch: int = Field(
        4, ge=1, le=256, title="Batch", description="Crops per weight update",
    )  # fmt: skip
    crop: int = Field(
        192, ge=32, le=1024, title="Crop",
        description="Side of a training crop in pixels",
    )  # fmt: skip
    loss: LossName = Field(
        "dice+cross-entropy", title="Loss",
        description="What training makes small: Dice, cross-entropy, or both",
    )  # fmt: skip
    augment: Augment = Field("mild", title="Augment", description=AUGMENTED)
    evaluate_every: int = Field(
        50, ge=1, title="Check every",
        description="Steps between two checks on held-out data",
    )  # fmt: skip
    patience: int | None = Field(
        None, ge=1, title="Patience",
        description="Stop after so many checks without gain; empty: never early",
    )  # fmt: skip
    seed: int = Field(0, ge=0, title="Seed", description="Start of the random numbers")

    @field_validator("augment", mode="before")
    @classmethod
    def _as_it_was(cls, given: object) -> object:
        """Take yes and no, as recipes of older versions say it."""
        return {True: "mild", False: "off"}[given] if isinstance(given, bool) else given


class TrainConfig(LearningConfig):
    """Training a network from pairs of images and masks."""

    steps: int = Field(2000, ge=1, le=1_000_000, title="Steps")
    crop: int = Field(256, ge=32, le=1024, title="Crop")
    evaluate_every: int = Field(250, ge=1, title="Check every")


class FinetuneConfig(LearningConfig):
    """Teaching a trained network what the user corrected."""

    learning_rate: float = Field(
        1e-3, gt=0.0, le=1.0, title="Learning rate",
        description="Size of a weight update (Adam)",
    )  # fmt: skip
    crop: int = Field(
        128, ge=32, le=1024, title="Crop",
        description="Side of a training crop in pixels",
    )  # fmt: skip
    augment: Augment = Field("strong", title="Augment", description=AUGMENTED)
    start: Start = Field(
        "auto", title="Start from",
        description="The weights where learning starts: the version in use, the model "
        "as it was loaded, or random ones; auto tries those that make sense for a few "
        "steps, and goes on with the one that does best on held-out corrections",
    )  # fmt: skip
    teacher: float = Field(
        0.5, ge=0.0, le=10.0, title="Teacher weight",
        description="How much the model from before counts where nothing is corrected, "
        "so that what was right stays right: 0 not at all, 1 as much as corrections. "
        "It counts less the more of the corrections it had wrong",
    )  # fmt: skip
    remember: float = Field(
        2.0, ge=0.0, le=10.0, title="Remember",
        description="How much the loaded model counts on images of the kind that it "
        "was trained on, so that it stays good at them: 0 forgets them",
    )  # fmt: skip
    allowed_loss: float = Field(
        0.05, ge=0.0, le=1.0, title="May lose",
        description="A new version goes live only if it loses no more than this share "
        "of the accepted objects that were found before (0 to 1)",
    )  # fmt: skip
    norm_learns: bool = Field(
        True, title="Batch-norm statistics learn",
        description="Let batch-norm statistics follow the new images",
    )  # fmt: skip
    held_out: float = Field(
        0.2, ge=0.0, le=0.5, title="Held out",
        description="Share of the corrected places kept aside to score before and "
        "after; a place stays on its side for ever",
    )  # fmt: skip


@dataclass(frozen=True)
class PlaneDone:
    """A plane of masks, or a pair for training, is written."""

    done: int
    total: int


@dataclass(frozen=True)
class BytesDone:
    """A part of a download has arrived; ``total`` is 0 while it is unknown."""

    done: int
    total: int


@dataclass(frozen=True)
class LookDone:
    """One way of understanding a file was tried on an image."""

    done: int
    total: int


@dataclass(frozen=True)
class TileDone:
    """One tile of a prediction is finished."""

    done: int
    total: int


@dataclass(frozen=True)
class BlockDone(TileDone):
    """After the tiles: one block of the labels of a large plane is made."""


@dataclass(frozen=True)
class PartDone(TileDone):
    """With a tile, a part of a large prediction can be shown; the result is exact.

    Attributes
    ----------
    labels : int32, of ``window``
    window : slices over the axes of all labels: the part, and what is around it
    region : the part
    """

    labels: Any
    window: tuple[slice, ...]
    region: tuple[slice, ...]


@dataclass(frozen=True)
class Preparing:
    """A part of what comes before a fine-tuning is done."""

    done: int
    total: int


class KindDone(Preparing):
    """The loaded model has looked of which kind a corrected image is."""


class RecallDone(Preparing):
    """What the loaded model says of one of the images that it shall remember."""


@dataclass(frozen=True)
class StepDone:
    """One weight update is finished.

    Attributes
    ----------
    kind : name of the loaded model, where the network that stays with images of its
        kind learns beside the new one; "" otherwise
    """

    step: int
    total: int
    loss: float
    kind: str = ""


@dataclass(frozen=True)
class EpochDone:
    """A check on held-out data is finished; ``kind`` as for ``StepDone``."""

    step: int
    total: int
    score: float
    best: bool
    kind: str = ""


@dataclass(frozen=True)
class AverageDone:
    """A weight update is finished, and this is the model by now, to be looked at.

    Attributes
    ----------
    model : engine.model.Model, to be used before training goes on, which changes it
    """

    step: int
    total: int
    model: Any
