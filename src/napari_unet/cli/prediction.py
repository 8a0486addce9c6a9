"""``napari-unet predict``: images in, labels out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_unet.cli.options import (
    Changes,
    Checkpoint,
    Device,
    Json,
    Overwrite,
    Precision,
    Trust,
    changes,
    settings,
)
from napari_unet.cli.output import Output, speaking
from napari_unet.engine.config import PredictConfig
from napari_unet.errors import ImageError, UnetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.model import Model
    from napari_unet.engine.predict import Prediction


def predict(
    checkpoint: Checkpoint,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="TIFF or PNG images.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="One image and a name with an ending: that file (.tif, .png); else a "
            "folder, which gets <name>_labels.tif.",
        ),
    ],
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Annotated[
        int | None,
        typer.Option(help="Side of a tile in pixels; default: by free memory."),
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help='One letter per axis, such as "ZYX" or "YXC".')
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over flips: slower, a bit better.")
    ] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Average over quarter turns, too.")
    ] = False,
    trust: Trust = False,
    asked: Changes = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Predict labels for images."""
    with speaking(as_json) as output:
        from napari_unet.cli.paths import label_files
        from napari_unet.formats import load_model

        asked_for = {"precision": precision, "tile": tile, "tta": tta, "rotate": rotate}
        config = settings(PredictConfig, asked_for)
        files = label_files(inputs, out, overwrite=overwrite)
        model = load_model(
            checkpoint, device=device, trust=trust, overrides=changes(asked)
        )
        done = [
            _predicted(model, path, file, axes, config, output)
            for path, file in zip(inputs, files, strict=True)
        ]
        output.result(
            "\n".join(f"{one['output']}: {one['summary']}" for one in done),
            {"model": model.spec.name, "device": str(model.device), "outputs": done},
        )


def _predicted(
    model: "Model",
    path: Path,
    file: Path,
    axes: str | None,
    config: PredictConfig,
    output: Output,
) -> dict[str, Any]:
    """Predict one image, write its labels, and return what there is to say of it."""
    from napari_unet.io.images import read_image
    from napari_unet.io.masks import write_labels

    image = read_image(path)
    try:
        prediction = _run(model, image, file, axes, config, output, path.name)
    except UnetError as error:
        raise type(error)(f"{path}: {error}") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    write_labels(file, prediction.labels)
    return {
        "input": str(path),
        "output": str(file),
        "shape": list(prediction.labels.shape),
        "objects": _count(prediction.labels),
        "summary": prediction.summary,
    }


def _run(
    model: "Model",
    image: "NDArray[Any]",
    file: Path,
    axes: str | None,
    config: PredictConfig,
    output: Output,
    title: str,
) -> "Prediction":
    from napari_unet.engine.axes import check_axes, guess_axes
    from napari_unet.engine.predict import predict_steps

    known = guess_axes(image.shape, model.spec.architecture)
    known = check_axes(axes, image.ndim) if axes else known
    if file.suffix.lower() == ".png" and len(known.replace("C", "")) > 2:
        raise ImageError(
            f"an image with the axes {known} needs a TIFF file for its labels, PNG "
            "holds one plane: choose a name that ends in .tif."
        )
    return output.follow(predict_steps(model, image, axes=axes, config=config), title)


def _count(labels: "NDArray[Any]") -> int:
    """Return the number of labels without the background."""
    import numpy as np

    return int(np.count_nonzero(np.unique(labels)))
