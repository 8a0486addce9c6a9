"""Overlapping tiles to one result."""

from __future__ import annotations

import numpy as np

from napari_unet.engine.blending import Blend, gaussian
from tiny import noise


def test_tiles_that_agree_give_what_they_say() -> None:
    image = noise((2, 30, 40))
    blend = Blend(image.shape)
    for start in (0, 10, 20):
        part = (slice(0, 30), slice(start, start + 20))
        blend.add(image[(slice(None), *part)], (slice(0, 30), slice(0, 20)), part)
    np.testing.assert_allclose(blend.mean(), image, rtol=1e-5)


def test_the_middle_of_a_tile_counts_more_than_its_border() -> None:
    blend = Blend((1, 12))
    blend.add(np.zeros((1, 8), np.float32), (slice(0, 8),), (slice(0, 8),))
    blend.add(np.ones((1, 8), np.float32), (slice(0, 8),), (slice(4, 12),))
    result = blend.mean()
    assert (np.diff(result[0]) >= 0).all()
    assert result[0, 4] < 0.1 < 0.9 < result[0, 7]
    assert result[0, 0] == 0
    assert result[0, -1] == 1


def test_no_pixel_is_without_weight() -> None:
    weight = gaussian((5, 300))
    assert weight.min() > 0
    assert weight.max() <= 1
