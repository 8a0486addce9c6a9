"""The U-Nets of torch-em: UNet2d, UNet3d and AnisotropicUNet.

References
----------
Pape: torch-em, Zenodo, doi:10.5281/zenodo.5108853.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families.common import dims_of, numbered, reading

if TYPE_CHECKING:
    from typing import Any

    from napari_unet.engine.builder import Shapes
    from napari_unet.engine.spec import Activation, Output
    from napari_unet.formats.reading import Contents, Reading

NAME = "a U-Net of torch-em"
FIRST = "encoder.blocks.0.block"
GROUPS = 32
HALVED = "every axis halved at every level"
PLANES = "planes kept apart in the first {} levels"
ACTIVATION = (
    "its last activation is not in the file: a sigmoid for each channel is taken"
)


@dataclass(frozen=True)
class Form:
    """What the network's blocks and levels are like.

    ``factors`` are those of each level, from full resolution down, per axis.
    """

    norm: Literal["none", "batch", "instance", "group"]
    factors: tuple[tuple[int, ...], ...]
    reading: str = ""
    readings: tuple[str, ...] = ()


def read(contents: Contents) -> Reading | None:
    """Read a U-Net of torch-em; see the module."""
    shapes = contents.shapes
    needed = (
        f"{FIRST}.",
        "base.block.",
        "decoder.blocks.0.block.",
        "decoder.samplers.",
    )
    if not all(any(key.startswith(start) for key in shapes) for start in needed):
        return None
    norm = _norm(shapes)
    first = shapes.get(f"{FIRST}.{_convs(norm)[0]}.weight", ())
    if len(first) < 4:
        raise Misfit(f"{FIRST} has no first convolution")
    b = Builder(dims_of(shapes), first[1], shapes)
    said = _said(contents)
    form = _form(contents, norm, b.dims, said)
    widths = _network(b, form)
    graph = b.graph(
        f"torch-em {_kind(b.dims, form)}", widths, fit="pad", norm=norm,
        traits=("deep supervision",) if "out_conv.0.weight" in shapes else (),
    )  # fmt: skip
    output, activation, remarks = _scores(said, graph.out_channels)
    return reading(
        contents, graph, b, output=output, activation=activation, remarks=remarks,
        reading=form.reading, readings=form.readings,
        sources={"activation": "read" if "final_activation" in said else "guessed"},
    )  # fmt: skip


# -- what the keys, the shapes and the trainer's notes say


def _norm(shapes: Shapes) -> Literal["none", "batch", "instance", "group"]:
    """Return the norm before each convolution; instance norm has no weights.

    An instance norm that keeps statistics has the keys of a batch norm, and computes
    the same outside training.
    """
    first = shapes.get(f"{FIRST}.0.weight")
    if first is None:
        return "instance"
    if len(first) > 1:
        return "none"
    return "batch" if f"{FIRST}.0.running_mean" in shapes else "group"


def _convs(norm: str) -> tuple[int, int]:
    """Return the places of a block's convolutions."""
    return (0, 2) if norm == "none" else (1, 4)


def _said(contents: Contents) -> Mapping[str, Any]:
    """Return what torch-em's trainer wrote down of the network, if it is there."""
    init = contents.beside.get("init")
    said = init.get("model_kwargs") if isinstance(init, Mapping) else None
    return said if isinstance(said, Mapping) else {}


def _form(
    contents: Contents, norm: Literal["none", "batch", "instance", "group"],
    dims: int, said: Mapping[str, Any],
) -> Form:  # fmt: skip
    """Return the factors of each level; in 3D there is more than one way."""
    shapes = contents.shapes
    depth = len(numbered(shapes, r"encoder\.blocks\.(\d{1,2})\."))
    halved = ((2,) * dims,) * depth
    if dims == 2:
        return Form(norm, halved)
    stated = _stated(said.get("scale_factors"), depth)
    if stated:
        return Form(norm, stated)
    flat = ((1, 2, 2),)
    ways = {HALVED: halved}
    for count in range(1, depth + 1):
        ways[PLANES.format(count)] = flat * count + halved[count:]
    kernel = shapes[f"{FIRST}.{_convs(norm)[0]}.weight"]
    likely = PLANES.format(1) if kernel[2] == 1 else HALVED
    chosen = contents.wanted or likely
    if chosen not in ways:
        raise Misfit(f"cannot be read as {chosen!r}")
    readings = (likely, *(way for way in ways if way != likely))
    return Form(norm, ways[chosen], chosen, readings)


def _stated(factors: object, depth: int) -> tuple[tuple[int, ...], ...]:
    """Return scale factors as a file states them, () if they make no sense."""
    levels = factors if isinstance(factors, (list, tuple)) else ()
    found = []
    for level in levels:
        axes = tuple(level) if isinstance(level, (list, tuple)) else (level,) * 3
        if len(axes) != 3 or any(axis not in (1, 2, 3, 4) for axis in axes):
            return ()
        found.append(tuple(int(axis) for axis in axes))
    return tuple(found) if len(found) == depth else ()


def _kind(dims: int, form: Form) -> str:
    if dims == 2:
        return "UNet2d"
    even = all(len(set(factors)) == 1 for factors in form.factors)
    return "UNet3d" if even else "AnisotropicUNet"


def _scores(
    said: Mapping[str, Any], channels: int
) -> tuple[Output, Activation, tuple[str, ...]]:
    """Return what the channels mean; torch-em scores each on its own, mostly."""
    if said.get("final_activation") == "Softmax" and channels > 1:
        return "classes", "softmax", ()
    output: Output = "foreground" if channels == 1 else "multilabel"
    if said.get("final_activation") == "Sigmoid":
        return output, "sigmoid", ()
    return output, "sigmoid", (ACTIVATION,)


# -- the network


def _network(b: Builder, form: Form) -> tuple[int, ...]:
    """Write the network; return its widths."""
    shapes = b.shapes or {}
    depth = len(form.factors)
    if len(numbered(shapes, r"decoder\.blocks\.(\d{1,2})\.")) != depth:
        raise Misfit(f"its {depth} encoders do not fit its decoders")
    x = 0
    skips = []
    for level, factors in enumerate(form.factors):
        x = _block(b, x, f"encoder.blocks.{level}", form)
        skips.append(x)
        x = b.pool(x, factors)
    x = _block(b, x, "base", form)
    widths = (*(b.channels[skip] for skip in skips), b.channels[x])
    for number, factors in enumerate(reversed(form.factors)):
        x = b.conv(b.upsample(x, factors), f"decoder.samplers.{number}.conv")
        x = b.concat(x, skips[-1 - number])
        x = _block(b, x, f"decoder.blocks.{number}", form)
        if number < depth - 1 and f"out_conv.{number}.weight" in shapes:
            b.conv(x, f"out_conv.{number}")  # kept; only the last one is the output
    for key in ("out_conv", f"out_conv.{depth - 1}"):
        if f"{key}.weight" in shapes:
            b.conv(x, key)
    return widths


def _block(b: Builder, x: int, key: str, form: Form) -> int:
    for conv in _convs(form.norm):
        if form.norm != "none":
            groups = min(GROUPS, b.channels[x]) if form.norm == "group" else 1
            x = b.norm(x, f"{key}.block.{conv - 1}", form.norm, groups=groups)
        x = b.activation(b.conv(x, f"{key}.block.{conv}"))
    return x
