"""The project's own U-Net, saved as a plain state dict."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_unet.engine.builder import Misfit
from napari_unet.engine.spec import ModelSpec, UNetSpec
from napari_unet.formats.reading import Reading

if TYPE_CHECKING:
    from napari_unet.engine.spec import Output, Source
    from napari_unet.formats.reading import Contents

NAME = "a U-Net of napari_unet"
FIRST_CONVOLUTION = r"encoder\.(\d{1,3})\.first\.0\.weight$"
MOST_LEVELS = 9


def read(contents: Contents) -> Reading | None:
    """Read every number of the architecture off the shapes of the weights."""
    weights = contents.weights
    found = {int(m[1]) for key in weights if (m := re.match(FIRST_CONVOLUTION, key))}
    if not found:
        return None
    names = [f"encoder.{level}.first.0.weight" for level in range(len(found))]
    kernels = [weights[name] for name in names if name in weights]
    head = weights.get("head.weight")
    if head is None or head.ndim not in (4, 5):
        raise Misfit("head.weight is not there")
    if not 2 <= len(kernels) == len(found) <= MOST_LEVELS:
        raise Misfit(f"it has {len(kernels)} levels without a gap")
    if any(kernel.ndim != head.ndim for kernel in kernels):
        raise Misfit("its kernels have unequal numbers of axes")
    architecture = UNetSpec(
        dims=3 if head.ndim == 5 else 2,
        in_channels=kernels[0].shape[1],
        out_channels=head.shape[0],
        widths=tuple(kernel.shape[0] for kernel in kernels),
        norm="batch" if "encoder.0.first.1.running_mean" in weights else "none",
        upsampling="interpolate" if "up.0.conv.weight" in weights else "transposed",
        residual="encoder.0.shortcut.weight" in weights,
    )
    sources: dict[str, Source] = {
        "architecture": "inferred", "output": "guessed", "normalization": "guessed",
    }  # fmt: skip
    spec = ModelSpec(
        name=contents.title,
        architecture=architecture,
        output=_likely_output(architecture.out_channels),
        sources=sources,
        remarks=contents.remarks,
    )
    return Reading(spec, weights)


def _likely_output(channels: int) -> Output:
    outputs: dict[int, Output] = {1: "foreground", 2: "instances"}
    return outputs.get(channels, "classes")
