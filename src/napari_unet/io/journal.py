"""The journal: all that happened to an image's labels since its base, on disk.

Records are appended and synced to the disk one after another. Each has a length and a
checksum, so that after a crash everything before the torn one is known to be whole.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from napari_unet.errors import OutputError, ProjectError
from napari_unet.files import replacing
from napari_unet.io.records import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import FileIO
    from pathlib import Path

    from napari_unet.engine.history import Record

FORMAT = 1
MAGIC = b"napari-unet journal\n"
FRAME = struct.Struct("<QI")  # length of what follows, checksum of length and that
LARGEST_HEADER = 10_000  # bytes
HIGHEST = 2**31 - 1  # label that int32 holds


@dataclass(frozen=True)
class Begin:
    """What a journal begins with.

    Attributes
    ----------
    shape : of the labels
    highest : label ever used until then
    """

    shape: tuple[int, ...]
    highest: int = 0


class Journal:
    """A journal that is appended to; one thread at a time.

    Parameters
    ----------
    path : of the file, which is opened anew for each writing
    end : bytes that are known to be whole
    count : records that are written

    Raises
    ------
    OutputError
        By ``append``, if it cannot be written; then it is as it was.
    """

    def __init__(self, path: Path, end: int, count: int) -> None:
        self.path = path
        self.end = end
        self.count = count
        self.begun = 0  # bytes that it was created with, as far as is known
        self._torn = False  # a writing failed and could not be taken back

    @classmethod
    def create(
        cls, path: Path, begin: Begin, records: Iterable[Record] = ()
    ) -> Journal:  # fmt: skip
        """Write a new journal; it is there as a whole or not at all."""
        text = {"format": FORMAT, "shape": begin.shape, "highest": begin.highest}
        count = 0
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(MAGIC)
            _write(file, [json.dumps(text).encode()])
            for count, record in enumerate(records, start=1):  # noqa: B007
                _write(file, pack(record))
            end = file.tell()
        journal = cls(path, end, count)
        journal.begun = end
        return journal

    def append(self, records: Iterable[Record]) -> None:
        """Write records and wait until they are on the disk."""
        try:
            # unbuffered: closing must write nothing more where writing failed
            with self.path.open("r+b", buffering=0) as file:
                self._check(file)
                try:
                    count = 0
                    for record in records:
                        _write(file, pack(record))
                        count += 1
                    os.fsync(file.fileno())
                    end = file.tell()
                except OSError:
                    self._take_back(file)
                    raise
        except OSError as error:
            raise OutputError(
                f"{self.path} could not be written ({error.strerror or error}), "
                "expected the project's folder with enough free space: free some, or "
                "save the project in another place; until then your latest "
                "corrections are in this window only."
            ) from error
        self.end, self.count = end, self.count + count

    def _check(self, file: FileIO) -> None:
        """Refuse a file that is not as this journal left it; go to its end."""
        size = file.seek(0, os.SEEK_END)
        if self._torn and size > self.end:
            file.truncate(self.end)
            size = self.end
        if size != self.end:
            raise OSError(
                f"it has {size} bytes instead of {self.end}: another program changed it"
            )
        self._torn = False
        file.seek(self.end)

    def _take_back(self, file: FileIO) -> None:
        """Cut off what was half written, now or before the next writing."""
        self._torn = True
        with suppress(OSError):
            file.truncate(self.end)
            self._torn = False


def _write(file: BinaryIO | FileIO, pieces: list[bytes]) -> None:
    """Write a frame around some bytes, all of it."""
    length = sum(map(len, pieces))
    check = zlib.crc32(length.to_bytes(8, "little"))
    for piece in pieces:
        check = zlib.crc32(piece, check)
    rest = memoryview(b"".join([FRAME.pack(length, check), *pieces]))
    while rest:  # a nearly full disk takes some of it, and refuses the next
        rest = rest[file.write(rest) or 0 :]


class JournalReader:
    """Reads a journal up to the first record that is not whole.

    Parameters
    ----------
    path : of the file
    shape : of the labels

    Attributes
    ----------
    begin : what it begins with
    end, count : bytes and records that were found whole until now
    note : one sentence if something had to be left out, else ""

    Raises
    ------
    ProjectError
        If it is absent, made by a newer version, or of other labels.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = path
        self.note = ""
        self.count = 0
        try:
            with path.open("rb") as file:
                self.begin = _begin(file, path)
                self.end = file.tell()
        except OSError as error:
            raise ProjectError(
                f"{path} could not be read ({error.strerror or error}), expected the "
                "journal of an image: bring it back from a copy of the project."
            ) from error
        if self.begin.shape != shape:
            raise ProjectError(
                f"{path} is of labels of the shape {self.begin.shape}, expected "
                f"{shape}: bring the right one back from a copy of the project."
            )

    def records(self) -> Iterator[Record]:
        """Yield all records that are whole."""
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(self.end)
            while (record := self._next(file, size)) is not None:
                self.end = file.tell()
                self.count += 1
                yield record
        if size > self.end:
            self.note = (
                f"The last {size - self.end} bytes of {self.path.name} were not whole "
                "and are left out."
            )

    def _next(self, file: BinaryIO, size: int) -> Record | None:
        payload = _read(file, size)
        if payload is None:
            return None
        try:
            return unpack(payload, self.begin.shape)
        except ValueError:
            return None

    def writable(self) -> Journal:
        """Return the journal to go on with; what was torn is put beside it.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        torn = b""
        with self.path.open("rb") as file:
            file.seek(self.end)
            torn = file.read()
        if torn:
            beside = self.path.with_name(f"{self.path.name}.torn")
            with replacing(beside) as temporary:
                temporary.write_bytes(torn)
            _cut(self.path, self.end)
        return Journal(self.path, self.end, self.count)


def _cut(path: Path, end: int) -> None:
    try:
        with path.open("r+b") as file:
            file.truncate(end)
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({error.strerror or error}), expected a "
            "writable project: open a copy of it."
        ) from error


def _begin(file: BinaryIO, path: Path) -> Begin:
    """Read what a journal begins with."""
    size = os.fstat(file.fileno()).st_size
    payload = None
    if file.read(len(MAGIC)) == MAGIC:
        payload = _read(file, min(size, LARGEST_HEADER))
    try:
        found: dict[str, Any] = json.loads(payload or b"")
        number = int(found["format"])
        if number <= FORMAT:
            shape = tuple(int(n) for n in found["shape"])
            return Begin(shape, min(max(int(found["highest"]), 0), HIGHEST))
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise ProjectError(
            f"{path} is damaged at its beginning, expected the journal of an image: "
            "bring it back from a copy of the project."
        ) from error
    raise ProjectError(
        f"{path} was made by a newer version of this program (format {number}, this "
        f"version knows {FORMAT}): update napari-unet-workbench."
    )


def _read(file: BinaryIO, size: int) -> bytes | None:
    """Return what the next frame holds; None if it is not whole."""
    frame = file.read(FRAME.size)
    if len(frame) < FRAME.size:
        return None
    length, check = FRAME.unpack(frame)
    if not 0 < length <= size - file.tell():
        return None
    payload = file.read(length)
    found = zlib.crc32(payload, zlib.crc32(length.to_bytes(8, "little")))
    return payload if len(payload) == length and found == check else None
