"""Which defaults turn scores into labels best.

Scores of train images of the 2018 Data Science Bowl are computed once (never of val
images: defaults are chosen here), then turned into labels in many ways. A tenth of the
images are those that ``napari-unet train --seed 0`` held out, which the bundled model
never learnt from.

    python benchmarks/postprocessing.py --images 80
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from _common import (
    FLUORESCENCE,
    add_model,
    arguments,
    dsb_pairs,
    machine,
    open_model,
    report,
    say,
)
from napari_unet.engine import instances
from napari_unet.engine.config import LabelsConfig, PredictConfig
from napari_unet.engine.metrics import count, measures, pooled

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    from napari_unet.engine.model import Model
    from napari_unet.io.pairs import Pair

HELD_OUT, TRAIN_SEED = 0.1, 0  # of napari-unet train
Case = tuple["NDArray[np.float32]", "NDArray[Any]"]  # scores, true labels
Setting = dict[str, Any]
STUDIES: dict[str, tuple[float, ...]] = {
    "split": (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "threshold": (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7),
    "smoothing": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    "smallest": (0, 10, 15, 20, 25, 30, 40, 60),
}


def main() -> None:
    options = _options()
    began = machine()
    pairs, unseen = chosen(options.images)
    model = open_model(options.model)
    say(f"{len(pairs)} images, {len(unseen)} of them never learnt from")
    cases = [case(model, pair) for pair in pairs]
    base = {"smoothing": instances.SMOOTHING, **LabelsConfig().model_dump()}
    rows = []
    for name, values in STUDIES.items():
        for value in values:
            rows.append(row({**base, name: value}, name, cases, unseen))
            say(str(rows[-1]))
    report("postprocessing", rows, {"defaults": base}, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--images", type=int, default=80, help="number, at most")
    return parser.parse_args()


def chosen(number: int) -> tuple[list[Pair], list[int]]:
    """Return pairs, first those never learnt from, and which those are."""
    pairs = dsb_pairs("train", FLUORESCENCE)
    order = np.random.default_rng(TRAIN_SEED).permutation(len(pairs))
    picked = [pairs[i] for i in order[:number]]
    return picked, list(range(min(round(HELD_OUT * len(pairs)), number)))


def case(model: Model, pair: Pair) -> Case:
    """Return scores as a prediction makes them, and the truth."""
    from napari_unet import predict

    image, truth = pair.read()
    scores = predict(model, image, config=PredictConfig(keep_scores=True)).scores
    assert scores is not None
    return scores, truth


def row(
    setting: Setting, varied: str, cases: list[Case], unseen: list[int]
) -> dict[str, Any]:
    """Return the measures of one way to make labels."""
    config = LabelsConfig(**{k: v for k, v in setting.items() if k != "smoothing"})
    before, instances.SMOOTHING = instances.SMOOTHING, setting["smoothing"]
    counts = [
        count(instances.labels_from_scores(scores, "instances", config), truth)
        for scores, truth in cases
    ]
    instances.SMOOTHING = before
    every, new = measures(pooled(counts)), measures(pooled(counts[i] for i in unseen))
    keys = ("ap50", "ap75", "precision50", "recall50")
    return {
        "varied": varied, "value": setting[varied],
        **{key: every[key] for key in keys},
        **{f"unseen {key}": new[key] for key in keys[:2]},
        "dice": every["dice"],
    }  # fmt: skip


if __name__ == "__main__":
    main()
