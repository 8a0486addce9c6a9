"""How fast scores become labels, beside the plain scikit-image recipe.

The scores are those of the bundled model on a mosaic of real images (2018 Data Science
Bowl, fluorescence; 2048 x 2048 pixels, some 3,600 nuclei). The recipe is the usual one:
``peak_local_max`` within components, ``watershed``, ``remove_small_objects``,
``regionprops``.

    python benchmarks/labels.py --size 2048 --repeats 9
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

from _common import add_model, arguments, machine, open_model, report
from napari_unet.engine.config import LabelsConfig
from napari_unet.engine.instances import labels_from_scores
from predict import mosaic, predicted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray


def main() -> None:
    options = _options()
    began = machine()
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
    return parser.parse_args()


def recipe(scores: NDArray[np.float32], config: LabelsConfig) -> NDArray[Any]:
    """Return labels as tutorials of scikit-image make them."""
    mask = scores[0] > config.threshold
    components = label(mask)
    distance = ndimage.gaussian_filter(scores[1], 1)
    peaks = peak_local_max(distance, min_distance=5, labels=components)
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-distance, seeds, mask=mask)
    labels = remove_small_objects(labels, max_size=config.smallest - 1)
    [each.area for each in regionprops(labels)]
    return np.asarray(labels)


if __name__ == "__main__":
    main()
