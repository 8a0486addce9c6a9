"""Fine-tuning in a session: odd corrections, and what happens halfway."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet.engine.blocks import everything
from napari_unet.engine.commands import Command
from napari_unet.engine.config import FinetuneConfig, KindDone, RecallDone, StepDone
from napari_unet.engine.drain import drain
from napari_unet.engine.finetune import Knowledge, finetune_steps
from napari_unet.engine.pace import PREPARING, TRIAL, Pace
from napari_unet.engine.sampling import Example
from napari_unet.engine.teaching import Memory
from napari_unet.engine.verdict import LostObject, Verdict
from napari_unet.errors import TrainingError
from napari_unet.jobs import run_now
from napari_unet.learning import Watch, finetune_on
from napari_unet.opened_model import Opening
from napari_unet.session import Session
from tiny import nuclei, tiny_model

if TYPE_CHECKING:
    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.opened import OpenImage

QUICK = FinetuneConfig(steps=2, batch=1, crop=32, augment="off", start="current")


def session_of(images: int = 3, output: Any = "instances") -> Session:
    session = Session()
    session.set_model(tiny_model(output), opening=Opening("tiny.safetensors"))
    for number in range(images):
        pixels, labels = nuclei(seed=number)
        session.add_image(f"image {number}", pixels, "YX", labels)
    return session


def paint(opened: OpenImage, place: Any, value: int) -> None:
    opened.corrections.labels[place] = value
    opened.corrections.stroke_ends()


def tuned(session: Session, **changes: Any) -> FinetuneResult:
    results: list[FinetuneResult] = []
    session.finetuned.connect(results.append)
    run_now(session.finetune_job(QUICK.model_copy(update=changes)))
    return results[0]


# -- odd corrections


def test_a_place_that_is_edited_to_and_fro_can_be_learnt() -> None:
    session = session_of()
    for opened in session.images:
        for value in (99, 0, 99, 0, 98):
            paint(opened, (slice(40, 52), slice(40, 52)), value)
    assert tuned(session).steps == 2


def test_what_is_edited_and_undone_is_not_learnt() -> None:
    session = session_of(1)
    (opened,) = session.images
    paint(opened, (slice(40, 52), slice(40, 52)), 99)
    session.undo(opened)
    with pytest.raises(TrainingError, match="Nothing is corrected yet"):
        session.finetune_job(QUICK)


@pytest.mark.parametrize("value", [0, 99])
@pytest.mark.parametrize("output", ["instances", "foreground"])
def test_one_class_alone_can_be_learnt(value: int, output: str) -> None:
    session = session_of(output=output)
    for opened in session.images:
        paint(opened, (slice(0, 96), slice(0, 96)), value)
    result = tuned(session)
    assert result.steps == 2
    assert np.isfinite(list(result.after.values())).all()


def test_one_class_of_several_can_be_learnt() -> None:
    session = Session()
    session.set_model(tiny_model("classes"))
    for number in range(3):
        opened = session.add_image(f"image {number}", nuclei(seed=number)[0], "YX")
        paint(opened, (slice(10, 40), slice(10, 40)), 2)
    assert tuned(session).steps == 2


def test_corrections_at_the_border_alone_can_be_learnt() -> None:
    session = session_of()
    for opened in session.images:
        for row in (0, 95):
            paint(opened, (slice(row, row + 1), slice(0, 96)), 99)
        for column in (0, 95):
            paint(opened, (slice(0, 96), slice(column, column + 1)), 98)
    assert tuned(session, augment="mild").steps == 2


def test_labels_that_touch_everywhere_can_be_learnt() -> None:
    session = session_of()
    everywhere = np.arange(96) // 12
    tiles = 1 + everywhere[:, None] * 8 + everywhere[None]
    for opened in session.images:
        paint(opened, (slice(0, 96), slice(0, 96)), tiles)
    result = tuned(session)
    assert result.held_out > 0
    assert result.honest


def test_where_nothing_can_be_held_out_the_result_is_a_draft() -> None:
    session = session_of(1)
    paint(session.images[0], (slice(10, 40), slice(10, 40)), 99)
    result = tuned(session)
    assert not result.honest
    assert session.draft is result
    assert "nothing is held out" in result.verdict.why
    assert session.needed_to_score().startswith("Nothing is held out yet: correct 2 ")


def test_where_the_share_to_hold_out_is_nothing_it_learns_all_the_same() -> None:
    session = session_of()
    for opened in session.images:
        paint(opened, (slice(10, 40), slice(10, 40)), 99)
    result = tuned(session, held_out=0.0)
    assert not result.honest
    assert "share to hold out is 0" in session.needed_to_score()


def test_too_few_pixels_are_refused_in_a_sentence() -> None:
    session = session_of(1)
    session.images[0].corrections.labels[4, 4] = 0  # is background: no edit
    paint(session.images[0], (slice(0, 1), slice(0, 2)), 99)
    steps = session.finetune_job(QUICK).steps
    with pytest.raises(TrainingError, match="expected at least 30"):
        drain(steps)


# -- the loaded model is another one


@pytest.mark.parametrize(
    "other",
    [
        tiny_model("classes"),
        tiny_model("foreground"),
        tiny_model(in_channels=3),
    ],
    ids=["classes", "foreground", "colour"],
)
@pytest.mark.parametrize("start", ["auto", "base"])
def test_a_loaded_model_that_does_not_fit_is_left_out(other: Any, start: Any) -> None:
    image, labels = nuclei()
    memory = Memory([Example(*nuclei(seed=5), axes="YX")])
    known = Knowledge(other, other, memory)
    config = QUICK.model_copy(update={"start": start})
    examples = [Example(image, labels, axes="YX")]
    result = drain(finetune_steps(tiny_model(), examples, config, known))
    assert result.model.spec.output == "instances"
    assert "nothing was taken from it" in result.summary


def test_a_loaded_model_that_fits_is_said_nothing_of() -> None:
    examples = [Example(*nuclei(), axes="YX")]
    known = Knowledge(tiny_model(seed=4))
    result = drain(finetune_steps(tiny_model(), examples, QUICK, known))
    assert "taken from it" not in result.summary


# -- halfway


def accepted(session: Session) -> None:
    for opened in session.images:
        opened.corrections.accept_existing()


def test_what_is_remembered_is_told_image_by_image_and_kept_when_broken_off() -> None:
    memory = Memory([Example(*nuclei(seed=seed), axes="YX") for seed in range(6)])
    model, examples = tiny_model(), [Example(*nuclei(), axes="YX")]
    steps = finetune_steps(model, examples, QUICK, Knowledge(model, memory=memory))
    assert [next(steps), next(steps)] == [RecallDone(1, 4), RecallDone(2, 4)]
    steps.close()
    again = finetune_steps(model, examples, QUICK, Knowledge(model, memory=memory))
    told = [event for event in again if isinstance(event, RecallDone)]
    assert told == [RecallDone(3, 4), RecallDone(4, 4)]


def test_what_the_last_fine_tuning_told_apart_is_known_afterwards() -> None:
    session = session_of(3)
    accepted(session)
    job = session.finetune_job(QUICK)
    job.accept(replace(drain(job.steps), staying=(0, 2)))
    first, second, third = session.images
    assert session.kinds == ((first, third), (second,))
    job = session.finetune_job(QUICK)
    job.accept(drain(job.steps))
    assert session.kinds == ()


def test_lost_objects_are_those_of_the_images_that_it_began_with() -> None:
    session = session_of(3)
    late, *early = session.images
    for opened in early:
        opened.corrections.accept_existing()
    job = session.finetune_job(QUICK)
    late.corrections.accept_existing()
    session.more_corrections()  # now three images are learnt from
    result = drain(job.steps)
    lost = LostObject(0, 3, (40, 40))
    told = replace(result, verdict=Verdict(False, "it loses one", (lost,)))
    job.accept(told)
    assert session.lost_objects(told) == [(early[0], lost)]


def test_restoring_another_version_keeps_an_earlier_draft_and_the_new_one() -> None:
    session = session_of()
    accepted(session)
    tuned(session, steps=1, learning_rate=1e-9)
    session.keep()
    tuned(session, steps=1, learning_rate=1e-9)  # a draft of version 2
    job = session.finetune_job(QUICK)
    result = drain(job.steps)
    session.restore(1)
    job.accept(result)
    assert session.draft is result
    assert [each.number for each in session.versions] == [1, 2, 3]
    session.keep()
    assert (session.version.number, session.version.base) == (4, 2)


def test_commands_sent_while_it_recalls_are_not_lost() -> None:
    session = session_of()
    accepted(session)
    memory = Memory([Example(*nuclei(seed=seed), axes="YX") for seed in range(6)])
    model = session.model
    known = Knowledge(model, memory=memory)
    config = QUICK.model_copy(update={"steps": 1000})
    steps = finetune_on(model, session._parts(), config, known, Watch(None))
    next(steps)
    before = [steps.send(None) for _ in range(4)]
    assert [type(each) for each in before] == [KindDone] * 3 + [RecallDone]
    event = steps.send(Command.STOP)
    count = 0
    while True:
        count += isinstance(event, StepDone)
        try:
            event = steps.send(None)
        except StopIteration as end:
            result = end.value
            break
    assert result.stopped
    assert count <= 1


# -- how long it will take


def corrected(*, right: bool) -> Session:
    """Return a session of five images that were predicted right, or not at all."""
    session = session_of(0)
    whole = everything((96, 96))
    for number in range(5):
        pixels, labels = nuclei(seed=number)
        opened = session.add_image(f"image {number}", pixels, "YX")
        its = opened.corrections
        its.merge(labels if right else np.zeros_like(labels), whole)
        session._note_prediction(opened, whole, 1)
        its.edit("paint", whole, np.where(labels > 0, labels + its.next_label, 0))
        its.accept(whole)
    session.assign_roles()
    session._note_pace(1.0, 96 * 96)
    return session


def test_a_trial_is_foretold_where_the_model_was_mostly_wrong() -> None:
    right, wrong = (
        corrected(right=each).plan(FinetuneConfig()).seconds for each in (True, False)
    )
    assert right is not None
    assert wrong is not None
    assert wrong - PREPARING == pytest.approx((1 + TRIAL) * (right - PREPARING))


def test_what_the_last_one_did_is_foretold_while_the_same_version_is_in_use() -> None:
    session = corrected(right=True)
    session._pace = Pace(0.0, 1e-5, trials=2)
    alone = session.plan(FinetuneConfig()).seconds
    session._began_with = 1
    assert session.plan(FinetuneConfig()).seconds == pytest.approx(alone * 1.4)
