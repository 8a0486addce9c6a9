"""What nnU-Net stores beside its weights: plans and dataset, checked and bounded.

The plans of nnU-Net 2.3 and later (``architecture``) and those of 2.0 to 2.2
(``UNet_class_name``) are understood. What is not understood counts as not stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_unet.formats.reading import Contents

MOST_INHERITED = 8  # configurations that inherit from another; more are a circle
OLD_CLASS = "UNet_class_name"

Name = Annotated[str, Field(max_length=200)]
Size = Annotated[int, Field(ge=1, le=65536)]
Number = Annotated[float, Field(allow_inf_nan=False)]
PerAxis = Annotated[tuple[Size, ...], Field(min_length=2, max_length=3)]


class Stored(BaseModel):
    """A part of a file; what else is in it is not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)


StoredPart = TypeVar("StoredPart", bound=Stored)


class NormOptions(Stored):
    """Options of the norm, with torch's own defaults."""

    eps: Annotated[float, Field(gt=0, le=1)] = 1e-5
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.1


class ActivationOptions(Stored):
    """Options of the activation; torch has different defaults for each kind."""

    negative_slope: Annotated[float, Field(ge=-10, le=10)] = 0.01
    alpha: Annotated[float, Field(ge=-10, le=10)] = 1.0
    approximate: Name = "none"


class DropoutOptions(Stored):
    """Options of the dropout."""

    p: Annotated[float, Field(ge=0, lt=1)] = 0.5


class NetworkPlan(Stored):
    """The options of a network that its weights do not show."""

    strides: Annotated[tuple[PerAxis | Size, ...], Field(max_length=32)] = ()
    norm_op: Name | None = None
    norm_op_kwargs: NormOptions | None = None
    nonlin: Name | None = None
    nonlin_kwargs: ActivationOptions | None = None
    dropout_op: Name | None = None
    dropout_op_kwargs: DropoutOptions | None = None
    nonlin_first: bool = False


class Architecture(Stored):
    """The network of a configuration, as nnU-Net 2.3 and later write it."""

    network_class_name: Name
    arch_kwargs: NetworkPlan


class OldNetwork(Stored):
    """The network of a configuration, as nnU-Net 2.0 to 2.2 write it."""

    network_class_name: Name = Field(alias=OLD_CLASS)
    strides: Annotated[tuple[PerAxis, ...], Field(max_length=32)] = Field(
        alias="pool_op_kernel_sizes"
    )


class Configuration(Stored):
    """How images are prepared for one of a dataset's networks."""

    patch_size: PerAxis | None = None
    spacing: Annotated[tuple[Number, ...], Field(max_length=3)] = ()
    normalization_schemes: Annotated[tuple[Name, ...], Field(max_length=1024)] = ()
    use_mask_for_norm: Annotated[tuple[bool, ...], Field(max_length=1024)] = ()
    previous_stage: Name | None = Field(
        None, validation_alias=AliasChoices("previous_stage", "previous_stage_name")
    )


class Intensities(Stored):
    """Raw intensities of one channel inside the objects of the training images."""

    mean: Number
    std: Number
    lowest: Number = Field(alias="percentile_00_5")
    highest: Number = Field(alias="percentile_99_5")


class Plans(Stored):
    """What holds for all configurations of a dataset."""

    dataset_name: Name = ""
    plans_name: Name = ""
    image_reader_writer: Name = ""
    transpose_forward: Annotated[tuple[int, ...], Field(max_length=3)] = ()


class Measured(Stored):
    """What was measured in the training images, by the number of the channel."""

    intensities: Annotated[dict[Name, Intensities], Field(max_length=1024)] = Field(
        default={}, alias="foreground_intensity_properties_per_channel"
    )


class Dataset(Stored):
    """Labels and channels of a dataset."""

    labels: Annotated[
        dict[Name, int | tuple[int, ...]], Field(min_length=1, max_length=1025)
    ] = {}
    channel_names: Annotated[dict[Name, Name], Field(max_length=1024)] = {}


