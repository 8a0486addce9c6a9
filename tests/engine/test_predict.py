"""Prediction: tiled equals whole, every shape of input, memory, progress."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_unet.engine import cpu_check, tile_runner
from napari_unet.engine import predict as predict_module
from napari_unet.engine.builder import Builder
from napari_unet.engine.config import PredictConfig, TileDone
from napari_unet.engine.drain import drain
from napari_unet.engine.inference import Fetching, Inference
from napari_unet.engine.model import new_model, revised
from napari_unet.engine.predict import predict, predict_steps, relabel
from napari_unet.engine.sampling import Example, planes
from napari_unet.engine.spec import ModelSpec
from napari_unet.engine.tiles import plan
from napari_unet.errors import DeviceError, ImageError
from tiny import noise, tiny_model

if TYPE_CHECKING:
    from napari_unet.engine.inference import Window
    from napari_unet.engine.model import Model
    from napari_unet.engine.predict import Prediction

EXACT = PredictConfig(precision="float32", keep_scores=True, smallest=1)


@pytest.fixture(autouse=True)
def memory_as_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_runner, "_FITTED", {})


def run(model: Model, image: np.ndarray, **changes: Any) -> Prediction:
    """Return the prediction in float32 with its scores."""
    axes = changes.pop("axes", None)
    return predict(model, image, axes=axes, config=EXACT.model_copy(update=changes))


def logits(scores: np.ndarray) -> np.ndarray:
    """Return what the sigmoid made the scores of."""
    return np.log(scores.astype(float) / (1 - scores.astype(float)))


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("upsampling", ["transposed", "interpolate"])
@pytest.mark.parametrize("size", [(97, 64), (33, 131), (5, 90)])
@pytest.mark.parametrize("tile", [16, 37])
def test_tiled_equals_whole(norm: str, upsampling: str, size: tuple, tile: int) -> None:
    model = tiny_model(widths=(4, 8, 16), norm=norm, upsampling=upsampling)
    image = noise(size)
    whole, tiled = (run(model, image, tile=side) for side in (4096, tile))
    assert np.abs(logits(whole.scores) - logits(tiled.scores)).max() <= 1e-4
    np.testing.assert_array_equal(whole.labels, tiled.labels)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_tiled_equals_whole_in_3d(norm: str) -> None:
    model = tiny_model(dims=3, norm=norm)
    image = noise((21, 45, 38))
    whole, tiled = (run(model, image, tile=side) for side in (4096, 16))
    assert np.abs(logits(whole.scores) - logits(tiled.scores)).max() <= 1e-4
    assert whole.labels.shape == image.shape


def test_tiled_equals_whole_when_averaged_over_flips() -> None:
    model, image = tiny_model(), noise((45, 83))
    whole, tiled = (run(model, image, tile=side, tta=True) for side in (4096, 16))
    np.testing.assert_allclose(whole.scores, tiled.scores, atol=1e-5)
    assert np.abs(whole.scores - run(model, image).scores).max() > 1e-3


def test_averaging_over_flips_follows_a_flipped_image() -> None:
    model, image = tiny_model(), noise((44, 60))
    straight, flipped = (run(model, one, tta=True) for one in (image, image[:, ::-1]))
    np.testing.assert_allclose(straight.scores, flipped.scores[..., ::-1], atol=1e-5)


def test_averaging_over_rotations_follows_a_turned_image() -> None:
    model, image = tiny_model(), noise((44, 60))
    for tta in (False, True):
        straight, turned = (
            run(model, one, rotate=True, tta=tta, tile=16)
            for one in (image, np.rot90(image))
        )
        back = np.rot90(turned.scores, -1, axes=(1, 2))
        np.testing.assert_allclose(straight.scores, back, atol=1e-5)


def test_a_volume_is_averaged_over_flips_and_rotations() -> None:
    model, image = tiny_model(dims=3), noise((9, 20, 26))
    whole, tiled = (
        run(model, image, tile=side, tta=True, rotate=True) for side in (4096, 16)
    )
    np.testing.assert_allclose(whole.scores, tiled.scores, atol=1e-5)


def test_tiled_equals_the_network_itself() -> None:
    model, image = tiny_model(), noise((50, 70))
    low, high = np.percentile(image, (1, 99.8))
    x = torch.from_numpy(((image - low) / (high - low)).astype(np.float32))
    with torch.inference_mode():
        expected = model.scores(x[None, None])[0].numpy()
    np.testing.assert_allclose(run(model, image, tile=16).scores, expected, atol=1e-5)


def test_a_region_has_the_scores_of_the_whole() -> None:
    model, image = tiny_model(widths=(4, 8, 16)), noise((3, 97, 120))
    whole = run(model, image).scores
    for part in ((slice(1, 3), slice(30, 61), slice(7, 55)), (slice(None),) * 3):
        steps = predict_steps(model, image, config=EXACT, region=part)
        region = drain(steps)
        expected = whole[(slice(None), *part)]
        assert region.labels.shape == expected.shape[1:]
        np.testing.assert_allclose(region.scores, expected, atol=1e-5)


def test_a_stack_is_predicted_slice_by_slice_by_the_statistics_of_the_whole() -> None:
    model, stack = tiny_model("foreground"), noise((2, 3, 20, 24))
    together = run(model, stack)
    assert together.labels.shape == stack.shape
    stack[0, 1] = stack[1, 2]
    again = run(model, stack)
    np.testing.assert_array_equal(again.scores[:, 0, 1], again.scores[:, 1, 2])


def test_objects_of_different_slices_have_different_numbers() -> None:
    labels = run(tiny_model("foreground"), noise((3, 30, 30)), threshold=0.3).labels
    numbers = [set(np.unique(plane)) - {0} for plane in labels]
    assert all(numbers)
    assert set.intersection(*numbers) == set()
    assert set.union(*numbers) == set(range(1, labels.max() + 1))


@pytest.mark.parametrize(("shape", "axes"), [((20, 30, 3), None), ((3, 20, 30), "CYX")])
def test_colour_becomes_luminance_and_the_summary_says_so(
    shape: tuple, axes: str | None
) -> None:
    found = run(tiny_model(), noise(shape), axes=axes)
    assert found.labels.shape == (20, 30)
    assert "luminance" in found.summary


def test_a_chosen_channel_is_used_alone() -> None:
    model, image = tiny_model(), noise((20, 30, 3))
    one = run(model, image, channel=2)
    np.testing.assert_array_equal(one.scores, run(model, image[..., 2]).scores)
    assert "channel 2" in one.summary


def test_a_multichannel_stack_keeps_its_stack_axes() -> None:
    model, image = tiny_model(in_channels=2), noise((4, 2, 20, 30))
    named, guessed = run(model, image, axes="TCYX"), run(model, image)
    assert named.scores.shape == (2, 4, 20, 30)
    np.testing.assert_array_equal(named.scores, guessed.scores)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((20, 20), np.nan), "NaN or infinity in 400 pixels"),
        (np.where(np.eye(20) > 0, np.inf, 0), "NaN or infinity in 20 pixels"),
        (np.ones((20, 20), bool), "true and false"),
        (np.ones((20, 20), complex), "complex128"),
        (np.ones((0, 20)), r"empty, its shape is \(0, 20\)"),
        (np.ones(20), "1 axes"),
        (np.ones((2, 20, 20, 2), "datetime64[s]"), "datetime64"),
        (np.ones((1,) * 7), "at most 6"),
    ],
)
def test_images_that_no_network_can_take_are_refused(image: Any, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        predict(tiny_model(), image)


def test_a_flat_image_is_refused_by_a_3d_model() -> None:
    with pytest.raises(ImageError, match="needs 3 beside"):
        predict(tiny_model(dims=3), noise((20, 30)), axes="YX")
    with pytest.raises(ImageError, match=r'axes "YXC".*needs 3'):
        predict(tiny_model(dims=3), noise((20, 30, 3)), axes="YXC")


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_image_is_predicted_and_said_to_be_constant(value: int) -> None:
    found = run(tiny_model(), np.full((17, 19), value, np.uint16))
    assert np.isfinite(found.scores).all()
    assert "constant" in found.summary


def test_one_dark_channel_does_not_make_an_image_constant() -> None:
    image = noise((20, 30, 3))
    image[..., 1] = 0
    assert "constant" not in run(tiny_model(in_channels=3), image).summary


def test_a_single_pixel_is_predicted() -> None:
    found = run(tiny_model(widths=(4, 8, 16)), np.array([[3.0]]))
    assert found.labels.shape == (1, 1)
    assert found.scores.shape == (2, 1, 1)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "u8", ">f4", "f8", "f2"])
def test_every_type_of_number_is_predicted_alike(dtype: str) -> None:
    model, image = tiny_model(), noise((20, 30)).astype("u1")
    expected = run(model, image).scores
    np.testing.assert_allclose(
        run(model, image.astype(dtype)).scores, expected, atol=1e-5
    )


def test_scores_are_returned_on_request_only() -> None:
    assert predict(tiny_model(), noise((20, 30))).scores is None
    assert run(tiny_model(), noise((20, 30))).scores.dtype == np.float32


def test_kept_scores_give_the_same_labels_again() -> None:
    model = tiny_model()
    found = run(model, noise((2, 40, 50)))
    np.testing.assert_array_equal(
        relabel(found.scores, model.spec, EXACT), found.labels
    )


def test_classes_are_the_highest_scores() -> None:
    found = run(tiny_model("classes"), noise((20, 30)))
    np.testing.assert_array_equal(found.labels, found.scores.argmax(axis=0))
    assert re.search(r"[123] of 3 classes", found.summary)


def test_progress_counts_every_tile_once() -> None:
    steps = predict_steps(
        tiny_model(), noise((2, 40, 40)), config=PredictConfig(tile=16)
    )
    assert list(steps) == [TileDone(done, 18) for done in range(1, 19)]


def test_the_network_is_run_outside_inference_mode_between_steps() -> None:
    steps = predict_steps(tiny_model(), noise((40, 40)), config=PredictConfig(tile=16))
    next(steps)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


def limit_memory(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    """Let the network fail for larger inputs, as a graphics card would."""
    unlimited = Inference.start

    def start(self: Inference, read: np.ndarray, window: Window) -> Fetching:
        if read.size > pixels:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return unlimited(self, read, window)

    monkeypatch.setattr(Inference, "start", start)


def test_frames_are_measured_on_their_own_where_the_model_says_so() -> None:
    frames = np.stack([noise((40, 50)), 5 * noise((40, 50), 1) + 300])
    model = tiny_model()
    each = revised(model, {"normalization": {"each": "T"}})
    together, alone = (run(one, frames, axes="TYX").scores for one in (model, each))
    for place, frame in enumerate(frames):
        expected = run(model, frame).scores
        np.testing.assert_allclose(alone[:, place], expected, atol=1e-5)
    assert np.abs(together - alone).max() > 0.01
    as_stack = run(each, frames, axes="ZYX").scores
    np.testing.assert_allclose(as_stack, together, atol=1e-5)
    (first, _) = planes(
        Example(frames, np.ones(frames.shape, int), axes="TYX"), each.spec
    )
    (alike,) = planes(Example(frames[0], np.ones((40, 50), int)), each.spec)
    np.testing.assert_allclose(first.image, alike.image)


def test_out_of_memory_takes_smaller_tiles_and_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, image = tiny_model(), noise((2, 90, 110))
    unlimited = run(model, image)
    limit_memory(monkeypatch, 60 * 60)
    events: list[TileDone] = []
    found = drain(predict_steps(model, image, config=EXACT), events.append)
    np.testing.assert_allclose(found.scores, unlimited.scores, atol=1e-5)
    assert "tile reduced to" in found.summary
    assert "tile reduced" not in unlimited.summary
    assert [event.done for event in events] == list(range(1, len(events) + 1))
    assert events[-1].done == events[-1].total


def test_a_tile_that_cannot_be_read_for_want_of_memory_is_made_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, image = tiny_model(), noise((90, 110))
    unlimited = run(model, image)
    read = tile_runner._Reader._pixels

    def with_little(self: Any, window: Window) -> np.ndarray:
        if prod(stop - start for start, stop in window.read) > 60 * 60:
            raise MemoryError
        return read(self, window)

    monkeypatch.setattr(tile_runner._Reader, "_pixels", with_little)
    found = run(model, image)
    np.testing.assert_allclose(found.scores, unlimited.scores, atol=1e-5)
    assert "tile reduced to" in found.summary


@pytest.mark.parametrize(
    ("owner", "name"),
    [(tile_runner, "plan"), (tile_runner, "Looks"), (predict_module, "label_steps")],
)
def test_no_memory_for_what_goes_with_tiles_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(DeviceError, match="not enough memory for an image of this"):
        run(tiny_model(), noise((90, 110)))


@pytest.mark.parametrize("corner", [0, 3])
def test_smaller_tiles_cover_what_is_left_and_no_more(corner: int) -> None:
    region = (slice(corner, 90), slice(corner, 100))
    large, small = (plan((90, 110), side, 16, 8, region) for side in (48, 16))
    left = tile_runner._unfinished(large[1:], small, 8)
    seen = np.zeros((90, 110), int)
    for tile in left:
        seen[tile.core] += 1
    expected = np.zeros((90, 110), int)
    for tile in large[1:]:
        expected[tile.core] = 1
    np.testing.assert_array_equal(seen, expected)


def test_a_tile_that_was_too_large_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, image = tiny_model(), noise((90, 110))
    limit_memory(monkeypatch, 60 * 60)
    first = run(model, image)
    again = run(tiny_model(seed=1), image)
    assert "tile reduced" in first.summary
    assert "tile reduced" not in again.summary
    monkeypatch.undo()
    other = tiny_model(widths=(4, 8, 16))
    assert "tile reduced" not in run(other, image).summary


def wrong_at_first(monkeypatch: pytest.MonkeyPatch, error: float) -> None:
    """Let the processor stand for a device whose first network errs."""
    right, wrong = Inference.start, []

    def start(self: Inference, read: np.ndarray, window: Window) -> Fetching:
        wrong.append(self) if not wrong else None
        found = right(self, read, window)
        if self is not wrong[0]:
            return found
        return Fetching(torch.from_numpy(found.scores() + error), half=False)

    monkeypatch.setattr(cpu_check, "DOUBTED", ("cpu",))
    monkeypatch.setattr(Inference, "start", start)


@pytest.mark.parametrize("error", [0.2, float("nan")])
def test_a_device_that_errs_is_noticed_and_the_processor_used(
    monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    model, image = tiny_model(widths=(4, 8, 16)), noise((90, 110))
    expected = run(model, image, tile=32)
    wrong_at_first(monkeypatch, error)
    found = run(model, image, tile=32)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert "on cpu the scores of the first tile were wrong" in found.summary


def test_a_device_that_only_rounds_is_used_and_compared_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, image = tiny_model(), noise((60, 60))
    expected = run(model, image).scores
    wrong_at_first(monkeypatch, 0.01)
    found = run(model, image)
    np.testing.assert_allclose(found.scores, expected + 0.01, atol=1e-5)
    assert "wrong" not in found.summary
    wrong_at_first(monkeypatch, 0.5)
    assert "wrong" not in run(model, image).summary


def test_out_of_memory_in_the_middle_keeps_progress_monotone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, image = tiny_model(), noise((100, 100))
    steps = predict_steps(model, image, config=EXACT.model_copy(update={"tile": 48}))
    first = next(steps)
    limit_memory(monkeypatch, 50 * 50)
    rest = list(steps)
    assert first == TileDone(1, 9)
    assert [event.done for event in rest] == list(range(2, len(rest) + 2))
    assert rest[-1].done == rest[-1].total > 9


@pytest.mark.parametrize("limited", [False, True])
def test_tiles_that_are_started_ahead_give_the_same(
    monkeypatch: pytest.MonkeyPatch, limited: bool
) -> None:
    model, image = tiny_model(widths=(4, 8, 16)), noise((2, 90, 110))
    config = EXACT.model_copy(update={"tile": 48})
    expected = run(model, image, tile=48).scores
    order: list[str] = []
    start, scores = Inference.start, Fetching.scores

    def noted(self: Inference, read: np.ndarray, window: Window) -> Fetching:
        order.append("start")
        return start(self, read, window)

    def fetched(self: Fetching) -> np.ndarray:
        order.append("fetch")
        return scores(self)

    monkeypatch.setattr(Inference, "start", noted)
    monkeypatch.setattr(Fetching, "scores", fetched)
    monkeypatch.setattr(tile_runner, "STARTED_AHEAD", ("cpu",))
    steps = predict_steps(model, image, config=config)
    events = [next(steps)]
    assert order == ["start", "start", "fetch"]
    if limited:
        limit_memory(monkeypatch, 40 * 40)
    found = drain(steps, events.append)
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    assert [event.done for event in events] == list(range(1, len(events) + 1))
    assert events[-1].done == events[-1].total
    assert ("tile reduced" in found.summary) == limited


def test_too_little_memory_for_the_smallest_tile_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model()
    limit_memory(monkeypatch, 10)
    with pytest.raises(DeviceError, match="Out of memory on cpu even with a tile of 2"):
        run(model, noise((90, 110)))


def test_other_errors_of_the_network_are_not_taken_for_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model()

    def start(*_: object) -> Fetching:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Inference, "start", start)
    with pytest.raises(RuntimeError, match="a bug"):
        run(model, noise((20, 20)))


def test_reversed_colours_go_in_reversed() -> None:
    model = tiny_model("foreground", in_channels=3)
    image = noise((20, 24, 3))
    reversed_model = revised(model, {"channel_order": "BGR"})
    config = PredictConfig(keep_scores=True)
    found = predict(reversed_model, image, axes="YXC", config=config).scores
    expected = predict(model, image[..., ::-1], axes="YXC", config=config).scores
    assert np.array_equal(found, expected)
    assert reversed_model.spec.sources["channel_order"] == "chosen"


def test_tiles_of_a_network_that_measures_all_it_sees_are_mentioned() -> None:
    b = Builder(2, 1, None)
    b.conv(b.norm(b.conv(0, "a", 2, 3), "n", "instance"), "head", 1, 1)
    spec = ModelSpec(architecture=b.graph("test", (2,)), output="foreground")
    model = new_model(spec)
    tiled = predict(model, noise((40, 40)), config=PredictConfig(tile=16))
    assert "measures all that it sees" in tiled.summary
    assert "measures" not in predict(model, noise((40, 40))).summary
