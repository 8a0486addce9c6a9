"""ModelSpec: what must be known of a network to use it. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from napari_unet.engine.config import Frozen
from napari_unet.engine.graph import GraphSpec

Output = Literal["instances", "foreground", "classes", "multilabel"]
Activation = Literal["sigmoid", "softmax", "none"]
Source = Literal["read", "inferred", "guessed", "chosen"]


class UNetSpec(Frozen):
    """Every number of a U-Net (Ronneberger et al. 2015).

    ``widths`` are the channels of each level, from full resolution down to the
    bottleneck; ``dropout`` has one rate per level, used on both sides of the U.
    """

    kind: Literal["unet"] = "unet"
    dims: Literal[2, 3] = 2
    in_channels: Annotated[int, Field(ge=1, le=1024)] = 1
    out_channels: Annotated[int, Field(ge=1, le=1024)] = 1
    widths: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = (16, 32, 64, 128, 256)
    dropout: tuple[Annotated[float, Field(ge=0.0, lt=1.0)], ...] = ()
    norm: Literal["none", "batch"] = "batch"
    upsampling: Literal["transposed", "interpolate"] = "transposed"
    residual: bool = False

    @model_validator(mode="after")
    def _lengths_agree(self) -> UNetSpec:
        if not 2 <= len(self.widths) <= 9:
            raise ValueError(f"a U-Net has 2 to 9 levels, not {len(self.widths)}")
        if self.dropout and len(self.dropout) != len(self.widths):
            raise ValueError(
                f"{len(self.dropout)} dropout rates for {len(self.widths)} levels"
            )
        return self

    @property
    def stride(self) -> int:
        """Pixels at full resolution that make one pixel of the bottleneck."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def family(self) -> str:
        """The layout's name."""
        return "napari-unet"

    @property
    def traits(self) -> tuple[str, ...]:
        """What else is to be said of the network."""
        return ("linear up-sampling",) if self.upsampling == "interpolate" else ()


Architecture = Annotated[UNetSpec | GraphSpec, Field(discriminator="kind")]


class Normalization(Frozen):
    """How raw intensities become what the network was trained on.

    ``percentile``: the ``low`` percentile becomes 0 and the ``high`` one becomes 1,
    ``minmax`` the same with the extremes, ``zscore``: mean 0 and standard deviation 1,
    ``scale``: divided by ``divisor``, ``none``: as it is. Statistics are those of the
    whole image, per channel. ``fixed``: raw intensities are limited to ``clip``, which
    holds (lowest, highest), then ``means`` are subtracted and the rest is divided by
    ``deviations``; each holds one value for all channels, or one per channel.
    """

    kind: Literal["percentile", "minmax", "zscore", "scale", "fixed", "none"] = (
        "percentile"
    )
    low: Annotated[float, Field(ge=0, le=100)] = 1.0
    high: Annotated[float, Field(ge=0, le=100)] = 99.8
    divisor: Annotated[float, Field(gt=0)] = 255.0
    means: tuple[FiniteFloat, ...] = (0.0,)
    deviations: tuple[Annotated[FiniteFloat, Field(gt=0)], ...] = (1.0,)
    clip: tuple[tuple[FiniteFloat, FiniteFloat], ...] = ()

    @property
    def channels(self) -> int:
        """How many channels the fixed values are for; 1: for any number."""
        return max(len(self.means), len(self.deviations), len(self.clip))

    @model_validator(mode="after")
    def _fixed_values_agree(self) -> Normalization:
        given = {len(self.means), len(self.deviations), len(self.clip) or 1}
        if not given <= {1, self.channels}:
            raise ValueError(f"fixed values for {sorted(given)} channels")
        for lowest, highest in self.clip:
            if lowest > highest:
                raise ValueError(f"the limit {lowest:g} is not below {highest:g}")
        return self

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Normalization:
        if self.low >= self.high:
            raise ValueError(
                f"the low percentile, {self.low:g}, is not below the high one, "
                f"{self.high:g}"
            )
        return self

    def __str__(self) -> str:
        """Say it in the words of the Model panel."""
        return {
            "percentile": f"{self.low:g} to {self.high:g} percentile of the image",
            "minmax": "darkest to brightest pixel of the image",
            "zscore": "mean and standard deviation of the image",
            "scale": f"intensities divided by {self.divisor:g}",
            "fixed": self._fixed(),
            "none": "raw intensities",
        }[self.kind]

    def _fixed(self) -> str:
        means, deviations = (
            ", ".join(f"{value:g}" for value in values)
            for values in (self.means, self.deviations)
        )
        limits = ", ".join(f"{low:g} to {high:g}" for low, high in self.clip)
        limited = f"limited to {limits}, " if limits else ""
        return f"intensities {limited}minus {means}, divided by {deviations}"


