"""What five corrected nuclei teach a model, and with which settings best.

Corrections are simulated with true masks: five objects with a rim, in two images of a
kind; with ``view``, also an accepted view of 128 x 128 pixels. The model is scored
before and after on other images of that kind, and on fluorescence images, of which it
may forget what it knew.

    python benchmarks/finetuning.py
    python benchmarks/finetuning.py --learning-rates 1e-4 3e-4 1e-3 --norms on off
"""

from __future__ import annotations

import time
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from _common import (
    FLUORESCENCE,
    add_model,
    arguments,
    data_folder,
    dsb_pairs,
    machine,
    open_model,
    report,
    say,
)
from napari_unet import Example, predict
from napari_unet.engine.config import FinetuneConfig
from napari_unet.engine.finetune import finetune
from napari_unet.engine.metrics import count, measures, pooled
from napari_unet.io.pairs import find_pairs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_unet.engine.model import Model
    from napari_unet.io.pairs import Pair

    Case = tuple[NDArray[Any], NDArray[Any]]  # image, true labels

CORRECTED = (3, 2)  # objects in the first and the second image
RIM = 3  # pixels of background around an object that are supervised
VIEW = 128  # pixels
PIECE = 512  # pixels; large images are cut into pieces of at most this side
FEWEST = 8  # objects in an image that is corrected
KEPT = 6  # fluorescence images that tell what was forgotten
DEFAULT = FinetuneConfig()


