"""The visits of an image in a project: what project.json says of them, and when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_unet.engine.progress import Visit
from napari_unet.engine.visits import Predicted
from napari_unet.io.project import PredictedEntry, VisitEntry

if TYPE_CHECKING:
    from napari_unet.engine.blocks import Region
    from napari_unet.engine.visits import Visits
    from napari_unet.io.project import ImageEntry, Window

PAUSE = 10.0  # seconds between two writings; the scores of that time a crash may take
LAST_DATE = 1e11  # seconds since 1970; a clock may tell anything


class KeptVisits:
    """What a project knows of an image's visits.

    Parameters
    ----------
    entry : of the image, as it is on disk

    Attributes
    ----------
    scored, predicted : taken last; replaced, never changed: the worker reads them
    """

    def __init__(self, entry: ImageEntry) -> None:
        self.scored = tuple(_visit(each) for each in entry.visits)
        self.predicted = tuple(
            Predicted(_region(each.window), each.version) for each in entry.predicted
        )
        self._news = False
        self._due = 0.0  # by time.monotonic

    def recalled(self, visits: Visits) -> None:
        """Give what the project kept to a layer that was restored."""
        visits.recall(self.scored, self.predicted)

    def take(self, visits: Visits) -> bool:
        """Take visits as they are scored now; tell whether it is time to write them.

        They are small, but project.json is written as a whole: not after each stroke.
        """
        scored = visits.scored()
        if (scored, visits.predicted) != (self.scored, self.predicted):
            self.scored, self.predicted = scored, visits.predicted
            self._news = True
        now = time.monotonic()
        if not self._news or now < self._due:
            return False
        self._news, self._due = False, now + PAUSE
        return True

    @property
    def listed(self) -> dict[str, Any]:
        """The fields of ``ImageEntry``."""
        return {
            "visits": tuple(_entry(each) for each in self.scored),
            "predicted": tuple(
                PredictedEntry(window=_window(each.window), version=each.version)
                for each in self.predicted
            ),
        }


def _visit(entry: VisitEntry) -> Visit:
    return Visit(
        _region(entry.window), entry.by, entry.made, entry.version, entry.score,
        entry.known,
    )  # fmt: skip


def _entry(visit: Visit) -> VisitEntry:
    return VisitEntry(
        window=_window(visit.window), by=visit.by,
        made=min(max(visit.made, 0), LAST_DATE), version=visit.version,
        score=round(visit.score, 4), known=round(visit.known, 4),
    )  # fmt: skip


def _region(window: Window) -> Region:
    return tuple(slice(start, stop) for start, stop in window)


def _window(region: Region) -> Window:
    return tuple((s.start, s.stop) for s in region)
