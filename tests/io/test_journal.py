"""The journal: what was acknowledged is there, whatever happens to the rest."""

from __future__ import annotations

import json
import resource
import signal
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numcodecs.zstd import compress

from ledgers import assert_same
from napari_unet.engine.corrections import Corrections
from napari_unet.errors import OutputError, ProjectError
from napari_unet.io.journal import FRAME, MAGIC, Begin, Journal, JournalReader
from napari_unet.io.records import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_unet.engine.history import Record

SHAPE = (3, 300, 280)


def ledger(shape: tuple[int, ...] = SHAPE) -> Corrections:
    return Corrections(np.zeros(shape, np.int32))


def worked(seed: int = 0, count: int = 12) -> Corrections:
    """Return corrections with strokes, acceptances, predictions, undo and redo."""
    its, rng = ledger(), np.random.default_rng(seed)
    for number in range(1, count + 1):
        z, y, x = (int(rng.integers(0, n)) for n in SHAPE)
        region = (slice(z, z + 1), slice(y, y + 30), slice(x, x + 40))
        kind = rng.integers(0, 5)
        if kind == 0:
            its.accept(region)
        elif kind == 1:
            predicted = rng.integers(0, 3, (1, *SHAPE[1:])).astype(np.int32)
            its.merge(predicted, (slice(z, z + 1), slice(None), slice(None)))
        elif kind == 2:
            its.undo()
            its.redo()
            its.undo()
        else:
            its.labels[region] = number
            its.stroke_ends()
    return its


def strokes(count: int) -> list[Record]:
    its = ledger()
    for number in range(1, count + 1):
        its.labels[0, number : number + 9, 5:14] = number
        its.stroke_ends()
    return its.take_records()


def restored(path: Path) -> tuple[Corrections, JournalReader]:
    its, reader = ledger(), JournalReader(path, SHAPE)
    its.replay(reader.records())
    return its, reader


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "journal-1", Begin(SHAPE, 7))


@pytest.mark.parametrize("seed", range(6))
def test_what_is_read_is_what_was_done(journal: Journal, seed: int) -> None:
    its = worked(seed)
    for record in its.take_records():
        journal.append([record])
    again, reader = restored(journal.path)
    assert (reader.count, reader.end) == (journal.count, journal.end)
    assert reader.begin.highest == 7
    assert not reader.note
    assert_same(its, again)


def test_a_history_that_is_told_is_the_same_history(tmp_path: Path) -> None:
    its = worked(1)
    journal = Journal.create(tmp_path / "j", Begin(SHAPE), its.history.told())
    again, reader = restored(journal.path)
    assert reader.count == journal.count == len(its.history.told())
    assert again.history.told() == its.history.told() or again.history.last


def test_a_last_record_cut_at_any_byte_is_left_out(journal: Journal) -> None:
    *before, last = strokes(3)
    journal.append(before)
    whole, expected = journal.end, restored(journal.path)[0]
    journal.append([last])
    content = journal.path.read_bytes()
    for size in range(whole, len(content)):
        journal.path.write_bytes(content[:size])
        its, reader = restored(journal.path)
        assert (reader.count, reader.end) == (2, whole)
        assert bool(reader.note) == (size > whole)
        np.testing.assert_array_equal(its.labels, expected.labels)


