"""Ways to learn a new kind of image without forgetting the old one, compared.

Each way fine-tunes nuclei-2d on four fully masked images of a new kind; what it gains
on unseen images of that kind stands against what it loses on fluorescence images.

    python benchmarks/remembering.py
    python benchmarks/remembering.py --kinds histology --steps 240 --seeds 3

Ways: ``as loaded``, ``plain`` (nothing is remembered), ``replay W`` (synthetic images
of the old kind, of which the loaded model's scores are learnt with weight W),
``average S`` (weights of the plain result and of the loaded model averaged, S of the
new), ``replay+average S``, ``adapters`` (only norms and the last layer learn), ``own
images`` (the loaded model is the teacher on the user's other images, turned light for
dark, and nothing synthetic), ``one for each kind`` (the default: where the kinds can be
told apart the loaded network stays beside the new one, and the image chooses). In all
others there is one network. ``docs/make_curves.py`` draws what each gains and loses.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from _annotator_summary import interval
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
from annotator import KINDS, score
from finetuning import spread
from napari_unet import Example
from napari_unet.engine.config import FinetuneConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.finetune import Knowledge, finetune_steps
from napari_unet.engine.teaching import Memory
from napari_unet.formats.bundled import bundled_memory

if TYPE_CHECKING:
    import argparse

    from napari_unet.engine.model import Model

IMAGES = 4  # that are learnt from
OTHERS = 8  # of the user's, that only the teacher sees
SHARES = (0.25, 0.5, 0.75)  # of new weights
WEIGHTS = (0.5, 2.0, 6.0)  # of the memory


def main() -> None:
    options = _options()
    began = machine()
    base = open_model(options.model)
    known = [p.read() for p in spread(dsb_pairs("val", FLUORESCENCE))[: options.known]]
    start = score(base, known)["ap50"]
    rows = []
    for kind in options.kinds:
        for seed in range(options.seeds):
            for row in compared(base, kind, seed, known, options):
                rows.append(row)
                say(str(row))
    report("remembering", summary(rows), {"known_before": start}, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--unseen", type=int, default=16, help="images to score on")
    parser.add_argument("--known", type=int, default=77, help="fluorescence images")
    return parser.parse_args()


def compared(
    base: Model, kind: str, seed: int, known: list[Any], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a row for each way."""
    source, unseen = KINDS[kind]()
    order = np.random.default_rng(seed).permutation(len(source))
    cases = [source[i] for i in order]
    examples = [
        Example(image, truth, held_out=np.zeros(truth.shape, bool))
        for image, truth in cases[:IMAGES]
    ]
    config = FinetuneConfig(
        steps=options.steps, start="current", teacher=0.0, seed=seed,
        evaluate_every=options.steps,
    )  # fmt: skip
    synthetic = Memory([Example(i, t) for i, t in bundled_memory(options.model)])
    own = Memory([_turned(image) for image, _ in cases[IMAGES : IMAGES + OTHERS]])

    def alone(memory: Memory | None, weight: float, start: Model = base) -> Model:
        with patch("napari_unet.engine.elders.gate_between", return_value=None):
            return learn(memory, weight, start)

    def learn(memory: Memory | None, weight: float, start: Model = base) -> Model:
        settings = config.model_copy(update={"remember": weight})
        steps = finetune_steps(start, examples, settings, Knowledge(base, None, memory))
        return drain(steps).model

    plain = alone(None, 0.0)
    replayed = {weight: alone(synthetic, weight) for weight in WEIGHTS}
    ways = {"as loaded": base, "plain": plain}
    ways |= {f"replay {w:g}": m for w, m in replayed.items()}
    for share in SHARES:
        ways[f"average {share:g}"] = averaged(base, plain, share)
        ways[f"replay+average {share:g}"] = averaged(base, replayed[2.0], share)
    ways["adapters"] = alone(None, 0.0, adaptable(base))
    ways["own images"] = alone(own, 2.0)
    ways["one for each kind"] = learn(synthetic, 2.0)
    rows = []
    for way, model in ways.items():
        clock = time.perf_counter()
        new, old = score(model, unseen[: options.unseen]), score(model, known)
        rows.append({
            "kind": kind, "way": way, "seed": seed, "ap50": new["ap50"],
            "dice": new["dice"], "known_ap50": old["ap50"],
            "scoring": round(time.perf_counter() - clock),
        })  # fmt: skip
    return rows


def _turned(image: Any) -> Example:
    """Return an image light for dark; nothing is known of its objects."""
    grey = image.mean(axis=-1) if image.ndim == 3 else image.astype(float)
    return Example(grey.max() - grey, np.zeros(grey.shape, np.int32), axes="YX")


def averaged(old: Model, new: Model, share: float) -> Model:
    """Return a model whose weights lie between those of two.

    References
    ----------
    Wortsman et al.: Robust fine-tuning of zero-shot models, CVPR 2022,
    arXiv:2109.01903.
    """
    before, after = old.network.state_dict(), new.network.state_dict()
    mixed = {
        key: before[key].lerp(value, share) if value.is_floating_point() else value
        for key, value in after.items()
    }
    model = new.clone()
    model.network.load_state_dict(mixed)
    return model


def adaptable(model: Model) -> Model:
    """Return a model of which only norms and the last layer learn."""
    clone = model.clone()
    parameters = list(clone.network.named_parameters())
    last = {name for name, _ in parameters[-2:]}
    for name, parameter in parameters:
        parameter.requires_grad_(parameter.ndim == 1 or name in last)
    return replace(model, network=clone.network)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean and 95 % interval over seeds, by kind and way."""
    found = []
    for kind, way in dict.fromkeys((row["kind"], row["way"]) for row in rows):
        its = [r for r in rows if (r["kind"], r["way"]) == (kind, way)]
        one: dict[str, Any] = {"kind": kind, "way": way, "seeds": len(its)}
        for key in ("ap50", "dice", "known_ap50"):
            one[key], one[f"{key} +-"] = interval([row[key] for row in its])
        found.append(one)
    return found


if __name__ == "__main__":
    main()
