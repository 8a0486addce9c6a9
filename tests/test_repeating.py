"""A fine-tuning that was taken down comes to the same weights when it is repeated."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_unet import learning
from napari_unet.engine.commands import Command
from napari_unet.engine.config import PredictConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.model import revised
from napari_unet.errors import ProjectError
from napari_unet.io.recipes import read_recipe, write_recipe
from napari_unet.project.replaying import largest_difference
from napari_unet.repeating import Larder, repeat_steps
from napari_unet.session import Session
from napari_unet.steps import View
from recorded_sessions import SHORT, add, begin, correct, finetune, write_image
from tiny import discs, noise, nuclei, tiny_model
from two_kinds import CONFIG, dark, knowing, light

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.opened import OpenImage

pytestmark = pytest.mark.usefixtures("projects")

AUTO = SHORT.model_copy(update={"start": "auto", "steps": 10})


def larder_of(session: Session) -> Larder:
    """Return the models and images of a session, as loaded from files."""
    models = {
        each.number: each.model.clone(torch.device("cpu")) for each in session.versions
    }
    for model in models.values():  # as it comes out of a file
        model.network.to(memory_format=torch.contiguous_format)
    images = {opened.name: opened.image for opened in session.images}
    return Larder(models.__getitem__, lambda noted: images[noted.name], lambda _: None)


def assert_repeats(result: FinetuneResult, larder: Larder) -> None:
    """Repeat a fine-tuning twice and compare every weight."""
    assert result.recipe is not None
    for _ in range(2):
        again = drain(repeat_steps(result.recipe, larder))
        assert largest_difference(again.model, result.model) == 0.0
        assert (again.steps, again.start, again.stopped, again.after) == (
            result.steps, result.start, result.stopped, result.after
        )  # fmt: skip


def test_what_the_network_beside_it_learnt_is_learnt_again(tmp_path: Path) -> None:
    session, _ = begin(tmp_path, knowing())
    for seed in range(4):
        example = (dark if seed > 1 else light)(seed)
        image = example.image.astype(np.uint8)
        opened = session.add_image(f"image {seed}", image, "YX")
        opened.corrections.labels[:] = example.labels
        opened.corrections.stroke_ends()
        opened.corrections.accept((slice(None), slice(None)))
    config = CONFIG.model_copy(update={"held_out": 0.5, "steps": 20})
    result = finetune(session, config, live=False)
    session.keep()
    assert result.recipe is not None
    account, elder = result.recipe.account, result.model.elder
    assert elder is not None
    assert result.steps == 30
    assert account.elder not in ("", account.model.weights)
    assert_repeats(result, larder_of(session))
    later = finetune(session, config)
    assert later.recipe is not None
    assert later.recipe.account.model.elder == account.elder
    assert_repeats(later, larder_of(session))
    larder = larder_of(session)
    with torch.no_grad():
        next(larder.version(2).elder.network.parameters()).add_(1)
    with pytest.raises(ProjectError, match="holds other weights"):
        drain(repeat_steps(later.recipe, larder))


def stop() -> Command:
    return Command.STOP


def with_held_out(folder: Path) -> tuple[Session, OpenImage]:
    """Return a session of which something is held out: the third image."""
    session, opened = begin(folder)
    for seed in (1, 2):
        correct(opened, range(1, 5), seed - 1)
        session.assign_roles()
        write_image(folder / f"{seed}.png", seed)
        opened = add(session, folder / f"{seed}.png")
    correct(opened, range(1, 5), 2)
    return session, opened


def test_what_was_learnt_is_learnt_again(tmp_path: Path) -> None:
    session, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    result = finetune(session)
    assert result.recipe is not None
    account = result.recipe.account
    assert (account.steps, account.stop, account.joined) == (6, None, ())
    assert [each.name for each in account.images] == ["nuclei.png"]
    assert account.machine.threads == torch.get_num_threads()
    assert_repeats(result, larder_of(session))


def test_what_was_learnt_of_a_zoomed_image_is_learnt_again(tmp_path: Path) -> None:
    sized = revised(tiny_model(norm="batch"), {"pixel_size": [1.0, 1.0]})
    session, opened = begin(tmp_path, sized)
    opened.pixel_size = (0.5, 0.5)
    correct(opened, range(1, 6))
    result = finetune(session)
    assert result.recipe is not None
    assert result.recipe.account.images[0].pixel_size == (0.5, 0.5)
    assert_repeats(result, larder_of(session))
    assert result.model.spec.pixel_size == (1.0, 1.0)


def test_only_the_chosen_channel_is_learnt_again(tmp_path: Path) -> None:
    alone, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    session, _ = begin(tmp_path)
    both = np.stack([opened.image[::-1], opened.image])
    pair = session.add_image("pair", both, "CYX", channel=1)
    truth = nuclei(pair.image.shape[1])[1]
    for number in range(1, 6):
        pair.corrections.labels[np.nonzero(truth == number)] = number
        pair.corrections.stroke_ends()
    result, wanted = finetune(session), finetune(alone)
    for key, weights in wanted.model.network.state_dict().items():
        assert torch.equal(weights, result.model.network.state_dict()[key])
    assert result.recipe is not None
    assert result.recipe.account.images[0].channel == 1
    assert_repeats(result, larder_of(session))


def test_corrections_that_joined_join_again(tmp_path: Path) -> None:
    session, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    write_image(tmp_path / "other.png", 1)
    other = add(session, tmp_path / "other.png")

    def more(opened: OpenImage, numbers: range, seed: int) -> Any:
        correct(opened, numbers, seed)
        return session.more_corrections()

    result = finetune(
        session,
        sent={
            1: lambda: more(opened, range(6, 7), 0),  # the next one takes its place
            2: lambda: more(opened, range(7, 8), 0),
            6: lambda: more(other, range(1, 4), 1),
        },
    )
    assert [step for step, _ in result.learnt] == [2, 4]
    assert result.recipe is not None
    account = result.recipe.account
    assert [(each.step, len(each.taught)) for each in account.joined] == [
        (2, 1), (4, 2),
    ]  # fmt: skip
    assert_repeats(result, larder_of(session))


@pytest.mark.parametrize("event", [0, 1, 2, 3, 5])
def test_a_stop_is_repeated_wherever_it_came(tmp_path: Path, event: int) -> None:
    session, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    result = finetune(session, sent={event: stop})
    assert result.stopped
    assert result.steps < SHORT.steps
    assert_repeats(result, larder_of(session))


@pytest.mark.parametrize("event", [None, 3, 4, 7, 12])
def test_trials_of_several_starts_are_repeated(
    tmp_path: Path, event: int | None
) -> None:
    session, opened = with_held_out(tmp_path)
    finetune(session)
    if session.draft is not None:
        session.keep()
    sent = {2: session.more_corrections}
    if event is not None:
        sent[event] = stop  # type: ignore[assignment]  # another kind of answer
    correct(opened, range(5, 7), 2)
    result = finetune(session, AUTO, sent)
    assert result.honest
    assert result.recipe is not None
    assert result.recipe.account.base is not None
    assert result.recipe.account.base.number == 1
    assert_repeats(result, larder_of(session))


def test_a_draft_that_was_never_kept_is_made_again(tmp_path: Path) -> None:
    session, opened = with_held_out(tmp_path)
    for numbers in (range(5, 6), range(6, 7), range(7, 8)):
        result = finetune(session, AUTO, live=False)
        correct(opened, numbers, 2)
    assert result.recipe is not None
    assert len(result.recipe.accounts) == 3
    assert_repeats(result, larder_of(session))


def test_dropout_draws_the_same_numbers_again(tmp_path: Path) -> None:
    model = tiny_model(dropout=(0.2, 0.2), norm="none")
    session, opened = begin(tmp_path, model)
    correct(opened, range(1, 6))
    result = finetune(session)
    assert result.recipe is not None
    assert result.recipe.account.random
    torch.rand(3)
    assert_repeats(result, larder_of(session))


def test_volumes_are_repeated() -> None:
    session = Session()
    session.set_model(tiny_model(dims=3, norm="batch"))
    opened = session.add_image("volume", noise((8, 32, 32)), "ZYX")
    truth = discs((8, 32, 32), 4, [(4, 8, 8), (4, 20, 22)])
    opened.corrections.labels[truth == 1] = 1
    opened.corrections.stroke_ends()
    result = finetune(session, SHORT.model_copy(update={"steps": 2, "batch": 1}))
    assert_repeats(result, larder_of(session))


def test_looking_at_the_model_in_training_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "PREVIEW_EVERY", 0.0)
    monkeypatch.setattr(learning, "PREVIEW_SHARE", 0.0)
    session, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    region = (slice(0, 64), slice(0, 64))
    view = View(opened.name, opened.image, "YX", region, PredictConfig())
    job = session.finetune_job(SHORT, view)
    events = []
    result = drain(job.steps, events.append)
    assert sum(isinstance(e, learning.PreviewDone) for e in events) == SHORT.steps
    assert_repeats(result, larder_of(session))


def test_another_thread_comes_to_the_same(tmp_path: Path) -> None:
    session, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    found: list[FinetuneResult] = []
    worker = threading.Thread(target=lambda: found.append(finetune(session)))
    worker.start()
    worker.join()
    assert_repeats(found[0], larder_of(session))


def test_a_recipe_is_the_same_when_it_was_written_and_read(tmp_path: Path) -> None:
    session, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    recipe = finetune(session).recipe
    assert recipe is not None
    write_recipe(tmp_path / "a.recipe", recipe)
    assert read_recipe(tmp_path / "a.recipe") == recipe


def test_blocks_that_did_not_change_are_kept_once(tmp_path: Path) -> None:
    write_image(tmp_path / "large.png", size=600)
    session = begin(tmp_path)[0]
    opened = add(session, tmp_path / "large.png")
    correct(opened, range(1, 3))

    def more() -> Any:
        correct(opened, range(600, 601))
        return session.more_corrections()

    recipe = finetune(session, sent={1: more}).recipe
    assert recipe is not None
    account = recipe.account
    assert [len(each.blocks) for each in account.begun.taught] == [1]
    assert [len(each.blocks) for each in account.joined[0].taught] == [2]
    assert len(recipe.blocks) == 2


def test_other_weights_at_the_start_are_refused(tmp_path: Path) -> None:
    session, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    recipe = finetune(session).recipe
    assert recipe is not None
    other = replace(larder_of(session), version=lambda _: tiny_model(seed=3))
    with pytest.raises(ProjectError, match="version 1 holds other weights"):
        drain(repeat_steps(recipe, other))
