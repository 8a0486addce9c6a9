"""Which places come next: the most doubtful ones, spread over all there is.

Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_unet.engine.places import (
    LIKE,
    LITTLE,
    REACH,
    closeness,
    doubts,
    expected,
    scaled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.places import Candidates

BEEN = 0.25  # share that two places have in common; then both are one visit
LONGEST = 30  # places in a list
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


def choose(
    candidates: Candidates, visited: Sequence[int], closed: NDArray[np.bool_],
    earlier: Sequence[int] = (), most: int = LONGEST,
) -> list[tuple[int, Place]]:  # fmt: skip
    """Return the most worthwhile windows, the best first, spread over all there is.

    Greedily, the window of most doubt after what it loses: for looking like one that
    was visited or chosen before (maximal marginal relevance), and for its image or
    slice being ahead of others in visits, of which each gets the more, the more wrong
    the prediction may be in it. Those that overlap one are left out.

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
    wrong, told = expected(candidates)
    doubt, why = doubts(candidates, wrong)
    alike = told > max(0.5 * wrong.max(initial=0.0), LITTLE)
    spread = _Spread(candidates, closed, wrong)
    for number in earlier:
        spread.visit(number)
    for number in visited:
        spread.visit(number)
        spread.leave_out_around(number)
    found: list[tuple[int, Place]] = []
    while len(found) < most and spread.open.any():
        worth = np.where(spread.open, doubt * spread.left(), -1.0)
        best = int(worth.argmax())
        reason = LIKE if alike[best] else why[best]
        found.append(
            (best, Place(candidates.windows[best], float(doubt[best]), reason))
        )
        spread.visit(best)
        spread.leave_out_around(best)
    return found


class _Spread:
    """What visits take from the doubt of other windows."""

    def __init__(
        self, candidates: Candidates, closed: NDArray[np.bool_],
        wrong: NDArray[np.float64],
    ) -> None:  # fmt: skip
        self.candidates = candidates
        self.open = ~closed
        self._looks = scaled(candidates.looks)
        self._alike = np.zeros(len(closed))
        self._turns = [_Turns(of, wrong) for of in (candidates.image, candidates.plane)]

    def visit(self, number: int) -> None:
        """Count a visit."""
        for turns in self._turns:
            turns.visits[turns.of[number]] += 1
        near = closeness(self._looks, self._looks[number : number + 1], REACH)[:, 0]
        self._alike = np.maximum(self._alike, near)

    def leave_out_around(self, number: int) -> None:
        """Leave out what overlaps a window."""
        candidates = self.candidates
        image = int(candidates.image[number])
        near = candidates.shared(image, candidates.windows[number]) > BEEN
        self.open[near] = False

    def left(self) -> NDArray[np.float64]:
        """Return what share of its doubt each window keeps."""
        share = 1 - SPREAD * self._alike
        for turns in self._turns:
            share = share * TURN ** turns.ahead(self.open)
        return np.asarray(share)


class _Turns:
    """The turns that images, or slices, take.

    Each is due a part of all visits: the square of how wrong the prediction may be in
    it, so that many in which little is to be mended do not hold up the few others.

    Parameters
    ----------
    of : (N,) number of the image or slice of each window
    wrong : (N,) as from ``expected``

    Attributes
    ----------
    visits : in each of them
    """

    def __init__(self, of: NDArray[np.intp], wrong: NDArray[np.float64]) -> None:
        self.of = of
        windows = np.maximum(np.bincount(of), 1)
        self._need = np.maximum(np.bincount(of, wrong) / windows, LITTLE) ** 2
        self.visits = np.zeros(len(windows))

    def ahead(self, open_: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return by how many visits the image of each window has more than its due.

        Parameters
        ----------
        open_ : (N,), the windows that are left
        """
        takes_part = np.bincount(self.of[open_], minlength=len(self.visits)) > 0
        need, visits = self._need * takes_part, self.visits * takes_part
        due = need * visits.sum() / need.sum()
        return np.asarray(np.maximum(visits - due, 0.0)[self.of])
