"""One round of fine-tuning: how long it takes, and when it can first be seen.

Five regions of 256 x 256 pixels are corrected (true masks of stained tissue), one
of them is watched. It tells the seconds of the whole round, of the first preview and of
the first that is better than the prediction before, and how well the time was
foretold: the first round from a prediction, the later ones from the round before.
As in the window, what learning needs is imported after the first prediction.

    python benchmarks/round.py --rounds 3
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from _common import add_model, arguments, machine, open_model, report, say
from annotator import KINDS
from napari_unet.engine.config import FinetuneConfig, PredictConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.metrics import count, measures
from napari_unet.jobs import run_now
from napari_unet.learning import PreviewDone, ready_to_learn
from napari_unet.opened_model import Opening
from napari_unet.session import Session
from napari_unet.steps import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

REGIONS = 5
SIDE = 256  # pixels


def main() -> None:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--kind", choices=list(KINDS), default="histology")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    began = machine()
    source, _ = KINDS[options.kind]()
    large = [case for case in source if min(case[1].shape) >= SIDE][:REGIONS]
    cases = [(image[:SIDE, :SIDE], truth[:SIDE, :SIDE]) for image, truth in large]
    session = Session()
    session.autosave = False
    session.set_model(open_model(options.model), opening=Opening(options.model))
    _correct(session, cases)
    drain(ready_to_learn())
    rows = []
    for number in range(options.rounds):
        rows.append({"round": number + 1, **_round(session, cases)})
        say(str(rows[-1]))
    errors = [abs(row["foretold"] / row["seconds"] - 1) for row in rows]
    facts = {"median_error_of_estimate": float(np.median(errors))}
    say(f"median error of the estimate {facts['median_error_of_estimate']:.0%}")
    report("round", rows, facts, options, began)


def _correct(session: Session, cases: list[Any]) -> None:
    """Predict, and put the truth in the place of what was predicted."""
    for number, (image, truth) in enumerate(cases):
        axes = "YXC" if image.ndim == 3 else "YX"
        opened = session.add_image(f"region {number + 1}", image, axes)
        run_now(session.predict_job(opened))
        its = opened.corrections
        whole = (slice(0, SIDE), slice(0, SIDE))
        first = its.next_label
        its.edit("paint", whole, np.where(truth > 0, truth + first, 0).astype(np.int32))
        its.accept(whole)
    session.assign_roles()  # as the window does a moment after a stroke


def _round(session: Session, cases: list[Any]) -> dict[str, Any]:
    image, truth = cases[0]
    axes = "YXC" if image.ndim == 3 else "YX"
    region = (slice(0, SIDE), slice(0, SIDE))
    view = View("region 1", image, axes, region, PredictConfig())
    config = FinetuneConfig()
    foretold = session.plan(config).seconds or float("nan")
    before = _dice(_predicted(session, image, axes), truth)
    seen: list[tuple[float, float]] = []

    def hear(event: object) -> None:
        if isinstance(event, PreviewDone):
            seen.append((event.seconds, _dice(event.preview.labels, truth)))

    clock = time.perf_counter()
    result = run_now(session.finetune_job(config, view), hear)
    seconds = time.perf_counter() - clock
    better = [when for when, dice in seen if dice > before]
    session.restore(1)  # every round begins alike
    return {
        "seconds": seconds, "foretold": foretold, "steps": result.steps,
        "first_preview": seen[0][0] if seen else float("nan"),
        "first_better": better[0] if better else float("nan"),
        "dice_before": before, "dice_last_preview": seen[-1][1] if seen else before,
        "start": result.start, "live": result.verdict.better,
    }  # fmt: skip


def _predicted(session: Session, image: Any, axes: str) -> NDArray[Any]:
    from napari_unet import predict

    if session.model is None:
        raise ValueError("no model is loaded")
    return predict(session.model, image, axes=axes).labels


def _dice(labels: NDArray[Any], truth: NDArray[Any]) -> float:
    return measures(count(labels, truth))["dice"]


if __name__ == "__main__":
    main()
