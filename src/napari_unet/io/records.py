"""Records of the ledger as bytes, and back.

A record is a short JSON header and pages; a page holds the arrays of some patches,
compressed. Nothing is executed, and every size is checked before memory is taken.
"""

from __future__ import annotations

import json
import math
import struct
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs.zstd import compress

from napari_unet.engine.blocks import sides
from napari_unet.engine.history import HandWork, Record, Step
from napari_unet.engine.patches import Patch, Side
from napari_unet.io.unpacking import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

LEVEL = 1  # of zstd: fast, and labels compress well
PAGE = 2**24  # bytes of arrays after which a page ends
LARGEST_PAGE = 2**26  # bytes that are believed when read
LARGEST_HEADER = 2**24  # bytes
LONGEST_TITLE = 200  # letters
KINDS = ("step", "undo", "redo", "past", "future")
COUNTS = 5  # numbers of values: labels before, after; places; states before, after
PER_PIXEL = 12  # bytes of one of each
MOST_STROKES = 2**53
DTYPES = tuple(map(np.dtype, ("<i4", "<i4", "<u2", "u1", "u1")))
LENGTH = struct.Struct("<I")


def pack(record: Record) -> list[bytes]:
    """Return a record as bytes, in pieces to be written one after another."""
    step = record.step
    pages = [] if step is None else list(_paged(step.patches))
    packed = [_page(each) for each in pages]
    header: dict[str, Any] = {
        "kind": record.kind,
        "seconds": record.work.seconds,
        "strokes": record.work.strokes,
        "pages": [
            [len(patches), size, len(page)]
            for patches, (size, page) in zip(pages, packed, strict=True)
        ],
    }
    if step is not None:
        header |= {"title": step.title, "joins": step.joins}
        header["made"] = max(step.made, 0.0)  # whatever the clock said
    text = json.dumps(header).encode()
    return [LENGTH.pack(len(text)), text, *(page for _, page in packed)]


def _paged(patches: Sequence[Patch]) -> Iterator[list[Patch]]:
    """Yield patches in groups that fit into a page."""
    group: list[Patch] = []
    size = 0
    for patch in patches:
        group.append(patch)
        size += patch.nbytes
        if size >= PAGE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _page(patches: Sequence[Patch]) -> tuple[int, bytes]:
    """Return the size of a page and its compressed bytes."""
    columns = list(zip(*map(_arrays, patches), strict=True))
    rows = [
        [n for s in patch.window for n in (s.start, s.stop)]
        + [-1 if each is None else each.size for each in _arrays(patch)]
        for patch in patches
    ]
    raw = b"".join(
        [np.array(rows, "<i4").tobytes()]
        + [
            np.ascontiguousarray(each, dtype).tobytes()
            for column, dtype in zip(columns, DTYPES, strict=True)
            for each in column
            if each is not None
        ]
    )
    return len(raw), compress(raw, LEVEL)


def _arrays(patch: Patch) -> tuple[NDArray[Any] | None, ...]:
    before, after = patch.before, patch.after
    return before.labels, after.labels, patch.places, before.states, after.states


def unpack(payload: bytes, shape: tuple[int, ...]) -> Record:
    """Return the record that some bytes hold.

    Parameters
    ----------
    payload : as ``pack`` gave it
    shape : of the labels; no patch may reach out of them

    Raises
    ------
    ValueError
        If the bytes hold no such record.
    """
    text, at = _header(payload)
    try:
        header = json.loads(text)
        kind, pages = header["kind"], header["pages"]
        work = HandWork(_finite(header["seconds"]), _count(header["strokes"]))
        step = None
        if kind in ("step", "past", "future"):
            patches = tuple(_patches(payload, at, pages, shape))
            title, joins = str(header["title"])[:LONGEST_TITLE], bool(header["joins"])
            step = Step(title, patches, joins, _finite(header["made"]))
    except (LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError) as e:
        raise ValueError(f"no record: {e}") from e
    if kind not in KINDS:
        raise ValueError(f"unknown kind of record {kind!r}")
    return Record(kind, step, work)


