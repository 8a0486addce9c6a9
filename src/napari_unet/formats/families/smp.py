"""Unet and UnetPlusPlus of segmentation-models-pytorch.

Keys are the same from its version 0.1 to 0.6; those of 0.0 differ. ResNet encoders are
read here; others through the library, see smp_library.py. Where the library's example
of a Lightning module keeps ``mean`` and ``std`` beside the network, they are applied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families import smp_library, smp_resnet
from napari_unet.formats.families.common import numbered, reading

if TYPE_CHECKING:
    from typing import Literal

    from napari_unet.engine.builder import Shapes
    from napari_unet.formats.reading import Contents, Reading

NAME = "a network of segmentation-models-pytorch"
NORMALISED = (
    "networks of segmentation-models-pytorch are often trained on colour from which "
    "the mean of ImageNet was taken away and that was divided by its standard "
    "deviation; the file does not say so"
)
READINGS = ("nearest up-sampling", "linear up-sampling")


@dataclass(frozen=True)
class Places:
    """What the keys of a generation begin with and contain."""

    prefix: str
    head: str = "segmentation_head.0"
    block: str = "blocks.{}"
    conv: str = "conv{}"
    attention: str = "attention{}.attention"
    first: int = 0

    def decoder(self, part: str) -> str:
        """Return the key of a part of the decoder."""
        return f"{self.prefix}decoder.{part}"


OLDEST = ("decoder.final_conv", "layer{}", "block.{}.block", "attention{}", 1)


def read(contents: Contents) -> Reading | None:
    """Read a network of segmentation-models-pytorch; see the module."""
    shapes = contents.shapes
    places = _places(shapes)
    if places is None:
        return None
    kind = _kind(shapes, places)
    channels = _in_channels(shapes, places)
    mode: Literal["nearest", "linear"] = "nearest"
    if contents.wanted == READINGS[1]:
        mode = "linear"
    b = Builder(2, channels, shapes)
    image, remarks = _normalised(b, contents)
    names, values = _encoder(b, image, contents, places)
    write = _plus_plus if kind == "UnetPlusPlus" else _unet
    x = write(b, values, places, mode)
    width = b.channels[x]
    _classifier(b, values[-1], places)
    b.conv(x, places.prefix + places.head)
    graph = b.graph(
        f"segmentation-models-pytorch {kind}",
        (width, *(b.channels[value] for value in values[1:])),
        fit="itself" if kind == "Unet" and "tf_" not in names[0] else "pad",
        norm=_norm(shapes, places),
        residual="resn" in names[0],
        traits=_traits(shapes, names[0]),
    )
    twins = len(names) > 1
    return reading(
        contents, graph, b, ignored=("mean", "std"), remarks=remarks,
        reading=names[0] if twins else READINGS[mode == "linear"],
        readings=tuple(sorted(names, key=len)) if twins else READINGS,
        sources={"reading": "guessed"},
    )  # fmt: skip


# -- what the keys say


def _places(shapes: Shapes) -> Places | None:
    """Return where the parts lie, None if the keys are not the library's."""
    for key in shapes:
        if m := re.fullmatch(r"((?:[a-z_]{1,40}\.)?)segmentation_head\.0\.weight", key):
            return Places(m[1])
        if m := re.fullmatch(r"((?:[a-z_]{1,40}\.)?)decoder\.final_conv\.weight", key):
            return Places(m[1], *OLDEST) if _is_oldest(shapes, m[1]) else None
    return None


def _is_oldest(shapes: Shapes, prefix: str) -> bool:
    return f"{prefix}decoder.layer1.block.0.block.0.weight" in shapes


def _kind(shapes: Shapes, places: Places) -> str:
    if places.decoder("blocks.x_0_0.conv1.0.weight") in shapes:
        return "UnetPlusPlus"
    first = places.block.format(places.first)
    start = places.conv.format(1 - places.first)
    if places.decoder(f"{first}.{start}.0.weight") in shapes:
        return "Unet"
    raise Misfit("its decoder is not that of a Unet or UnetPlusPlus")


