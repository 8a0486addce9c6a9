"""A packed part holds just as many bytes as are stated, or is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.zstd import compress

from napari_unet.io.unpacking import unpacked


@given(st.binary(min_size=1, max_size=70_000))
@settings(max_examples=50, deadline=None)
def test_what_was_packed_comes_back(raw: bytes) -> None:
    assert unpacked(compress(raw, 1), len(raw)).tobytes() == raw


@pytest.mark.parametrize("length", [1, 200, 255, 256, 300, 65_791, 65_792, 100_000])
@pytest.mark.parametrize("other", [-1, 1])
def test_another_number_of_bytes_is_refused(length: int, other: int) -> None:
    packed = compress(b"x" * length, 1)
    assert len(unpacked(packed, length)) == length
    with pytest.raises(ValueError, match=f"holds {length} bytes"):
        unpacked(packed, length + other)


@given(st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_anything_else_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"holds|frame|Zstd"):
        unpacked(packed, 7)


def test_a_cut_frame_is_refused() -> None:
    packed = compress(bytes(range(256)) * 4, 1)
    with pytest.raises(ValueError, match="Zstd decompression error"):
        unpacked(packed[:-9], 1024)
