"""What the session's jobs do in their worker: engine calls on snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.opened import KeptScores

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_unet.engine.config import FinetuneConfig, LabelsConfig, PredictConfig
    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.engine.model import Model
    from napari_unet.engine.protect import Merged, Region, Snapshot
    from napari_unet.opened import OpenImage

KEPT_BYTES = 2**30  # scores kept for the sliders


@dataclass(frozen=True)
class Predicted:
    """What a prediction job hands over: see Merged, Prediction and KeptScores."""

    merged: Merged
    labels: NDArray[np.int32]
    window: Region
    region: Region
    kept: KeptScores | None
    summary: str


def predict_into(
    model: Model, opened: OpenImage, config: PredictConfig,
    window: Region, region: Region, snapshot: Snapshot,
) -> Generator[Any, None, Predicted]:  # fmt: skip
    """Predict a window and merge it into the snapshot."""
    from napari_unet.engine.predict import predict_steps

    image = np.asarray(opened.image)
    prediction = yield from predict_steps(
        model, image, axes=opened.axes, config=config, region=window
    )
    merged = snapshot.merge(prediction.labels, window, region)
    kept = None
    if prediction.scores is not None and prediction.scores.nbytes <= 2 * KEPT_BYTES:
        scores = prediction.scores.astype(np.float16)
        kept = KeptScores(scores, model.spec, window, region)
    return Predicted(
        merged, prediction.labels, window, region, kept, prediction.summary
    )


def relabel_into(
    kept: KeptScores, config: LabelsConfig, snapshot: Snapshot, summary: str
) -> Generator[None, None, Predicted]:
    """Make labels of kept scores again and merge them into the snapshot."""
    from napari_unet.engine.predict import relabel

    yield
    labels = relabel(kept.scores, kept.spec, config)
    merged = snapshot.merge(labels, kept.window, kept.region)
    return Predicted(merged, labels, kept.window, kept.region, kept, summary)


def finetune_on(
    model: Model, parts: list[tuple[Any, str, Snapshot]], config: FinetuneConfig
) -> Generator[Any, Any, FinetuneResult]:
    """Fine-tune on the protected parts of several images."""
    from napari_unet.engine.finetune import finetune_steps
    from napari_unet.engine.sampling import Example

    examples = [
        Example(np.asarray(image), snapshot.labels, snapshot.protected(), axes)
        for image, axes, snapshot in parts
    ]
    return (yield from finetune_steps(model, examples, config))
