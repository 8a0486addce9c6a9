"""What jobs do in the worker: on snapshots, never on the live layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_unet import steps as steps_module
from napari_unet.engine.config import LabelsConfig, PredictConfig
from napari_unet.engine.corrections import Corrections
from napari_unet.opened import Asked, OpenImage
from napari_unet.steps import predict_into, relabel_into
from tiny import noise, tiny_model

if TYPE_CHECKING:
    import pytest

    from napari_unet.steps import Predicted

WHOLE = (slice(0, 60), slice(0, 70))
KEEP = PredictConfig(keep_scores=True, tile=32, smallest=0)


def opened(shape: tuple[int, ...] = (60, 70)) -> OpenImage:
    return OpenImage("noise", noise(shape), "YX", Corrections(np.zeros(shape, int)))


def drain(steps) -> tuple[list[object], object]:
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return events, end.value


def predict(image: OpenImage) -> Predicted:
    steps = predict_into(
        (tiny_model(),), image, KEEP, Asked(WHOLE, None, WHOLE),
        image.corrections.snapshot(WHOLE),
    )  # fmt: skip
    return drain(steps)[1]  # type: ignore[return-value]


def test_a_prediction_reports_tiles_and_leaves_the_layer_alone() -> None:
    image = opened()
    steps = predict_into(
        (tiny_model(),), image, KEEP, Asked(WHOLE, None, WHOLE),
        image.corrections.snapshot(WHOLE),
    )  # fmt: skip
    events, predicted = drain(steps)
    assert [event.done for event in events][-1] == events[-1].total > 1
    assert predicted.labels.any()
    assert predicted.merged.patches
    assert not image.corrections.labels.any()


def test_a_slider_leaves_out_what_the_model_says_is_too_small() -> None:
    image, model = opened(), tiny_model()
    known = replace(model, spec=model.spec.model_copy(update={"smallest": 40}))
    asked, auto = Asked(WHOLE, None, WHOLE), KEEP.model_copy(update={"smallest": None})
    predicted = drain(
        predict_into((known,), image, auto, asked, image.corrections.snapshot(WHOLE))
    )[1]
    for smallest, least in ((None, 40), (5, 5)):
        config = LabelsConfig(threshold=0.45, smallest=smallest)
        steps = relabel_into(predicted.kept, config, image.corrections.snapshot(WHOLE))
        again = drain(steps)[1]
        areas = np.bincount(again.labels.ravel())[1:]
        assert areas.min() >= least
        assert (areas.min() < 40) == (smallest == 5)
        assert ("smaller than 40 pixels" in again.summary) == (smallest is None)


def test_scores_are_kept_at_half_precision() -> None:
    predicted = predict(opened())
    assert predicted.kept is not None
    assert predicted.kept.scores.dtype == np.float16
    assert predicted.kept.scores.shape == (2, 60, 70)


def test_scores_too_big_to_keep_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_module, "KEPT_BYTES", 10)
    assert predict(opened()).kept is None


def test_relabelling_follows_the_threshold_without_the_network() -> None:
    image = opened()
    first = predict(image)
    assert first.kept is not None

    def objects(threshold: float) -> int:
        config = LabelsConfig(threshold=threshold, smallest=0)
        snapshot = image.corrections.snapshot()
        _, again = drain(relabel_into(first.kept, config, snapshot))
        count = np.count_nonzero(np.unique(again.labels))
        assert again.summary.startswith(f"{count} object")
        return int((again.labels > 0).sum())

    assert objects(0.0) > objects(0.5) > objects(1.0) == 0
