"""``napari-unet info`` and ``export``: what a checkpoint is, another format of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_unet.cli.options import (
    Changes,
    Checkpoint,
    Json,
    Overwrite,
    Trust,
    changes,
)
from napari_unet.cli.output import speaking

if TYPE_CHECKING:
    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import ModelSpec

FACTS = (
    "architecture", "output", "activation", "normalization", "input_scaling",
    "channel_order", "pixel_size",
)  # fmt: skip


def info(
    checkpoint: Checkpoint,
    trust: Trust = False,
    asked: Changes = None,
    as_json: Json = False,
) -> None:
    """Say what a checkpoint is: what was read, inferred or guessed."""
    with speaking(as_json) as output:
        from napari_unet.formats import load_model

        model = load_model(
            checkpoint, device="cpu", trust=trust, overrides=changes(asked)
        )
        facts = describe(model)
        output.result(_as_text(model.spec, facts), facts)


def export(
    checkpoint: Checkpoint,
    out: Annotated[
        Path,
        typer.Argument(
            help="The file to write: .safetensors, .zip (BioImage.IO), .onnx, .pt2, or "
            ".pth (PyTorch weights in the layout they came in)."
        ),
    ],
    author: Annotated[
        list[str] | None,
        typer.Option(help="Who made the model, for BioImage.IO. Repeatable."),
    ] = None,
    licence: Annotated[
        str, typer.Option(help="For BioImage.IO, such as CC-BY-4.0.")
    ] = "",
    about: Annotated[
        str, typer.Option(help="What the model is for, for BioImage.IO.")
    ] = "",
    trust: Trust = False,
    asked: Changes = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a checkpoint in another format, chosen by the ending of OUT."""
    with speaking(as_json) as output:
        from napari_unet.cli.paths import check_model_output
        from napari_unet.formats import load_model, save_model

        check_model_output(out, overwrite=overwrite)
        model = load_model(
            checkpoint, device="cpu", trust=trust, overrides=changes(asked)
        )
        place = save_model(model, out, **_package(out, author, licence, about))
        output.result(
            f"{model.spec.name} was written to {place}.",
            {"name": model.spec.name, "checkpoint": str(place)},
        )


def _package(
    out: Path, authors: list[str] | None, licence: str, about: str
) -> dict[str, Any]:
    """Return what a package of BioImage.IO asks for; other formats ask for nothing."""
    from napari_unet.formats.bioimageio.people import Author

    if out.suffix.lower() != ".zip":
        return {}
    people = tuple(Author(name) for name in authors or ())
    return {"authors": people, "licence": licence, "description": about}


def describe(model: "Model") -> dict[str, Any]:
    """Return what is known of a model, ready for JSON."""
    spec = model.spec
    architecture = spec.architecture
    return {
        "name": spec.name,
        "family": architecture.family,
        "dims": architecture.dims,
        "in_channels": architecture.in_channels,
        "out_channels": architecture.out_channels,
        "classes": channel_names(spec),
        "widths": list(architecture.widths),
        "residual": architecture.residual,
        "norm": architecture.norm,
        "traits": list(architecture.traits),
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "output": spec.output,
        "activation": spec.likely_activation,
        "normalization": {
            "value": str(spec.normalization),
            "source": spec.source("normalization"),
            "settings": spec.normalization.model_dump(),
        },
        "input_scaling": _input_scaling(spec),
        "channel_order": spec.channel_order,
        "pixel_size": list(spec.pixel_size) if spec.pixel_size else None,
        "reading": spec.reading,
        "readings": list(spec.readings),
        "trainable": model.trainable,
        "sources": {fact: spec.source(fact) for fact in FACTS},
        "provenance": dict(spec.provenance),
        "remarks": list(spec.remarks),
        "warnings": spec.warnings,
    }


def _input_scaling(spec: "ModelSpec") -> dict[str, float] | None:
    """Return the scaling that is part of the network, if there is one."""
    scale = getattr(spec.architecture, "input_scale", 1.0)
    offset = getattr(spec.architecture, "input_offset", 0.0)
    if (scale, offset) == (1.0, 0.0):
        return None
    return {"scale": scale, "offset": offset}


def channel_names(spec: "ModelSpec") -> list[str]:
    """Return what each channel of the scores is called."""
    if spec.classes:
        return [one.name for one in spec.classes]
    if spec.output == "instances":
        return ["foreground", "boundary distance"]
    count = spec.architecture.out_channels
    if spec.output == "foreground":
        return ["background", "foreground"][2 - count :]
    first = 1 if spec.output == "multilabel" else 0
    return [f"class {number}" for number in range(first, first + count)]


def _as_text(spec: "ModelSpec", facts: dict[str, Any]) -> str:
    """Return one fact a line, each with how it is known."""
    known = facts["sources"]
    lines = [
        ("name", spec.name, ""),
        ("network", _network(facts), known["architecture"]),
        ("widths", "-".join(map(str, facts["widths"])) or "-", known["architecture"]),
        ("parameters", f"{facts['parameters']:,}", ""),
        ("in channels", _in_channels(spec), known["architecture"]),
        ("output", f"{spec.output}: {', '.join(facts['classes'])}", known["output"]),
        ("activation", facts["activation"], known["activation"]),
        ("normalization", str(spec.normalization), known["normalization"]),
        ("input scaling", _scaling_text(facts), known["input_scaling"]),
        ("pixel size", _size(spec), known["pixel_size"] if spec.pixel_size else ""),
        ("reading", spec.reading, ""),
        *(("or", other, "") for other in spec.readings if other != spec.reading),
        ("trainable", "yes" if facts["trainable"] else "no", ""),
        *((key, value, "") for key, value in spec.provenance.items()),
        *(("remark", sentence, "") for sentence in facts["remarks"]),
        *(("warning", sentence, "") for sentence in facts["warnings"]),
    ]
    return "\n".join(
        f"{fact:<15}{value}" + (f" ({how})" if how else "")
        for fact, value, how in lines
        if value
    )


def _network(facts: dict[str, Any]) -> str:
    traits = "".join(f", {trait}" for trait in facts["traits"])
    return f"{facts['family']}, {facts['dims']}D{traits}"


def _in_channels(spec: "ModelSpec") -> str:
    count = spec.architecture.in_channels
    return f"{count}" + (f", {spec.channel_order}" if count == 3 else "")


def _scaling_text(facts: dict[str, Any]) -> str:
    scaling = facts["input_scaling"]
    if scaling is None:
        return ""
    return f"the network multiplies by {scaling['scale']:g}, adds {scaling['offset']:g}"


def _size(spec: "ModelSpec") -> str:
    if not spec.pixel_size:
        return "not given"
    return " x ".join(f"{s:g}" for s in spec.pixel_size) + " micrometres"