class ClassSpec(Frozen):
    """One class of a semantic segmentation."""

    name: str
    color: str | None = None


class Layout(Frozen):
    """How the weights lay in the file, for saving them so again.

    ``wrapper`` names the dictionaries around them, outermost first; ``prefix`` is what
    every key began with.
    """

    wrapper: tuple[str, ...] = ()
    prefix: str = ""


class ModelSpec(Frozen):
    """What a checkpoint is: network, meaning of its input and output, provenance.

    Input axes are (C, [Z,] Y, X). ``output`` says what the channels mean:

    ``instances``
        foreground score, then the distance to the object's boundary divided by its
        largest value in that object;
    ``foreground``
        one foreground score;
    ``classes``
        one score per class, background first.
    ``multilabel``
        one score per class, independent of each other, without background.

    ``activation`` makes scores of the network's logits; None: softmax for classes, else
    a sigmoid. ``readings`` lists the ways in which the weights can be understood where
    the file leaves a choice, the likeliest first; ``reading`` is the one taken.
    ``channel_order`` says whether colour goes in as it is shown, or reversed.
    ``sources`` tells for each field whether it was read from the file, inferred from
    the weights, guessed, or chosen by the user; ``remarks`` are sentences on what was
    found.
    """

    name: str = "untitled"
    architecture: Architecture
    output: Output = "instances"
    activation: Activation | None = None
    classes: tuple[ClassSpec, ...] = ()
    normalization: Normalization = Normalization()
    channel_order: Literal["RGB", "BGR"] = "RGB"
    pixel_size: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    layout: Layout = Layout()
    reading: str = ""
    readings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    sources: dict[str, Source] = Field(default_factory=dict)
    provenance: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _channels_agree(self) -> ModelSpec:
        channels = self.architecture.out_channels
        expected = {"instances": 2, "foreground": 1}.get(self.output, channels)
        if channels != expected:
            raise ValueError(
                f"{self.output} output needs {expected} channels, not {channels}"
            )
        if self.output == "classes" and channels < 2:
            raise ValueError("classes output needs at least 2 channels")
        if self.classes and len(self.classes) != channels:
            raise ValueError(f"{len(self.classes)} class names for {channels} channels")
        return self

    @model_validator(mode="after")
    def _normalization_fits(self) -> ModelSpec:
        have, channels = self.normalization.channels, self.architecture.in_channels
        if self.normalization.kind == "fixed" and have not in (1, channels):
            raise ValueError(
                f"fixed values for {have} channels, the network reads {channels}"
            )
        return self

    @property
    def likely_activation(self) -> Activation:
        """What makes scores of logits."""
        return self.activation or ("softmax" if self.output == "classes" else "sigmoid")


def seed_unet(in_channels: int = 3, out_channels: int = 1) -> UNetSpec:
    """Return the network of the 2018 Data Science Bowl nuclei recipe."""
    return UNetSpec(
        in_channels=in_channels,
        out_channels=out_channels,
        widths=(16, 32, 64, 128, 256),
        dropout=(0.1, 0.1, 0.2, 0.2, 0.3),
        norm="none",
    )


def modern_unet(
    in_channels: int = 1, out_channels: int = 2, dims: Literal[2, 3] = 2
) -> UNetSpec:
    """Return the seed network with batch norm instead of dropout."""
    return UNetSpec(dims=dims, in_channels=in_channels, out_channels=out_channels)