def _in_channels(shapes: Shapes, places: Places) -> int:
    """Return the input channels of the encoder's first convolution."""
    start = f"{places.prefix}encoder."
    kernels = (v for k, v in shapes.items() if k.startswith(start) and len(v) == 4)
    first = shapes.get(f"{start}conv1.weight") or next(kernels, None)
    if first is None or len(first) != 4:
        raise Misfit("its encoder has no convolution")
    return first[1]


def _norm(shapes: Shapes, places: Places) -> Literal["batch", "instance", "none"]:
    """Return the norm of the decoder; its convolutions have a bias without one."""
    inside = [key for key in shapes if key.startswith(places.decoder(""))]
    if any(key.endswith(".1.running_mean") for key in inside):
        return "batch"
    return "none" if any(_is_bias(key) for key in inside) else "instance"


def _is_bias(key: str) -> bool:
    return re.search(r"(conv[12]|block\.[01]\.block)\.0\.bias$", key) is not None


def _traits(shapes: Shapes, encoder: str) -> tuple[str, ...]:
    attention = any(".cSE.1.weight" in key for key in shapes)
    return (f"{encoder} encoder", *(("scse attention",) if attention else ()))


# -- the parts of the network


def _normalised(b: Builder, contents: Contents) -> tuple[int, tuple[str, ...]]:
    """Return the image as the encoder wants it, and what is to be said of it."""
    mean, std = (contents.weights.get(key) for key in ("mean", "std"))
    channels = b.channels[0]
    if mean is None or std is None or {mean.numel(), std.numel()} != {channels}:
        return 0, (NORMALISED,)
    shift, spread = (v.flatten().double().tolist() for v in (mean, std))
    if not all(abs(value) > 1e-6 for value in spread):
        raise Misfit("it divides by a standard deviation of 0")
    image = b.function(
        "scale", 0, channels,
        scale=tuple(1 / s for s in spread),
        offset=tuple(-m / s for m, s in zip(shift, spread, strict=True)),
    )  # fmt: skip
    return image, ("its mean and standard deviation per channel lie in the file",)


def _encoder(
    b: Builder, image: int, contents: Contents, places: Places
) -> tuple[tuple[str, ...], list[int]]:
    """Write the encoder; return its possible names and its values, the image first."""
    shapes = contents.shapes
    blocks = _depth(shapes, places)
    names, values = _resnet(b, image, shapes, places)
    if not values:
        names, values = smp_library.features(b, image, contents, places.prefix, blocks)
    if not 1 < blocks < len(values):
        raise Misfit(f"its encoder has {len(values) - 1} levels, the decoder {blocks}")
    return names, values[: blocks + 1]


def _resnet(
    b: Builder, image: int, shapes: Shapes, places: Places
) -> tuple[tuple[str, ...], list[int]]:
    """Write a plain ResNet, if that accounts for all weights of the encoder."""
    for key in (f"{places.prefix}encoder.", f"{places.prefix}encoder.model."):
        if not smp_resnet.is_resnet(shapes, key):
            continue
        if _is_whole(Builder(2, b.channels[0], shapes), key, shapes):
            values = [image, *smp_resnet.features(b, image, key)]
            return (smp_resnet.name(shapes, key),), values
    return (), []


def _is_whole(trial: Builder, key: str, shapes: Shapes) -> bool:
    """Tell whether a plain ResNet accounts for all weights of the encoder."""
    try:
        smp_resnet.features(trial, 0, key)
    except Misfit:
        return False
    return all(k in trial.used for k in shapes if k.startswith(key))


def _depth(shapes: Shapes, places: Places) -> int:
    """Return how often the decoder doubles the resolution."""
    start = re.escape(places.decoder(""))
    pattern = r"(?:blocks\.(?:x_0_)?|layer)(\d{1,2})\."
    return len(numbered(shapes, start + pattern))


