"""Places worth a visit: windows of labels, and how much each is. Imports no torch.

Each image, or slice of a stack, is covered by half-overlapping windows
(``engine/grid.py``). What is measured of them (``Candidates``) becomes one number each
(``doubts``); ``choosing.py`` makes a list of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from napari_unet.engine.protect import UNTOUCHED, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Key, Region
    from napari_unet.engine.corrections import Corrections
    from napari_unet.engine.grid import Grid
    from napari_unet.engine.progress import Visit

DONE = 0.4  # share of a place that is protected; then there is little left to do

# what makes a place doubtful, and how much each counts; see ``doubts``
UNSURE, FLIPS, STRUCTURE = 0.3, 0.2, 0.2
RIGHT = 0.85  # how right predictions are of a kind that a model knows, before one looks
SAYS = 0.5  # corrected windows that look just alike and say as much as that
FADES = 0.5  # of what a visit says with each version of the model that came after it
REACH = 0.5  # of the usual distance between looks, within which places are alike
CLOSE = 0.3  # within which one tells how wrong the prediction is in another
SAME = 0.2  # how alike at least are places of one image, there
TINY = 1e-3
MOST_OTHERS = 500  # places that each is compared with
LITTLE = 0.05  # how wrong a prediction is that is as good as right


@dataclass(frozen=True)
class Candidates:
    """What is known of N windows.

    Attributes
    ----------
    windows : slices over the labels' axes of their image
    image, plane : (N,) number of the image each is of, and of the slice of a stack,
        counted through all images; both take turns
    unsure : (N,) mean doubt of the scores, 0 to 1
    trust : (N,) how far that doubt means something, 0 to 1; see ``trust_in``
    looks : (N, F) features of image and scores, of any unit
    structure : (N,) how much there is to see, of any unit
    known : (N,) what a visit says of its place, 0 (none was there) to 1; see ``recall``
    wrong : (N,) how wrong the prediction was then, 0 to 1
    flips : (N,) how far flips of the image disagree, 0 to 1; NaN: not tried
    """

    windows: tuple[Region, ...]
    image: NDArray[np.intp]
    plane: NDArray[np.intp]
    unsure: NDArray[np.float64]
    trust: NDArray[np.float64]
    looks: NDArray[np.float64]
    structure: NDArray[np.float64]
    known: NDArray[np.float64]
    wrong: NDArray[np.float64]
    flips: NDArray[np.float64]

    @cached_property
    def bounds(self) -> NDArray[np.intp]:
        """Start and stop of each window on each axis, (2, N, axes).

        Where images have different numbers of axes, those that one lacks come first
        and are one long.
        """
        most = max((len(window) for window in self.windows), default=0)
        spans = [_spans(window, most) for window in self.windows]
        return np.moveaxis(np.array(spans, np.intp).reshape(-1, most, 2), -1, 0)

    @cached_property
    def typical(self) -> NDArray[np.float64]:
        """For how many others each window stands, (N,), of any unit.

        Those of a kind that the model does not know, and in which there is much to see,
        count more. Of many, evenly spread ones are compared with.
        """
        places = scaled(self.looks)
        some = slice(None, None, max(len(places) // MOST_OTHERS, 1))
        weight = (1 - self.trust[some] + TINY) * (ranks(self.structure[some]) + TINY)
        near = closeness(places, places[some], REACH)
        return np.asarray(near @ weight / weight.sum())

    def shared(self, image: int, window: Region) -> NDArray[np.float64]:
        """Return what share of each window, (N,), lies in another of about its size.

        Parameters
        ----------
        image : number of the image that the other one is of
        """
        starts, stops = self.bounds
        first, last = np.transpose(_spans(window, starts.shape[1]))
        sides = np.minimum(stops, last) - np.maximum(starts, first)
        common = np.prod(np.maximum(sides, 0), axis=1)
        shares = common / np.prod(stops - starts, axis=1)
        return np.where(self.image == image, shares, 0.0)


def _spans(window: Region, axes: int) -> list[tuple[int, int]]:
    """Return start and stop of a window on each of so many axes."""
    missing = axes - len(window)
    return [*[(0, 1)] * missing, *((s.start, s.stop) for s in window)]


def joined(parts: Sequence[Candidates]) -> Candidates:
    """Return the windows of several parts of images."""
    windows = tuple(window for part in parts for window in part.windows)
    names = [field.name for field in fields(Candidates) if field.name != "windows"]
    arrays = {n: np.concatenate([getattr(part, n) for part in parts]) for n in names}
    return Candidates(windows, **arrays)


# -- how doubtful


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where each value stands among all, 0 to 1; equal ones stand together."""
    if not values.size:
        return np.zeros(0)
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, "left")
    upto = np.searchsorted(ordered, values, "right")
    return np.asarray((below + upto) / (2 * len(values)))


