"""Taking down a fine-tuning while it runs, so that it can be repeated."""

from __future__ import annotations

import base64
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_unet.engine.commands import Command, Learn
from napari_unet.engine.drain import drain
from napari_unet.engine.recipe import (
    MOST_DRAFTS,
    MOST_THREADS,
    Account,
    Beginning,
    Machine,
    Moment,
    Recipe,
    Taught,
    TaughtImage,
)
from napari_unet.io.fingerprint import fingerprint_steps
from napari_unet.io.project import program_version
from napari_unet.io.recipes import blocks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.finetune import FinetuneResult, Knowledge
    from napari_unet.engine.model import Model
    from napari_unet.engine.networks import AnyNetwork
    from napari_unet.engine.recipe import Descent
    from napari_unet.engine.sampling import Example


@dataclass(frozen=True)
class Given:
    """An example as it was given to a fine-tuning.

    Attributes
    ----------
    name : of its image, as the user calls it
    example : with what is supervised and what is held out
    objects : whether its labels number objects
    """

    name: str
    example: Example
    objects: bool


class Recorder:
    """Takes down a fine-tuning; what it holds is compressed at the end.

    Parameters
    ----------
    model : in use
    known : see Knowledge
    descent : the numbers of both
    config : see FinetuneConfig
    begun : what was corrected at the beginning
    """

    def __init__(
        self, model: Model, known: Knowledge, descent: Descent,
        config: FinetuneConfig, begun: Sequence[Given],
    ) -> None:  # fmt: skip
        self.descent = descent
        self.config = config
        self.known = known
        self.begun = begun
        self.random = _random_state(model)
        self.model = beginning_of(model, descent.number)
        base, draft = known.base, known.draft
        other = base if base is not model else None
        self.base = other and beginning_of(other, descent.base or 0)
        self.draft = draft and beginning_of(draft, 0)
        self.event = -1  # number of the last one
        self.stop: int | None = None
        self._sent: list[tuple[int, Learn, Sequence[Given]]] = []

    def hear(self, answer: object, given: Sequence[Given]) -> None:
        """Take note of what answers an event; called once for each.

        Parameters
        ----------
        answer : as the engine gets it
        given : of what is to be learnt
        """
        self.event += 1
        if isinstance(answer, Learn):
            self._sent.append((self.event, answer, given))
        elif answer is Command.STOP and self.stop is None:
            self.stop = self.event

    def recipe(self, result: FinetuneResult) -> Recipe | None:
        """Return how a result was made; None where that cannot be repeated."""
        earlier = self.descent.draft
        before = earlier.accounts if earlier and self.draft else ()
        if (self.draft and not earlier) or len(before) >= MOST_DRAFTS:
            return None
        writer = _Writer(earlier.blocks if earlier and self.draft else ())
        steps = {id(learn): step for step, learn in result.learnt}
        begun = writer.moment(0, 0, self.begun)
        joined = tuple(
            writer.moment(event, steps[id(learn)], given)
            for event, learn, given in self._sent
            if id(learn) in steps
        )
        account = Account(
            config=self.config, model=self.model, base=self.base, draft=self.draft,
            memory=self.descent.memory if self.known.memory else "",
            images=tuple(writer.images), begun=begun, joined=joined, stop=self.stop,
            start=result.start, steps=result.steps, random=self.random,
            machine=machine_of(result.model), weights=weights_of(result.model),
            elder=elder_of(result.model),
        )  # fmt: skip
        return Recipe((*before, account), tuple(writer.blocks))


class _Writer:
    """Puts images and blocks into tables; what is there already is only named."""

    def __init__(self, blocks: Sequence[bytes]) -> None:
        self.images: list[TaughtImage] = []
        self.blocks = list(blocks)
        self._numbers = {block: number for number, block in enumerate(blocks)}
        self._known: dict[tuple[int, int | None], int] = {}  # image in memory, channel

    def moment(self, event: int, step: int, given: Sequence[Given]) -> Moment:
        taught = [
            Taught(image=self._image(each), blocks=tuple(self._blocks(each)))
            for each in given
        ]
        return Moment(event=event, step=step, taught=tuple(taught))

    def _image(self, given: Given) -> int:
        image, channel = given.example.image, given.example.channel
        key = id(image), channel
        if key not in self._known:
            self._known[key] = len(self.images)
            noted = TaughtImage(
                name=given.name, fingerprint=drain(fingerprint_steps(image)),
                axes=given.example.axes or "", shape=given.example.labels.shape,
                pixel_size=given.example.pixel_size, channel=channel,
            )  # fmt: skip
            self.images.append(noted)
        return self._known[key]

    def _blocks(self, given: Given) -> list[tuple[tuple[int, ...], int]]:
        found = []
        for key, packed in blocks_of(given.example, objects=given.objects):
            number = self._numbers.setdefault(packed, len(self.blocks))
            if number == len(self.blocks):
                self.blocks.append(packed)
            found.append((key, number))
        return found


# -- facts


def weights_of(model: Model) -> str:
    """Return the SHA-256 of a model's weights."""
    return _digest(model.network)


def elder_of(model: Model) -> str:
    """Return the SHA-256 of the weights of the network beside it; "": there is none."""
    return "" if model.elder is None else _digest(model.elder.network)


def holds(model: Model, weights: str, elder: str) -> bool:
    """Tell whether a model holds the weights that were taken down.

    Parameters
    ----------
    model : to compare
    weights, elder : as from ``weights_of`` and ``elder_of``; of an elder "" is not
        compared
    """
    return weights_of(model) == weights and elder in ("", elder_of(model))


def _digest(network: AnyNetwork) -> str:
    from napari_unet.formats.native import digest

    state = network.state_dict().items()
    return digest({key: value.detach().cpu() for key, value in state})


def beginning_of(model: Model, number: int) -> Beginning:
    """Return what is to be known of a model that a fine-tuning starts from.

    Parameters
    ----------
    model : as it is now
    number : of its version; 0: a draft
    """
    return Beginning(
        number=number, spec=model.spec, weights=weights_of(model),
        channels_last=_channels_last(model), elder=elder_of(model),
    )  # fmt: skip


def _channels_last(model: Model) -> bool:
    """Tell whether weights lie in memory with the channels last."""
    import torch

    flat = [each for each in model.network.parameters() if each.ndim == 4]
    return any(
        each.is_contiguous(memory_format=torch.channels_last)
        and not each.is_contiguous()
        for each in flat
    )


def machine_of(model: Model) -> Machine:
    """Return what computes a model in this thread."""
    import torch

    from napari_unet.engine.device import choose_dtype

    device = model.device
    return Machine(
        device=device.type, processor=_processor(device),
        dtype=str(choose_dtype("auto", device)).removeprefix("torch."),
        threads=min(torch.get_num_threads(), MOST_THREADS),
        torch=str(torch.__version__),
        program=program_version(),
    )  # fmt: skip


def _processor(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _random_state(model: Model) -> str:
    """Return the state of the random numbers that dropout draws; "": it draws none."""
    import torch
    from torch import nn

    drops = (nn.Dropout, nn.Dropout2d, nn.Dropout3d)
    modules = model.network.modules()
    if not any(isinstance(each, drops) and each.p > 0 for each in modules):
        return ""
    if model.device.type == "cpu":
        state = torch.get_rng_state()
    else:
        state = torch.get_device_module(model.device).get_rng_state()
    return base64.b64encode(state.numpy().tobytes()).decode()
