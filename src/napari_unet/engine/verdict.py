"""Better or nothing: whether a fine-tuned model may go live, and why, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.metrics import matched, measures, mostly, pooled
from napari_unet.engine.scoring import (
    count_found,
    count_planes,
    overall,
    plane_labels,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.lessons import Course
    from napari_unet.engine.metrics import Counts
    from napari_unet.engine.model import Model
    from napari_unet.engine.sampling import Plane
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.engine.teaching import Memory

NOTICEABLE = 0.005  # smaller gains of a score are none
LEAST_KEPT = 0.8  # of what is marked where nothing is corrected, to go live
FEWEST_TO_LOSE = 1  # objects that may always be lost: of few, one is a large share


@dataclass(frozen=True)
class LostObject:
    """An accepted object that the old model found and the new one misses.

    Attributes
    ----------
    example : which of the examples it is in
    label : its number there
    centre : over the axes of the example, without channels, in pixels
    """

    example: int
    label: int
    centre: tuple[int, ...]


@dataclass(frozen=True)
class Standing:
    """How a model stands.

    Attributes
    ----------
    checking : counts on what is held out (on what was learnt, where nothing is)
    learnt : counts on what was learnt
    found : the accepted objects that it finds
    memory : AP at an IoU of 0.5 (Dice of classes) on images of the kind that the loaded
        model was trained on; None: there are none
    """

    checking: Counts
    learnt: Counts
    found: frozenset[LostObject]
    memory: float | None


@dataclass(frozen=True)
class Verdict:
    """Whether a new model may take the place of the old one.

    Attributes
    ----------
    better : whether it gains and loses no more than is allowed
    why : "" or what speaks against it, one clause
    lost : objects that it misses and the old one found
    """

    better: bool
    why: str
    lost: tuple[LostObject, ...]


def standing(model: Model, course: Course, memory: Memory | None) -> Standing:
    """Measure a model on corrections and on what it shall remember."""
    seen = [plane_labels(model, plane.image) for plane in course.training]
    learnt = count_found(seen, course.training)
    checking = count_planes(model, course.checking) if course.honest else learnt
    pairs = zip(seen, course.training, strict=True) if model.spec.gives_objects else ()
    found = [each for labels, plane in pairs for each in _found(labels, plane)]
    return Standing(checking, learnt, frozenset(found), remembered(model, memory))


def remembered(model: Model, memory: Memory | None) -> float | None:
    """Return how right a model is on what it shall remember; None: it is nothing."""
    if memory is None:
        return None
    knowing = model.saying(None)  # how small its new objects are is no forgetting
    parts = []
    for number, plane in enumerate(memory.measuring(model.spec)):
        fitting = knowing.fitting(plane.image)
        seen = memory.measuring(fitting.spec)[number]
        parts.append(count_planes(fitting, [seen]))
    measured = measures(pooled(parts)) if parts else {}
    return measured.get("ap50" if model.spec.gives_objects else "dice")


def _found(labels: NDArray[Any], plane: Plane) -> list[LostObject]:
    """Return the accepted objects of a plane that are among what was found there."""
    trusted = plane.supervised[0] > 0
    if plane.accepted is not None:
        trusted &= plane.accepted[0] > 0
    truth = mostly(plane.labels, trusted)
    ids = np.unique(truth[truth != 0])
    if not ids.size:
        return []
    there = matched(labels, truth)
    centres = np.rint(ndimage.center_of_mass(truth > 0, truth, there)).astype(int)
    start = np.array([part.start for part in plane.place])
    flat, zoom = len(start) - plane.labels.ndim, plane.zoom
    found = []
    for label, centre in zip(there, centres.reshape(-1, truth.ndim), strict=True):
        pixel = (start[flat:] + centre).tolist()
        place = (*start[:flat].tolist(), *(zoom.place(pixel) if zoom else pixel))
        found.append(LostObject(plane.example, int(label), place))
    return found


def kept_elsewhere(old: Model, new: Model, planes: Sequence[Plane]) -> float | None:
    """Return the share that a new model leaves of what an old one marks elsewhere.

    Where only background is corrected, the easiest lesson is to find nothing at all.

    Parameters
    ----------
    old, new : of one kind
    planes : in which something is corrected

    Returns
    -------
    share : of the pixels that are not background where nothing is corrected, those
        that still are not, or still are of the class, 0 to 1; None: there are none
    """
    there = still = 0
    for plane in planes:
        found, finds = (plane_labels(model, plane.image) for model in (old, new))
        elsewhere = (plane.supervised[0] == 0) & (found > 0)
        if plane.held is not None:  # corrected too, to score with
            elsewhere &= plane.held[0] == 0
        same = finds > 0 if old.spec.gives_objects else finds == found
        there += int(elsewhere.sum())
        still += int((elsewhere & same).sum())
    return still / there if there else None


def judge(
    before: Standing, after: Standing, spec: ModelSpec, *, allowed: float, honest: bool,
    reference: float | None, kept: float | None = None,
) -> Verdict:  # fmt: skip
    """Compare an old and a new model.

    Parameters
    ----------
    before, after : how they stand
    spec : of both
    allowed : share of what was found before that may be lost, 0 to 1
    honest : whether something is held out
    reference : the loaded model's ``memory``
    kept : where only background was corrected, as from ``kept_elsewhere``
    """
    lost = sorted(
        before.found - after.found, key=lambda each: (each.example, each.label)
    )
    fewer = len(before.found) - len(after.found)
    old, new = (overall(measures(s.checking), spec) for s in (before, after))
    why = ""
    if kept is not None and kept < LEAST_KEPT:
        why = (
            f"it leaves only {100 * kept:.0f} % of what the model marked elsewhere "
            "(correct or accept some of that, too)"
        )
    elif not honest:
        why = "nothing is held out, so nothing is proved"
    elif new < old + NOTICEABLE:
        why = "it gains nothing on held-out corrections"
    elif fewer > max(allowed * len(before.found), FEWEST_TO_LOSE):
        why = (
            f"of the accepted objects it finds {len(after.found)}, before "
            f"{len(before.found)}"
        )
    elif _dice(before) - _dice(after) > allowed:
        why = (
            f"on what was accepted and corrected its Dice falls from "
            f"{_dice(before):.2f} to {_dice(after):.2f}"
        )
    elif reference is not None and reference - (after.memory or 0) > allowed:
        why = (
            f"on images of the kind that the model was trained on it falls from "
            f"{reference:.2f} to {after.memory:.2f}"
        )
    return Verdict(not why, why, tuple(lost))


def _dice(state: Standing) -> float:
    return measures(state.learnt)["dice"]
