"""Places worth a visit: windows of labels, ranked and spread. Imports no torch.

Each image, or slice of a stack, is covered by half-overlapping windows
(``engine/grid.py``). What is measured of them (``Candidates``) becomes one number each
(``doubts``), and the next place is the most doubtful of those that are unlike, and away
from, where the user has been (``choose``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

from napari_unet.engine.protect import UNTOUCHED, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.corrections import Corrections
    from napari_unet.engine.grid import Grid

DONE = 0.4  # share of a place that is protected; then there is little left to do
BEEN = 0.25  # share that two places have in common; then both are one visit
LONGEST = 30  # places in a list

# what makes a place doubtful, and how much each counts; see ``doubts``
UNSURE, FLIPS, LIKE, STRUCTURE = 0.3, 0.2, 0.5, 0.2
FEW = 3.0  # corrected windows that say as much as knowing nothing
REACH = 0.5  # of the usual distance between looks, within which places are alike
MOST_OTHERS = 500  # places that each is compared with
SPREAD = 0.5  # of the doubt that a place loses which looks just like a visited one
TURN = 0.85  # of the doubt that is left for each visit that an image is ahead


@dataclass(frozen=True)
class Place:
    """A place to visit.

    Attributes
    ----------
    window : slices over the labels' axes; one long on stack axes
    doubt : 0 to 1, higher is more worth a visit
    why : a few words for the user
    """

    window: Region
    doubt: float
    why: str


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
    known : (N,) share that was corrected or accepted
    wrong : (N,) share of what is known in which the prediction is wrong
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
        """Start and stop of each window on each axis, (2, N, axes)."""
        starts = [[s.start for s in window] for window in self.windows]
        stops = [[s.stop for s in window] for window in self.windows]
        return np.array([starts, stops], np.intp)

    @cached_property
    def typical(self) -> NDArray[np.float64]:
        """For how many others each window stands, (N,), of any unit.

        Of many, evenly spread ones are compared with.
        """
        places = scaled(self.looks)
        others = places[:: max(len(places) // MOST_OTHERS, 1)]
        return np.asarray(closeness(places, others).mean(axis=1))

    def shared(self, window: Region) -> NDArray[np.float64]:
        """Return what share of each window, (N,), lies in another of about its size."""
        starts, stops = self.bounds
        first = np.maximum(starts, [s.start for s in window])
        last = np.minimum(stops, [s.stop for s in window])
        common = np.prod(np.maximum(last - first, 0), axis=1)
        return np.asarray(common / np.prod(stops - starts, axis=1), np.float64)


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
    looks: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how alike places look, (N, M), 1 for the same, 0 for nothing in common.

    Parameters
    ----------
    looks, others : (N, F) and (M, F) features as from ``scaled``
    """
    reach = REACH * np.sqrt(2 * looks.shape[1])  # of two drawn at random
    return np.asarray(np.exp(-0.5 * cdist(looks, others, "sqeuclidean") / reach**2))


def likeness(candidates: Candidates) -> tuple[NDArray[np.float64], float]:
    """Return how far places look like those where the prediction was wrong.

    A mean of how wrong it was in each corrected window, weighted by how alike that one
    looks (Nadaraya-Watson); where none is alike, half as wrong as usual is assumed.

    Returns
    -------
    expected : (N,) share of pixels, 0 to 1
    evidence : 0 (nothing is corrected) to 1
    """
    told = np.flatnonzero(candidates.known > 0)
    if not told.size:
        return np.zeros(len(candidates.windows)), 0.0
    looks = scaled(candidates.looks)
    weight = closeness(looks, looks[told]) * np.sqrt(candidates.known[told])
    wrong = candidates.wrong[told]
    usual = 0.5 * float(np.average(wrong, weights=candidates.known[told]))
    expected = (weight @ wrong + 0.5 * usual) / (weight.sum(axis=1) + 0.5)
    windows = candidates.known[told].sum()
    return np.asarray(expected), float(windows / (windows + FEW))


