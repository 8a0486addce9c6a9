"""``napari-unet train`` and ``finetune``: a folder of pairs in, a checkpoint out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_unet import __version__
from napari_unet.cli.options import (
    Batch,
    Changes,
    Channel,
    Checkpoint,
    Crop,
    Data,
    Device,
    EvaluateEvery,
    Json,
    LearningRate,
    Loss,
    Name,
    NewCheckpoint,
    Overwrite,
    Patience,
    Seed,
    Split,
    Steps,
    Trust,
    Where,
    changes,
    conditions,
    settings,
)
from napari_unet.cli.output import Output, percentages, speaking
from napari_unet.engine.config import FinetuneConfig, LearningConfig, TrainConfig
from napari_unet.errors import LabelsError, UnetError
from napari_unet.pixel_sizes import sides_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_unet.engine.model import Model
    from napari_unet.engine.sampling import Example
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.engine.training import Fitted
    from napari_unet.io.pairs import Pair

TRAIN, FINETUNE = TrainConfig(), FinetuneConfig()


def train(
    data: Data,
    out: NewCheckpoint,
    arch: Annotated[
        str,
        typer.Option(
            help="modern: one channel, batch norm, instances; seed: three channels, "
            "dropout, foreground (the 2018 Data Science Bowl recipe)."
        ),
    ] = "modern",
    dims: Annotated[int, typer.Option(help="2 for planes, 3 for volumes.")] = 2,
    loss: Loss = TRAIN.loss,
    steps: Steps = TRAIN.steps,
    batch: Batch = TRAIN.batch,
    crop: Crop = TRAIN.crop,
    learning_rate: LearningRate = TRAIN.learning_rate,
    val: Annotated[
        float, typer.Option(help="Share of the images held out to choose the best.")
    ] = 0.1,
    patience: Patience = TRAIN.patience,
    evaluate_every: EvaluateEvery = TRAIN.evaluate_every,
    channel: Channel = None,
    split: Split = None,
    where: Where = None,
    seed: Seed = TRAIN.seed,
    device: Device = "auto",
    name: Name = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a new network from images and masks."""
    with speaking(as_json) as output:
        config = settings(TrainConfig, {
            "steps": steps, "batch": batch, "crop": crop, "loss": loss, "seed": seed,
            "learning_rate": learning_rate, "patience": patience,
            "evaluate_every": evaluate_every,
        })  # fmt: skip
        asked = conditions(where, split)
        spec = _new_spec(arch, dims, name or out.stem)
        _check_share(val)
        _check_output(out, overwrite)
        learnt, held = _parted(_pairs(data, asked), val, seed, spec, channel)
        spec = _sized(spec, [*learnt, *held])
        began = time.perf_counter()
        fitted = _fit(spec, learnt, held, config, device, output)
        measured = _measured(fitted.model, held)
        own = {"arch": arch, "dims": dims, "val": val, **_alone(channel)}
        facts = {
            "images": f"{len(learnt)} to learn from, {len(held)} held out",
            "held_out": percentages(measured),
        }
        _save(_signed(fitted.model, data, _recipe(own, config, asked), facts), out)
        output.result(
            "\n".join([f"{out}: {facts['held_out']}", *_remarks(fitted)]),
            {
                "checkpoint": str(out), "name": spec.name, "learnt_from": len(learnt),
                "held_out": len(held), "measures": measured, "remark": fitted.remark,
                "steps": config.steps, "seconds": time.perf_counter() - began,
            },
        )  # fmt: skip


