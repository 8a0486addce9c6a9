"""Statistics of the whole image, applied to tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_unet.engine import normalize as module
from napari_unet.engine.normalize import Measured, normalize, statistics
from napari_unet.engine.spec import ModelSpec, Normalization, seed_unet
from tiny import noise


@pytest.mark.parametrize(
    ("kind", "offset", "scale"),
    [
        ("percentile", 1.0, 98.8),
        ("minmax", 0.0, 100.0),
        ("zscore", 50.0, np.arange(101).std()),
        ("scale", 0.0, 255.0),
        ("none", 0.0, 1.0),
    ],
)
def test_statistics_of_a_ramp(kind: str, offset: float, scale: float) -> None:
    image = np.arange(101, dtype=np.uint8).reshape(1, 1, 101)
    found = statistics(image, Normalization(kind=kind))
    assert found.offset == pytest.approx([offset])
    assert found.scale == pytest.approx([scale])


def test_channels_are_measured_each_for_itself() -> None:
    image = np.stack([noise((20, 20)), 5 * noise((20, 20))])
    found = statistics(image, Normalization(kind="zscore"))
    result = normalize(image, found)
    np.testing.assert_allclose(result.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(result.std(axis=(1, 2)), 1, atol=1e-5)


def test_a_tile_is_normalised_as_in_the_whole() -> None:
    image = noise((1, 30, 40))
    found = statistics(image, Normalization())
    tile = (slice(None), slice(3, 9), slice(20, 40))
    np.testing.assert_array_equal(
        normalize(image, found)[tile], normalize(image[tile], found)
    )


def test_few_bright_pixels_beyond_the_percentile_still_count() -> None:
    image = np.zeros((1, 100, 100), np.uint8)
    image[0, 0, 0] = 200
    found = statistics(image, Normalization(low=1, high=99))
    assert not found.constant
    assert normalize(image, found).max() == 1


def test_a_constant_channel_becomes_zero() -> None:
    image = np.full((1, 8, 8), 77, np.uint8)
    found = statistics(image, Normalization())
    assert found.constant
    assert not normalize(image, found).any()


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.float64])
def test_small_differences_on_a_large_offset_survive(dtype: type) -> None:
    image = (np.arange(100).reshape(1, 10, 10) + 2_000_000_000).astype(dtype)
    result = normalize(image, statistics(image, Normalization(kind="minmax")))
    np.testing.assert_allclose(result.ravel(), np.arange(100) / 99, atol=1e-6)
    assert result.dtype == np.float32


def test_the_sample_of_a_large_image_sees_every_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SAMPLE", 1000)
    image = np.zeros((1, 500, 64), np.uint8)
    image[..., 32:] = 100  # a step of 32 pixels would see columns 0 and 32 only
    image[..., 40] = 200
    found = statistics(image, Normalization(kind="minmax"))
    assert found.scale == [200]


def test_percentiles_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="not below"):
        Normalization(low=50, high=50)


def test_fixed_values_are_those_of_each_channel() -> None:
    image = np.stack([np.full((4, 4), 10.0), np.full((4, 4), -3.0)])
    chosen = Normalization(kind="fixed", means=(4, -1), deviations=(2, 8))
    found = normalize(image, statistics(image, chosen))
    assert found[0].tolist() == [[3.0] * 4] * 4
    assert found[1].tolist() == [[-0.25] * 4] * 4


def test_fixed_values_for_all_channels_are_limited_first() -> None:
    image = np.arange(-2, 6, dtype=np.int16).reshape(2, 1, 4)
    chosen = Normalization(kind="fixed", means=(1,), deviations=(2,), clip=((-1, 3),))
    found = normalize(image, statistics(image, chosen))
    assert found.ravel().tolist() == [-1, -1, -0.5, 0, 0.5, 1, 1, 1]


@pytest.mark.parametrize(
    "fields",
    [
        {"means": (1, 2), "deviations": (1, 2, 3)},
        {"deviations": (0.0,)},
        {"means": (float("nan"),)},
        {"clip": ((3, 1),)},
    ],
)
def test_fixed_values_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Normalization(kind="fixed", **fields)


def test_fixed_values_must_fit_the_network() -> None:
    chosen = Normalization(kind="fixed", means=(1, 2))
    with pytest.raises(ValueError, match="2 channels, the network reads 3"):
        ModelSpec(architecture=seed_unet(3), output="foreground", normalization=chosen)


def test_fixed_values_are_said() -> None:
    chosen = Normalization(kind="fixed", means=(4,), deviations=(2,), clip=((0, 9),))
    assert str(chosen) == "intensities limited to 0 to 9, minus 4, divided by 2"


@pytest.mark.parametrize(
    ("each", "own"), [("", ()), ("T", (0,)), ("Z", (1,)), ("TZ", (0, 1)), ("P", ())]
)
def test_slices_along_chosen_axes_are_measured_on_their_own(
    each: str, own: tuple[int, ...]
) -> None:
    image = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(1, 2, 3, 4, 5)
    measured = Measured(image, Normalization(kind="minmax", each=each), "TZ")
    for index in np.ndindex(2, 3):
        place = tuple(i if axis in own else slice(None) for axis, i in enumerate(index))
        part = image[(0, *place)]
        found = measured.of(index)
        assert found.offset == part.min()
        assert found.scale == np.ptp(part)
    assert not measured.constant
    fixed = Measured(image, Normalization(kind="scale", each=each), "TZ")
    assert fixed.of((0, 0)) is fixed.of((1, 2))


def test_a_stack_is_constant_where_all_of_it_is() -> None:
    image = np.zeros((1, 2, 4, 5), np.float32)
    image[0, 1, 0] = 7
    measured = Measured(image, Normalization(kind="minmax", each="T"), "T")
    assert measured.of((0,)).constant
    assert measured.constant
    assert not measured.of((1,)).constant
    assert not measured.constant


@pytest.mark.parametrize("each", ["C", "Y", "X", "t", "T Z"])
def test_only_stack_axes_can_be_named(each: str) -> None:
    with pytest.raises(ValueError, match="each"):
        Normalization(each=each)
