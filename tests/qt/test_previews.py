"""Where the outlines of a part of an image lie."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels

from napari_unet.qt import previews


@pytest.mark.parametrize("shear", [None, [0.2]])
def test_a_part_lies_where_it_lies_in_the_whole(shear) -> None:
    place = {"scale": (2, 0.5), "translate": (7, 8), "rotate": 30}
    if shear is not None:
        place["shear"] = shear
    whole = Labels(np.zeros((20, 30), np.uint8), **place)
    window = (slice(5, 9), slice(11, 20))
    part = Labels(np.zeros((4, 9), np.uint8), **previews.placed(place, window))
    np.testing.assert_allclose(
        part.data_to_world((1, 2)), whole.data_to_world((6, 13)), atol=1e-9
    )