@dataclass(frozen=True)
class Stated:
    """All that is stored beside the weights of one network.

    ``class_name`` is that of the network's class, ``network`` its options, None where
    no plans are there; ``remarks`` say what could not be understood.
    """

    name: str
    class_name: str
    network: NetworkPlan | None
    configuration: Configuration
    plans: Plans
    measured: Measured
    dataset: Dataset
    trainer: str
    remarks: tuple[str, ...]


def stated(contents: Contents, dims: int) -> Stated:
    """Return what is stored beside the weights, in the file or in its folder.

    Parameters
    ----------
    contents : ``beside`` holds ``plans``, ``dataset_json`` and ``configuration``, as a
        folder of nnU-Net does, or a checkpoint's ``init_args`` hold them
    dims : of the network; plans hold configurations of two and of three
    """
    beside = contents.beside
    inner = _dictionary(beside.get("init_args"))
    raw = _dictionary(beside.get("plans")) or _dictionary(inner.get("plans"))
    dataset = _dictionary(beside.get("dataset_json")) or _dictionary(
        inner.get("dataset_json")
    )
    wanted = inner.get("configuration", beside.get("configuration"))
    name, options = _configuration(raw, wanted, dims)
    remarks: list[str] = []
    class_name, network = _network(options, remarks)
    return Stated(
        name=name, class_name=class_name, network=network,
        configuration=_part(Configuration, options, "configuration", remarks),
        plans=_part(Plans, raw, "plans", remarks),
        measured=_part(Measured, raw, "intensities", remarks),
        dataset=_part(Dataset, dataset, "dataset", remarks),
        trainer=str(beside.get("trainer_name", ""))[:100],
        remarks=tuple(remarks),
    )  # fmt: skip


def _dictionary(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _configuration(
    plans: Mapping[str, Any], wanted: object, dims: int
) -> tuple[str, Mapping[str, Any]]:
    """Return the configuration of a name, else the first of as many dimensions."""
    known = _dictionary(plans.get("configurations"))
    if isinstance(wanted, str) and wanted in known:
        return wanted, _inherited(known, wanted)
    for name in list(known)[:MOST_INHERITED]:
        options = _inherited(known, name)
        size = options.get("patch_size")
        if isinstance(size, (list, tuple)) and len(size) == dims:
            return str(name)[:100], options
    return (wanted[:100] if isinstance(wanted, str) else ""), {}


def _inherited(known: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a configuration with what it inherits from others."""
    options: dict[str, Any] = {}
    for _ in range(MOST_INHERITED):
        own = _dictionary(known.get(name))
        options = {**own, **options}
        parent = own.get("inherits_from")
        if not isinstance(parent, str):
            break
        name = parent
    return options


def _network(
    options: Mapping[str, Any], remarks: list[str]
) -> tuple[str, NetworkPlan | None]:
    """Return the class of the network and its options, None where none are stored."""
    if "architecture" in options:
        found = _checked(Architecture, options["architecture"])
        if isinstance(found, Architecture):
            return found.network_class_name.rpartition(".")[2], found.arch_kwargs
        remarks.append(f"the architecture in the plans was left out ({found})")
    if OLD_CLASS in options:
        old = _checked(OldNetwork, options)
        if isinstance(old, OldNetwork):
            plan = NetworkPlan(  # these versions had no choice
                strides=old.strides, norm_op="InstanceNorm", nonlin="LeakyReLU"
            )
            return old.network_class_name, plan
        remarks.append(f"the architecture in the plans was left out ({old})")
    return "", None


def _part(
    kind: type[StoredPart], raw: object, name: str, remarks: list[str]
) -> StoredPart:
    found = _checked(kind, raw)
    if isinstance(found, kind):
        return found
    remarks.append(f"the stored {name} was left out ({found})")
    return kind()


def _checked(kind: type[StoredPart], raw: object) -> StoredPart | str:
    """Return a part of a file, or what is wrong with it."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:80]
        return f"{place}: {first['msg'][:80]}"
