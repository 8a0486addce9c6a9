"""How right predictions were before anybody corrected them, place after place.

Imports no torch: a session asks for it while the user paints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import stdtrit

from napari_unet.engine.metrics import count_classes, count_trusted, measures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.compare import Truth

By = Literal["next", "user"]

JUDGED = 0.5  # share of a place that must be corrected or accepted for it to count
OVER = 10  # places that the mean is of
SURE = 0.975  # quantile of a two-sided interval of 95 %
LEAST = 0.05  # standard deviation of scores that happen to be equal

FEWEST = 6  # places in each of the two windows that a hint compares
MOST = 12
HIGH, LOW = 0.85, 0.7  # mean scores from which, and below which, a hint is given
LITTLE, MUCH = 0.03, 0.1  # gain that is none, and one that must be unlikely
FLAT_VERSIONS = 3  # of the model, in places that stay as bad as they were


@dataclass(frozen=True)
class Visit:
    """A place that was corrected for the first time.

    Attributes
    ----------
    window : slices over the axes of the labels
    by : who chose it: the user, or *Next doubtful place*
    made : seconds since the epoch, when it began
    version : number of the model's version that predicted it
    score : 0 to 1, how right the prediction was; see ``judge``
    known : 0 to 1, share of the place in which that is known
    """

    window: Region
    by: By
    made: float
    version: int
    score: float = 0.0
    known: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether enough is known: where only mistakes were mended, all was wrong."""
        return self.known >= JUDGED


def judge(
    predicted: NDArray[Any], truth: Truth, *, objects: bool
) -> tuple[float, float]:
    """Return how right a prediction was, and in which share of the place it is known.

    Parameters
    ----------
    predicted : ([T,] [Z,] Y, X) integers, 0 is background; before the correction
    truth : of the same shape, after it
    objects : whether values are objects; else classes

    Returns
    -------
    score : with objects half AP at an IoU of 0.5, half Dice, as fine-tuning scores
        itself: of few objects the overlap tells more. With classes, Dice
    known : share of pixels that were corrected or accepted; 0 where neither holds
        anything there, since that nothing was found in nothing says little
    """
    trusted = truth.supervised
    if not ((predicted > 0) | (truth.labels > 0))[trusted].any():
        return 0.0, 0.0
    known = float(trusted.mean())
    if np.array_equal(predicted, truth.labels):  # accepted as it was
        return 1.0, known
    if not objects:
        counts = count_classes(predicted * trusted, truth.labels * trusted)
        return measures(counts)["dice"], known
    found = measures(count_trusted(predicted, truth.labels, trusted))
    return 0.5 * (found["ap50"] + found["dice"]), known


@dataclass(frozen=True)
class Curve:
    """The running mean of scores, oldest place first.

    Attributes
    ----------
    places : (N,) int, numbers of the places that count, from 1
    scores : (N,) float, 0 to 1
    means : (N,) float, of the last OVER scores
    low, high : (N,) float, 95 % interval of each mean
    partly : (M, 2) float, number and score of places that do not count because less
        than half of them is corrected or accepted
    """

    places: NDArray[np.int_]
    scores: NDArray[np.float64]
    means: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    partly: NDArray[np.float64]


@dataclass(frozen=True)
class Progress:
    """How right predictions were in all places so far.

    Attributes
    ----------
    user, next : places that the user chose, and those that *Next* chose
    hint : one sentence when more strokes stop paying, else ""
    """

    user: Curve
    next: Curve
    hint: str


def summarise(visits: Sequence[Visit]) -> Progress:
    """Return curves and hint of visits, oldest first."""
    return Progress(curve(visits, "user"), curve(visits, "next"), hint(visits))


