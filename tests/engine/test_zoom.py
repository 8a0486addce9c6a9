"""Images on the grid of a model's pixels: the same however they are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch

from napari_unet.engine import tile_runner
from napari_unet.engine.config import FinetuneConfig, PartDone, PredictConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.ensemble import Ensemble
from napari_unet.engine.finetune import finetune
from napari_unet.engine.lessons import Course
from napari_unet.engine.look import look_steps
from napari_unet.engine.metrics import count, measures
from napari_unet.engine.model import revised
from napari_unet.engine.predict import predict, predict_steps
from napari_unet.engine.sampling import Example, planes
from napari_unet.engine.verdict import standing
from napari_unet.engine.zoom import Zoom, Zoomed, labels_zoomed, zoom_for, zoomed
from napari_unet.errors import ImageError
from tiny import discs, noise, nuclei, tiny_model

if TYPE_CHECKING:
    from napari_unet.engine.model import Model

EXACT = PredictConfig(precision="float32", keep_scores=True, smallest=1)
FACTORS = [(0.5, 0.5), (0.37, 0.8), (2.3, 1.0), (1.7, 0.21), (3.0, 3.0)]


def sized(size: float = 0.5, **fields: Any) -> Model:
    """Return a tiny model whose pixels have a size."""
    model = tiny_model(**fields)
    sides = [size] * model.spec.architecture.dims
    return revised(model, {"pixel_size": sides})


def whole(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in shape)


@pytest.mark.parametrize("factors", FACTORS)
def test_a_part_is_what_the_whole_is_there(factors: tuple[float, float]) -> None:
    image, zoom = noise((2, 83, 61)), Zoom(factors)
    made = Zoomed(image, zoom)
    everything = np.asarray(made)
    height, width = made.shape[1:]
    assert (height, width) == zoom.shape((83, 61))
    for window in (
        (slice(height // 3, height // 2), slice(1, 9)),
        (slice(0, height), slice(width - 4, width)),
        (slice(height - 2, height), slice(0, 3)),
    ):
        part = made[(slice(None), *window)]
        np.testing.assert_allclose(part, everything[(slice(None), *window)], rtol=1e-5)


@pytest.mark.parametrize("factors", FACTORS)
def test_scores_of_a_region_are_those_of_the_whole(factors: tuple) -> None:
    shape, zoom = (83, 61), Zoom(factors)
    scores = noise((2, *zoom.shape(shape)), seed=1)
    everything = zoom.back(scores, whole(scores.shape[1:]), shape, whole(shape))
    region = (slice(20, 51), slice(40, 61))
    window = zoom.window(region, shape)
    part = zoom.back(scores[(slice(None), *window)], window, shape, region)
    np.testing.assert_allclose(part, everything[(slice(None), *region)], rtol=1e-5)


@pytest.mark.parametrize("factor", [0.25, 0.6, 1.7, 4.0])
def test_places_stay_where_they_are(factor: float) -> None:
    y, x = np.mgrid[:90, :70].astype(np.float32)
    zoom = Zoom((factor, factor))
    there = zoomed(np.stack([y, x]), zoom)
    back = zoom.back(there, whole(there.shape[1:]), y.shape, whole(y.shape))
    inner = (slice(12, -12), slice(12, -12))
    np.testing.assert_allclose(back[0][inner], y[inner], atol=1e-3)
    np.testing.assert_allclose(back[1][inner], x[inner], atol=1e-3)


def test_nothing_flickers_when_pixels_are_left_out() -> None:
    stripes = np.zeros((1, 64, 64), np.float32)
    stripes[:, :, ::2] = 1  # finer than the pixels that are left
    seen = zoomed(stripes, Zoom((0.25, 0.25)))[0, 2:-2, 2:-2]
    np.testing.assert_allclose(seen, 0.5, atol=0.02)


def test_labels_keep_their_numbers() -> None:
    labels = discs((60, 60), 8, [(15, 15), (40, 42)]) * 70000
    small = labels_zoomed(labels, Zoom((0.5, 0.5)))
    assert small.shape == (30, 30)
    assert set(np.unique(small)) == {0, 70000, 140000}
    assert labels_zoomed(labels, None) is labels


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None), ((), None), ((0.5, 0.5), None), ((0.51, 0.49), None),
        ((0.25, 0.25), (0.5, 0.5)), ((1.0, 0.5), (2.0, 1.0)),
        ((2.0, 0.25, 0.25), (0.5, 0.5)),
    ],
)  # fmt: skip
def test_an_image_is_zoomed_where_both_sizes_are_known(given: Any, expected: Any):
    found = zoom_for(sized().spec, given)
    assert (found and found.factors) == expected
    assert zoom_for(tiny_model().spec, given) is None


def test_a_guessed_size_of_the_models_pixels_counts_nothing() -> None:
    spec = sized().spec
    guess = spec.model_copy(update={"sources": {"pixel_size": "guessed"}})
    assert zoom_for(guess, (0.25, 0.25)) is None


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ImageError, match=r"0\.001 x 0\.001 um.*correct the pixel size"):
        predict(sized(), noise((20, 30)), pixel_size=(0.001, 0.001))
    with pytest.raises(ImageError, match="correct the pixel size"):
        zoom_for(sized().spec, (float("nan"), 0.5))


@pytest.mark.parametrize("size", [0.2, 1.3])
def test_tiles_and_regions_give_what_the_whole_gives(size: float) -> None:
    model, image = sized(widths=(4, 8, 16)), noise((90, 75))
    asked = {"pixel_size": (size, size)}
    at_once = predict(model, image, config=EXACT, **asked)
    tiles = EXACT.model_copy(update={"tile": 16})
    tiled = predict(model, image, config=tiles, **asked)
    np.testing.assert_allclose(tiled.scores, at_once.scores, atol=1e-5)
    assert at_once.labels.shape == image.shape
    assert f"scaled by {size / 0.5:.3g}" in at_once.summary
    region = (slice(31, 60), slice(0, 44))
    part = drain(predict_steps(model, image, config=tiles, region=region, **asked))
    expected = at_once.scores[(slice(None), *region)]
    np.testing.assert_allclose(part.scores, expected, atol=1e-5)


def test_the_network_sees_the_zoomed_image() -> None:
    model, image = sized(), noise((64, 48))
    model = revised(model, {"normalization": {"kind": "scale", "divisor": 1000.0}})
    given = predict(model, image, config=EXACT, pixel_size=(0.25, 0.25)).scores
    small = zoomed(image[np.newaxis], Zoom((0.5, 0.5)))[0]
    seen = predict(model, small, config=EXACT).scores
    expected = Zoom((0.5, 0.5)).back(
        seen, whole(small.shape), image.shape, whole(image.shape)
    )
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_volumes_are_zoomed_along_each_axis() -> None:
    model = revised(tiny_model(dims=3), {"pixel_size": [1.0, 0.5, 0.5]})
    image = noise((9, 40, 36))
    found = predict(model, image, config=EXACT, pixel_size=(2.0, 0.5, 0.5))
    assert found.labels.shape == image.shape
    assert "scaled by 2 x 1 x 1" in found.summary


def test_slices_of_a_stack_and_images_read_part_by_part() -> None:
    model, stack = sized(), noise((2, 3, 40, 36))
    config = EXACT.model_copy(update={"tta": True, "uncertainty": True})
    asked = {"config": config, "pixel_size": (0.3, 0.3), "axes": "TZYX"}
    found = predict(model, stack, **asked)
    lazy = predict(model, da.from_array(stack, chunks=(1, 1, 16, 16)), **asked)
    np.testing.assert_allclose(lazy.scores, found.scores, atol=1e-5)
    one = predict(model, stack[1, 2], config=config, pixel_size=(0.3, 0.3))
    assert found.uncertainty.shape == stack.shape
    assert one.labels.shape == stack.shape[2:]


def test_nan_that_is_read_later_is_refused() -> None:
    image = noise((64, 64))
    image[40, 40] = np.nan
    with pytest.raises(ImageError, match="NaN or infinity"):
        predict(sized(), da.from_array(image, chunks=16), pixel_size=(0.25, 0.25))


def test_models_of_an_ensemble_each_have_their_own_pixels() -> None:
    image, small, large = noise((50, 44)), sized(0.25), sized(1.0, seed=1)
    asked = {"config": EXACT, "pixel_size": (0.5, 0.5)}
    each = [predict(model, image, **asked).scores for model in (small, large)]
    both = predict(small, image, partners=[large], **asked).scores
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=1e-5)


@pytest.mark.parametrize("size", [0.2, 1.3])
def test_parts_of_a_zoomed_image_cover_the_region_once(size: float) -> None:
    image, region = noise((230, 170)), (slice(10, 221), slice(20, 163))
    config = EXACT.model_copy(update={"tile": 32})
    steps = predict_steps(
        sized(), image, config=config, region=region, pixel_size=(size, size),
        parts=True, near=(slice(100, 120), slice(90, 100)),
    )  # fmt: skip
    seen, alike = np.zeros(image.shape, int), []
    events: list[Any] = []
    result = drain(steps, events.append)
    parts = [event for event in events if isinstance(event, PartDone)]
    for part in parts:
        seen[part.region] += 1
        here = tuple(
            slice(s.start - r.start, s.stop - r.start)
            for s, r in zip(part.window, region, strict=True)
        )
        alike.append(((part.labels > 0) == (result.labels[here] > 0)).mean())
    assert (seen[region] == 1).all()
    assert seen.sum() == seen[region].size
    assert len(parts) > 1
    assert min(alike) > 0.9  # only where tiles meet they differ


def test_memory_that_runs_out_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_unet.engine.inference import Inference

    monkeypatch.setattr(tile_runner, "_FITTED", {})
    start, failed = Inference.start, []

    def short_of_memory(self: Inference, pixels: np.ndarray, window: Any) -> Any:
        if len(failed) < 2:
            failed.append(1)
            raise MemoryError
        return start(self, pixels, window)

    model, image = sized(), noise((90, 75))
    expected = predict(model, image, config=EXACT, pixel_size=(0.25, 0.25)).scores
    monkeypatch.setattr(Inference, "start", short_of_memory)
    found = predict(model, image, config=EXACT, pixel_size=(0.25, 0.25))
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    assert "tile reduced" in found.summary


def test_a_look_sees_the_zoomed_image() -> None:
    image, model = noise((80, 80)), sized()
    looks = [
        drain(look_steps(model, image, None, [], pixel_size=size)).findings[0]
        for size in (None, (2.0, 2.0), (0.5, 0.5))
    ]
    assert looks[0] == looks[2]
    assert looks[0].worth != looks[1].worth


def test_learning_is_on_the_models_grid() -> None:
    image, labels = nuclei(96)
    held = np.zeros(labels.shape, bool)
    held[:20] = True
    example = Example(
        image, labels, np.ones(labels.shape, bool), held_out=held,
        pixel_size=(0.25, 0.25),
    )  # fmt: skip
    (plane,) = planes(example, sized().spec)
    assert plane.image.shape == (1, 48, 48)
    assert plane.labels.shape == plane.supervised.shape[1:] == (48, 48)
    assert plane.targets.shape == (2, 48, 48)
    assert plane.held[0, :10].all()
    assert not plane.held[0, 10:].any()
    np.testing.assert_array_equal(plane.labels, labels[1::2, 1::2])


def test_objects_that_got_worse_are_named_where_they_are() -> None:
    labels = discs((96, 80), 9, [(30, 60)])
    image = (labels > 0).astype(np.float32)
    example = Example(image, labels, pixel_size=(0.25, 0.25))

    class Finds:
        """Finds what is bright."""

        spec = sized().spec
        device = torch.device("cpu")

        def scores(self, x: Any) -> Any:
            bright = (x > x.mean()).float()
            return torch.cat([bright, bright], dim=1)

    (plane,) = planes(example, Finds.spec)
    found = standing(Finds(), Course([plane], [plane], False), None).found  # type: ignore[arg-type]
    ((_, y, x),) = [(each.label, *each.centre) for each in found]
    assert abs(y - 30) <= 2
    assert abs(x - 60) <= 2


@pytest.mark.slow
def test_fine_tuning_on_small_pixels_helps_on_small_pixels() -> None:
    image, labels = nuclei(128)
    large = np.kron(image, np.ones((2, 2), image.dtype))
    truth = np.kron(labels, np.ones((2, 2), labels.dtype))
    model, size = sized(1.0, widths=(8, 16)), (0.5, 0.5)
    config = FinetuneConfig(steps=400)
    done = finetune(model, [Example(large, truth, pixel_size=size)], config=config)
    found = predict(done.model, large, pixel_size=size)
    assert "scaled by 0.5" in found.summary
    assert measures(count(found.labels, truth))["ap50"] > 0.6


def test_an_ensemble_says_nothing_of_a_zoom_that_is_none() -> None:
    models = Ensemble((sized(),), noise((20, 20)), None, EXACT, (0.5, 0.5))
    models.prepare((), (slice(0, 20), slice(0, 20)))
    assert not any("scaled" in note for note in models.notes)
