"""The ResNet and ResNeXt encoders that segmentation-models-pytorch takes.

References
----------
He et al.: Deep residual learning for image recognition, CVPR 2016, arXiv:1512.03385.
Xie et al.: Aggregated residual transformations for deep neural networks, CVPR 2017,
arXiv:1611.05431.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.common import numbered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_unet.engine.builder import Builder, Shapes

STAGES = 4
NAMES = {
    (False, (2, 2, 2, 2)): "18", (False, (3, 4, 6, 3)): "34",
    (True, (3, 4, 6, 3)): "50", (True, (3, 4, 23, 3)): "101",
    (True, (3, 8, 36, 3)): "152",
}  # fmt: skip


def is_resnet(shapes: Shapes, key: str) -> bool:
    """Tell whether the encoder's keys, which begin with ``key``, are a ResNet's."""
    return all(
        f"{key}{place}.weight" in shapes
        for place in ("conv1", "bn1", "layer1.0.conv1", "layer1.0.bn2")
    )


def features(b: Builder, image: int, key: str) -> list[int]:
    """Write a ResNet; return its values at 1/2, 1/4, ... of the full resolution.

    Parameters
    ----------
    b : with the shapes of the weights
    image : the value that goes in
    key : what the encoder's keys begin with, such as "encoder."
    """
    x = b.conv(image, f"{key}conv1", stride=2)
    x = b.activation(b.norm(x, f"{key}bn1"))
    found = [x]
    for stage, count in enumerate(_counts(b.shapes or {}, key), start=1):
        if stage == 1:
            x = b.pool(x, 3, stride=(2, 2), padding=(1, 1))
        for number in range(count):
            stride = 2 if stage > 1 and number == 0 else 1
            x = _block(b, x, f"{key}layer{stage}.{number}", stride)
        found.append(x)
    return found


def name(shapes: Shapes, key: str) -> str:
    """Return the encoder's usual name, such as "resnet34"."""
    counts = _counts(shapes, key)
    bottleneck = f"{key}layer1.0.conv3.weight" in shapes
    fitting = [
        number
        for (deep, stages), number in NAMES.items()
        if deep == bottleneck and stages[: len(counts)] == counts
    ]  # an encoder that lacks its last stages may be the start of more than one
    number = "/".join(fitting) or f" of {counts} blocks"
    inner = shapes.get(f"{key}layer1.0.conv2.weight", (64, 64))
    if inner[0] != inner[1]:
        return f"resnext{number}_{inner[0] // inner[1]}x{inner[1]}d"
    return f"wide_resnet{number}" if inner[0] != 64 else f"resnet{number}"


def _counts(shapes: Mapping[str, tuple[int, ...]], key: str) -> tuple[int, ...]:
    """Return how many blocks each stage has."""
    inside = {k[len(key) :]: v for k, v in shapes.items() if k.startswith(key)}
    stages = (
        len(numbered(inside, rf"layer{stage}\.(\d{{1,3}})\.conv1\."))
        for stage in range(1, STAGES + 1)
    )
    return tuple(count for count in stages if count)


def _block(b: Builder, x: int, key: str, stride: int) -> int:
    """Write a basic or a bottleneck block; the latter strides in its second layer."""
    shapes = b.shapes or {}
    shortcut = x
    if f"{key}.downsample.0.weight" in shapes:
        shortcut = b.conv(x, f"{key}.downsample.0", stride=stride)
        shortcut = b.norm(shortcut, f"{key}.downsample.1")
    elif stride > 1:
        raise Misfit(f"{key} has no way around it")
    last = 3 if f"{key}.conv3.weight" in shapes else 2
    striding = last - 1
    for number in range(1, last + 1):
        step = stride if number == striding else 1
        x = b.conv(x, f"{key}.conv{number}", stride=step, grouped=True)
        x = b.norm(x, f"{key}.bn{number}")
        if number < last:
            x = b.activation(x)
    return b.activation(b.add(x, shortcut))
