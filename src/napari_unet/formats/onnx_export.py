"""ONNX out: a program of scores, open in batch and image size, for other tools."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from napari_unet.errors import OutputError
from napari_unet.formats.exportable import (
    Exportable,
    check_same,
    described,
    dynamic_axes,
    examples,
    graph_of,
)
from napari_unet.formats.remembered import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import Activation

SUFFIX = ".onnx"
OPSET = 20
INPUT, OUTPUT = "image", "scores"
CHATTY = "torch.onnx._internal.exporter._registration"


def save(model: Model, path: Path, **asked: object) -> None:
    """Write the model's scores as an ONNX program.

    Its input "image" (batch, C, [z,] y, x) float32 is normalised already, its output
    "scores" (batch, K, [z,] y, x) has the activation applied; batch and space are
    open. The metadata "napari_unet" say as JSON what else is known of the model, the
    normalisation among it.

    Parameters
    ----------
    model : to save
    path : written in place
    asked : nothing is asked for this format

    Raises
    ------
    OutputError
        If onnx and onnxscript are not installed, or the model is a frozen program.
    """
    del asked
    export(model, path, model.spec.likely_activation)


def export(model: Model, path: Path, activation: Activation) -> int:
    """Write an ONNX program that ends with ``activation``; return its opset."""
    require_onnx()
    graph = graph_of(model)
    shown = model.to(torch.device("cpu"))
    network = Exportable(shown, activation).eval()
    with _quiet():
        program = torch.onnx.export(
            network, (examples(graph)[0],), dynamo=True, verbose=False,
            opset_version=OPSET, dynamic_shapes=(dynamic_axes(graph),),
            input_names=[INPUT], output_names=[OUTPUT],
        )  # fmt: skip
    if program is None:
        raise OutputError(
            f"{path.name} could not be written as ONNX, torch gave no program: save "
            "the model as .safetensors instead."
        )
    program.model.metadata_props[KEY] = described(model)
    program.save(path, external_data=False)
    return OPSET


def verify(path: Path, model: Model) -> None:
    """Run a written file with onnxruntime, at two sizes, against the network.

    Raises
    ------
    OutputError
        If a score differs by more than 1e-4 of the largest one.
    """
    verify_as(path, model, model.spec.likely_activation)


def verify_as(path: Path, model: Model, activation: Activation) -> None:
    """Run a file that ends with ``activation``, at two sizes, against the network."""
    shown = model.to(torch.device("cpu"))
    network = Exportable(shown, activation).eval()
    session = _session(path)
    for image in examples(graph_of(model)):
        with torch.inference_mode():
            expected = network(image)
        check_same(path.name, _run(session, image), expected)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise OutputError(_absent("onnxruntime")) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )


def _run(session: Any, image: Tensor) -> Tensor:
    (scores,) = session.run([OUTPUT], {INPUT: image.numpy()})
    return torch.from_numpy(scores)


def require_onnx() -> None:
    """Say how to get what writing ONNX needs, where it is absent.

    Raises
    ------
    OutputError
        If one of the packages is not installed.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError as error:
            raise OutputError(_absent(name)) from error


def _absent(name: str) -> str:
    return (
        f"Writing ONNX needs the package {name}, which is not installed: install "
        'napari-unet-workbench with its extra "onnx".'
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's own notices from the user, who can do nothing about them."""
    log = logging.getLogger(CHATTY)  # warns that torchvision's operators are absent
    log.addFilter(_silence)
    try:
        with warnings.catch_warnings():
            # torch's exporter copies a tree whose class torch itself calls deprecated
            warnings.filterwarnings(
                "ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning
            )
            yield
    finally:
        log.removeFilter(_silence)


def _silence(record: logging.LogRecord) -> bool:
    return "torchvision is not installed" not in record.getMessage()