def finetune(
    checkpoint: Checkpoint,
    data: Data,
    out: NewCheckpoint,
    loss: Loss = FINETUNE.loss,
    steps: Steps = FINETUNE.steps,
    batch: Batch = FINETUNE.batch,
    crop: Crop = FINETUNE.crop,
    learning_rate: LearningRate = FINETUNE.learning_rate,
    held_out: Annotated[
        float, typer.Option(help="Share kept aside to score before and after.")
    ] = FINETUNE.held_out,
    patience: Patience = FINETUNE.patience,
    evaluate_every: EvaluateEvery = FINETUNE.evaluate_every,
    channel: Channel = None,
    split: Split = None,
    where: Where = None,
    seed: Seed = FINETUNE.seed,
    device: Device = "auto",
    name: Name = None,
    trust: Trust = False,
    altered: Changes = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Teach a trained network more images and masks."""
    with speaking(as_json) as output:
        config = settings(FinetuneConfig, {
            "steps": steps, "batch": batch, "crop": crop, "loss": loss, "seed": seed,
            "learning_rate": learning_rate, "patience": patience,
            "evaluate_every": evaluate_every, "held_out": held_out,
        })  # fmt: skip
        asked = conditions(where, split)
        _check_output(out, overwrite)
        pairs = _pairs(data, asked)
        from napari_unet.engine.finetune import Knowledge, finetune_steps
        from napari_unet.formats import load_model
        from napari_unet.learning import memory_of

        model = load_model(
            checkpoint, device=device, trust=trust, overrides=changes(altered)
        )
        examples = _examples(pairs, model.spec, channel)
        known = Knowledge(model, memory=memory_of(checkpoint))
        work = finetune_steps(model, examples, config, known)
        done = output.follow(work, "fine-tuning")
        facts = {
            "images": f"{len(examples)} to learn from", "base": model.spec.name,
            "held_out": _before_and_after(done.before, done.after),
        }  # fmt: skip
        recipe = _recipe(_alone(channel), config, asked)
        tuned = _signed(done.model, data, recipe, facts, name or out.stem)
        _save(tuned, out)
        output.result(f"{out}: {done.summary}", {
            "checkpoint": str(out), "name": tuned.spec.name,
            "base": model.spec.name, "examples": len(examples),
            "before": done.before, "after": done.after, "summary": done.summary,
        })  # fmt: skip


def _new_spec(arch: str, dims: int, name: str) -> "ModelSpec":
    from napari_unet.engine.spec import ModelSpec, UNetSpec, modern_unet, seed_unet

    presets = {"modern": modern_unet, "seed": seed_unet}
    if arch not in presets:
        raise UnetError(
            f"--arch was {arch!r}, expected {' or '.join(presets)}: change it."
        )
    preset = presets[arch]().model_dump()
    architecture = settings(UNetSpec, {**preset, "dims": dims})
    output = "instances" if arch == "modern" else "foreground"
    return ModelSpec(name=name, architecture=architecture, output=output)


def _check_share(val: float) -> None:
    if not 0 <= val < 1:
        raise UnetError(
            f"--val was {val:g}, expected a share from 0 to below 1: change it."
        )


def _check_output(out: Path, overwrite: bool) -> None:
    from napari_unet.cli.paths import check_model_output

    check_model_output(out, overwrite=overwrite)


def _pairs(data: Path, asked: "Mapping[str, tuple[str, ...]]") -> "list[Pair]":
    from napari_unet.io.pairs import find_pairs

    return find_pairs(data, asked)


def _parted(
    pairs: "Sequence[Pair]", val: float, seed: int, spec: "ModelSpec",
    channel: int | None,
) -> "tuple[list[Example], list[Example]]":  # fmt: skip
    """Return what to learn from and what to check with, at least one image."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(pairs))
    held = set(order[: max(1, round(val * len(pairs)))].tolist())
    examples = _examples(pairs, spec, channel)
    return (
        [e for i, e in enumerate(examples) if i not in held],
        [e for i, e in enumerate(examples) if i in held],
    )


def _examples(
    pairs: "Sequence[Pair]", spec: "ModelSpec", channel: int | None
) -> "list[Example]":
    """Read pairs; one that does not fit is named before any training starts."""
    from napari_unet.engine.axes import arrange, check_labels
    from napari_unet.engine.sampling import Example
    from napari_unet.engine.zoom import zoom_for
    from napari_unet.io.images import axes_in

    examples = []
    for pair in pairs:
        image, labels = pair.read()
        trusted = pair.read_supervised()
        try:
            size, axes = pair.pixel_size, pair.axes or axes_in(pair.image, image.shape)
            example = Example(
                image, labels, trusted, axes, pixel_size=size, channel=channel
            )
            zoom_for(spec, size)
            arranged = arrange(image, axes, spec.architecture, channel)
            check_labels(labels, arranged.image.shape[1:])
            _check_supervised(example)
        except UnetError as error:
            raise type(error)(f"{pair.image}: {error}") from error
        examples.append(example)
    return examples


def _sized(spec: "ModelSpec", examples: "Sequence[Example]") -> "ModelSpec":
    """Return the spec with the size of the images' pixels, if it is one and known."""
    import numpy as np

    from napari_unet.engine.zoom import zoom_for

    dims, known = spec.architecture.dims, [each.pixel_size or () for each in examples]
    if min(map(len, known)) < dims:
        return spec
    sizes = [size[-dims:] for size in known]
    middle = tuple(np.median(sizes, axis=0).tolist())
    sized = spec.model_copy(update={"pixel_size": middle})
    try:
        alike = not any(zoom_for(sized, size) for size in sizes)
    except UnetError:  # so far apart that one must be wrong
        alike = False
    return sized if alike else spec


def _remarks(fitted: "Fitted") -> list[str]:
    """Return what is to be said of a new network beside its measures."""
    sides = sides_in_words(fitted.model.spec.pixel_size)
    size = f"pixel size {sides} um, that of the images" if sides else ""
    return [each for each in (size, fitted.remark) if each]


def _check_supervised(example: "Example") -> None:
    trusted = example.supervised
    if trusted is not None and trusted.shape != example.labels.shape:
        raise LabelsError(
            f"What is supervised has the shape {trusted.shape}, expected that of the "
            f"labels, {example.labels.shape}: write the pair again."
        )


def _fit(
    spec: "ModelSpec",
    learnt: "Sequence[Example]",
    held: "Sequence[Example]",
    config: TrainConfig,
    device: str,
    output: Output,
) -> "Fitted":
    from napari_unet.engine.device import choose_device
    from napari_unet.engine.model import new_model
    from napari_unet.engine.training import train_steps

    model = new_model(spec, config.seed).to(choose_device(device))
    return output.follow(train_steps(model, learnt, held, config), "training")


def _measured(model: "Model", held: "Sequence[Example]") -> dict[str, float]:
    from napari_unet.engine.sampling import all_planes
    from napari_unet.engine.scoring import score_planes

    return score_planes(model, all_planes(held, model.spec))


def _alone(channel: int | None) -> dict[str, int]:
    """Return the channel that was chosen, for a recipe."""
    return {} if channel is None else {"channel": channel}


def _recipe(
    own: "Mapping[str, Any]",
    config: LearningConfig,
    asked: "Mapping[str, tuple[str, ...]]",
) -> str:
    """Return every setting in one line."""
    columns = {column: ",".join(values) for column, values in asked.items()}
    values = {**own, **config.model_dump(), **columns}
    return " ".join(f"{key}={value}" for key, value in values.items())


def _signed(
    model: "Model",
    data: Path,
    recipe: str,
    facts: "Mapping[str, str]",
    name: str | None = None,
) -> "Model":
    """Return the model with where it comes from; of a folder only its name is kept."""
    from dataclasses import replace

    seed = next(part for part in recipe.split() if part.startswith("seed="))
    provenance = {
        **model.spec.provenance,
        "program": f"napari-unet-workbench {__version__}",
        "data": data.absolute().name,
        "recipe": recipe,
        "seed": seed.removeprefix("seed="),
        **facts,
    }
    update = {"provenance": provenance, "name": name or model.spec.name}
    return replace(model, spec=model.spec.model_copy(update=update))


def _before_and_after(
    before: dict[str, float] | None, after: dict[str, float] | None
) -> str:
    if not before or not after:
        return "too little to hold out"
    return f"before {percentages(before)}; after {percentages(after)}"


def _save(model: "Model", out: Path) -> None:
    from napari_unet.formats import save_model

    save_model(model, out)
