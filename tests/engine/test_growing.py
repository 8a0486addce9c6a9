"""What is shown of a large prediction before all of it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_unet.engine import parts as parts_module
from napari_unet.engine import predict as predict_module
from napari_unet.engine.config import PartDone, PredictConfig
from napari_unet.engine.parts import Growing, Part
from napari_unet.engine.predict import predict, predict_steps
from napari_unet.engine.tile_runner import TileRunner
from tiny import noise, tiny_model

CONFIG = PredictConfig(precision="float32", tile=32, smallest=1)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "ROWS", {2: 40, 3: 4})
    monkeypatch.setattr(parts_module, "SIDE", {2: 2**31, 3: 20})
    monkeypatch.setattr(predict_module, "SMALL", 64 * 64)


def shown(image: np.ndarray, model: Any = None, **given: Any) -> tuple[list, Any]:
    """Return the parts of a prediction, and the result."""
    config = CONFIG.model_copy(update=given.pop("changes", {}))
    steps = predict_steps(
        model or tiny_model(), image, config=config, parts=True, **given
    )
    found = []
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return found, end.value
        if isinstance(event, PartDone):
            found.append(event)


def test_parts_cover_the_region_once_and_the_result_is_that_without_them() -> None:
    image, region = noise((230, 170)), (slice(10, 221), slice(20, 163))
    found, result = shown(image, region=region)
    seen = np.zeros(image.shape, int)
    for part in found:
        seen[part.region] += 1
        extent = tuple(s.stop - s.start for s in part.window)
        assert part.labels.shape == extent
        assert part.done <= part.total
    assert (seen[region] == 1).all()
    assert seen.sum() == seen[region].size
    expected = predict(tiny_model(), image, config=CONFIG).labels
    whole = predict_steps(tiny_model(), image, config=CONFIG, region=region)
    while True:
        try:
            next(whole)
        except StopIteration as end:
            np.testing.assert_array_equal(result.labels, end.value.labels)
            break
    for part in found:  # what is foreground is so in the whole, objects may be cut
        np.testing.assert_array_equal(part.labels > 0, expected[part.window] > 0)


def test_the_column_that_is_in_view_comes_first() -> None:
    found, _ = shown(noise((90, 200)), near=(slice(0, 90), slice(140, 180)))
    order = [part.region[1].start for part in found]
    assert order[0] in (128, 160)
    assert order[-1] == 0


def test_each_plane_of_a_stack_has_its_parts() -> None:
    found, _ = shown(noise((3, 90, 64)))
    assert {part.region[0].start for part in found} == {0, 1, 2}
    assert all(part.labels.ndim == 3 for part in found)
    assert len(found) > 3


@pytest.mark.parametrize(
    ("fields", "changes"),
    [({}, {}), ({}, {"tta": True}), ({"dims": 3}, {})],
)
def test_small_planes_of_a_stack_are_shown_as_they_are_done(
    fields: dict[str, Any], changes: dict[str, Any]
) -> None:
    shape = (5, 8, 32, 16) if "dims" in fields else (5, 60, 64)
    region = (slice(1, 5), *(slice(0, n) for n in shape[1:-1]), slice(3, shape[-1]))
    near = (slice(3, 4), *region[1:])
    model = tiny_model(**fields)
    found, result = shown(
        noise(shape), model, changes=changes, region=region, near=near
    )
    planes = [part.region[0].start for part in found]
    assert planes[0] == 3
    assert sorted(planes) == [1, 2, 3, 4]
    for part in found:  # numbers and all, as in the result
        assert part.region[1:] == region[1:]
        np.testing.assert_array_equal(
            part.labels[0], result.labels[part.region[0].start - 1]
        )
    assert result.labels.any()


def test_of_several_looks_the_first_is_shown() -> None:
    image = noise((230, 170))
    plain, _ = shown(image)
    for changes in ({"tta": True}, {"tta": True, "uncertainty": True}):
        found, result = shown(image, changes=changes)
        assert [part.region for part in found] == [part.region for part in plain]
        for one, other in zip(found, plain, strict=True):
            np.testing.assert_array_equal(one.labels, other.labels)
        assert found[-1].done < found[-1].total
        single = predict(tiny_model(), image, config=CONFIG).labels
        assert (result.labels != single).any()
    found, _ = shown(image, partners=[tiny_model(seed=1)])
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("stack", [(), (2,)])
def test_the_parts_of_large_volumes_are_small(stack: tuple[int, ...]) -> None:
    image, model = noise((*stack, 40, 48, 36)), tiny_model(dims=3)
    found, result = shown(image, model, near=(slice(0, 1),) * len(stack) + LAST_COLUMN)
    seen = np.zeros(image.shape, int)
    for part in found:
        seen[part.region] += 1
        depth, context = (part.region[-3], part.window[-3])
        assert depth.stop - depth.start < 8
        assert depth.start - context.start <= 8
        for side, around in zip(part.region[-2:], part.window[-2:], strict=True):
            assert 4 <= side.stop - side.start <= 20
            assert 0 <= side.start - around.start <= 8
            assert 0 <= around.stop - side.stop <= 8
        shape = tuple(s.stop - s.start for s in part.window)
        assert part.labels.shape == shape
        alike = (part.labels > 0) == (result.labels[part.window] > 0)
        assert alike.mean() > 0.95  # holes that end where a part does are not filled
    assert (seen == 1).all()
    assert found[0].region[-1].stop == image.shape[-1]


LAST_COLUMN = (slice(0, 1), slice(0, 32), slice(32, 36))


def test_a_network_that_measures_all_it_sees_has_no_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TileRunner, "shows", property(lambda _: False))
    assert shown(noise((100, 90)))[0] == []
    found, _ = shown(noise((3, 60, 64)))  # but its small planes are shown
    assert [part.region[0].start for part in found] == [0, 1, 2]


def test_growing_sees_what_is_above_in_the_same_column() -> None:
    growing = Growing((90, 27))
    tiles = [
        (slice(r, r + 20), slice(c, c + 9)) for c in (0, 9) for r in range(0, 80, 20)
    ]
    found = [part for tile in tiles[:-1] for part in growing.add(tile)]
    first, second = (slice(0, 40), slice(0, 9)), (slice(40, 80), slice(0, 9))
    assert found[0] == Part(first, first)
    assert found[1] == Part((slice(0, 80), slice(0, 9)), second)
    [last] = growing.add((slice(60, 90), slice(9, 18)))  # the bottom
    assert last.region == (slice(40, 90), slice(9, 18))
    assert list(growing.add((slice(0, 20), slice(18, 27)))) == []
    [left, *_] = growing.add((slice(50, 90), slice(0, 9)))  # not where it would go on
    assert left.region == (slice(0, 20), slice(18, 27))
