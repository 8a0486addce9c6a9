"""``napari-unet info`` and ``export``: what a checkpoint is, another format of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_unet.cli.options import Checkpoint, Json, Overwrite, Trust
from napari_unet.cli.output import speaking

if TYPE_CHECKING:
    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import ModelSpec


def info(checkpoint: Checkpoint, trust: Trust = False, as_json: Json = False) -> None:
    """Say what a checkpoint is: what was read, inferred or guessed."""
    with speaking(as_json) as output:
        from napari_unet.formats import load_model

        model = load_model(checkpoint, device="cpu", trust=trust)
        facts = describe(model)
        output.result(_as_text(model.spec, facts), facts)


def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="The file to write (.safetensors).")],
    trust: Trust = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a checkpoint in another format, chosen by the ending of OUT."""
    with speaking(as_json) as output:
        from napari_unet.cli.paths import check_model_output
        from napari_unet.formats import load_model, save_model

        check_model_output(out, overwrite=overwrite)
        model = load_model(checkpoint, device="cpu", trust=trust)
        place = save_model(model, out)
        output.result(
            f"{model.spec.name} was written to {place}.",
            {"name": model.spec.name, "checkpoint": str(place)},
        )


def describe(model: "Model") -> dict[str, Any]:
    """Return what is known of a model, ready for JSON."""
    spec = model.spec
    architecture = spec.architecture
    return {
        "name": spec.name,
        "family": architecture.kind,
        "dims": architecture.dims,
        "in_channels": architecture.in_channels,
        "classes": _channel_names(spec),
        "widths": list(architecture.widths),
        "residual": architecture.residual,
        "norm": architecture.norm,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "output": spec.output,
        "normalization": {
            "value": str(spec.normalization),
            "source": source(spec, "normalization"),
            "settings": spec.normalization.model_dump(),
        },
        "pixel_size": list(spec.pixel_size) if spec.pixel_size else None,
        "trainable": any(p.requires_grad for p in model.network.parameters()),
        "sources": {
            fact: source(spec, fact)
            for fact in ("architecture", "output", "normalization", "pixel_size")
        },
        "provenance": dict(spec.provenance),
        "warnings": _warnings(spec),
    }


def source(spec: "ModelSpec", fact: str) -> str:
    """Return "read", "inferred" or "guessed" for a field of the spec."""
    return spec.sources.get(fact, "read")


def _channel_names(spec: "ModelSpec") -> list[str]:
    if spec.output == "instances":
        return ["foreground", "boundary distance"]
    if spec.output == "foreground":
        return ["foreground"]
    if spec.classes:
        return [one.name for one in spec.classes]
    return [f"class {number}" for number in range(spec.architecture.out_channels)]


def _warnings(spec: "ModelSpec") -> list[str]:
    advice = {
        "architecture": "the network's layout",
        "output": f'what the output means ("{spec.output}")',
        "normalization": f'the normalization ("{spec.normalization}")',
    }
    return [
        f"The file does not say {what}, it was guessed: check a prediction by eye."
        for fact, what in advice.items()
        if source(spec, fact) == "guessed"
    ]


def _as_text(spec: "ModelSpec", facts: dict[str, Any]) -> str:
    """Return one fact a line, each with how it is known."""
    widths = "-".join(map(str, facts["widths"]))
    size = " x ".join(f"{s:g}" for s in spec.pixel_size or ()) + " micrometres"
    known = facts["sources"]
    lines = [
        ("name", spec.name, ""),
        ("network", f"{facts['family']}, {facts['dims']}D", known["architecture"]),
        ("widths", widths, known["architecture"]),
        ("parameters", f"{facts['parameters']:,}", known["architecture"]),
        ("in channels", f"{facts['in_channels']}", known["architecture"]),
        ("output", f"{spec.output}: {', '.join(facts['classes'])}", known["output"]),
        ("normalization", str(spec.normalization), known["normalization"]),
        ("pixel size", size if spec.pixel_size else "not given", ""),
        ("trainable", "yes" if facts["trainable"] else "no", ""),
        *((key, value, "") for key, value in spec.provenance.items()),
        *(("warning", sentence, "") for sentence in facts["warnings"]),
    ]
    return "\n".join(
        f"{fact:<15}{value}" + (f" ({how})" if how else "")
        for fact, value, how in lines
    )
