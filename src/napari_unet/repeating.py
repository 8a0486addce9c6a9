"""Doing a recorded fine-tuning again, to the same weights on the same machine."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_unet.engine.commands import Command, Learn
from napari_unet.engine.config import AverageDone, Preparing
from napari_unet.errors import ProjectError
from napari_unet.io.recipes import example_of
from napari_unet.recording import holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.finetune import FinetuneResult, FinetuneSteps, Knowledge
    from napari_unet.engine.model import Model
    from napari_unet.engine.recipe import (
        Account,
        Beginning,
        Moment,
        Recipe,
        TaughtImage,
    )
    from napari_unet.engine.sampling import Example
    from napari_unet.engine.teaching import Memory


@dataclass(frozen=True)
class Larder:
    """Where all is found that a recipe only names.

    Attributes
    ----------
    version : returns the model of a version by its number
    image : returns an image, by what is noted of it
    memory : returns the images that a bundled model remembers, by its name
    """

    version: Callable[[int], Model]
    image: Callable[[TaughtImage], NDArray[Any]]
    memory: Callable[[str], Memory | None]


def repeat_steps(recipe: Recipe, larder: Larder) -> FinetuneSteps:
    """Repeat the fine-tunings of a recipe, those of drafts first.

    Parameters
    ----------
    recipe : how a version was made
    larder : what it only names

    Yields
    ------
    KindDone, RecallDone, StepDone, EpochDone

    Returns
    -------
    FinetuneResult
        Of the version.

    Raises
    ------
    ProjectError
        If something that it names is another one.
    """
    draft: Model | None = None
    *earlier, last = recipe.accounts
    for account in earlier:
        result = yield from _account_steps(account, recipe.blocks, larder, draft)
        draft = result.model
    return (yield from _account_steps(last, recipe.blocks, larder, draft))


def _account_steps(
    account: Account, blocks: Sequence[bytes], larder: Larder, draft: Model | None
) -> FinetuneSteps:
    from napari_unet.engine.finetune import finetune_steps

    model, known = _known(account, larder, draft)
    images = [larder.image(each) for each in account.images]

    def examples(moment: Moment) -> list[Example]:
        try:
            return [
                example_of(t, account.images[t.image], blocks, images[t.image])
                for t in moment.taught
            ]
        except ValueError as error:
            raise ProjectError(
                f"its recipe does not fit its images ({error})"
            ) from error

    joins = {each.event: each for each in account.joined}
    answer: Any = None
    with _as_recorded(account, model):
        steps = finetune_steps(model, examples(account.begun), account.config, known)
        number = -1
        while True:
            try:
                event = steps.send(answer)
            except StopIteration as end:
                result: FinetuneResult = end.value
                return result
            if isinstance(event, Preparing):  # not counted when it was recorded
                answer = None
                yield event
                continue
            number += 1
            answer = Command.STOP if number == account.stop else None
            if number in joins:
                answer = Learn(examples(joins[number]))
            if not isinstance(event, AverageDone):
                yield event


def _known(
    account: Account, larder: Larder, draft: Model | None
) -> tuple[Model, Knowledge]:
    """Return the model that was in use, and what was known beside it."""
    from napari_unet.engine.finetune import Knowledge

    model = _beginning(account.model, larder, draft)
    base, other = (
        _beginning(noted, larder, draft) if noted else None
        for noted in (account.base, account.draft)
    )
    memory = larder.memory(account.memory) if account.memory else None
    if account.memory and memory is None:
        raise ProjectError(
            f"the images that {account.memory} remembers are not in this program"
        )
    return model, Knowledge(base, other, memory)


def _beginning(noted: Beginning, larder: Larder, draft: Model | None) -> Model:
    """Return a model as a fine-tuning found it: its spec, how it lay in memory.

    Raises
    ------
    ProjectError
        If it is another one.
    """
    import torch

    model, name = draft, "the draft before it"
    if noted.number:
        model, name = larder.version(noted.number), f"version {noted.number}"
    same = model and noted.spec.architecture == model.spec.architecture
    if model is None or not same or not holds(model, noted.weights, noted.elder):
        raise ProjectError(f"{name} holds other weights than when it was learnt from")
    if not noted.channels_last:
        return replace(model, spec=noted.spec)
    model = replace(model.clone(), spec=noted.spec)
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return model


@contextmanager
def _as_recorded(account: Account, model: Model) -> Iterator[None]:
    """Use as many threads as then, and the same random numbers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(account.machine.threads)
    try:
        if account.random:
            _set_random(account.random, model)
        yield
    finally:
        torch.set_num_threads(threads)


def _set_random(state: str, model: Model) -> None:
    import numpy as np
    import torch

    try:
        found = np.frombuffer(bytearray(base64.b64decode(state)), np.uint8)
        if model.device.type == "cpu":
            torch.set_rng_state(torch.from_numpy(found))
        else:
            torch.get_device_module(model.device).set_rng_state(torch.from_numpy(found))
    except (ValueError, RuntimeError, TypeError) as error:
        raise ProjectError(
            f"its random numbers cannot be set ({error}): another device drew them"
        ) from error
