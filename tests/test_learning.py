"""A fine-tuning in its worker: what it sees, what it shows, what it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_unet.learning as learning_module
from napari_unet.engine.commands import Command
from napari_unet.engine.config import FinetuneConfig, PredictConfig, StepDone
from napari_unet.engine.corrections import Corrections
from napari_unet.engine.finetune import Knowledge
from napari_unet.engine.holdout import Roles, unassigned
from napari_unet.engine.sites import Fresh, give_roles
from napari_unet.errors import TrainingError
from napari_unet.learning import MoreParts, Part, PreviewDone, Watch, finetune_on
from napari_unet.steps import View
from tiny import nuclei, tiny_model

QUICK = FinetuneConfig(steps=4, batch=1, crop=32, augment="off", evaluate_every=2)
REACH = 33.0
ALL = (slice(0, 96), slice(0, 96))


def part_of(corrections: Corrections, image: Any) -> Part:
    blocks = unassigned(corrections, Roles())
    fresh = Fresh(Roles(), blocks, corrections.shape, corrections.dims)
    (roles,) = give_roles([fresh], REACH)
    return Part(image, "YX", corrections.snapshot(), roles, REACH)


def corrected(objects: int = 3) -> tuple[Corrections, Any]:
    image, labels = nuclei()
    corrections = Corrections(labels)
    for number in range(1, objects + 1):
        corrections.accept_object(number, ALL)
    return corrections, image


def run(steps: Any, answers: Any = None) -> tuple[list[Any], Any]:
    """Drive a fine-tuning; ``answers`` gives what is sent in after an event."""
    events, answer = [], None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as end:
            return events, end.value
        events.append(event)
        answer = answers(event) if answers else None


def start(part: Part, view: View | None = None, config: Any = QUICK) -> Any:
    return finetune_on(tiny_model(), [part], config, Knowledge(), Watch(view))


def view_of(image: Any) -> View:
    return View("nuclei", image, "YX", (slice(0, 64), slice(8, 72)), PredictConfig())


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every step show a preview."""
    monkeypatch.setattr(learning_module, "PREVIEW_EVERY", 0.0)
    monkeypatch.setattr(learning_module, "PREVIEW_SHARE", 0.0)


def test_only_what_the_snapshots_protect_is_learnt() -> None:
    image, labels = nuclei()
    corrections = Corrections(labels)
    with pytest.raises(TrainingError, match="Nothing is corrected"):
        run(start(part_of(corrections, image)))
    corrections.accept_object(1, ALL)
    part = part_of(corrections, image)
    example = part.example()
    assert set(np.unique(example.labels[example.supervised])) == {0, 1}
    assert example.accepted is not None
    assert example.accepted.sum() == (labels == 1).sum()
    _, result = run(start(part))
    assert result.held_out == 1


@pytest.mark.usefixtures("always")
def test_what_is_watched_is_predicted_meanwhile() -> None:
    corrections, image = corrected()
    events, result = run(start(part_of(corrections, image), view_of(image)))
    shown = [each for each in events if isinstance(each, PreviewDone)]
    assert [each.step for each in shown] == [1, 2, 3, 4]
    assert shown[0].preview.labels.shape == (64, 64)
    assert shown[0].preview.number == 0
    assert all(each.seconds > 0 for each in shown)
    assert result.steps == 4


@pytest.mark.usefixtures("always")
def test_watching_changes_no_weight() -> None:
    corrections, image = corrected()
    part = part_of(corrections, image)
    seen, unseen = (run(start(part, view))[1] for view in (view_of(image), None))
    pairs = zip(
        seen.model.network.state_dict().values(),
        unseen.model.network.state_dict().values(),
        strict=True,
    )
    assert all(one.equal(other) for one, other in pairs)


@pytest.mark.usefixtures("always")
def test_watching_can_end_and_begin_while_it_trains() -> None:
    corrections, image = corrected()

    def answers(event: Any) -> Any:
        if isinstance(event, PreviewDone) and event.step == 1:
            return Watch(None)
        if isinstance(event, StepDone) and event.step == 3:
            return Watch(view_of(image))
        return None

    events, _ = run(start(part_of(corrections, image), view_of(image)), answers)
    shown = [each.step for each in events if isinstance(each, PreviewDone)]
    assert shown == [1, 3, 4]


def test_corrections_made_meanwhile_join_the_training() -> None:
    corrections, image = corrected(1)
    part = part_of(corrections, image)
    later, _ = corrected(9)
    more = MoreParts((part_of(later, image),))

    def answers(event: Any) -> Any:
        return more if isinstance(event, StepDone) and event.step == 1 else None

    _, result = run(start(part), answers)
    ((step, learn),) = result.learnt
    assert step == 2
    assert learn.examples[0].supervised.sum() > part.example().supervised.sum()


def test_stop_goes_on_to_the_training() -> None:
    corrections, image = corrected()
    config = QUICK.model_copy(update={"steps": 1000})

    def answers(event: Any) -> Any:
        return Command.STOP if isinstance(event, StepDone) else None

    _, result = run(start(part_of(corrections, image), None, config), answers)
    assert result.stopped
    assert result.steps == 1


def test_the_pace_is_measured() -> None:
    corrections, image = corrected()
    _, result = run(start(part_of(corrections, image)))
    assert result.pace is not None
    assert result.pace.pixel > 0
    assert result.pace.prepare > 0