def doubts(candidates: Candidates) -> tuple[NDArray[np.float64], list[str]]:
    """Return how much each window is worth a visit, 0 to 1, and the main reason.

    Five parts, each as a rank among all windows, so that none needs a unit: doubt of
    the scores (``UNSURE``), disagreement of flips (``FLIPS``), likeness to mistakes
    (``LIKE``), how much there is to see (``STRUCTURE``), and how many others it stands
    for. A network on an unlike kind of image is sure of nonsense, and less sure where
    there is nothing; there the first two are not trusted, and what is typical leads in
    their place: of few examples, typical ones teach more than odd ones. Likeness counts
    the more, the more is corrected.

    References
    ----------
    Hacohen, Dekel and Weinshall: Active learning on a budget: opposite strategies suit
    high and low budgets, ICML 2022, arXiv:2202.02794.
    """
    like, evidence = likeness(candidates)
    count = len(candidates.windows)
    tried = ~np.isnan(candidates.flips)
    flips = np.full(count, 0.5)
    flips[tried] = ranks(candidates.flips[tried])
    trust = candidates.trust
    weights = np.stack([
        UNSURE * trust, FLIPS * trust, np.full(count, LIKE * evidence),
        np.full(count, STRUCTURE), (1 - trust) * (UNSURE + FLIPS),
    ])  # fmt: skip
    parts = np.stack([
        ranks(candidates.unsure), flips, ranks(like), ranks(candidates.structure),
        ranks(candidates.typical),
    ])  # fmt: skip
    doubt = (weights * parts).sum(axis=0) / weights.sum(axis=0)
    main = (weights * parts).argmax(axis=0)
    return doubt, [WHY[int(each)] for each in main]


WHY = (
    "unsure what belongs to an object",
    "flipped, it is seen otherwise",
    "looks like places that you corrected",
    "much to see",
    "like many others, of a kind that the model seems not to know",
)


# -- which next


def choose(
    candidates: Candidates, visited: Sequence[int], closed: NDArray[np.bool_],
    earlier: Sequence[int] = (), most: int = LONGEST,
) -> list[tuple[int, Place]]:  # fmt: skip
    """Return the most worthwhile windows, the best first, spread over all there is.

    Greedily, the window of most doubt after what it loses: for looking like one that
    was visited or chosen before (maximal marginal relevance), and for its image or
    slice being ahead of others in visits. Those that overlap one are left out.

    Parameters
    ----------
    candidates : all windows
    visited : numbers of those where the user has been
    closed : (N,) bool, windows that are to be left out
    earlier : numbers of those visited for an earlier prediction; they may come again
    most : how many are wanted

    References
    ----------
    Carbonell and Goldstein: The use of MMR, diversity-based reranking, SIGIR 1998.
    """
    doubt, why = doubts(candidates)
    spread = _Spread(candidates, closed)
    for number in earlier:
        spread.visit(number)
    for number in visited:
        spread.visit(number)
        spread.leave_out_around(number)
    found: list[tuple[int, Place]] = []
    while len(found) < most and spread.open.any():
        worth = np.where(spread.open, doubt * spread.left(), -1.0)
        best = int(worth.argmax())
        window = candidates.windows[best]
        found.append((best, Place(window, float(doubt[best]), why[best])))
        spread.visit(best)
        spread.leave_out_around(best)
    return found


class _Spread:
    """What visits take from the doubt of other windows."""

    def __init__(self, candidates: Candidates, closed: NDArray[np.bool_]) -> None:
        self.candidates = candidates
        self.open = ~closed
        self._looks = scaled(candidates.looks)
        self._alike = np.zeros(len(closed))
        self._visits = [
            (of, np.zeros(int(of.max(initial=-1)) + 1))
            for of in (candidates.image, candidates.plane)
        ]

    def visit(self, number: int) -> None:
        """Count a visit."""
        for of, visits in self._visits:
            visits[of[number]] += 1
        near = closeness(self._looks, self._looks[number : number + 1])[:, 0]
        self._alike = np.maximum(self._alike, near)

    def leave_out_around(self, number: int) -> None:
        """Leave out what overlaps a window."""
        candidates = self.candidates
        near = candidates.shared(candidates.windows[number]) > BEEN
        self.open[near & (candidates.image == candidates.image[number])] = False

    def left(self) -> NDArray[np.float64]:
        """Return what share of its doubt each window keeps."""
        share = 1 - SPREAD * self._alike
        for of, visits in self._visits:
            ahead = visits[of] - visits[of[self.open]].min()
            share = share * TURN ** np.maximum(ahead, 0)
        return np.asarray(share)


def most_shared(candidates: Candidates, image: int, window: Region) -> int | None:
    """Return the number of the place of an image that a window is nearest to.

    None where it shares less than half with any.
    """
    shares = np.where(candidates.image == image, candidates.shared(window), 0.0)
    if not shares.size or shares.max() < 0.5:
        return None
    return int(shares.argmax())


# -- what is done


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


def marked(corrections: Corrections, window: Region, grid: Grid) -> NDArray[np.bool_]:
    """Return which places of a window are done, by the user's marks alone; quick."""
    state = corrections.state[window]
    if not state.any():
        return np.zeros(len(grid.windows), bool)
    shares = grid.means(_flat(state, grid) != UNTOUCHED)
    return np.asarray(shares > DONE)


def _flat(pixels: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Return the pixels of one plane or volume without its stack axes."""
    found: NDArray[Any] = pixels.reshape(pixels.shape[-len(grid.edges) :])
    return found
