"""A package's steps against the same normalisation here, on images of two channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_unet.engine.normalize import normalize, statistics
from napari_unet.engine.spec import Normalization
from napari_unet.formats.bioimageio.document import Malformed
from napari_unet.formats.bioimageio.preprocessing import Unsupported, normalization
from napari_unet.formats.bioimageio.rdf import preprocessing
from napari_unet.formats.bioimageio.tensors import Axis, Step, Tensor

AXES = (
    Axis("batch", "batch"), Axis("channel", "channel", 2),
    Axis("space", "y"), Axis("space", "x"),
)  # fmt: skip
NUMBERS = {"channel": 0, "y": 1, "x": 2}
YX = ["y", "x"]
ALL = ["channel", "y", "x"]


def tensor(*steps: dict[str, Any]) -> Tensor:
    made = tuple(Step(s["id"], s.get("kwargs", {})) for s in steps)
    return Tensor("raw", AXES, made)


def image(scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = rng.gamma(2.0, 20.0, (2, 40, 50)) * np.array([1.0, 7.0])[:, None, None]
    return np.asarray(drawn * scale, np.float32)


def followed(x: np.ndarray, *steps: dict[str, Any]) -> np.ndarray:
    """Do the steps one by one, as the format describes them."""
    x = x.astype(np.float64)
    for step in steps:
        x = _DONE[step["id"]](x, **step.get("kwargs", {}))
    return x


def _axes(axes: Any) -> tuple[int, ...]:
    return tuple(NUMBERS[axis] for axis in (axes or ALL) if axis in NUMBERS)


def _column(value: Any) -> np.ndarray:
    return np.reshape(value, (-1, 1, 1))


def _range(
    x: np.ndarray, axes: Any = None, min_percentile: float = 0,
    max_percentile: float = 100, eps: float = 1e-6,
) -> np.ndarray:  # fmt: skip
    low, high = (
        np.percentile(x, p, _axes(axes), keepdims=True)
        for p in (min_percentile, max_percentile)
    )
    return (x - low) / (high - low + eps)


def _zmuv(x: np.ndarray, axes: Any = None, eps: float = 1e-6) -> np.ndarray:
    over = _axes(axes)
    mean, std = x.mean(over, keepdims=True), x.std(over, keepdims=True)
    return (x - mean) / (std + eps)


def _clip(x: np.ndarray, axes: Any = None, **limits: float) -> np.ndarray:
    low, high = limits.get("min"), limits.get("max")
    if "min_percentile" in limits:
        low = np.percentile(x, limits["min_percentile"], _axes(axes), keepdims=True)
        high = np.percentile(x, limits["max_percentile"], _axes(axes), keepdims=True)
    return np.clip(x, low, high)


_DONE: dict[str, Any] = {
    "ensure_dtype": lambda x, dtype: x,
    "scale_linear": lambda x, gain=1.0, offset=0.0, axis=None: (
        x * _column(gain) + _column(offset)
    ),
    "fixed_zero_mean_unit_variance": lambda x, mean, std, axis=None: (
        (x - _column(mean)) / _column(std)
    ),
    "scale_range": _range, "zero_mean_unit_variance": _zmuv, "clip": _clip,
}  # fmt: skip


def step(name: str, **kwargs: Any) -> dict[str, Any]:
    return {"id": name, "kwargs": kwargs}


FLOAT = step("ensure_dtype", dtype="float32")
CHAINS = [
    [],
    [FLOAT, step("zero_mean_unit_variance", axes=YX), FLOAT],
    [step("zero_mean_unit_variance")],
    [step("zero_mean_unit_variance", axes=["batch", *ALL], eps=0.1)],
    [step("scale_range", axes=YX, min_percentile=2.0, max_percentile=99.0)],
    [step("scale_range", min_percentile=5.0, max_percentile=95.5)],
    [step("scale_range", axes=YX)],
    [step("scale_range", axes=YX), step("clip", min=0.1, max=0.9)],
    [step("scale_range", axes=YX), step("scale_linear", gain=2.0, offset=-1.0)],
    [step("scale_range", axes=YX), step("clip", min=0, max=1),
     step("scale_linear", gain=-2.0, offset=1.0)],
    [step("scale_linear", gain=1 / 255)],
    [step("scale_linear", gain=-1.0, offset=255.0)],
    [step("scale_linear", gain=0.5, offset=3.0), step("clip", min=0.0)],
    [step("scale_linear", axis="channel", gain=[0.1, 0.2], offset=[1.0, -1.0])],
    [step("fixed_zero_mean_unit_variance", mean=40.0, std=12.5)],
    [step("fixed_zero_mean_unit_variance", axis="channel", mean=[40, 99], std=[9, 7])],
    [step("clip", min=10.0, max=90.0), step("scale_linear", gain=0.01)],
    [step("clip", min=10.0, max=90.0),
     step("fixed_zero_mean_unit_variance", mean=40.0, std=12.5)],
    [step("scale_linear", gain=3.0, offset=9.0), step("zero_mean_unit_variance")],
    [step("scale_linear", gain=1 / 255), step("scale_range", axes=YX, eps=0.01)],
    [step("scale_linear", axis="channel", gain=[2.0, 3.0]),
     step("zero_mean_unit_variance", axes=YX)],
    [step("scale_range", axes=YX), step("zero_mean_unit_variance", axes=YX)],
    [step("clip", axes=YX, min_percentile=3.0, max_percentile=97.0),
     step("scale_range", axes=YX)],
]  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS, ids=lambda c: "+".join(s["id"] for s in c))
def test_one_normalisation_does_what_the_steps_do(chain: list[dict[str, Any]]) -> None:
    found, _ = normalization(tensor(*chain))
    x = image()
    ours, theirs = normalize(x, statistics(x, found)), followed(x, *chain)
    assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()


UNSUPPORTED = [
    [
        step("scale_range", axes=YX),
        step("clip", min=0),
        step("zero_mean_unit_variance"),
    ],
    [step("zero_mean_unit_variance", axes=["x"])],
    [step("scale_range", reference_tensor="other")],
    [step("scale_linear", gain=-1.0), step("zero_mean_unit_variance")],
    [step("scale_range", axes=YX), step("scale_range")],
    [step("scale_range", axes=YX), step("scale_linear", axis="channel", gain=[1, 2])],
    [step("clip", min_percentile=1.0, max_percentile=99.0)],
    [
        step("clip", min_percentile=1.0, max_percentile=99.0),
        step("scale_linear", gain=2),
    ],
    [step("scale_linear", axis="y", gain=[1.0, 2.0])],
    [step("scale_linear", axis="channel", gain=[-1.0, 2.0])],
    [step("scale_range"), step("ensure_dtype", dtype="uint8")],
    [step("stardist_postprocessing")],
]


@pytest.mark.parametrize("chain", UNSUPPORTED)
def test_what_is_not_one_normalisation_is_refused(chain: list[dict[str, Any]]) -> None:
    with pytest.raises(Unsupported):
        normalization(tensor(*chain))


MALFORMED = [
    step("scale_linear", gain=0.0),
    step("scale_linear", gain=float("nan")),
    step("scale_linear", axis="channel", gain=[1.0, 2.0, 3.0]),
    step("fixed_zero_mean_unit_variance", mean=1.0),
    step("fixed_zero_mean_unit_variance", mean=1.0, std=0.0),
    step("fixed_zero_mean_unit_variance", axis="channel", mean=[1, 2], std=[1, 2, 3]),
    step("scale_range", min_percentile=90.0, max_percentile=10.0),
    step("scale_range", max_percentile="high"),
    step("clip", min=2.0, max=1.0),
    step("zero_mean_unit_variance", eps=-1.0),
]


@pytest.mark.parametrize("wrong", MALFORMED)
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        normalization(tensor(wrong))


def test_words_of_the_older_format_are_understood() -> None:
    fixed = {"mode": "fixed", "mean": [1.0, 2.0], "std": [3.0, 4.0], "axes": "yx"}
    found, _ = normalization(tensor(step("zero_mean_unit_variance", **fixed)))
    assert found.means == pytest.approx((1.0, 2.0))
    assert found.deviations == pytest.approx((3.0, 4.0))
    whole = step("scale_range", mode="per_dataset", axes="cyx", min_percentile=1)
    found, remarks = normalization(tensor(whole))
    assert found.together
    assert "whole dataset" in remarks[0]


WRITTEN = [
    Normalization(kind="none"),
    Normalization(kind="scale", divisor=255.0),
    Normalization(kind="minmax"),
    Normalization(kind="percentile", low=2.0, high=98.0, together=True),
    Normalization(kind="zscore", gain=0.5, shift=0.25, limits=(-1.0, 1.0)),
    Normalization(kind="fixed", means=(40.0,), deviations=(12.0, 50.0)),
    Normalization(kind="fixed", means=(40.0,), deviations=(12.0,), clip=((5.0, 90.0),)),
]


@pytest.mark.parametrize("said", WRITTEN, ids=str)
def test_what_is_written_is_read_as_the_same(said: Normalization) -> None:
    steps = preprocessing(said, 2)
    again, _ = normalization(tensor(*steps))
    x = image()
    ours, theirs = (normalize(x, statistics(x, one)) for one in (said, again))
    assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()
    assert np.abs(followed(x, *steps) - ours).max() <= 2e-5 * np.abs(ours).max()
