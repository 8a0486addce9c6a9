"""What programs are opened with: messages, pieces, interrupts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet.engine.networks import build
from napari_unet.engine.spec import ModelSpec, ProgramSpec
from napari_unet.errors import CheckpointError
from napari_unet.formats.interrupt import Interrupt
from napari_unet.formats.programs import wire
from napari_unet.formats.programs.pieces import pieces


def test_messages_come_back_as_they_were_sent() -> None:
    pipe, array = io.BytesIO(), np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    wire.send(pipe, {"do": "run"}, array.transpose(0, 2, 1))
    pipe.seek(0)
    assert wire.receive_header(pipe) == {"do": "run", "shape": [1, 3, 2]}
    received = wire.receive_array(pipe, (1, 3, 2))
    np.testing.assert_array_equal(received, array.transpose(0, 2, 1))
    with pytest.raises(EOFError):
        wire.receive_header(pipe)


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 8, (2).to_bytes(8, "little") + b"[]", bytes([3, *bytes(7)]) + b"{{{"],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|Expecting"):
        wire.receive_header(io.BytesIO(data))


@given(st.integers(1, 300), st.integers(3, 12), st.integers(0, 40), st.integers(0, 3))
def test_pieces_cover_every_pixel_on_the_grid(length, cells, halo, power) -> None:
    stride = 2**power
    size = cells * stride
    covered, tiles = pieces((length,), (size,), -(-halo // stride) * stride, stride)
    filled = np.zeros(covered, bool)
    for tile in tiles:
        (read,), (keep,), (place,) = tile.read, tile.keep, tile.place
        assert read.start % stride == 0
        assert read.stop - read.start == size
        assert read.start + keep.start == place.start
        assert keep.stop - keep.start == place.stop - place.start
        filled[place] = True
    assert filled.all()
    assert covered[0] >= length


def test_an_interrupt_ends_what_waits_and_what_comes_later() -> None:
    interrupt, ended = Interrupt(), []
    with interrupt.ending(lambda: ended.append("past")):
        pass
    with interrupt.ending(lambda: ended.append("now")):
        interrupt.call()
    with interrupt.ending(lambda: ended.append("later")):
        pass
    assert ended == ["now", "later"]


def test_a_program_is_described_but_cannot_be_built() -> None:
    program = ProgramSpec(family="ONNX", dims=2, in_channels=1, out_channels=1)
    spec = ModelSpec(architecture=program, output="foreground")
    again = ModelSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert (program.widths, program.norm, program.residual) == ((), "none", False)
    with pytest.raises(CheckpointError, match="open the file of the program itself"):
        build(again.architecture)
    with pytest.raises(ValueError, match="no multiple"):
        ProgramSpec(
            family="ONNX", dims=2, in_channels=1, out_channels=1, stride=4, halo=2
        )
