"""MONAI's SegResNet: residual blocks with the norm first, skips added, not joined.

Of a SegResNetVAE the half that segments is computed; the weights of the other half,
which serves training, are kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families.choices import (
    Choices,
    Style,
    chosen_activation,
    chosen_norm,
)
from napari_unet.formats.families.common import numbered, reading
from napari_unet.formats.families.monai_blocks import (
    MOST_LEVELS,
    activated,
    check_alike,
    dims_and_channels,
    normed,
    upsampled,
)

if TYPE_CHECKING:
    from napari_unet.formats.reading import Contents, Reading

NAME = "a SegResNet of MONAI"
FIRST = "convInit.conv"
ONE_ACTIVATION = (  # places of one layer, which has weights if it is a PReLU
    "act_mod", "vae_down.1", "vae_down.4", "vae_fc_up_sample.3", "vae_conv_final.1",
)  # fmt: skip
NORMS_BESIDE = ("vae_down.0", "vae_down.3", "vae_fc_up_sample.2", "vae_conv_final.0")
BESIDE = re.compile(r"(vae_(?:fc[123]|(?:down|fc_up_sample|conv_final)\.\d.*))\.weight")
HAVE_BIAS = (
    r"(vae_)?conv_final\.2\.conv|vae_down\.2\.conv|vae_fc[123]|"
    r"(up_samples\.\d+|vae_fc_up_sample)\.1\..*"
)


def read(contents: Contents) -> Reading | None:
    """Read MONAI's SegResNet; see the module."""
    shapes = contents.shapes
    if f"{FIRST}.weight" not in shapes or "conv_final.2.conv.weight" not in shapes:
        return None
    b = Builder(*dims_and_channels(shapes, FIRST), shapes)
    choices = Choices(contents.wanted)
    act, number = chosen_activation(choices, shapes, r".*\.act|conv_final\.1")
    norms = "|".join(map(re.escape, ("conv_final.0", *NORMS_BESIDE)))
    norm, groups = chosen_norm(choices, shapes, rf".*\.norm[12]|{norms}", "group")
    style = Style(norm, groups, act, number)
    _keep_what_is_beside(b, style)
    levels = _encoder(b, style)
    x = _decoder(b, levels, style)
    ends = {
        "with the final convolution": _head(b, x, style),
        "without the final convolution": x,
    }
    check_alike(b, HAVE_BIAS)
    graph = b.graph(
        "MONAI SegResNet", tuple(b.channels[value] for value in levels),
        last=choices.take(ends), norm=norm, residual=True,
        traits=("autoencoder beside it",) if "vae_fc1.weight" in shapes else (),
    )  # fmt: skip
    return reading(contents, graph, b, **choices.fields())


def _encoder(b: Builder, style: Style) -> list[int]:
    """Add the way down; return the value of each level."""
    shapes = b.shapes or {}
    count = 1 + max(numbered(shapes, r"down_layers\.(\d{1,2})\."), default=0)
    if count > MOST_LEVELS:
        raise Misfit(f"it has {count} levels")
    x = b.conv(0, FIRST)
    levels = []
    for level in range(count):
        if level:
            x = b.conv(x, f"down_layers.{level}.0.conv", stride=2)
        for block in numbered(shapes, rf"down_layers\.{level}\.([1-9]\d{{0,2}})\."):
            x = _block(b, x, f"down_layers.{level}.{block}", style)
        levels.append(x)
    return levels


def _decoder(b: Builder, levels: list[int], style: Style) -> int:
    shapes = b.shapes or {}
    x = levels[-1]
    for number, skip in enumerate(reversed(levels[:-1])):
        x = b.conv(x, f"up_samples.{number}.0.conv")
        x = upsampled(b, x, f"up_samples.{number}.1", align_corners=False)
        x = b.add(x, skip)
        for block in numbered(shapes, rf"up_layers\.{number}\.(\d{{1,3}})\."):
            x = _block(b, x, f"up_layers.{number}.{block}", style)
    return x


def _block(b: Builder, x: int, key: str, style: Style) -> int:
    """Add norm, activation and convolution twice, and the way around them."""
    around = x
    for number in (1, 2):
        x = normed(b, x, f"{key}.norm{number}", style)
        x = activated(b, x, f"{key}.act", style)
        x = b.conv(x, f"{key}.conv{number}.conv")
    return b.add(x, around)


def _head(b: Builder, x: int, style: Style) -> int:
    x = normed(b, x, "conv_final.0", style)
    x = activated(b, x, "conv_final.1", style)
    if style.act == "prelu":
        places = [p for p in ONE_ACTIVATION if f"{p}.weight" in (b.shapes or {})]
        b.used.update(f"{place}.weight" for place in places)
        b.nodes[-1] = b.nodes[-1].model_copy(update={"aliases": tuple(places)})
    return b.conv(x, "conv_final.2.conv")


def _keep_what_is_beside(b: Builder, style: Style) -> None:
    """Add the layers of the autoencoder's half, which nothing reads."""
    shapes = b.shapes or {}
    for key in NORMS_BESIDE:
        for tensor in ("running_mean", "weight"):
            size = shapes.get(f"{key}.{tensor}", ())
            if len(size) == 1 and f"{key}.{tensor}" not in b.used:
                normed(b, _anything(b, size[0]), key, style)
    for key, shape in shapes.items():
        found = BESIDE.fullmatch(key)
        if found is None or len(shape) < 2 or found[1] in ONE_ACTIVATION:
            continue
        if "deconv" in key:
            upsampled(b, _anything(b, shape[0]), found[1].rpartition(".")[0], False)
        elif len(shape) == 2:
            b.linear(_anything(b, shape[1]), found[1])
        else:
            b.conv(_anything(b, shape[1]), found[1])


def _anything(b: Builder, channels: int) -> int:
    """Return a value of so many channels, for layers that are never computed."""
    return b.function("concat", 0, channels)
