"""``napari-unet evaluate``: predicted labels against the truth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_unet.cli.options import Json
from napari_unet.cli.output import percentages, speaking
from napari_unet.errors import UnetError


def evaluate(
    predicted: Annotated[
        Path, typer.Argument(metavar="PRED", help="Predicted labels: file or folder.")
    ],
    truth: Annotated[
        Path, typer.Argument(help="True labels: a file, or a folder with equal names.")
    ],
    as_json: Json = False,
) -> None:
    """Compare predicted labels with the truth; measures are pooled over the images."""
    with speaking(as_json) as output:
        from napari_unet.cli.paths import label_pairs
        from napari_unet.engine.metrics import measures, pooled

        pairs = label_pairs(predicted, truth)
        counts = {name: _counted(name, found, true) for name, found, true in pairs}
        total = pooled(counts.values())
        each = {name: measures(one) for name, one in counts.items()}
        facts = {
            **measures(total),
            "mean_dice": sum(one["dice"] for one in each.values()) / len(each),
            **total,
            "images": len(pairs),
            **_left_out(predicted, truth, counts),
            "per_image": [{"name": name, **one} for name, one in each.items()],
        }
        output.result(_as_text(facts), facts)


def _counted(name: str, predicted: Path, truth: Path) -> dict[str, int]:
    from napari_unet.engine.metrics import count
    from napari_unet.io.images import read_image

    try:
        return count(read_image(predicted), read_image(truth))
    except UnetError as error:
        raise type(error)(f"{name}: {error}") from error


def _left_out(predicted: Path, truth: Path, used: dict[str, Any]) -> dict[str, int]:
    """Count the files without a partner, which no measure knows of."""
    from napari_unet.cli.paths import label_stems

    if not truth.is_dir():
        return {"without_prediction": 0, "without_truth": 0}
    return {
        "without_prediction": len(label_stems(truth)) - len(used),
        "without_truth": len(label_stems(predicted)) - len(used),
    }


def _as_text(facts: dict[str, Any]) -> str:
    lines = [
        f"{facts['images']} image{'s' if facts['images'] > 1 else ''}: "
        f"{percentages(facts)}, mean dice {facts['mean_dice']:.3f}",
        f"{facts['predicted']:,} objects predicted, {facts['true']:,} true, "
        f"{facts['matched50']:,} matched at an IoU above 0.5",
    ]
    for key, kind in (("without_prediction", "true"), ("without_truth", "predicted")):
        if facts[key]:
            lines.append(f"{facts[key]} {kind} files have no partner: left out")
    return "\n".join(lines)
