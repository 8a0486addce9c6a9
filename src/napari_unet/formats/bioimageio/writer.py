"""Packages of BioImage.IO out: what other programs run, and our own file to go on with.

The weights are written as TorchScript and ONNX, which need no source code, and once
more as our own file, so that reading the package back gives the model that can be
trained. The test image goes through the same steps as any image.
"""

from __future__ import annotations

import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.normalize import normalize, statistics
from napari_unet.errors import OutputError
from napari_unet.formats import native, onnx_export
from napari_unet.formats.bioimageio.people import Card
from napari_unet.formats.bioimageio.rdf import extent_of, rdf_of, summary
from napari_unet.formats.bioimageio.reader import load
from napari_unet.formats.bioimageio.sample import cropped, made_up_image, write_cover
from napari_unet.formats.bioimageio.weights import NATIVE
from napari_unet.formats.exportable import Exportable, check_same, examples, graph_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import Activation
    from napari_unet.formats.bioimageio.people import Author, Citation

SUFFIX = ".zip"
TORCHSCRIPT, ONNX = "weights-torchscript.pt", "weights.onnx"


def save(
    model: Model, path: Path, *, authors: Sequence[Author] = (), licence: str = "",
    description: str = "", cite: Sequence[Citation] = (), documentation: str = "",
    sample: NDArray[Any] | None = None, **asked: object,
) -> None:  # fmt: skip
    """Write a package that the ``bioimageio test`` command passes.

    Parameters
    ----------
    model : to hand on
    path : written in place, ending in .zip
    authors : who made the model; they are asked for, not invented
    licence : SPDX identifier such as "CC-BY-4.0", "" for none
    description : one or two sentences
    cite : what to cite
    documentation : markdown for the README
    sample : (C, [Z,] Y, X), a raw image for test and cover; None: one is made up
    asked : nothing else is asked for this format

    Raises
    ------
    OutputError
        If no author is given, onnx is not installed, or the model is a program.
    """
    del asked
    card = Card(tuple(authors), licence, description, tuple(cite), documentation)
    if not card.authors or not all(one.name.strip() for one in card.authors):
        raise OutputError(
            "A BioImage.IO package names its authors, and none was given: enter at "
            "least one name."
        )
    onnx_export.require_onnx()
    graph_of(model)  # or it is refused at once
    shown = model.to(torch.device("cpu"))
    with TemporaryDirectory(prefix="napari-unet-") as name, quiet():
        folder = Path(name)
        files, opset = _write_files(shown, card, folder, sample)
        rdf = rdf_of(shown, card, files, opset)
        _write_package(path, rdf, list(files.values()))


def verify(path: Path, model: Model) -> None:
    """Read a package back and run all of its weights against the model.

    Raises
    ------
    OutputError
        If any of them gives other scores, or the package is not valid.
    """
    shown = model.to(torch.device("cpu"))
    again = load(path)
    for image in examples(graph_of(model)):
        with torch.inference_mode():
            check_same(path.name, again.scores(image), shown.scores(image))
    if any("does not reproduce" in remark for remark in again.spec.remarks):
        raise OutputError(
            f"{path.name} would not reproduce its own test image: save the model as "
            ".safetensors instead."
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's notices from the user, who can do nothing about them."""
    from torch.jit._trace import TracerWarning

    with warnings.catch_warnings():
        # TorchScript is what the zoo's other programs run, though torch moves on
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        # sizes that are asked about while tracing; tried at another size after it
        warnings.filterwarnings("ignore", category=TracerWarning)
        yield


def _write_files(
    model: Model, card: Card, folder: Path, sample: NDArray[Any] | None
) -> tuple[dict[str, Path], int]:
    """Write all that a package holds; return the places by kind, and ONNX' opset."""
    names = {
        "onnx": ONNX, "torchscript": TORCHSCRIPT, "native": NATIVE,
        "cover": "cover.png", "readme": "README.md", "input": "test-input.npy",
        "output": "test-output.npy",
    }  # fmt: skip
    files = {kind: folder / name for kind, name in names.items()}
    last = inside(model)
    opset = onnx_export.export(model, files["onnx"], last)
    onnx_export.verify_as(files["onnx"], model, last)
    _write_torchscript(model, files["torchscript"], last)
    plain = replace(model, spec=model.spec.model_copy(update={"remarks": ()}))
    native.save(plain, files["native"])
    image, scores = _tried(model, sample)
    np.save(files["input"], image[np.newaxis])
    np.save(files["output"], scores[np.newaxis])
    write_cover(files["cover"], image, scores)
    files["readme"].write_text(readme(model, card), encoding="utf-8")
    return files, opset


def inside(model: Model) -> Activation:
    """Return the activation that is part of the programs; a sigmoid is a step after.

    Not all programs that read packages know a softmax as a step.
    """
    return "softmax" if model.spec.likely_activation == "softmax" else "none"


def _write_torchscript(model: Model, path: Path, last: Activation) -> None:
    """Write a TorchScript program, tried at a size that was not traced."""
    network = Exportable(model, last).eval()
    first, second = examples(graph_of(model))
    with torch.inference_mode(False), torch.no_grad():
        program = torch.jit.trace(network, (first,), check_trace=False)  # type: ignore[no-untyped-call]  # torch's own
        check_same(path.name, program(second), network(second))
    program.save(str(path))


def _tried(
    model: Model, sample: NDArray[Any] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a raw test image (C, [Z,] Y, X) and its scores (K, [Z,] Y, X)."""
    net = model.spec.architecture
    size = (extent_of(model).test,) * net.dims
    if sample is None:
        image = made_up_image(net.in_channels, size)
    elif sample.ndim != net.dims + 1 or len(sample) != net.in_channels:
        raise OutputError(
            f"The sample image has the shape {sample.shape}, expected "
            f"{net.in_channels} channels and then {net.dims} axes: choose another."
        )
    else:
        image = cropped(sample, size)
    pixels = normalize(image, statistics(image, model.spec.normalization))
    with torch.inference_mode():
        scores = model.scores(torch.from_numpy(pixels)[np.newaxis])[0]
    return image, np.asarray(scores.numpy(), np.float32)


def _write_package(path: Path, rdf: dict[str, Any], files: list[Path]) -> None:
    """Write the archive; weights do not shrink, so they are stored as they are."""
    import yaml

    text = yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("rdf.yaml", text)
        for file in files:
            archive.write(file, file.name)


def readme(model: Model, card: Card) -> str:
    """Return the README: what it is, how to use it, what is not known."""
    spec = model.spec
    known = [f"- {name}: {text}" for name, text in spec.provenance.items()]
    parts = [
        f"# {spec.name}", card.description or summary(spec), card.documentation,
        "## Input and output",
        f"Raw intensities, normalised by: {spec.normalization}. Output: {spec.output}, "
        f"after {spec.likely_activation}.",
        "## Use",
        "Any program of bioimage.io runs the TorchScript or ONNX weights. Opened with "
        f"napari's U-Net workbench, the package can be fine-tuned ({NATIVE}).",
        "## Validation",
        "Compare predictions with hand-made masks of images that were not used in "
        "training; the package holds no such figures. Its test image shows only that "
        "programs compute the same.",
        "\n".join(["## Provenance", *known]) if known else "",
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"
