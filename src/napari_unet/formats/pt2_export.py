"""torch.export's .pt2 out: a program of scores, open in batch and image size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_unet.formats.exportable import (
    Exportable,
    check_same,
    described,
    dynamic_axes,
    examples,
    graph_of,
)
from napari_unet.formats.remembered import KNOWN

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model

SUFFIX = ".pt2"


def save(model: Model, path: Path, **asked: object) -> None:
    """Write the model's scores as an exported program.

    Its input (batch, C, [z,] y, x) float32 is normalised already, its output (batch,
    K, [z,] y, x) has the activation applied; batch and space are open. The extra file
    "napari_unet.json" says what else is known of the model.

    Parameters
    ----------
    model : to save
    path : written in place
    asked : nothing is asked for this format

    Raises
    ------
    OutputError
        If the model is a frozen program.

    References
    ----------
    https://docs.pytorch.org/docs/stable/export.html
    """
    del asked
    graph = graph_of(model)
    network = Exportable(
        model.to(torch.device("cpu")), model.spec.likely_activation
    ).eval()
    program = torch.export.export(
        network, (examples(graph)[0],), dynamic_shapes=(dynamic_axes(graph),),
        prefer_deferred_runtime_asserts_over_guards=True,  # for pixel shuffling
    )  # fmt: skip
    torch.export.save(program, path, extra_files={KNOWN: described(model)})


def verify(path: Path, model: Model) -> None:
    """Read a written file back and run it, at two sizes, against the model.

    Raises
    ------
    OutputError
        If a score differs by more than 1e-4 of the largest one.
    """
    shown = model.to(torch.device("cpu"))
    program = torch.export.load(path).module()
    for image in examples(graph_of(model)):
        with torch.inference_mode():
            check_same(path.name, program(image), shown.scores(image))
