"""What the Fine-tune panel says: before a run, and of what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.engine.config import KindDone
from napari_unet.qt.parts import duration

if TYPE_CHECKING:
    from napari_unet.engine.config import Preparing, StepDone
    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.session_finetune import Plan

NOTHING = (
    "Learns from what you edit and accept. Correct about five objects, or accept a "
    "view that is right, then press Fine-tune."
)
ONLY_BACKGROUND = "Correct or accept some objects, too, or it may learn to find none."


def plan_in_words(plan: Plan, device: str, needed: str) -> str:
    """Say what a fine-tuning would do, and how long it would take.

    Parameters
    ----------
    plan : of the session
    device : on which it would run, such as "CPU"
    needed : what is missing until something is held out, "" if nothing is
    """
    if not plan.pixels:
        return NOTHING
    objects = _counted(plan.objects, "corrected object")
    text = f"Will train on {objects if plan.objects else 'background alone'}"
    if plan.sites.learning:  # they are counted when they are kept, a moment later
        text = f"{text} in {_counted(plan.sites.learning, 'place')}"
    text = f"{text} ({pixels_in_words(plan.pixels)})"
    if plan.sites.held_out:
        text = f"{text}, {_counted(plan.sites.held_out, 'place')} held out to score it"
    if plan.seconds is not None:
        text = f"{text}; {roughly(plan.seconds)} on this {device}"
    text = f"{text}."
    if not plan.objects:
        text = f"{text} {ONLY_BACKGROUND}"
    return text if plan.sites.held_out or not needed else f"{text} {needed}"


def preparing_in_words(event: Preparing) -> str:
    """Say what is done before the first step, and how far that is."""
    what = "recalling what the model was trained on"
    if isinstance(event, KindDone):
        what = "looking at which images are of the kind that the model knows"
    return f"Preparing: {what}, image {event.done} of {event.total}"


def step_in_words(event: StepDone, *, joined: bool) -> str:
    """Say how far a fine-tuning is.

    Parameters
    ----------
    event : of the last step
    joined : whether corrections that were made meanwhile are learnt from
    """
    text = f"Step {event.step} of {event.total}"
    if event.kind:
        kind = f"on images of the kind that {event.kind} knows"
        return f"{text}, {kind}; what you correct now is learnt in the next run"
    return f"{text}, with your new corrections" if joined else text


def pixels_in_words(pixels: int) -> str:
    """Return a number of pixels with no more digits than tell something."""
    if pixels >= 1e6:
        return f"{pixels / 1e6:.1f} million pixels"
    step = 1000 if pixels >= 10_000 else 100 if pixels >= 1000 else 1
    return f"{round(pixels / step) * step:,} pixels"


def roughly(seconds: float) -> str:
    """Return a time that is only guessed, such as "about 4 min"."""
    if seconds < 90:
        return f"about {max(round(seconds / 5), 1) * 5} s"
    return f"about {duration(max(round(seconds / 60), 1) * 60).removesuffix(' 0 s')}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def result_in_words(result: FinetuneResult, live: int | None) -> str:
    """Say what came of a fine-tuning.

    Parameters
    ----------
    result : a finished one
    live : number of the version that it became by itself; None: it is a draft
    """
    if live is not None:
        return f"Version {live} is live: {result.summary}."
    why = result.verdict.why or "another version was chosen meanwhile"
    return (
        f"A draft, not in use, because {why}: {result.summary}. Keep uses it all the "
        "same, Revert drops it."
    )
