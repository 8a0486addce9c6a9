"""ModelSpec: what must be known of a network to use it. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from napari_unet.engine.config import Frozen

Output = Literal["instances", "foreground", "classes"]
Source = Literal["read", "inferred", "guessed"]


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


class Normalization(Frozen):
    """How raw intensities become what the network was trained on.

    ``percentile``: the ``low`` percentile becomes 0 and the ``high`` one becomes 1,
    ``minmax`` the same with the extremes, ``zscore``: mean 0 and standard deviation 1,
    ``scale``: divided by ``divisor``, ``none``: as it is. Statistics are those of the
    whole image, per channel.
    """

    kind: Literal["percentile", "minmax", "zscore", "scale", "none"] = "percentile"
    low: Annotated[float, Field(ge=0, le=100)] = 1.0
    high: Annotated[float, Field(ge=0, le=100)] = 99.8
    divisor: Annotated[float, Field(gt=0)] = 255.0

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
            "none": "raw intensities",
        }[self.kind]


class ClassSpec(Frozen):
    """One class of a semantic segmentation."""

    name: str
    color: str | None = None


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

    ``sources`` tells for each field whether it was read from the file, inferred from
    the weights, or guessed.
    """

    name: str = "untitled"
    architecture: UNetSpec
    output: Output = "instances"
    classes: tuple[ClassSpec, ...] = ()
    normalization: Normalization = Normalization()
    pixel_size: tuple[Annotated[float, Field(gt=0)], ...] | None = None
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
