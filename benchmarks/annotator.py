"""A simulated annotator: how few corrected objects make a model good at a new kind.

It has the true masks and drives the session as the panels do: it takes what a look at
the first image suggests (each way of working begins so), goes to the place to which it
is led, corrects the worst objects there in strokes, accepts what is right,
fine-tunes, predicts, and so on until its objects are spent. A draft that did not go
live by itself is looked at around the last place and the next one, and kept where it
is better there. Seeds are paired: every way of working begins with the same images.

With ``--among 6`` six of its eight images are fluorescence images such as the model
knows, and the first of all; what is scored are unseen images of the other kind.
``--images 24 --among 22`` is a folder of which nearly all is right already.

    python benchmarks/annotator.py --kinds histology --ways ours random --seeds 5
    python benchmarks/annotator.py --kinds cytology --among 6 --ways ours random

Ways: ``ours`` (places from Next), ``random`` (the same with places by chance),
``scratch`` (the same from random weights, remembering nothing), ``plain`` (fine-tuning
on the whole corrected layer as truth, nothing else), ``forest`` (a random forest on
scikit-image's multiscale features; needs ``pip install scikit-learn``), ``all`` (all
true masks of the same images, as many steps as ``ours`` took) and ``long`` (the same,
four times as many).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from _annotator_forest import forest_labels
from _annotator_hand import correct, seen_as_right
from _annotator_summary import paired, summary
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
    table,
)
from finetuning import pieces, spread
from napari_unet import Example, predict
from napari_unet.engine.config import FinetuneConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.finetune import Knowledge, finetune_steps
from napari_unet.engine.metrics import count, measures, pooled
from napari_unet.engine.model import revised
from napari_unet.io.pairs import find_pairs
from napari_unet.jobs import run_now
from napari_unet.opened_model import Opening
from napari_unet.session import Session
from napari_unet.steps import look_at

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.metrics import Counts
    from napari_unet.engine.model import Model
    from napari_unet.opened import OpenImage

    Case = tuple[NDArray[Any], NDArray[Any]]  # image, true labels

PLACE = 96  # pixels
SESSIONS = ("ours", "random", "scratch", "plain")
WAYS = (*SESSIONS, "forest", "all", "long")


def main() -> None:
    options = _options()
    began = machine()
    rows = [
        row for path in options.earlier for row in json.loads(path.read_text())["rows"]
    ]
    for kind in options.kinds:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            steps = 0  # that a session took, for those that learn from all masks
            for way in options.ways:
                for row in run(kind, way, seed, options, steps):
                    rows.append(row)
                    say(str(row))
                    if way in SESSIONS:
                        steps = steps if way != "ours" and steps else row["steps"]
    facts = {"summary": summary(rows), "paired": paired(rows)}
    say(table(facts["summary"]))
    say(table(facts["paired"]))
    report("annotator", rows, facts, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=["ours", "random"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--earlier", nargs="*", type=Path, default=[], metavar="FILE",
        help="figures of earlier runs that are summed up with these",
    )  # fmt: skip
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--objects", type=int, default=40, help="to correct in all")
    parser.add_argument("--most", type=int, default=3, help="objects in a place")
    parser.add_argument("--places", type=int, default=4, help="in a round")
    parser.add_argument("--steps", type=int, default=150, help="of a fine-tuning")
    parser.add_argument("--unseen", type=int, default=12, help="images to score on")
    parser.add_argument("--known", type=int, default=77, help="fluorescence images")
    parser.add_argument("--images", type=int, default=8, help="in a session")
    parser.add_argument(
        "--among", type=int, default=0, metavar="N",
        help="of the images in a session, N are fluorescence images, of those that are "
        "left over by --known",
    )  # fmt: skip
    parser.add_argument(
        "--set", nargs="*", default=[], help="FIELD=VALUE of the config"
    )
    options = parser.parse_args()
    if options.among > options.images:
        parser.error(f"--among {options.among}: a session has {options.images} images")
    return options


# -- images


def histology() -> tuple[list[Case], list[Case]]:
    train = spread(dsb_pairs("train", ["purple_HE"]))
    return pieces(train), pieces(dsb_pairs("val", ["purple_HE"]))


def cytology() -> tuple[list[Case], list[Case]]:
    pairs = spread([
        *dsb_pairs("train", ["grayscale_tissue"]),
        *dsb_pairs("val", ["grayscale_tissue"]),
    ])  # fmt: skip
    return pieces(pairs[:7]), pieces(pairs[7:])


def phase_contrast() -> tuple[list[Case], list[Case]]:
    pairs = find_pairs(data_folder() / "phase_contrast")
    return pieces(pairs[:2]), pieces(pairs[2:])


KINDS: dict[str, Callable[[], tuple[list[Case], list[Case]]]] = {
    "histology": histology,
    "cytology": cytology,
    "phase-contrast": phase_contrast,
}


def images_of(
    kind: str, rng: np.random.Generator, options: argparse.Namespace
) -> tuple[list[Case], list[Case], list[Case]]:
    """Return the images of a session, unseen ones, and known ones that are left out."""
    source, unseen = KINDS[kind]()
    many = options.images - options.among
    own = [source[i] for i in rng.permutation(len(source))[:many]]
    pairs = spread(dsb_pairs("val", FLUORESCENCE))
    known, left = pairs[: options.known], pairs[options.known :]
    if len(left) < options.among:
        raise SystemExit(f"--known {options.known} leaves {len(left)} for --among")
    others = [left[i].read() for i in rng.permutation(len(left))[: options.among]]
    return [*others, *own], unseen[: options.unseen], [pair.read() for pair in known]


def score(model: Model, cases: list[Case]) -> dict[str, float]:
    """Return pooled AP, and the mean Dice of images."""
    return _pooled(
        [count(predict(model, image).labels, truth) for image, truth in cases]
    )


def _pooled(counts: list[Counts]) -> dict[str, float]:
    dice = float(np.mean([measures(one)["dice"] for one in counts]))
    return {"ap50": measures(pooled(counts))["ap50"], "dice": dice}


# -- the annotator


@dataclass
class Work:
    """One annotator at one session."""

    session: Session
    cases: list[Case]
    unseen: list[Case]
    images: list[OpenImage]
    rng: np.random.Generator
    way: str
    options: argparse.Namespace
    corrected: int = 0
    places: int = 0  # that it has been to
    steps: int = 0
    ahead: tuple[OpenImage, Region] | None = None  # where it goes next
    last: tuple[OpenImage, Region] | None = None  # where it was last

    @property
    def model(self) -> Model:
        """The model in use."""
        if self.session.model is None:
            raise ValueError("no model is loaded")
        return self.session.model

    def config(self) -> FinetuneConfig:
        given = dict(pair.split("=", 1) for pair in self.options.set)
        own = {"start": "scratch", "remember": 0.0} if self.way == "scratch" else {}
        return FinetuneConfig.model_validate(
            {"steps": self.options.steps, **own, **given}
        )

    def predict(self) -> None:
        for opened in self.images:
            run_now(self.session.predict_job(opened))

    def next_place(self) -> tuple[OpenImage, Region] | None:
        """Return the place where it goes next; it stays so until it was corrected."""
        if self.ahead is None:
            self.ahead = self._chosen_place()
        return self.ahead

    def _chosen_place(self) -> tuple[OpenImage, Region] | None:
        if self.way == "random":
            return self._any_place()
        session = self.session
        if not session.places_fresh:
            run_now(session.places_job())
        found = session.next_place()
        return None if found is None else (found[0], found[1].window)

    def _any_place(self) -> tuple[OpenImage, Region] | None:
        for _ in range(200):
            opened = self.images[int(self.rng.integers(len(self.images)))]
            shape = opened.corrections.shape
            start = [int(self.rng.integers(max(n - PLACE, 0) + 1)) for n in shape]
            window = tuple(
                slice(s, min(s + PLACE, n)) for s, n in zip(start, shape, strict=True)
            )
            if opened.corrections.state[window].mean() < 0.3:
                return opened, window
        return None

    def correct(self) -> None:
        """Correct in the places of one round."""
        for _ in range(self.options.places):
            left = self.options.objects - self.corrected
            place = self.next_place() if left > 0 else None
            if place is None:
                return
            (opened, window), self.last, self.ahead = place, place, None
            truth = self.cases[self.images.index(opened)][1]
            many = correct(opened, truth, window, min(self.options.most, left))
            self.corrected += many
            self.places += 1

    def learn(self) -> str:
        """Fine-tune, decide on what came of it, predict."""
        if self.way == "plain":
            self._learn_plainly()
            said = ""
        else:
            result = run_now(self.session.finetune_job(self.config()))
            self.steps += result.steps
            said = f"{result.start}: {result.summary} | {result.verdict.why}"
            if self.session.draft is not None and self._likes(result.model):
                self.session.keep()
                said = f"{said} | kept by hand"
        self.predict()
        return said

    def _likes(self, draft: Model) -> bool:
        """Tell whether a draft is better than the model in use around where it stands.

        That is around the last place, of which little was corrected, and around the
        next one, which neither has learnt. Where nothing is to be seen, nobody can
        tell.
        """
        gains = [
            self._seen_as_right(draft, *place) - self._seen_as_right(self.model, *place)
            for place in (self.last, self.next_place()) if place is not None
        ]  # fmt: skip
        return sum(gains) > 0

    def _seen_as_right(self, model: Model, opened: OpenImage, window: Region) -> float:
        truth = self.cases[self.images.index(opened)][1]
        seen = around(window, truth.shape)
        if not truth[seen].any():
            return 0.0
        labels = predict(model, opened.image, axes=opened.axes).labels
        return seen_as_right(labels, truth, seen)

    def _learn_plainly(self) -> None:
        """Fine-tune on whole corrected layers as if they were the truth."""
        model = self.model
        examples = [
            Example(o.image, np.array(o.corrections.labels), None, o.axes,
                    np.zeros(o.corrections.shape, bool))
            for o in self.images if o.corrections.tally()
        ]  # fmt: skip
        config = self.config().model_copy(
            update={"teacher": 0.0, "remember": 0.0, "start": "current"}
        )
        result = drain(finetune_steps(model, examples, config))
        self.steps += result.steps
        self.session.set_model(result.model)


def axes_of(image: NDArray[Any]) -> str:
    return "YXC" if image.ndim == 3 else "YX"


def _suggested(model: Model, image: NDArray[Any]) -> Mapping[str, Any] | None:
    """Return what *Use suggestion* would change after a look at an image."""
    look = drain(look_at(model, image, axes_of(image), None))
    return None if look.best is None else look.best.changes


def around(window: Region, shape: tuple[int, ...]) -> Region:
    """Return what a user sees around a place."""
    return tuple(
        slice(max(s.start - PLACE, 0), min(s.stop + PLACE, n))
        for s, n in zip(window, shape, strict=True)
    )


def run(
    kind: str, way: str, seed: int, options: argparse.Namespace, steps: int
) -> Iterator[dict[str, Any]]:
    """Work through one session; give a row for each round.

    Parameters
    ----------
    steps : that those make that learn from all masks; 0: as many as are usual
    """
    began = time.perf_counter()
    rng = np.random.default_rng(seed)
    among = f"{options.among} of {options.images}"
    named = f"{kind} among {among}" if options.among else kind
    cases, unseen, known = images_of(kind, rng, options)
    base = open_model(options.model)
    opening = Opening(options.model)
    if (suggested := _suggested(base, cases[0][0])) is not None:
        base, opening = revised(base, suggested), opening.changed(suggested)

    def row(
        model: Model, objects: int, done: int, said: str = "", *, places: int = 0,
        last: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        recalled = score(model, known)["ap50"] if last else float("nan")
        return {
            "kind": named, "way": way, "seed": seed, "objects": objects,
            "places": places, "steps": done,
            **score(model, unseen), "known_ap50": recalled,
            "seconds": round(time.perf_counter() - began), "said": said,
        }  # fmt: skip

    if way in ("all", "long"):
        steps = (steps or 5 * options.steps) * (4 if way == "long" else 1)
        yield _with_all_masks(row, base, cases, seed, steps)
        return
    if way == "forest":
        labels = forest_labels(cases, unseen, options.objects, seed)
        counts = [count(n, truth) for n, (_, truth) in zip(labels, unseen, strict=True)]
        yield {
            "kind": named, "way": "forest", "seed": seed, "objects": options.objects,
            "places": 0, "steps": 0, **_pooled(counts), "known_ap50": float("nan"),
            "seconds": round(time.perf_counter() - began), "said": "",
        }  # fmt: skip
        return
    session = Session()
    session.autosave = False
    session.set_model(base, opening=opening)
    images = [
        session.add_image(f"image {i}", image, axes_of(image))
        for i, (image, _) in enumerate(cases)
    ]
    work = Work(session, cases, unseen, images, rng, way, options)
    work.predict()
    yield row(base, 0, 0)
    goes_on = True
    while goes_on:
        had = work.corrected
        while work.corrected == had and work.next_place() is not None:
            work.correct()
        if work.corrected == had:
            break
        said = work.learn()
        goes_on = work.corrected < options.objects and work.next_place() is not None
        yield row(
            work.model, work.corrected, work.steps, said, places=work.places,
            last=not goes_on,
        )  # fmt: skip


def _with_all_masks(
    row: Any, base: Model, cases: list[Case], seed: int, steps: int
) -> dict[str, Any]:
    """Train on all true masks of the images."""
    examples = [
        Example(image, truth, None, None, np.zeros(truth.shape, bool))
        for image, truth in cases
    ]
    config = FinetuneConfig(
        steps=steps, start="current", teacher=0.0, remember=0.0, seed=seed,
        evaluate_every=steps,
    )  # fmt: skip
    result = drain(finetune_steps(base, examples, config, Knowledge()))
    objects = sum(len(np.unique(truth)) - 1 for _, truth in cases)
    found: dict[str, Any] = row(result.model, objects, steps, result.summary)
    return found


if __name__ == "__main__":
    main()
