"""How good a model is on planes of which the truth is known, or a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_unet.engine.config import PredictConfig
from napari_unet.engine.device import choose_dtype
from napari_unet.engine.instances import labels_from_scores
from napari_unet.engine.metrics import count_trusted, measures, pooled
from napari_unet.engine.uncertainty import edges, trust_in, unsure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.metrics import Counts
    from napari_unet.engine.model import Model
    from napari_unet.engine.sampling import Plane
    from napari_unet.engine.spec import ModelSpec, Output


def score_planes(model: Model, held_out: Sequence[Plane]) -> dict[str, float]:
    """Return Dice, AP and the rest, pooled over the supervised parts of planes."""
    return measures(count_planes(model, held_out))


def count_planes(model: Model, held_out: Sequence[Plane]) -> Counts:
    """Count pixels and objects right and wrong in the supervised parts of planes.

    Parameters
    ----------
    model : to check
    held_out : planes with the truth; an object counts when most of it is supervised,
        every supervised pixel counts

    Returns
    -------
    counts : as from ``metrics.count``, added up
    """
    found = [plane_labels(model, plane.image) for plane in held_out]
    return count_found(found, held_out)


def count_found(
    found: Sequence[NDArray[np.int32]], held_out: Sequence[Plane]
) -> Counts:
    """Count what was found in planes already, as ``count_planes`` does."""
    counts = []
    for predicted, plane in zip(found, held_out, strict=True):
        trusted = plane.supervised[0] > 0
        seen = None if plane.accepted is None else plane.accepted[0] > 0
        counts.append(count_trusted(predicted, plane.labels, trusted, seen))
    return pooled(counts)


def plane_labels(model: Model, image: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return what a model finds in a whole plane; see ``plane_scores``.

    Returns
    -------
    labels : ([Z,] Y, X) int32
    """
    return _labels(plane_scores(model, image), model.spec)


def _labels(scores: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.int32]:
    config = PredictConfig(smallest=spec.smallest)
    return labels_from_scores(scores, spec.output, config)


@torch.inference_mode()
def plane_scores(model: Model, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of a whole plane at once.

    Parameters
    ----------
    model : any
    image : (C, [Z,] Y, X) float32, normalised

    Returns
    -------
    scores : (K, [Z,] Y, X) float32, 0 to 1
    """
    dtype = choose_dtype("auto", model.device)
    x = torch.from_numpy(image)[np.newaxis].to(model.device)
    with torch.autocast(x.device.type, dtype=dtype, enabled=dtype != torch.float32):
        scores = model.scores(x)
    return np.asarray(scores[0].float().cpu().numpy())


def headline(measured: dict[str, float], output: Output) -> float:
    """Return the one number that training follows."""
    if output == "instances":
        return 0.5 * (measured["ap50"] + measured["ap75"])
    return measured["dice"]


def trust(model: Model, planes: Sequence[Plane]) -> float:
    """Return how right a model is where the user looked, 0 to 1."""
    return overall(measures(count_planes(model, planes)), model.spec)


def sight_and_trust(model: Model, planes: Sequence[Plane]) -> tuple[float, float]:
    """Return how far a model sees what there is in planes, and how right it is, 0 to 1.

    See ``uncertainty.trust_in`` and ``trust``.
    """
    spec, scores = model.spec, [plane_scores(model, plane.image) for plane in planes]
    sight = np.mean([
        trust_in(unsure(its, spec.output), edges(plane.image.mean(axis=0))[1])
        for its, plane in zip(scores, planes, strict=True)
    ])  # fmt: skip
    counts = count_found([_labels(its, spec) for its in scores], planes)
    return float(sight), overall(measures(counts), spec)


def overall(measured: dict[str, float], spec: ModelSpec) -> float:
    """Return the one number that fine-tuning follows, 0 to 1.

    Half of it is the overlap: of few objects it tells more than how many are found.
    """
    return 0.5 * (headline(measured, spec.output) + measured["dice"])
