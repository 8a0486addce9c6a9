"""What several commands have in common: options, and settings made of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from napari_unet.engine.config import Frozen
from napari_unet.errors import UnetError

Settings = TypeVar("Settings", bound=Frozen)

Checkpoint = Annotated[
    str, typer.Argument(help='A checkpoint file, or a bundled name: "nuclei-2d".')
]
Data = Annotated[
    Path,
    typer.Argument(
        help="A folder with images/ and masks/ of equal names (index.csv optional), "
        "or with a folder per image, as in the 2018 Data Science Bowl."
    ),
]
NewCheckpoint = Annotated[
    Path, typer.Option("--out", "-o", help="The checkpoint to write (.safetensors).")
]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Only rows of index.csv with column=a,b. Repeatable."),
]
Split = Annotated[
    str | None, typer.Option(help="Only rows of index.csv with this value in split.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object, nothing else.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Allow file formats that are programs to run.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Where a guess is wrong: FIELD=VALUE, such as normalization.kind=zscore, "
        "channel_order=BGR, output=foreground. Repeatable.",
    ),
]
Tile = Annotated[
    int | None, typer.Option(help="Side of a tile in pixels; default: by free memory.")
]
Axes = Annotated[
    str | None, typer.Option(help='One letter per axis, such as "ZYX" or "YXC".')
]
Flips = Annotated[
    bool, typer.Option("--tta", help="Average over flips: slower, a bit better.")
]
Rotations = Annotated[
    bool, typer.Option("--rotate", help="Average over quarter turns, too.")
]
Ensemble = Annotated[
    list[str] | None,
    typer.Option(
        help="A further checkpoint whose scores are averaged in; --set holds for all. "
        "Repeatable."
    ),
]
Uncertainty = Annotated[
    bool,
    typer.Option(
        "--uncertainty",
        help="Write <labels>_uncertainty.tif, too: where flips, quarter turns or "
        "checkpoints disagree, as the standard deviation of scores (0 to 0.5).",
    ),
]
Channel = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Channel, counted from 0, for a model of one channel; else colour becomes "
        "luminance.",
    ),
]
PixelSize = Annotated[
    str,
    typer.Option(
        help="Side of the images' pixels in micrometres, such as 0.5 or 2x0.5x0.5; "
        "else as TIFF files say it (OME, ImageJ). Where the model's is known too, the "
        "network sees the images scaled to it.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Loss = Annotated[str, typer.Option(help="dice, cross-entropy or dice+cross-entropy.")]
Steps = Annotated[int, typer.Option(help="Number of weight updates.")]
Batch = Annotated[int, typer.Option(help="Crops per weight update.")]
Crop = Annotated[int, typer.Option(help="Side of a training crop in pixels.")]
LearningRate = Annotated[float, typer.Option(help="Size of a weight update (Adam).")]
Patience = Annotated[
    int | None, typer.Option(help="Stop after so many checks without gain.")
]
EvaluateEvery = Annotated[int, typer.Option(help="Steps between two checks.")]
Seed = Annotated[int, typer.Option(help="Start of the random numbers.")]
Name = Annotated[str | None, typer.Option(help="The model's name; default: the file.")]


def settings(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return validated settings.

    Raises
    ------
    UnetError
        If a value is out of range; the sentence names the option.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        asked = first["msg"][:1].lower() + first["msg"][1:]
        raise UnetError(
            f"{option} was {first['input']!r}, but the {asked}: change it."
        ) from error


def changes(asked: list[str] | None) -> dict[str, Any]:
    """Return what --set asks, as ``load_model`` takes its overrides.

    Raises
    ------
    UnetError
        If something is not of the form FIELD=VALUE.
    """
    found: dict[str, Any] = {}
    for text in asked or []:
        name, equals, value = text.partition("=")
        path = name.split(".")
        if not equals or not all(path):
            raise UnetError(
                f"--set was {text!r}, expected FIELD=VALUE, such as "
                "normalization.kind=zscore: change it."
            )
        inner = found
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = _value(value)
    return found


def _value(text: str) -> Any:
    """Return a number, a list or so on; what is none of these is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def conditions(
    where: list[str] | None, split: str | None
) -> dict[str, tuple[str, ...]]:
    """Return what --where and --split ask of the columns of index.csv.

    Raises
    ------
    UnetError
        If a condition is not of the form column=a,b.
    """
    asked: dict[str, tuple[str, ...]] = {"split": (split,)} if split else {}
    for text in where or []:
        column, equals, values = text.partition("=")
        if not (column and equals and values):
            raise UnetError(
                f"--where was {text!r}, expected column=value or column=a,b: change it."
            )
        wanted = tuple(values.split(","))
        asked[column] = tuple(v for v in wanted if v in asked.get(column, wanted))
    return asked
