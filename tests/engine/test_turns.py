"""Flips and quarter turns, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_unet.engine.turns import turns

ALL = {dims: turns(dims, flips=True, rotations=True) for dims in (2, 3)}


@pytest.mark.parametrize(
    ("flips", "rotations", "many"),
    [(False, False, 1), (True, False, 4), (False, True, 4), (True, True, 8)],
)
def test_every_way_to_lay_an_image_is_there_once(
    flips: bool, rotations: bool, many: int
) -> None:
    image = torch.arange(12).reshape(3, 4)
    ways = turns(2, flips=flips, rotations=rotations)
    laid = {str(turn.of(image).tolist()) for turn in ways}
    assert len(ways) == len(laid) == many
    assert torch.equal(ways[0].of(image), image)


def test_rotations_are_quarter_turns() -> None:
    image = torch.arange(12).reshape(3, 4)
    laid = {str(t.of(image).tolist()) for t in turns(2, flips=False, rotations=True)}
    quarters = {str(np.rot90(image.numpy(), k).tolist()) for k in range(4)}
    assert laid == quarters


@given(st.data(), st.sampled_from([2, 3]))
def test_parts_are_found_again(data: st.DataObject, dims: int) -> None:
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(dims))
    parts = []
    for length in shape:
        start = data.draw(st.integers(0, length - 1))
        parts.append((start, data.draw(st.integers(start + 1, length))))
    turn = data.draw(st.sampled_from(ALL[dims]))
    image = torch.arange(int(np.prod(shape))).reshape(shape)
    turned = turn.parts(tuple(parts), shape)
    content = turn.of(image)[tuple(slice(*span) for span in turned)]
    expected = image[tuple(slice(*span) for span in parts)]
    assert torch.equal(turn.back(content), expected)
    assert turn.parts_back(turned, shape) == tuple(parts)