def curve(visits: Sequence[Visit], by: By) -> Curve:
    """Return the curve of the places that one of the two chose.

    Parameters
    ----------
    visits : oldest first
    by : whose
    """
    shown = [each for each in visits if each.by == by and each.known > 0]
    numbered = list(enumerate(shown, start=1))
    scores = [each.score for each in shown if each.counts]
    windows = [scores[max(i - OVER, 0) : i] for i in range(1, len(scores) + 1)]
    bands = np.array([interval(each) for each in windows]).reshape(-1, 2)
    partly = [(number, each.score) for number, each in numbered if not each.counts]
    return Curve(
        np.array([number for number, each in numbered if each.counts], int),
        np.array(scores, float), np.array([np.mean(each) for each in windows], float),
        bands[:, 0], bands[:, 1], np.array(partly, float).reshape(-1, 2),
    )  # fmt: skip


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of a few scores, within 0 and 1.

    Equal scores are taken to spread by LEAST, because two places that happen to agree
    are no proof; of a single one, nothing is known.

    References
    ----------
    Student: The probable error of a mean, Biometrika 1908.
    """
    if len(scores) < 2:
        return 0.0, 1.0
    mean = float(np.mean(scores))
    half = float(stdtrit(len(scores) - 1, SURE)) * np.sqrt(_squared_error(scores))
    return max(mean - half, 0.0), min(mean + half, 1.0)


def _squared_error(scores: Sequence[float]) -> float:
    """Return the squared standard error of the mean of at least two scores."""
    return max(float(np.std(scores, ddof=1)), LEAST) ** 2 / len(scores)


def gain(earlier: Sequence[float], later: Sequence[float]) -> tuple[float, float]:
    """Return by how much a mean rose, and the upper end of its 95 % interval.

    Parameters
    ----------
    earlier, later : at least two scores each

    References
    ----------
    Welch: The generalization of Student's problem when several different population
    variances are involved, Biometrika 1947.
    """
    one, other = _squared_error(earlier), _squared_error(later)
    freedom = (one + other) ** 2 / (
        one**2 / (len(earlier) - 1) + other**2 / (len(later) - 1)
    )
    rise = float(np.mean(later) - np.mean(earlier))
    return rise, rise + float(stdtrit(freedom, SURE)) * float(np.sqrt(one + other))


def hint(visits: Sequence[Visit]) -> str:
    """Say in a sentence when more strokes stop paying; "" while they may pay.

    The last places are compared with as many before: six of each, with more places up
    to twelve. Those that *Next* chose are no fair sample: they are never mixed with the
    others.

    Parameters
    ----------
    visits : oldest first
    """
    scores = {
        by: [each.score for each in visits if each.by == by and each.counts]
        for by in ("next", "user")
    }
    if _is_high(scores["next"]):
        text = _compared("Even the last {n} places that Next chose", scores["next"])
        return f"{text}: more strokes gain little; spend them on other images."
    if _is_high(scores["user"]):
        text = _compared("The last {n} places you chose", scores["user"])
        worst = scores["next"][-FEWEST:]
        if len(worst) == FEWEST and np.mean(worst) < HIGH:
            return (
                f"{text}, but those that Next chose {np.mean(worst):.2f}: spend your "
                "strokes where Next leads."
            )
        return f"{text}: more strokes gain little; spend them on other images."
    mine = [each for each in visits if each.by == "user" and each.counts]
    versions = len({each.version for each in mine[-2 * MOST :]})
    if versions >= FLAT_VERSIONS and _is_stuck(scores["user"]):
        text = _compared("The last {n} places you chose", scores["user"])
        return (
            f"{text}, with {versions} versions of the model: more strokes alone do not "
            "help; try another start, more steps, or another kind of model."
        )
    return ""


def _halves(scores: list[float]) -> tuple[list[float], list[float]]:
    """Return as many scores before the last ones, and the last ones; [] if too few."""
    count = min(len(scores) // 2, MOST)
    if count < FEWEST:
        return [], []
    return scores[-2 * count : -count], scores[-count:]


def _is_high(scores: list[float]) -> bool:
    """Tell whether scores are high and no longer rise; noise may not pretend it."""
    earlier, later = _halves(scores)
    if not later:
        return False
    rise, most = gain(earlier, later)
    return bool(np.mean(later) >= HIGH and rise <= LITTLE and most <= MUCH)


def _is_stuck(scores: list[float]) -> bool:
    """Tell whether scores are low for sure and do not rise."""
    earlier, later = _halves(scores)
    if not later:
        return False
    rise, _ = gain(earlier, later)
    return interval(later)[1] < LOW and rise <= LITTLE


def _compared(who: str, scores: list[float]) -> str:
    """Say how right the last places were, and those before."""
    earlier, later = _halves(scores)
    who = who.format(n=len(later))
    return (
        f"{who} were {np.mean(later):.2f} right before you touched them, the "
        f"{len(earlier)} before {np.mean(earlier):.2f}"
    )
