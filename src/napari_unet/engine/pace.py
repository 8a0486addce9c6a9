"""How long a fine-tuning takes, foretold from earlier ones. Imports no torch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from napari_unet.engine.config import EpochDone, StepDone

if TYPE_CHECKING:
    from napari_unet.engine.config import FinetuneConfig

TRAINING = 3.0  # times as long as predicting: forwards, and twice backwards
TRIAL = 0.2  # of the steps: how long each start is tried
POOR = 0.3  # a model that is this wrong on corrections may be no better than none
FEW = 10  # held-out objects; a choice between starts, or checks, by fewer is chance
PREPARING = 6.0  # seconds, unless it was measured


@dataclass(frozen=True)
class Pace:
    """How fast this machine is with a network.

    Attributes
    ----------
    prepare : seconds until the first step, and after the last
    pixel : seconds of training for each pixel of a crop
    check : seconds of a check on held-out corrections
    beside : for each step, those that the network made that stays with images of the
        loaded model's kind
    trials : starts that were tried, 0: there was no choice
    recalls : whether images of the memory were learnt beside the corrections
    """

    prepare: float = PREPARING
    pixel: float = 0.0
    check: float = 0.0
    beside: float = 0.0
    trials: int = 0
    recalls: bool = True


def pace_of_prediction(seconds: float, pixels: int) -> Pace:
    """Return a first guess, from a prediction."""
    return Pace(pixel=TRAINING * seconds / max(pixels, 1))


def pixels_of(config: FinetuneConfig, *, remembers: bool) -> float:
    """Return the pixels of the crops of one step; those of volumes have as many voxels.

    Parameters
    ----------
    config : with batch and crop
    remembers : whether as many crops of the memory go with them
    """
    return config.batch * config.crop**2 * (2.0 if remembers else 1.0)


def foretold(pace: Pace, config: FinetuneConfig, pixels: float, trials: int) -> float:
    """Return how many seconds a fine-tuning will take.

    Parameters
    ----------
    pace : of this machine
    config : with steps
    pixels : of one step, see ``pixels_of``
    trials : how many starts are tried first
    """
    longer = 1 + pace.beside
    steps = config.steps * (longer + TRIAL * trials)
    checks = longer * config.steps / config.evaluate_every + 1
    checks += trials + (1 if pace.beside else 0)
    return pace.prepare + steps * pixels * pace.pixel + checks * pace.check


@dataclass
class Clock:
    """Measures a fine-tuning while it runs; previews are to be left out.

    Attributes
    ----------
    began : on time.monotonic
    """

    began: float = field(default_factory=time.monotonic)
    _last: float = 0.0
    _first: float = 0.0
    _steps: list[float] = field(default_factory=list)
    _checks: list[float] = field(default_factory=list)
    _beside: int = 0

    def hear(self, event: object) -> None:
        """Take note of an event as it comes."""
        now = time.monotonic()
        if self._first == 0.0:
            self._first = now - self.began
        elif isinstance(event, StepDone):
            self._steps.append(now - self._last)
            self._beside += bool(event.kind)
        elif isinstance(event, EpochDone):
            self._checks.append(now - self._last)
        self._last = now

    def go_on(self) -> None:
        """Leave out the time since the last event."""
        self._last = time.monotonic()

    def pace(self, pixels: float) -> Pace | None:
        """Return the pace of what was measured; None: too little was.

        Parameters
        ----------
        pixels : of one step
        """
        if len(self._steps) < 3:
            return None
        checks = median(self._checks) if self._checks else 0.0
        ending = time.monotonic() - self._last
        beside = self._beside / max(len(self._steps) - self._beside, 1)
        step = median(self._steps) / pixels
        return Pace(self._first + ending, step, checks, beside)
