"""What is shown of a large prediction before all of it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_unet.engine import parts as parts_module
from napari_unet.engine.config import PartDone, PredictConfig
from napari_unet.engine.parts import Growing, Part
from napari_unet.engine.predict import predict, predict_steps
from napari_unet.engine.tile_runner import TileRunner
from tiny import noise, tiny_model

CONFIG = PredictConfig(precision="float32", tile=32, smallest=1)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "ROWS", 40)


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


@pytest.mark.parametrize(
    ("fields", "changes"),
    [({}, {"tta": True}), ({"dims": 3}, {})],
)
def test_what_is_not_final_tile_by_tile_has_no_parts(
    fields: dict[str, Any], changes: dict[str, Any]
) -> None:
    shape = (40, 48, 48) if "dims" in fields else (100, 90)
    found, _ = shown(noise(shape), tiny_model(**fields), changes=changes)
    assert found == []


def test_a_network_that_measures_all_it_sees_has_no_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TileRunner, "shows", property(lambda _: False))
    assert shown(noise((100, 90)))[0] == []


def test_growing_sees_what_is_above_in_the_same_column() -> None:
    growing = Growing()
    tiles = [
        (slice(r, r + 20), slice(c, c + 9)) for c in (0, 9) for r in range(0, 80, 20)
    ]
    found = [part for tile in tiles[:-1] for part in growing.add(tile)]
    found += growing.rest()
    first, second = (slice(0, 40), slice(0, 9)), (slice(40, 80), slice(0, 9))
    assert found[0] == Part(first, first)
    assert found[1] == Part((slice(0, 80), slice(0, 9)), second)
    assert found[-1].region == (slice(40, 60), slice(9, 18))
