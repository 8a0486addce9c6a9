"""How well a checkpoint finds nuclei in fluorescence images that it never saw.

The val part of the 2018 Data Science Bowl images, read and predicted as ``napari-unet
predict`` does: AP, precision and recall pooled over the images, Dice as the mean over
the images.

    python benchmarks/accuracy.py --model nuclei-2d

With ``--scale`` images are enlarged or reduced before, and predicted twice: as they
then are, and with pixel sizes known, so that the network sees them scaled back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from _common import (
    FLUORESCENCE,
    add_model,
    arguments,
    dsb_pairs,
    machine,
    open_model,
    report,
)
from napari_unet.engine.config import PredictConfig
from napari_unet.engine.metrics import count, measures, pooled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_unet.engine.metrics import Counts
    from napari_unet.engine.model import Model
    from napari_unet.io.pairs import Pair


def main() -> None:
    options = _options()
    began = machine()
    pairs = dsb_pairs(options.split, options.modality.split(","))
    model = open_model(options.model)
    config = PredictConfig(precision=options.precision)
    clock = time.perf_counter()
    if options.scale != 1:
        report("accuracy", _scaled_rows(model, pairs, config, options.scale), {},
               options, began)  # fmt: skip
        return
    counted = [(pair, counts_of(model, pair, config)) for pair in pairs]
    seconds = time.perf_counter() - clock
    by_modality: dict[str, list[Counts]] = {}
    for pair, counts in counted:
        by_modality.setdefault(pair.facts["modality"], []).append(counts)
    rows = [row_of(name, each) for name, each in sorted(by_modality.items())]
    rows.append(row_of("all", [counts for _, counts in counted]))
    facts = {
        "seconds": seconds, "device": str(model.device),
        "per_image": [
            {"name": pair.name, **measures(counts)} for pair, counts in counted
        ],
    }  # fmt: skip
    report("accuracy", rows, facts, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--precision", default="auto", choices=("auto", "float32"))
    parser.add_argument("--split", default="val", help="part of the index")
    parser.add_argument(
        "--modality", default=",".join(FLUORESCENCE), help="kinds, with commas"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="images are scaled")
    return parser.parse_args()


def _scaled_rows(
    model: Model, pairs: Sequence[Pair], config: PredictConfig, scale: float
) -> list[dict[str, Any]]:
    """Return the measures with pixels as they are, and with their sizes known."""
    from skimage.transform import rescale

    from napari_unet import predict
    from napari_unet.engine.model import revised

    sized = revised(model, {"pixel_size": [1.0, 1.0]})
    found: dict[str, list[Counts]] = {"as they are": [], "sizes known": []}
    for pair in pairs:
        image, truth = pair.read()
        channels = -1 if image.ndim == 3 else None
        image = rescale(image.astype("float32"), scale, 1, channel_axis=channels)
        truth = rescale(truth, scale, 0, preserve_range=True, anti_aliasing=False)
        for name, size in zip(found, (None, (1 / scale, 1 / scale)), strict=True):
            labels = predict(sized, image, config=config, pixel_size=size).labels
            found[name].append(count(labels, truth.astype("int32")))
    return [row_of(name, counts) for name, counts in found.items()]


def counts_of(model: Model, pair: Pair, config: PredictConfig) -> Counts:
    from napari_unet import predict

    image, truth = pair.read()
    return count(predict(model, image, config=config).labels, truth)


def row_of(name: str, counts: list[Counts]) -> dict[str, Any]:
    """Return the measures of one kind of image."""
    total = pooled(counts)
    found = measures(total)
    dice = [measures(one)["dice"] for one in counts]
    return {
        "images": name, "number": len(counts), "nuclei": total["true"],
        "ap50": found["ap50"], "ap75": found["ap75"],
        "dice": sum(dice) / len(dice),
        "precision50": found["precision50"], "recall50": found["recall50"],
    }  # fmt: skip


if __name__ == "__main__":
    main()
