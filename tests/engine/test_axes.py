"""Which axis is what, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from napari_unet.engine.axes import arrange, check_axes, check_labels, guess_axes
from napari_unet.engine.spec import UNetSpec
from napari_unet.errors import ImageError, LabelsError
from tiny import noise


@pytest.mark.parametrize(
    ("shape", "dims", "channels", "expected"),
    [
        ((50, 60), 2, 1, "YX"),
        ((50, 60, 3), 2, 1, "YXC"),
        ((50, 60, 4), 2, 3, "YXC"),
        ((50, 60, 3), 3, 1, "ZYX"),
        ((9, 50, 60), 2, 1, "ZYX"),
        ((3, 50, 60), 2, 1, "ZYX"),
        ((3, 50, 60), 2, 3, "CYX"),
        ((2, 50, 60), 2, 2, "CYX"),
        ((7, 2, 50, 60), 2, 2, "ZCYX"),
        ((7, 2, 50, 60), 3, 1, "TZYX"),
        ((2, 9, 50, 60), 3, 2, "CZYX"),
        ((4, 2, 9, 50, 60), 3, 2, "TCZYX"),
        ((5, 7, 9, 50, 60), 2, 1, "PTZYX"),
    ],
)
def test_guesses(shape: tuple, dims: int, channels: int, expected: str) -> None:
    assert guess_axes(shape, UNetSpec(dims=dims, in_channels=channels)) == expected


def test_channels_are_moved_to_the_front() -> None:
    image = noise((20, 30, 3))
    arranged = arrange(image, "YXC", UNetSpec(in_channels=3))
    np.testing.assert_array_equal(arranged.image, np.moveaxis(image, 2, 0))
    assert arranged.notes == ()


def test_channels_in_front_are_said_to_be_taken_as_such() -> None:
    arranged = arrange(noise((3, 20, 30)), None, UNetSpec(in_channels=3))
    assert arranged.image.shape == (3, 20, 30)
    assert arranged.notes == ("axis 0 taken as 3 channels",)


def test_luminance_weighs_red_green_and_blue() -> None:
    image = np.zeros((1, 4, 3), np.uint8)
    image[0, :3] = np.eye(3) * 100
    image[0, 3] = 100
    grey = arrange(image, None, UNetSpec()).image
    np.testing.assert_allclose(grey[0, 0], [21.25, 71.54, 7.21, 100], rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "channels", "note"),
    [
        ((20, 30), 3, "grey given as three channels"),
        ((20, 30, 4), 3, "transparency left out"),
        ((20, 30, 4), 1, "colour turned into luminance"),
    ],
)
def test_conversions_are_said(shape: tuple, channels: int, note: str) -> None:
    arranged = arrange(noise(shape), None, UNetSpec(in_channels=channels))
    assert arranged.image.shape == (channels, 20, 30)
    assert arranged.notes == (note,)


@pytest.mark.parametrize(
    ("shape", "channels", "words"),
    [
        ((20, 30), 5, "1 channel, the model expects 5"),
        ((20, 30, 3), 5, "3 channels, the model expects 5"),
    ],
)
def test_a_wrong_number_of_channels_is_refused(
    shape: tuple, channels: int, words: str
) -> None:
    with pytest.raises(ImageError, match=words):
        arrange(noise(shape), None, UNetSpec(in_channels=channels))


def test_two_channels_ask_for_a_choice() -> None:
    with pytest.raises(ImageError, match="choose a channel"):
        arrange(noise((2, 20, 30)), "CYX", UNetSpec())
    with pytest.raises(ImageError, match=r"Channel 5 was chosen.*0 to 1"):
        arrange(noise((2, 20, 30)), "CYX", UNetSpec(), channel=5)


@pytest.mark.parametrize("axes", ["XY", "YXZ", "ZYX", "YY", "C", "YXCC", ""])
def test_axes_that_do_not_describe_the_image_are_refused(axes: str) -> None:
    with pytest.raises(ImageError, match="one letter per axis, ending in YX"):
        check_axes(axes, 2)


def test_axes_may_be_written_small() -> None:
    assert check_axes("tyxc", 4) == "TYXC"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((4, 5)), "float64 values, expected whole numbers"),
        (np.zeros((4, 6), int), r"shape \(4, 6\), the image \(4, 5\)"),
        (np.full((4, 5), -1), "go down to -1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, words: str) -> None:
    with pytest.raises(LabelsError, match=words):
        check_labels(labels, (4, 5))
