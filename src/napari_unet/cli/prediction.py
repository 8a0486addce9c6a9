"""``napari-unet predict``: images in, labels out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_unet.cli.options import (
    Axes,
    Changes,
    Channel,
    Checkpoint,
    Device,
    Ensemble,
    Flips,
    Json,
    Overwrite,
    PixelSize,
    Precision,
    Rotations,
    Tile,
    Trust,
    Uncertainty,
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
    tile: Tile = None,
    axes: Axes = None,
    channel: Channel = None,
    pixel_size: PixelSize = "",
    tta: Flips = False,
    rotate: Rotations = False,
    ensemble: Ensemble = None,
    uncertainty: Uncertainty = False,
    trust: Trust = False,
    asked: Changes = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Predict labels for images."""
    with speaking(as_json) as output:
        from napari_unet.cli.paths import label_files
        from napari_unet.formats import load_model

        asked_for = {
            "precision": precision, "tile": tile, "tta": tta, "rotate": rotate,
            "uncertainty": uncertainty, "channel": channel,
        }  # fmt: skip
        config = settings(PredictConfig, asked_for)
        files = label_files(inputs, out, overwrite=overwrite)
        if uncertainty:
            several = tta or rotate or bool(ensemble)
            _check_uncertainty(files, several=several, overwrite=overwrite)
        models = [
            load_model(each, device=device, trust=trust, overrides=changes(asked))
            for each in (checkpoint, *(ensemble or ()))
        ]
        model = models[0]
        done = [
            _predicted(models, path, file, (axes, pixel_size), config, output)
            for path, file in zip(inputs, files, strict=True)
        ]
        output.result(
            "\n".join(f"{one['output']}: {one['summary']}" for one in done),
            {"model": model.spec.name, "device": str(model.device), "outputs": done},
        )


def _check_uncertainty(files: list[Path], *, several: bool, overwrite: bool) -> None:
    """Refuse a map of uncertainty that has nothing to compare, or is there already."""
    from napari_unet.cli.paths import check_free, uncertainty_file

    if not several:
        raise UnetError(
            "--uncertainty compares several looks, and there is only one: add --tta, "
            "--rotate or --ensemble."
        )
    check_free(map(uncertainty_file, files), overwrite=overwrite)


def _predicted(
    models: "list[Model]",
    path: Path,
    file: Path,
    said: tuple[str | None, str],
    config: PredictConfig,
    output: Output,
) -> dict[str, Any]:
    """Predict one image, write its labels, and return what there is to say of it."""
    from napari_unet.cli.paths import uncertainty_file
    from napari_unet.io.images import read_image, write_image
    from napari_unet.io.masks import write_labels

    image = read_image(path)
    try:
        prediction = _run(models, image, path, file, said, config, output)
    except UnetError as error:
        raise type(error)(f"{path}: {error}") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    write_labels(file, prediction.labels)
    facts = {
        "input": str(path),
        "output": str(file),
        "shape": list(prediction.labels.shape),
        "objects": _count(prediction.labels),
        "summary": prediction.summary,
    }
    if prediction.uncertainty is not None:
        write_image(uncertainty_file(file), prediction.uncertainty)
        facts["uncertainty"] = str(uncertainty_file(file))
    return facts


def _run(
    models: "list[Model]",
    image: "NDArray[Any]",
    path: Path,
    file: Path,
    said: tuple[str | None, str],
    config: PredictConfig,
    output: Output,
) -> "Prediction":
    """Predict; ``said`` are axes and pixel size as the user writes them."""
    from napari_unet.engine.axes import check_axes, guess_axes
    from napari_unet.engine.precision import remember_in
    from napari_unet.engine.predict import predict_steps
    from napari_unet.io.images import axes_in, pixel_size_in
    from napari_unet.pixel_sizes import sides_from, spatial_axes
    from napari_unet.settings import PRECISIONS, Table

    remember_in(Table(PRECISIONS))
    axes, pixel_size = said
    spec = models[0].spec.architecture
    axes = axes or axes_in(path, image.shape)
    known = check_axes(axes, image.ndim) if axes else guess_axes(image.shape, spec)
    if file.suffix.lower() == ".png" and len(known.replace("C", "")) > 2:
        raise ImageError(
            f"an image with the axes {known} needs a TIFF file for its labels, PNG "
            "holds one plane: choose a name that ends in .tif."
        )
    sides = sides_from(pixel_size, spatial_axes(known))
    steps = predict_steps(
        models[0], image, axes=axes, config=config, partners=models[1:],
        pixel_size=sides or pixel_size_in(path),
    )  # fmt: skip
    return output.follow(steps, path.name)


def _count(labels: "NDArray[Any]") -> int:
    """Return the number of labels without the background."""
    import numpy as np

    return int(np.count_nonzero(np.unique(labels)))