def main() -> None:
    options = _options()
    began = machine()
    model = open_model(options.model)
    known = [pair.read() for pair in dsb_pairs("val", FLUORESCENCE)[:KEPT]]
    rows = []
    for kind in options.kinds:
        cases = cases_of(kind, model, 2 + options.images)
        corrected, unseen = cases[:2], cases[2:]
        before = score(model, unseen)
        for variant in options.variants:
            for config in configs(options):
                examples = corrections(corrected, variant, config.seed)
                one = {"kind": kind, "corrected": variant, **settings(config)}
                figures = run(model, examples, config, unseen, known)
                was = {"ap50_before": before["ap50"], "dice_before": before["dice"]}
                rows.append({**one, **was, **figures})
                say(str(rows[-1]))
    facts = {"known_ap50_before": score(model, known)["ap50"]}
    report("finetuning", rows, facts, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    add = partial(parser.add_argument, nargs="+")
    add("--kinds", choices=list(KINDS), default=["histology", "phase-contrast"])
    add("--variants", choices=["objects", "view"], default=["objects"])
    add("--learning-rates", type=float, default=[DEFAULT.learning_rate])
    norm = "on" if DEFAULT.norm_learns else "off"
    add("--norms", choices=["on", "off"], default=[norm], help="statistics learn")
    add("--steps", type=int, default=[DEFAULT.steps])
    add("--batches", type=int, default=[DEFAULT.batch])
    add("--crops", type=int, default=[DEFAULT.crop])
    add("--seeds", type=int, default=[0], help="also choose the corrected objects")
    parser.add_argument("--images", type=int, default=8, help="to score on, per kind")
    return parser.parse_args()


def configs(options: argparse.Namespace) -> list[FinetuneConfig]:
    """Return one config for each combination that was asked for."""
    grid = product(
        options.seeds, options.learning_rates, options.norms, options.steps,
        options.batches, options.crops,
    )  # fmt: skip
    return [
        FinetuneConfig(
            seed=seed, learning_rate=rate, norm_learns=norm == "on", steps=steps,
            batch=batch, crop=crop,
        )
        for seed, rate, norm, steps, batch, crop in grid
    ]  # fmt: skip


def settings(config: FinetuneConfig) -> dict[str, Any]:
    return {
        "rate": f"{config.learning_rate:g}",
        "norm": "on" if config.norm_learns else "off",
        "steps": config.steps, "batch": config.batch, "crop": config.crop,
        "seed": config.seed,
    }  # fmt: skip


def run(
    model: Model, examples: list[Example], config: FinetuneConfig,
    unseen: list[Case], known: list[Case],
) -> dict[str, float]:  # fmt: skip
    """Fine-tune once; return how good it became on unseen and on known images."""
    clock = time.perf_counter()
    tuned = finetune(model, examples, config=config).model
    seconds = time.perf_counter() - clock
    after = score(tuned, unseen)
    return {
        "ap50": after["ap50"], "dice": after["dice"], "seconds": seconds,
        "known_ap50": score(tuned, known)["ap50"],
    }  # fmt: skip


def score(model: Model, cases: Iterable[Case]) -> dict[str, float]:
    """Return pooled AP and the mean Dice of images."""
    counts = [count(predict(model, image).labels, truth) for image, truth in cases]
    dice = float(np.mean([measures(one)["dice"] for one in counts]))
    return {**measures(pooled(counts)), "dice": dice}


# -- images


def cases_of(kind: str, model: Model, number: int) -> list[Case]:
    """Return images of a kind; the first two, to be corrected, hold enough objects."""
    cases = KINDS[kind](model)
    rich = [i for i, (_, truth) in enumerate(cases) if n_objects(truth) >= FEWEST][:2]
    order = rich + [i for i in range(len(cases)) if i not in rich]
    return [cases[i] for i in order[:number]]


def n_objects(truth: NDArray[Any]) -> int:
    return int(np.count_nonzero(np.unique(truth)))


def weak_fluorescence(model: Model) -> list[Case]:
    """Return the images of the val part that the model finds hardest, mixed."""
    cases = [pair.read() for pair in dsb_pairs("val", FLUORESCENCE)]
    found = [measures(count(predict(model, i).labels, t))["ap50"] for i, t in cases]
    weakest = np.argsort(found)[: len(cases) // 3]
    return spread([cases[i] for i in weakest])


def other_modality(modality: str, model: Model) -> list[Case]:
    """Return train images of a kind that the bundled model was not trained on."""
    del model
    return pieces(spread(dsb_pairs("train", [modality])[:40]))


def phase_contrast(model: Model) -> list[Case]:
    """Return pieces of the phase contrast images, from all of them in turn."""
    del model
    cut = pieces(find_pairs(data_folder() / "phase_contrast"))
    return [case for i in range(4) for case in cut[i::4]]


def spread(items: list[Any]) -> list[Any]:
    """Return items in a random order that is always the same."""
    return [items[i] for i in np.random.default_rng(0).permutation(len(items))]


def pieces(pairs: list[Pair]) -> list[Case]:
    """Read pairs, large images cut into pieces."""
    found = []
    for image, truth in (pair.read() for pair in pairs):
        for y, x in product(*(range(0, n, PIECE) for n in truth.shape)):
            window = (slice(y, y + PIECE), slice(x, x + PIECE))
            found.append((image[window], truth[window]))
    return found


KINDS: dict[str, Callable[[Model], list[Case]]] = {
    "fluorescence": weak_fluorescence,
    "histology": partial(other_modality, "purple_HE"),
    "cytology": partial(other_modality, "grayscale_tissue"),
    "phase-contrast": phase_contrast,
}


# -- corrections


def corrections(cases: list[Case], variant: str, seed: int) -> list[Example]:
    """Return examples of which only some objects, or also a view, are supervised."""
    rng = np.random.default_rng(seed)
    return [
        Example(image, truth, supervised(truth, number, variant, rng))
        for (image, truth), number in zip(cases, CORRECTED, strict=True)
    ]


def supervised(
    truth: NDArray[Any], number: int, variant: str, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return where a user corrected ``number`` objects, and accepted a view."""
    ids, areas = np.unique(truth[truth > 0], return_counts=True)
    usual = ids[areas >= np.median(areas) / 2]
    objects = np.isin(truth, rng.choice(usual, number, replace=False))
    rim = ndimage.binary_dilation(objects, iterations=RIM) & (truth == 0)
    marked: NDArray[np.bool_] = objects | rim
    if variant == "view":
        y, x = (int(np.median(place)) for place in np.nonzero(objects))
        top, left = max(y - VIEW // 2, 0), max(x - VIEW // 2, 0)
        marked[top : top + VIEW, left : left + VIEW] = True
    return marked


if __name__ == "__main__":
    main()