def scaled(looks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return features with each one's middle at 0 and its usual spread 1."""
    middle = np.median(looks, axis=0)
    spread = looks.std(axis=0)
    spread[spread < 1e-9] = 1.0
    found: NDArray[np.float64] = np.clip((looks - middle) / spread, -3, 3)
    return found


def closeness(
    looks: NDArray[np.float64], others: NDArray[np.float64], within: float
) -> NDArray[np.float64]:
    """Return how alike places look, (N, M), 1 for the same, 0 for nothing in common.

    Parameters
    ----------
    looks, others : (N, F) and (M, F) features as from ``scaled``
    within : share of the usual distance within which places are alike
    """
    reach = within * np.sqrt(2 * looks.shape[1])  # of two drawn at random
    return np.asarray(np.exp(-0.5 * cdist(looks, others, "sqeuclidean") / reach**2))


def recall(
    candidates: Candidates, visits: Sequence[tuple[int, Visit]],
    nearest: dict[tuple[int, Key], int | None],
) -> None:  # fmt: skip
    """Take down of each window how wrong the prediction was that was corrected there.

    What the model was taught since it gets right; how right it was before tells more of
    places that look alike. Of a place with two visits the later one stands.

    Parameters
    ----------
    candidates : whose ``known`` and ``wrong`` are written
    visits : with the number of their image; the oldest first
    nearest : windows of visits that were found before, by image; grows
    """
    candidates.known[:] = candidates.wrong[:] = 0.0
    versions = sorted({visit.version for _, visit in visits}, reverse=True)
    for image, visit in visits:
        key = image, tuple(n for s in visit.window for n in (s.start, s.stop))
        if key not in nearest:
            nearest[key] = most_shared(candidates, image, visit.window)
        number = nearest[key]
        if number is not None and visit.known:
            recent = FADES ** versions.index(visit.version)
            candidates.known[number] = visit.known * recent
            candidates.wrong[number] = 1 - visit.score


def expected(
    candidates: Candidates,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how wrong the prediction may be in each window, 0 to 1, (N,).

    A mean of how wrong it was in each corrected window, weighted by how alike that one
    looks (Nadaraya-Watson; those of one image are a little alike), and of what is to be
    expected without: little where the doubt of the model means something, much on a
    kind of image that it does not know.

    Returns
    -------
    wrong : (N,) that mean
    told : (N,) the part of it that corrected windows give
    """
    before = 1 - RIGHT * candidates.trust
    known = np.flatnonzero(candidates.known > 0)
    looks = scaled(candidates.looks)
    alike = closeness(looks, looks[known], CLOSE)
    same = candidates.image[:, np.newaxis] == candidates.image[known]
    weight = np.maximum(alike, SAME * same) * np.sqrt(candidates.known[known])
    said = weight.sum(axis=1) + SAYS
    told = weight @ candidates.wrong[known] / said
    return np.asarray(told + SAYS * before / said), np.asarray(told)


def doubts(
    candidates: Candidates, wrong: NDArray[np.float64]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return how much each window is worth a visit, 0 to 1, and the main reason.

    How wrong the prediction may be there, times how much is to be learnt: a mean of
    parts that are ranks among all windows, so that none needs a unit. They are doubt of
    the scores (``UNSURE``), disagreement of flips (``FLIPS``), how much there is to see
    (``STRUCTURE``), and how many others it stands for. A network on an unlike kind of
    image is sure of nonsense, and less sure where there is nothing; there the first two
    are not trusted, and what is typical leads in their place: of few examples, typical
    ones teach more than odd ones.

    Parameters
    ----------
    candidates : all windows
    wrong : (N,) as from ``expected``

    References
    ----------
    Hacohen, Dekel and Weinshall: Active learning on a budget: opposite strategies suit
    high and low budgets, ICML 2022, arXiv:2202.02794.
    """
    count = len(candidates.windows)
    tried = ~np.isnan(candidates.flips)
    flips = np.full(count, 0.5)
    flips[tried] = ranks(candidates.flips[tried])
    trust = candidates.trust
    weights = np.stack([
        UNSURE * trust, FLIPS * trust, np.full(count, STRUCTURE),
        (1 - trust) * (UNSURE + FLIPS),
    ])  # fmt: skip
    parts = np.stack([
        ranks(candidates.unsure), flips, ranks(candidates.structure),
        ranks(candidates.typical),
    ])  # fmt: skip
    learnt = (weights * parts).sum(axis=0) / weights.sum(axis=0)
    main = (weights * parts).argmax(axis=0)
    return learnt * wrong, [WHY[int(each)] for each in main]


WHY = (
    "unsure what belongs to an object",
    "flipped, it is seen otherwise",
    "much to see",
    "like many others, of a kind that the model seems not to know",
)
LIKE = "looks like places that you corrected"


# -- what is done


def most_shared(candidates: Candidates, image: int, window: Region) -> int | None:
    """Return the number of the place of an image that a window is nearest to.

    None where it shares less than half with any.
    """
    shares = candidates.shared(image, window)
    if not shares.size or shares.max() < 0.5:
        return None
    return int(shares.argmax())


def close_up(corrections: Corrections, window: Region) -> Snapshot:
    """Return a snapshot of a window alone; objects are cut off where it ends."""
    corrections.commit()
    return Snapshot(
        window, np.array(corrections.labels.now(window)), corrections.state[window],
        corrections.dims, corrections.instances, corrections.next_label,
        corrections.revision,
    )  # fmt: skip


def is_done(corrections: Corrections, window: Region) -> bool:
    """Tell whether little is left in a window that a prediction may change."""
    return bool(close_up(corrections, window).protected().mean() > DONE)


def marked(state: NDArray[np.uint8], grid: Grid) -> NDArray[np.bool_]:
    """Return which places of a window are done, by the user's marks alone; quick.

    Parameters
    ----------
    state : of the window, ([1, ...] [Z,] Y, X), see ``protect``
    grid : its N places

    Returns
    -------
    done : (N,)
    """
    if not state.any():
        return np.zeros(len(grid.windows), bool)
    plane = state.reshape(state.shape[-len(grid.edges) :])
    return np.asarray(grid.means(plane != UNTOUCHED) > DONE)
