"""Small BioImage.IO packages that tests write, in the words of versions 0.4 and 0.5."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from napari_unet.engine.model import activate
from napari_unet.formats.bioimageio.sample import made_up_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet.engine.model import Model

SIZE = 32


def normalized(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what zero_mean_unit_variance over space makes of (C, Y, X)."""
    axes = tuple(range(1, image.ndim))
    mean, std = image.mean(axes, keepdims=True), image.std(axes, keepdims=True)
    result: NDArray[np.float32] = (image - mean) / (std + 1e-6)
    return result


def write_tensors(folder: Path, model: Model, activation: str = "sigmoid") -> None:
    """Write test tensors whose normalisation is zero_mean_unit_variance."""
    net = model.spec.architecture
    image = made_up_image(net.in_channels, (SIZE,) * net.dims)
    with torch.no_grad():
        logits = model.network(torch.from_numpy(normalized(image))[np.newaxis])
    scores = activate(logits, activation).numpy()  # type: ignore[arg-type]  # a test's word
    np.save(folder / "in.npy", image[np.newaxis])
    np.save(folder / "out.npy", scores)


def write_state_dict(folder: Path, model: Model) -> None:
    """Write weights.pt."""
    torch.save(model.network.state_dict(), folder / "weights.pt")


def sha256(path: Path) -> str:
    """Return a file's hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rdf5(model: Model, **changes: Any) -> dict[str, Any]:
    """Return a description of version 0.5; ``changes`` replace what it says."""
    net = model.spec.architecture
    space = ["z", "y", "x"][-net.dims :]
    size = {"min": 16, "step": 2}
    zmuv = {"id": "zero_mean_unit_variance", "kwargs": {"axes": space}}
    said = {
        "format_version": "0.5.3", "type": "model", "name": "a test model",
        "license": "MIT", "authors": [{"name": "Ada", "affiliation": "Here"}],
        "cite": [{"text": "a paper", "doi": "10.1000/1"}],
        "inputs": [{
            "id": "raw", "test_tensor": {"source": "in.npy"}, "preprocessing": [zmuv],
            "axes": [
                {"type": "batch"},
                {"type": "channel", "channel_names": [
                    f"c{n}" for n in range(net.in_channels)]},
                *({"type": "space", "id": a, "size": dict(size)} for a in space),
            ],
        }],
        "outputs": [{
            "id": "scores", "test_tensor": {"source": "out.npy"},
            "postprocessing": [{"id": "sigmoid"}],
            "axes": [
                {"type": "batch"},
                {"type": "channel", "channel_names": [
                    f"k{n}" for n in range(net.out_channels)]},
                *({"type": "space", "id": a,
                   "size": {"tensor_id": "raw", "axis_id": a}} for a in space),
            ],
        }],
        "weights": {"pytorch_state_dict": {
            "source": "weights.pt",
            "architecture": {"source": "arch.py", "callable": "Net", "kwargs": {}},
        }},
    }  # fmt: skip
    return {**said, **changes}


def rdf4(model: Model, **changes: Any) -> dict[str, Any]:
    """Return a description of version 0.4; ``changes`` replace what it says."""
    net = model.spec.architecture
    axes = "bc" + "zyx"[-net.dims :]
    steps = [0, 0, *[2] * net.dims]
    zmuv = {"mode": "per_sample", "axes": axes[2:]}
    said = {
        "format_version": "0.4.10", "type": "model", "name": "an old model",
        "inputs": [{
            "name": "raw", "axes": axes, "data_type": "float32",
            "shape": {"min": [1, net.in_channels, *[16] * net.dims], "step": steps},
            "preprocessing": [{"name": "zero_mean_unit_variance", "kwargs": zmuv}],
        }],
        "outputs": [{
            "name": "scores", "axes": axes, "halo": [0, 0, *[2] * net.dims],
            "shape": {"reference_tensor": "raw", "offset": [0.0] * len(axes),
                      "scale": [1.0, 0.0, *[1.0] * net.dims]},
            "postprocessing": [{"name": "sigmoid"}],
        }],
        "test_inputs": ["in.npy"], "test_outputs": ["out.npy"],
        "weights": {"pytorch_state_dict": {
            "source": "weights.pt", "architecture": "arch.py:Net"}},
    }  # fmt: skip
    said["outputs"][0]["shape"]["offset"][1] = net.out_channels / 2
    return {**said, **changes}


def write_package(folder: Path, model: Model, rdf: dict[str, Any]) -> Path:
    """Write a package's folder; return it."""
    folder.mkdir(exist_ok=True)
    write_state_dict(folder, model)
    write_tensors(folder, model)
    (folder / "arch.py").write_text("raise SystemExit('run')", encoding="utf-8")
    (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf), encoding="utf-8")
    return folder


def zipped(folder: Path, inside: str = "") -> Path:
    """Return a zip archive of a folder's files."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, inside + file.name)
    return path
