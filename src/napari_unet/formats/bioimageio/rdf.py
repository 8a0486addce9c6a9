"""A model in the words of BioImage.IO 0.5: axes, steps, people, weights.

Plain data is written, without the format's own library: what is said here is all of
the older versions of 0.5 too, so that programs which are not of today read it.

References
----------
https://bioimage-io.github.io/spec-bioimage-io (model description 0.5)
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from napari_unet.engine.normalize import MEASURED
from napari_unet.errors import OutputError
from napari_unet.formats.bioimageio.preprocessing import FAR
from napari_unet.formats.bioimageio.tensors import SPACE
from napari_unet.formats.exportable import graph_of, smallest

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import ModelSpec, Normalization
    from napari_unet.formats.bioimageio.people import Author, Card, Citation

VERSION = "0.5.4"
IMAGE, SCORES = "image", "scores"
MOST_PIXELS = 2**20  # of the smallest image; the format's tests run larger ones
WANTED = {2: 128, 3: 32}  # pixels per axis of the test image
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_+\- ()]+")
LICENCE = re.compile(r"[A-Za-z][A-Za-z0-9.]*(-[A-Za-z0-9.+]+)+|MIT|ISC|Zlib|Unlicense")
ORCID = re.compile(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]")
DOI = re.compile(r"10\.\d{4}.+")
SHORTEST_NAME, LONGEST_NAME = 5, 100
LONGEST_DESCRIPTION = 1024
EPS = 1e-6
BLUE_FIRST = ["blue", "green", "red"]


@dataclass(frozen=True)
class Extent:
    """Which sizes a package's model takes, per spatial axis in pixels.

    ``least`` and every ``step`` more; ``halo`` is what is wrong at the border; ``test``
    is the size of the test image.
    """

    least: int
    step: int
    halo: int
    test: int


def extent_of(model: Model) -> Extent:
    """Return the sizes; no halo is said where it makes the smallest image too large."""
    graph = graph_of(model)
    step, halo = graph.stride, graph.halo if graph.local else 0
    needed = max(smallest(graph), 2 * step, 16)
    least = _up(max(2 * halo + 1, needed), step)
    if least**graph.dims > MOST_PIXELS:
        least, halo = _up(needed, step), 0
    return Extent(least, step, halo, _up(max(least, WANTED[graph.dims]), step))


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def rdf_of(
    model: Model, card: Card, files: dict[str, Path], opset: int
) -> dict[str, Any]:
    """Return the content of rdf.yaml.

    Parameters
    ----------
    model : that is handed on
    card : what is said of it
    files : "onnx", "torchscript", "native", "cover", "readme", "input", "output"
    opset : of the ONNX file

    Raises
    ------
    OutputError
        If the format cannot say what is known of the model, or of its authors.
    """
    import torch

    script = {"pytorch_version": torch.__version__.partition("+")[0]}
    onnx = {"parent": "torchscript", "opset_version": opset}
    said = {
        "format_version": VERSION, "type": "model", "name": name_of(model.spec),
        "description": (card.description or summary(model.spec))[:LONGEST_DESCRIPTION],
        "authors": [_author(one) for one in card.authors],
        "cite": [_citation(one) for one in card.cite],
        "license": _licence(card.licence), "tags": tags(model.spec),
        "documentation": files["readme"].name, "covers": [files["cover"].name],
        "attachments": [_file(files["native"])],
        "inputs": [_input(model, files["input"])],
        "outputs": [_output(model, files["output"])],
        "weights": {
            "torchscript": {**_file(files["torchscript"]), **script},
            "onnx": {**_file(files["onnx"]), **onnx},
        },
    }  # fmt: skip
    return {name: value for name, value in said.items() if value}


def _file(place: Path) -> dict[str, Any]:
    return {"source": place.name, "sha256": sha256(place.read_bytes()).hexdigest()}


# -- names and people


def name_of(spec: ModelSpec) -> str:
    """Return a name of the letters that the format allows."""
    name = " ".join(NOT_IN_NAMES.sub(" ", spec.name).split())[:LONGEST_NAME] or "U-Net"
    return name if len(name) >= SHORTEST_NAME else f"{name} U-Net"


def summary(spec: ModelSpec) -> str:
    """Return one sentence on what a model is."""
    net = spec.architecture
    what = {
        "instances": "objects one by one", "foreground": "foreground",
        "classes": "classes", "multilabel": "overlapping classes",
    }[spec.output]  # fmt: skip
    return (
        f"A {net.dims}D network ({net.family}) that segments {what} in images of "
        f"{net.in_channels} channel{'' if net.in_channels == 1 else 's'}."
    )


def tags(spec: ModelSpec) -> list[str]:
    """Return words by which the model can be found."""
    single = spec.output == "instances"
    kind = "instance-segmentation" if single else "semantic-segmentation"
    dims = f"{spec.architecture.dims}d"
    return ["unet", "segmentation", kind, dims, "pytorch", "napari"]


def _licence(licence: str) -> str | None:
    if licence and not LICENCE.fullmatch(licence):
        raise OutputError(
            f"{licence!r} is no licence of the SPDX list, expected one such as "
            "CC-BY-4.0, MIT or BSD-3-Clause: choose another."
        )
    return licence or None


def _author(one: Author) -> dict[str, str]:
    if one.orcid and not is_orcid(one.orcid):
        raise OutputError(
            f"The author {one.name} has the ORCID {one.orcid!r}, expected one such as "
            "0000-0002-1825-0097: check it, or leave it out."
        )
    return _given(one)


def is_orcid(text: str) -> bool:
    """Tell whether a text is an ORCID, by its form and its last digit.

    References
    ----------
    ISO/IEC 7064:2003, MOD 11-2.
    """
    if not ORCID.fullmatch(text):
        return False
    total = 0
    for digit in text.replace("-", "")[:-1]:
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11] == text[-1]


def _citation(one: Citation) -> dict[str, str]:
    if not one.text or not (one.url or DOI.fullmatch(one.doi)):
        raise OutputError(
            f"The citation {one.text[:60]!r} has neither a DOI, such as "
            "10.1007/978-3-319-24574-4_28, nor an address: give one of them."
        )
    return _given(one)


def _given(one: Author | Citation) -> dict[str, str]:
    """Return what was filled in."""
    return {name: text.strip() for name, text in asdict(one).items() if text.strip()}


# -- tensors


def _input(model: Model, test: Path) -> dict[str, Any]:
    spec, extent = model.spec, extent_of(model)
    size = {"min": extent.least, "step": extent.step}
    names = [f"channel{n}" for n in range(spec.architecture.in_channels)]
    if spec.channel_order == "BGR" and len(names) == len(BLUE_FIRST):
        names = BLUE_FIRST
    axes: list[dict[str, Any]] = [
        {"type": "batch"}, {"type": "channel", "channel_names": names},
        *({**axis, "size": dict(size)} for axis in _space(spec)),
    ]  # fmt: skip
    return {
        "id": IMAGE, "description": "raw intensities", "axes": axes,
        "data": {"type": "float32"}, "test_tensor": _file(test),
        "preprocessing": preprocessing(spec.normalization, spec.architecture.dims),
    }  # fmt: skip


def _output(model: Model, test: Path) -> dict[str, Any]:
    spec, halo = model.spec, extent_of(model).halo
    axes: list[dict[str, Any]] = [
        {"type": "batch"}, {"type": "channel", "channel_names": _classes(spec)}
    ]  # fmt: skip
    for axis in _space(spec):
        size = {"tensor_id": IMAGE, "axis_id": axis["id"]}
        axes.append({**axis, "size": size, **({"halo": halo} if halo else {})})
    sigmoid = spec.likely_activation == "sigmoid"
    return {
        "id": SCORES, "description": "scores", "axes": axes,
        "data": {"type": "float32"}, "test_tensor": _file(test),
        "postprocessing": [{"id": "sigmoid"}] if sigmoid else [],
    }  # fmt: skip


def _space(spec: ModelSpec) -> list[dict[str, Any]]:
    """Return id, pixel size and unit of each spatial axis."""
    dims = spec.architecture.dims
    said: list[dict[str, Any]] = [
        {"type": "space", "id": name} for name in SPACE[-dims:]
    ]
    if spec.pixel_size and len(spec.pixel_size) == dims:
        for axis, micrometres in zip(said, spec.pixel_size, strict=True):
            axis |= {"unit": "micrometer", "scale": micrometres}
    return said


def _classes(spec: ModelSpec) -> list[str]:
    """Return a name for each output channel."""
    if spec.classes:
        return [one.name for one in spec.classes]
    if spec.output == "instances":
        return ["foreground", "distance"]
    count = spec.architecture.out_channels
    if spec.output == "foreground":
        return ["background", "foreground"][-count:]
    names = [f"class{n}" for n in range(count)]
    return ["background", *names[1:]] if spec.output == "classes" else names


# -- steps before the network


def preprocessing(said: Normalization, dims: int) -> list[dict[str, Any]]:
    """Return the steps that do what a normalisation does.

    Parameters
    ----------
    said : the normalisation
    dims : number of spatial axes

    Raises
    ------
    OutputError
        If the format has no such steps.
    """
    axes = [*(["channel"] if said.together else []), *SPACE[-dims:]]
    measured = {"axes": axes, "eps": min(max(said.eps, EPS), 0.1)}
    steps = []
    if said.kind in ("percentile", "minmax"):
        low, high = (said.low, said.high) if said.kind == "percentile" else (0.0, 100.0)
        if said.negative:  # its darkest pixels are the image's brightest
            low, high = 100.0 - high, 100.0 - low
        limits = {"min_percentile": low, "max_percentile": high}
        steps.append(_step("scale_range", **measured, **limits))
    elif said.kind == "zscore":
        steps.append(_step("zero_mean_unit_variance", **measured))
    elif said.kind == "fixed":
        steps += _fixed(said)
    gain = said.gain / said.divisor if said.kind == "scale" else said.gain
    shift = said.shift
    if said.negative:
        if said.kind not in MEASURED:
            raise OutputError(
                "BioImage.IO cannot say that images of this scaling are turned over: "
                "save the model as .safetensors instead."
            )
        shift += gain if said.kind != "zscore" else 0.0  # 0 to 1 become 1 to 0
        gain = -gain
    if (gain, shift) != (1.0, 0.0):
        steps.append(_step("scale_linear", gain=gain, offset=shift))
    return [*steps, *_clip(said.limits)]


def _fixed(said: Normalization) -> list[dict[str, Any]]:
    """Return limits, then fixed means and deviations."""
    if len(set(said.clip)) > 1:
        raise OutputError(
            "BioImage.IO cannot say that each channel has limits of its own: save the "
            "model as .safetensors instead."
        )
    steps = _clip(said.clip[0] if said.clip else None)
    count = max(len(said.means), len(said.deviations))
    if count == 1:
        numbers: dict[str, Any] = {"mean": said.means[0], "std": said.deviations[0]}
    else:
        means, deviations = (
            list(values) * (count if len(values) == 1 else 1)
            for values in (said.means, said.deviations)
        )
        numbers = {"axis": "channel", "mean": means, "std": deviations}
    return [*steps, _step("fixed_zero_mean_unit_variance", **numbers)]


def _clip(limits: tuple[float, float] | None) -> list[dict[str, Any]]:
    named = dict(zip(("min", "max"), limits or (), strict=False))
    given = {name: limit for name, limit in named.items() if abs(limit) < FAR}
    return [_step("clip", **given)] if given else []


def _step(name: str, **settings: Any) -> dict[str, Any]:
    return {"id": name, "kwargs": settings}