def _header(payload: bytes) -> tuple[bytes, int]:
    """Return a record's header, and where its pages begin."""
    (length,) = LENGTH.unpack_from(payload.ljust(LENGTH.size, b"\0"))
    end = LENGTH.size + length
    if not 0 < length <= LARGEST_HEADER or end > len(payload):
        raise ValueError("the header is longer than the record")
    return payload[LENGTH.size : end], end


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{number} is no time")
    return number


def _count(value: Any) -> int:
    number = int(value)
    if not 0 <= number <= MOST_STROKES:
        raise ValueError(f"{number} is no number of strokes")
    return number


def _patches(
    payload: bytes, at: int, pages: list[list[int]], shape: tuple[int, ...]
) -> Iterator[Patch]:
    # no record changes a pixel twice; each may have a patch of its own
    room = math.prod(shape) * (4 * (2 * len(shape) + COUNTS) + PER_PIXEL)
    for count, size, packed in pages:
        room -= size
        if room < 0:
            raise ValueError("the pages hold more than the labels")
        if not (0 < size <= LARGEST_PAGE and 0 < packed <= len(payload) - at):
            raise ValueError("a page has an impossible size")
        raw = unpacked(payload[at : at + packed], size)
        at += packed
        yield from _of_page(raw, count, shape)


def _of_page(
    raw: NDArray[np.uint8], count: int, shape: tuple[int, ...]
) -> Iterator[Patch]:
    """Yield the patches of a page."""
    width = 2 * len(shape) + COUNTS
    start = count * width * 4
    if count <= 0 or start > raw.size:
        raise ValueError("a page holds fewer patches than stated")
    table = raw[:start].view("<i4").reshape(count, width).astype(np.int64)
    windows, counts = table[:, :-COUNTS], table[:, -COUNTS:]
    sizes = _checked(windows, counts, shape)
    columns = []
    for column, dtype in zip(counts.T, DTYPES, strict=True):
        stop = start + int(column.clip(0).sum()) * dtype.itemsize
        if stop > raw.size:
            raise ValueError("a page holds fewer values than stated")
        columns.append(_column(raw[start:stop].view(dtype), column.tolist()))
        start = stop
    if start != raw.size:
        raise ValueError("a page holds more values than stated")
    for window, size, *arrays in zip(
        windows.tolist(), sizes.tolist(), *columns, strict=True
    ):
        yield _patch(window, size, arrays)


def _checked(
    windows: NDArray[np.int64], counts: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return the pixels of each window; refuse windows and counts that cannot be."""
    starts, stops = windows[:, ::2], windows[:, 1::2]
    side = np.array(sides(len(shape)))
    inside = (starts >= 0) & (stops > starts) & (stops <= np.array(shape))
    if not (inside & (starts // side == (stops - 1) // side)).all():
        raise ValueError("a patch reaches out of its block")
    sizes: NDArray[np.int64] = (stops - starts).prod(axis=1)
    places = counts[:, 2]
    values = np.where(places < 0, sizes, places)
    others = counts[:, [0, 1, 3, 4]]
    fits = (others == -1) | (others == 1) | (others == values[:, None])
    if not (fits.all() and ((places == -1) | (places > 0) & (places <= sizes)).all()):
        raise ValueError("a patch holds an impossible number of values")
    return sizes


def _column(
    values: NDArray[Any], counts: list[int]
) -> Iterator[NDArray[Any] | None]:  # fmt: skip
    """Yield each patch's part of one kind of values."""
    ends = accumulate(max(count, 0) for count in counts)
    for count, end in zip(counts, ends, strict=True):
        yield None if count < 0 else values[end - count : end]


def _patch(window: list[int], size: int, arrays: list[Any]) -> Patch:
    old, new, places, states, marked = arrays
    if places is not None and int(places.max()) >= size:
        raise ValueError("a place lies outside of its patch")
    pairs = zip(window[::2], window[1::2], strict=True)
    slices = tuple(slice(start, stop) for start, stop in pairs)
    return Patch(slices, places, Side(old, states), Side(new, marked))
