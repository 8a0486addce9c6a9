"""How fast scores become labels, beside the plain scikit-image recipe.

The scores are those of the bundled model on a mosaic of real images (2018 Data Science
Bowl, fluorescence; 2048 x 2048 pixels, some 3,600 nuclei). The recipe is the usual one:
``peak_local_max`` within components, ``watershed``, ``remove_small_objects``,
``regionprops``.

    python benchmarks/labels.py --size 2048 --repeats 9
    python benchmarks/labels.py --seams      labels in blocks against those of the whole
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.measure import label, regionprops
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

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
from napari_unet.engine import seams
from napari_unet.engine.config import LabelsConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.instances import labels_from_scores
from predict import mosaic, predicted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray


def main() -> None:
    options = _options()
    began = machine()
    if options.seams:
        report("labels in blocks", seams_of(options.model), {}, options, began)
        return
    image = mosaic(options.size, nuclei=56)
    scores = predicted(open_model(options.model), image, "auto")
    config = LabelsConfig()
    part = scores[:, : options.size // 2, : options.size // 2]
    ways: dict[str, Callable[[], NDArray[Any]]] = {
        "labels_from_scores": lambda: labels_from_scores(scores, "instances", config),
        "scikit-image": lambda: recipe(scores, config),
        "labels_from_scores, a quarter": lambda: labels_from_scores(
            part, "instances", config
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, int] = {}
    for _ in range(options.repeats):
        for name, run in ways.items():
            start = time.perf_counter()
            labels = run()
            seconds[name].append(time.perf_counter() - start)
            found[name] = len(np.unique(labels)) - 1
    slow = median(seconds["scikit-image"])
    rows: list[dict[str, Any]] = [
        {
            "way": name, "objects": found[name], "seconds": median(times),
            "x scikit-image": slow / median(times) if name != "scikit-image" else 1.0,
        }
        for name, times in seconds.items()
    ]  # fmt: skip
    report("labels", rows, {}, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--size", type=int, default=2048, help="pixels a side")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seams", action="store_true")
    return parser.parse_args()


def seams_of(name: str) -> list[dict[str, Any]]:
    """Compare labels made in blocks with those of the whole image.

    Ten real images in blocks of 256 pixels, and two of 8192 x 8192 pixels, put together
    from real ones, as the product does them.
    """
    model, config = open_model(name), LabelsConfig()
    real = [pair.read()[0] for pair in dsb_pairs("val", FLUORESCENCE[1:])[:10]]
    grey = [image if image.ndim == 2 else image[..., 0] for image in real]
    scored = [predicted(model, image, "auto") for image in grey]
    tiles = [predicted(model, mosaic(2048, nuclei=n), "auto") for n in (20, 56)]
    turned = [np.concatenate([t, t[:, ::-1]], axis=1) for t in tiles]
    large = [np.tile(t, (1, 2, 4)) for t in turned]
    rows = []
    for kind, cases, core in (("real", scored, 256), ("8192", large, 0)):
        counts = np.array([_same_objects(*_both(s, config, core)) for s in cases])
        same, every = counts.sum(axis=0)
        rows.append({
            "images": kind, "number": len(cases), "objects": int(every),
            "AP@0.9": same / every,
        })  # fmt: skip
        say(str(rows[-1]))
    return rows


def _both(
    scores: NDArray[np.float32], config: LabelsConfig, core: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return labels in blocks, and of the whole; ``core`` 0: blocks as usual."""
    labels = np.zeros(scores.shape[1:], np.int32)
    usual = seams.LARGEST, seams.CORE
    if core:
        seams.LARGEST, seams.CORE = 0, {2: core}
    drain(seams.label_steps(labels, scores, "instances", config))
    seams.LARGEST, seams.CORE = usual
    return labels, labels_from_scores(scores, "instances", config)


def _same_objects(one: NDArray[np.int32], other: NDArray[np.int32]) -> tuple[int, int]:
    """Return how many objects agree at an IoU above 0.9, and how many there are.

    The second counts those that agree once, and all others of both.
    """
    areas = [np.bincount(labels.ravel()) for labels in (one, other)]
    pairs, shared = np.unique(
        one.ravel().astype(np.int64) * len(areas[1]) + other.ravel(), return_counts=True
    )
    first, second = pairs // len(areas[1]), pairs % len(areas[1])
    inside = (first > 0) & (second > 0)
    union = areas[0][first] + areas[1][second] - shared
    same = int(np.count_nonzero(inside & (shared > 0.9 * union)))
    many = sum(int(np.count_nonzero(area[1:])) for area in areas)
    return same, many - same


def recipe(scores: NDArray[np.float32], config: LabelsConfig) -> NDArray[Any]:
    """Return labels as tutorials of scikit-image make them."""
    mask = scores[0] > config.threshold
    components = label(mask)
    distance = ndimage.gaussian_filter(scores[1], 1)
    peaks = peak_local_max(distance, min_distance=5, labels=components)
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-distance, seeds, mask=mask)
    labels = remove_small_objects(labels, max_size=config.least - 1)
    [each.area for each in regionprops(labels)]
    return np.asarray(labels)


if __name__ == "__main__":
    main()