def test_a_flipped_bit_is_found_and_what_is_before_is_good(journal: Journal) -> None:
    records = strokes(4)
    ends = []
    for record in records:
        journal.append([record])
        ends.append(journal.end)
    content = journal.path.read_bytes()
    for place in range(ends[0], len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        journal.path.write_bytes(damaged)
        _, reader = restored(journal.path)
        assert reader.count == sum(end <= place for end in ends)
        assert "not whole" in reader.note


def test_going_on_after_a_crash_cuts_off_what_is_torn(journal: Journal) -> None:
    records = strokes(3)
    journal.append(records[:2])
    end = journal.end
    with journal.path.open("ab") as file:
        file.write(b"half a record")
    _, reader = restored(journal.path)
    again = reader.writable()
    assert journal.path.stat().st_size == again.end == end
    torn = journal.path.with_name("journal-1.torn")
    assert torn.read_bytes() == b"half a record"
    again.append(records[2:])
    assert restored(journal.path)[1].count == 3


@pytest.mark.parametrize("act", ["grow", "shrink", "remove"])
def test_a_file_that_another_program_changed_is_not_written(
    journal: Journal, act: str
) -> None:
    records = strokes(2)
    journal.append(records[:1])
    content = journal.path.read_bytes()
    if act == "remove":
        journal.path.unlink()
    else:
        journal.path.write_bytes(content[:-1] if act == "shrink" else content + b"x")
    with pytest.raises(OutputError, match="could not be written"):
        journal.append(records[1:])
    assert journal.path.exists() == (act != "remove")
    journal.path.write_bytes(content)
    journal.append(records[1:])
    assert restored(journal.path)[1].count == 2


@pytest.fixture
def no_more_room() -> Iterator[object]:
    """Return a function that lets files grow up to a size and no further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_nothing_torn_and_a_retry_works(
    journal: Journal, no_more_room: object
) -> None:
    records = strokes(6)
    journal.append(records[:2])
    end, unlimited = journal.end, resource.RLIM_INFINITY
    no_more_room(end + 40)  # type: ignore[operator]  # the fixture's function
    with pytest.raises(OutputError, match="free some"):
        journal.append(records[2:])
    assert journal.path.stat().st_size == journal.end == end
    no_more_room(unlimited)  # type: ignore[operator]  # the fixture's function
    journal.append(records[2:])
    assert restored(journal.path)[1].count == 6


def test_a_journal_from_the_future_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"format": 99, "shape": SHAPE, "highest": 0}).encode()
    check = zlib.crc32(header, zlib.crc32(len(header).to_bytes(8, "little")))
    path = tmp_path / "j"
    path.write_bytes(MAGIC + FRAME.pack(len(header), check) + header)
    with pytest.raises(ProjectError, match="newer version"):
        JournalReader(path, SHAPE)


@pytest.mark.parametrize("content", [b"", b"napari", MAGIC, MAGIC + b"\0" * 40])
def test_a_journal_without_a_beginning_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(ProjectError, match="damaged at its beginning"):
        JournalReader(tmp_path / "j", SHAPE)


def test_a_journal_of_other_labels_is_refused(journal: Journal) -> None:
    with pytest.raises(ProjectError, match="expected"):
        JournalReader(journal.path, (9, 9))


def hostile(table: list[int], size: int, raw: bytes = b"") -> bytes:
    """Return a record with one page of one patch, as stated."""
    content = np.array([table], "<i4").tobytes() + raw
    page = compress(content, 1)
    header = {
        "kind": "step", "seconds": 0, "strokes": 0, "title": "", "joins": False,
        "made": 0, "pages": [[1, size or len(content), len(page)]],
    }  # fmt: skip
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + page


@pytest.mark.parametrize(
    ("table", "size", "raw"),
    [
        ([0, 9, 0, 9, 1, 1, -1, -1, -1], 2**40, b"\0" * 8),  # far too large
        ([0, 9, 0, 9, 1, 1, -1, -1, -1], 20, b"\0" * 8),  # smaller than it is
        ([0, 999, 0, 9, 1, 1, -1, -1, -1], 0, b"\0" * 8),  # out of the labels
        ([250, 260, 0, 9, 1, 1, -1, -1, -1], 0, b"\0" * 8),  # in two blocks
        ([-3, 9, 0, 9, 1, 1, -1, -1, -1], 0, b"\0" * 8),
        ([9, 9, 0, 9, 1, 1, -1, -1, -1], 0, b"\0" * 8),  # empty
        ([0, 9, 0, 9, 2**30, 1, -1, -1, -1], 0, b"\0" * 8),  # more values than pixels
        ([0, 9, 0, 9, 1, 1, 1, -1, -1], 0, b"\0" * 8 + b"\xff\xff"),  # outside
        ([0, 9, 0, 9, 1, 1, -1, -1, -1], 0, b"\0" * 9),  # too many bytes
    ],
)
def test_a_record_that_cannot_be_is_refused(
    table: list[int], size: int, raw: bytes
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpack(hostile(table, size, raw), (300, 280))


def test_impossible_numbers_of_strokes_and_endless_pages_are_refused() -> None:
    good = hostile([0, 9, 0, 9, 1, 1, -1, -1, -1], 0, b"\0" * 8)
    (length,) = struct.unpack_from("<I", good)
    header, page = json.loads(good[4 : 4 + length]), good[4 + length :]
    wrong = [{"strokes": float("inf")}, {"strokes": -1}, {"strokes": 2**60}]
    wrong += [{"pages": header["pages"] * 10_000}]
    for change in wrong:
        text = json.dumps({**header, **change}).encode()
        content = struct.pack("<I", len(text)) + text + page * 10_000
        with pytest.raises(ValueError, match=r"strokes|more than the labels|no record"):
            unpack(content, (30, 30))


def test_random_bytes_are_no_record(full_counts: bool) -> None:
    rng = np.random.default_rng(0)
    good = b"".join(pack(strokes(1)[0]))
    for _ in range(20_000 if full_counts else 500):
        damaged = bytearray(good)
        places = rng.integers(0, len(damaged), rng.integers(1, 5))
        for place in places:
            damaged[place] = int(rng.integers(0, 256))
        try:
            unpack(bytes(damaged), SHAPE)
        except ValueError:
            continue


APPENDS = textwrap.dedent("""
    import sys
    from pathlib import Path
    from test_journal import *
    journal = Journal.create(Path(sys.argv[1]), Begin(SHAPE))
    its = ledger()
    for number in range(1, 100_000):
        its.labels[number % 3, 5:14, number % 250 : number % 250 + 9] = number
        its.stroke_ends()
        journal.append(its.take_records())
        print(number, flush=True)
""")


def test_a_killed_process_loses_no_acknowledged_record(
    tmp_path: Path, full_counts: bool
) -> None:
    here = Path(__file__).parent
    for run in range(50 if full_counts else 3):
        path = tmp_path / f"journal-{run}"
        process = subprocess.Popen(  # noqa: S603 - our own code, no shell
            [sys.executable, "-c", APPENDS, str(path)], stdout=subprocess.PIPE,
            text=True, env={"PYTHONPATH": f"{here}:{here.parent}", "PATH": ""},
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(int(np.random.default_rng(run).integers(1, 60))):
            process.stdout.readline()
        process.kill()
        rest = process.communicate()[0].split("\n")
        told = [int(word) for word in rest[:-1] if word.isdecimal()]
        its, reader = restored(path)
        assert reader.count >= max(told, default=1)
        assert its.next_label == reader.count + 1
