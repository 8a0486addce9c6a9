"""ModelSpec: what must be known of a network to use it. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from napari_unet.engine.config import Frozen
from napari_unet.engine.graph import GraphSpec

Output = Literal["instances", "foreground", "classes", "multilabel"]
OBJECTS: tuple[Output, ...] = ("instances", "foreground")  # give numbered objects
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


class ProgramSpec(Frozen):
    """What is known of a network that only its own program can compute.

    Measured by running the program. ``stride`` and ``halo`` are pixels as in GraphSpec,
    ``local`` tells whether the halo is all that an output pixel depends on. ``fit``
    says what happens to sizes that the program does not take: it takes all of them
    ("itself"), the image is padded to a multiple of the stride ("pad"), or it is put
    together from overlapping pieces of the only ``size`` it takes ([Z,] Y, X; "fixed").
    """

    kind: Literal["program"] = "program"
    family: Literal["TorchScript", "torch.export", "ONNX"]
    dims: Literal[2, 3]
    in_channels: Annotated[int, Field(ge=1, le=1024)]
    out_channels: Annotated[int, Field(ge=1, le=1024)]
    stride: Annotated[int, Field(ge=1, le=4096)] = 1
    halo: Annotated[int, Field(ge=0, le=65536)] = 0
    local: bool = True
    fit: Literal["itself", "pad", "fixed"] = "pad"
    size: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = ()
    traits: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _halo_lies_on_the_grid(self) -> ProgramSpec:
        if self.halo % self.stride:
            raise ValueError(f"halo {self.halo} is no multiple of {self.stride}")
        if (self.fit == "fixed") != (len(self.size) == self.dims):
            raise ValueError(f"size {self.size} does not go with fit {self.fit!r}")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Nothing: a program does not show its levels."""
        return ()

    @property
    def norm(self) -> str:
        """Nothing that could be seen."""
        return "none"

    @property
    def residual(self) -> bool:
        """Nothing that could be seen."""
        return False


Architecture = Annotated[
    UNetSpec | GraphSpec | ProgramSpec, Field(discriminator="kind")
]


class Normalization(Frozen):
    """How raw intensities become what the network was trained on.

    ``percentile``: the ``low`` percentile becomes 0 and the ``high`` one becomes 1,
    ``minmax`` the same with the extremes, ``zscore``: mean 0 and standard deviation 1,
    ``scale``: divided by ``divisor``, ``none``: as it is. Statistics are those of the
    whole image, per channel. ``fixed``: raw intensities are limited to ``clip``, which
    holds (lowest, highest), then ``means`` are subtracted and the rest is divided by
    ``deviations``; each holds one value for all channels, or one per channel.

    ``negative`` turns intensities over first, as on a photographic negative: dark
    becomes bright. Statistics are those of the negative; where there are none, it has
    the range of the image. It is for images that are the negative of those that the
    network was trained on.

    ``together`` measures all channels as one, ``each`` names stack axes, such as "T" or
    "TZ", whose slices are measured each on its own; ``eps`` is added to what is divided
    by. Of every kind, the result is multiplied by ``gain``, ``shift`` is added, and it
    is limited to ``limits``.
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
    negative: bool = False
    together: bool = False
    each: Annotated[str, Field(pattern="^[ABD-WZ]*$", max_length=6)] = ""
    eps: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    gain: FiniteFloat = 1.0
    shift: FiniteFloat = 0.0
    limits: tuple[FiniteFloat, FiniteFloat] | None = None

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
        said = [self._kind()]
        if self.negative:
            said.append("turned over (negative)")
        if (self.gain, self.shift) != (1.0, 0.0):
            said.append(f"times {self.gain:g} plus {self.shift:g}")
        if self.limits is not None:
            said.append("limited to {:g} to {:g}".format(*self.limits))
        return ", then ".join(said)

    def _kind(self) -> str:
        whole = "all channels" if self.together else "the image"
        if self.each:
            whole += f" (each {' and '.join(self.each)} on its own)"
        return {
            "percentile": f"{self.low:g} to {self.high:g} percentile of {whole}",
            "minmax": f"darkest to brightest pixel of {whole}",
            "zscore": f"mean and standard deviation of {whole}",
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
    every key began with; ``complete`` says that the network holds every weight of the
    file, so that the maker's own programs can read what is saved.
    """

    complete: bool = False
    wrapper: tuple[str, ...] = ()
    prefix: str = ""


class ModelSpec(Frozen):
    """What a checkpoint is: network, meaning of its input and output, provenance.

    Input axes are (C, [Z,] Y, X). ``output`` says what the channels mean:

    ``instances``
        foreground score, then the distance to the object's boundary divided by its
        largest value in that object;
    ``foreground``
        one foreground score, or that of the background and then that of the foreground;
    ``classes``
        one score per class, background first.
    ``multilabel``
        one score per class, independent of each other, without background.

    ``activation`` makes scores of the network's logits; None: softmax for classes, else
    a sigmoid. ``readings`` lists the ways in which the weights can be understood where
    the file leaves a choice, the likeliest first; ``reading`` is the one taken.
    ``smallest`` is half of what the smallest objects had that the model was corrected
    with, in its own pixels; None: it was not.
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
    smallest: Annotated[int, Field(gt=0)] | None = None
    layout: Layout = Layout()
    reading: str = ""
    readings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    sources: dict[str, Source] = Field(default_factory=dict)
    provenance: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _channels_agree(self) -> ModelSpec:
        channels = self.architecture.out_channels
        if self.output == "instances" and channels != 2:
            raise ValueError(f"instances output needs 2 channels, not {channels}")
        if self.output == "foreground" and channels > 2:
            raise ValueError(f"foreground output needs 1 or 2 channels, not {channels}")
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
        if self.activation is not None:
            return self.activation
        two = self.output == "foreground" and self.architecture.out_channels == 2
        return "softmax" if self.output == "classes" or two else "sigmoid"

    def source(self, fact: str) -> Source:
        """Return how a field is known; what a foreign file does not say is a guess."""
        if fact == "activation" and self.activation is None:
            fact = "output"
        own = self.sources.get("architecture", "read") == "read"
        known = own or fact in ("architecture", "input_scaling")
        return self.sources.get(fact, "read" if known else "guessed")

    @property
    def warnings(self) -> list[str]:
        """Sentences on what was guessed."""
        what = {
            "architecture": "all of the network's layout",
            "output": f'what the output means ("{self.output}")',
            "normalization": f'the normalization ("{self.normalization}")',
            "input_scaling": "how the network scales its input",
        }
        return [
            f"The file does not say {guess}, it was guessed: check a prediction by eye."
            for fact, guess in what.items()
            if self.source(fact) == "guessed"
        ]

    @property
    def task(self) -> tuple[object, ...]:
        """Which images it takes, and which scores it gives; it can be compared."""
        network = self.architecture
        return (
            network.dims, network.in_channels, network.out_channels, self.output,
            self.likely_activation, self.normalization, self.channel_order,
        )  # fmt: skip

    def is_like(self, other: ModelSpec) -> bool:
        """Tell whether both take the same images and give the same scores."""
        return self.task == other.task

    @property
    def gives_objects(self) -> bool:
        """Whether predictions are numbered objects, rather than classes."""
        return self.output in OBJECTS


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