def _conv_relu(b: Builder, x: int, key: str) -> int:
    x = b.conv(x, f"{key}.0")
    shapes = b.shapes or {}
    if f"{key}.0.bias" not in shapes:
        batch = f"{key}.1.running_mean" in shapes
        x = b.norm(x, f"{key}.1", "batch" if batch else "instance")
    return b.activation(x)


def _center(b: Builder, x: int, places: Places) -> int:
    shapes = b.shapes or {}
    for key in ("center.0", "center.1", "center.block.0.block", "center.block.1.block"):
        if places.decoder(f"{key}.0.weight") in shapes:
            x = _conv_relu(b, x, places.decoder(key))
    return x


def _attention(b: Builder, x: int, key: str) -> int:
    """Write the concurrent spatial and channel attention, where there is one.

    References
    ----------
    Roy et al.: Concurrent spatial and channel squeeze & excitation in fully
    convolutional networks, MICCAI 2018, arXiv:1803.02579.
    """
    if f"{key}.cSE.1.weight" not in (b.shapes or {}):
        return x
    y = b.activation(b.conv(b.global_mean(x), f"{key}.cSE.1"))
    y = b.activation(b.conv(y, f"{key}.cSE.3"), "sigmoid")
    z = b.activation(b.conv(x, f"{key}.sSE.0"), "sigmoid")
    return b.add(b.multiply(x, y), b.multiply(x, z))


def _block(b: Builder, x: int, skip: int | None, key: str, places: Places) -> int:
    """Write a decoder's block on a value that was up-sampled already."""
    if skip is not None:
        x = b.concat(x, skip)
    attended = _attention(b, x, f"{key}.{places.attention.format(1)}")
    if skip is not None:  # without a skip the library has the weights, not the use
        x = attended
    for number in (1, 2):
        x = _conv_relu(b, x, f"{key}.{places.conv.format(number - places.first)}")
    return _attention(b, x, f"{key}.{places.attention.format(2)}")


def _unet(
    b: Builder, values: list[int], places: Places, mode: Literal["nearest", "linear"]
) -> int:
    """Write the decoder, which goes to the sizes of the encoder's values."""
    x = _center(b, values[-1], places)
    for number, target in enumerate(reversed(values[:-1])):
        skip = target if target != values[0] else None
        key = places.decoder(places.block.format(number + places.first))
        x = _block(b, b.resize_like(x, target, mode=mode), skip, key, places)
    return x


def _plus_plus(
    b: Builder, values: list[int], places: Places, mode: Literal["nearest", "linear"]
) -> int:
    """Write the nested decoder.

    References
    ----------
    Zhou et al.: UNet++, DLMIA 2018, arXiv:1807.10165.
    """
    coarse = list(reversed(values[1:]))
    _center(b, coarse[0], places)  # the library has its weights, and no use for them
    last = len(coarse) - 1
    made: dict[tuple[int, int], int] = {}
    for level in range(last):
        for start in range(level, -1, -1):
            below = made[start, level - 1] if start < level else coarse[start]
            x = b.upsample(below, mode=mode)
            dense = [made[between, level] for between in range(start + 1, level + 1)]
            skip = b.concat(*dense, coarse[level + 1])
            key = places.decoder(f"blocks.x_{start}_{level}")
            made[start, level] = _block(b, x, skip, key, places)
    x = b.upsample(made[0, last - 1], mode=mode)
    return _block(b, x, None, places.decoder(f"blocks.x_0_{last}"), places)


def _classifier(b: Builder, x: int, places: Places) -> None:
    """Keep the weights of a head that names the whole image; nothing reads it."""
    key = f"{places.prefix}classification_head.3"
    if f"{key}.weight" in (b.shapes or {}):
        b.linear(b.global_mean(x, flat=True), key)
