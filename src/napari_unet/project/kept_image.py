"""One image of a project: what of it is on disk, and what is still to be written.

The main thread takes records and starts generations, a worker writes them. A generation
is a base (labels and states of one moment) and the journal of all records since.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.blocks import SparseArray, everything, window_of
from napari_unet.engine.holdout import Roles, Sites
from napari_unet.io.fingerprint import fingerprint_steps
from napari_unet.io.journal import Begin, Journal
from napari_unet.io.labels_store import (
    UNREADABLE,
    Base,
    remove_generation,
    store_image_steps,
    write_base_steps,
)
from napari_unet.io.project import (
    image_folder,
    journal_path,
    relocated,
    stored_image_path,
)
from napari_unet.io.roles import pack_roles
from napari_unet.project.kept_visits import KeptVisits

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_unet.engine.corrections import Corrections
    from napari_unet.engine.history import Record
    from napari_unet.io.project import ImageEntry
    from napari_unet.opened import OpenImage

LONGEST_JOURNAL = 2**28  # bytes; then a new base is written
COPIED = 2**25  # pixels that the main thread copies without stopping the window
STORED_IMAGE = 2**31  # bytes of an image from no file that a project keeps
OBSERVED = (
    "name", "path", "reader", "axes", "shape", "dtype", "scale", "translate",
    "pixel_size", "channel", "labels_name", "dims", "instances",
)  # fmt: skip


@dataclass
class Start:
    """A generation that begins, as the main thread saw it.

    Attributes
    ----------
    at : number of the first record after it
    highest : label ever used
    told : the history, as records
    base : None: all was 0
    exact : whether the base is a copy of that very moment. Else it is read while the
        user goes on, and holds for sure only with the records taken after the reading
    copied : the worker has written the base
    complete : records were taken since
    """

    at: int
    highest: int
    told: list[Record] = field(default_factory=list)
    base: Base | None = None
    exact: bool = True
    copied: bool = False
    complete: bool = False


@dataclass(frozen=True)
class Generation:
    """A base and its journal, on disk.

    Attributes
    ----------
    number : of the generation
    based : whether there is a base; without one, all was 0
    journal : that belongs to it; None: it is lost, or not to be written
    upto : number of the first record that was not in it when it was made
    """

    number: int
    based: bool
    journal: Journal | None
    upto: int = 0


class KeptImage:
    """What a project knows of one image.

    Parameters
    ----------
    entry : facts about the image; what is on disk is added by ``listed``
    corrections : of its labels; None: they are on disk only
    current : generation on disk; None: nothing yet

    Attributes
    ----------
    opened : in the session; None: waiting or skipped
    image : its pixels, if they are there
    roles : of its corrected places; empty while they are in the entry only
    visits : of its labels
    broken : records were dropped: a new base is needed
    """

    def __init__(
        self, entry: ImageEntry, corrections: Corrections | None = None,
        current: Generation | None = None,
    ) -> None:  # fmt: skip
        self.entry = entry
        self.corrections = corrections
        self.current = current
        self.opened: OpenImage | None = None
        self.image: Any = None
        self.roles = Roles()
        self.broken = False
        self.start: Start | None = None
        self.following: Generation | None = None  # written, not yet in project.json
        self._started: Start | None = None  # what it is of
        self.fingerprint = entry.fingerprint
        self.stored = entry.stored
        self.visits = KeptVisits(entry)
        self.unreadable = False
        self.revision = 0  # of the labels when records were taken last
        self._lock = Lock()  # of the queue
        self._queue: list[Record] = []
        self._first = 0  # number of the queue's first record
        self._written = 0  # number of the first record not on disk
        self._slow: Generator[None, None, None] | None = None
        self._looked_at: Any = None

    # -- on the main thread

    def take(self) -> int:
        """Take what happened to the labels; return the number of records."""
        if self.corrections is None:
            return 0
        self.corrections.checkpoint()
        records = self.corrections.take_records()
        self.revision = self.corrections.revision
        with self._lock:
            self._queue += records
            if self.start is not None and self.start.copied:
                self.start.complete = True
        return len(records)

    def follow(self, image: Any) -> None:
        """Go on with another image under the same labels."""
        if image is not self.image:
            self.image, self.fingerprint = image, ""
            self.stored = self.unreadable = False

    def describe(self, fresh: ImageEntry) -> bool:
        """Take facts about the image; tell whether they are news."""
        its = self.entry
        news = any(getattr(fresh, name) != getattr(its, name) for name in OBSERVED)
        if news:
            self.entry = fresh.model_copy(update={"roles": self.entry.roles})
        late = self.corrections and self.visits.take(self.corrections.visits)
        return self._take_roles() or news or bool(late)

    def _take_roles(self) -> bool:
        """Take the roles of the image in the session; tell whether they are news."""
        before = self.roles
        self.roles = self.opened.roles if self.opened else before
        return self.roles is not before

    @property
    def sites(self) -> Sites:
        """How many corrected places learn and are held out."""
        if self.roles.planes or self.entry.roles is None:
            return self.roles.sites
        return Sites(self.entry.roles.learning, self.entry.roles.held_out)

    def drop(self) -> None:
        """Forget what was taken: it is not to be written."""
        with self._lock:
            self.broken = self.broken or bool(self._queue)
            self._first += len(self._queue)
            self._written = self._first
            self._queue.clear()
            self.start = None

    def begin(self, *, blank: bool = False) -> None:
        """Start a new generation.

        Parameters
        ----------
        blank : all was 0 before the first record in the queue
        """
        if self.corrections is None:
            return
        self._take_roles()
        if blank:
            self.start = Start(self._first, 0)
            return
        with self._lock:
            at = self._first + len(self._queue)
        work = self.corrections.work
        told = [replace(each, work=work) for each in self.corrections.history.told()]
        base, exact = _base(self.corrections)
        self.start = Start(at, self.corrections.next_label - 1, told, base, exact)

    @property
    def outgrown(self) -> bool:
        """Whether a new generation should begin."""
        if self.start is not None or self.corrections is None:
            return False
        journal = self.current.journal if self.current else None
        grown = journal.end - journal.begun if journal else 0  # a new one has no less
        return self.broken or self.current is None or grown > LONGEST_JOURNAL

    @property
    def pending(self) -> bool:
        """Whether something is not on disk that would be lost."""
        with self._lock:
            unwritten = self._first + len(self._queue) > self._written
        return unwritten or self.start is not None or self._image_to_store

    @property
    def slow(self) -> bool:
        """Whether the image itself is still to be looked at."""
        missing = not self.fingerprint or self._image_to_store
        return self.image is not None and missing and not self.unreadable

    @property
    def _image_to_store(self) -> bool:
        return (
            self.image is not None
            and self.entry.path is None
            and not (self.stored or self.unreadable)
            and self.entry.nbytes <= STORED_IMAGE
        )

    @property
    def corrected(self) -> bool:
        """Whether something was done by hand."""
        its = self.corrections
        return its is None or its.work.strokes > 0 or bool(its.tally())

    def release(self) -> None:
        """Let go of labels that are on disk."""
        self.entry = self.listed() or self.entry
        self.opened = self.corrections = self.image = None

    # -- in the worker

    def write_steps(self, folder: Path) -> Generator[None, None, None]:
        """Write what was taken; ``settle`` follows when project.json names it."""
        with self._lock:
            upto = self._first + len(self._queue)
            records = self._queue[self._written - self._first :]
            start = self.start
            ready = start is not None and (start.exact or start.complete)
        if records and self.current and self.current.journal and not self.broken:
            self.current.journal.append(records)
            self._written = upto
            yield
        if start is not None:
            yield from self._copy_steps(folder, start)
        if start is not None and ready:
            yield from self._renew_steps(folder, start, upto)
        self._trim()

    @property
    def _next_number(self) -> int:
        return self.current.number + 1 if self.current else 1

    def _copy_steps(self, folder: Path, start: Start) -> Generator[None, None, None]:
        """Write the base of the next generation."""
        here = image_folder(folder, self.entry.id)
        here.mkdir(parents=True, exist_ok=True)
        if start.base is not None and not start.copied:
            yield from write_base_steps(here, self._next_number, start.base)
        start.copied = True

    def _renew_steps(
        self, folder: Path, start: Start, upto: int
    ) -> Generator[None, None, None]:
        """Write the next generation's journal, beside that in use."""
        number = self._next_number
        with self._lock:
            since = self._queue[start.at - self._first : upto - self._first]
        journal = Journal.create(
            journal_path(folder, self.entry.id, number),
            Begin(self.entry.labels_shape, start.highest), start.told,
        )  # fmt: skip
        journal.append(since)
        yield
        based = start.base is not None
        self.following, self._started = Generation(number, based, journal, upto), start

    def _trim(self) -> None:
        """Forget records that are on disk."""
        with self._lock:
            start = self.start.at if self.start else self._written
            done = min(self._written, start) - self._first
            if done > 0:
                del self._queue[:done]
                self._first += done

    def settle(self, folder: Path) -> None:
        """Go on with the generation that project.json names now; remove the others."""
        if self.following is None:
            return
        old, self.current = self.current, self.following
        with self._lock:
            self._written = max(self._written, self.following.upto)
            self.following = None
            if self.start is self._started:  # else all was dropped meanwhile
                self.start, self.broken = None, False
        self._trim()
        if old is not None:
            remove_generation(folder, self.entry.id, old.number)

    def listed(self) -> ImageEntry | None:
        """Return the entry for project.json; None while there is nothing to name."""
        generation = self.following or self.current
        if generation is None:
            return None
        corrections = self.corrections  # the main thread may let go of them
        its = corrections.work if corrections else self.entry
        return self.entry.model_copy(
            update={
                "generation": generation.number, "based": generation.based,
                "fingerprint": self.fingerprint, "stored": self.stored,
                "seconds": its.seconds, "strokes": its.strokes, **self.visits.listed,
                "roles": pack_roles(self.roles) or self.entry.roles,
            }
        )  # fmt: skip

    def look_on(self, folder: Path) -> bool:
        """Go on looking at the image itself; tell whether that is done."""
        if self._looked_at is not self.image:
            self.stop_looking()
        if self._slow is None:
            self._looked_at = self.image
            self._slow = self._slow_steps(folder, self.image)
        try:
            next(self._slow)
        except StopIteration:
            self._slow = None
        except UNREADABLE:  # its file may be on a drive that is gone
            self._slow, self.unreadable = None, True
        except BaseException:
            self._slow = None
            raise
        return self._slow is None

    def _slow_steps(self, folder: Path, image: Any) -> Generator[None, None, None]:
        store = self._image_to_store
        if store:
            place = stored_image_path(folder, self.entry.id)
            yield from store_image_steps(place, image)
        fingerprint = yield from fingerprint_steps(image)
        if self.image is image:  # else another one took its place
            self.fingerprint, self.stored = fingerprint, store or self.stored

    def move(self, old: Path, new: Path) -> None:
        """Go on in a copy of the project's folder."""
        self.stop_looking()
        self.entry = relocated(self.entry, old, new)
        if self.current is not None and self.current.journal is not None:
            number = self.current.number
            self.current.journal.path = journal_path(new, self.entry.id, number)

    def stop_looking(self) -> None:
        """Give up looking at the image, for now."""
        if self._slow is not None:
            self._slow.close()
            self._slow = None


def _base(corrections: Corrections) -> tuple[Base, bool]:
    """Return labels and states to be written, and whether they are a copy."""
    shape, labels, states = corrections.shape, corrections.labels, corrections.state
    exact = isinstance(labels, np.ndarray) and labels.size <= COPIED
    if not exact:
        return Base(shape, labels.before, states.__getitem__), False
    copy = np.array(labels.before(everything(shape)))
    marks = SparseArray(shape, np.uint8)
    for key in states.written():
        window = window_of(key, shape)
        marks[window] = states[window]
    return Base(shape, copy.__getitem__, marks.__getitem__), True
