"""What a description says of a network's input and output, for its ModelSpec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_unet.engine.spec import ClassSpec, ModelSpec
from napari_unet.errors import CheckpointError
from napari_unet.formats.bioimageio.document import Malformed
from napari_unet.formats.bioimageio.postprocessing import finish
from napari_unet.formats.bioimageio.preprocessing import Unsupported, normalization
from napari_unet.formats.bioimageio.tensors import SPACE

if TYPE_CHECKING:
    from typing import Any

    from napari_unet.engine.spec import Activation, Normalization, Output
    from napari_unet.formats.bioimageio.description import Description
    from napari_unet.formats.bioimageio.postprocessing import Finish
    from napari_unet.formats.bioimageio.tensors import Tensor

USUAL = ("b", "c")  # what comes before space, in the axes of torch and ONNX
BACKGROUND = ("background", "bg")


@dataclass(frozen=True)
class Meaning:
    """What a package says beside its weights.

    Attributes
    ----------
    package : its name, for messages
    input, output : the tensors
    normalization : of raw intensities
    finish : what is done to the network's output
    remarks : sentences on what was found
    """

    package: str
    input: Tensor
    output: Tensor
    normalization: Normalization
    finish: Finish
    remarks: tuple[str, ...] = ()

    @property
    def dims(self) -> int:
        """How many spatial axes there are."""
        return len(self.input.space)

    @property
    def channels_first(self) -> bool:
        """Whether the axes are those of torch: batch, channel, space."""
        usual = "".join((*USUAL, *SPACE[-self.dims :]))
        return self.input.order == self.output.order == usual


def meaning_of(package: str, description: Description) -> Meaning:
    """Return what a description says of input and output.

    Parameters
    ----------
    package : its name, for messages
    description : of a model

    Raises
    ------
    CheckpointError
        If the model is no network from one image to scores of its pixels.
    """
    needed = [tensor for tensor in description.inputs if not tensor.optional]
    if len(needed) != 1 or len(description.outputs) != 1:
        raise CheckpointError(
            f"{package} has {len(needed)} inputs and {len(description.outputs)} "
            "outputs, expected one image in and its scores out: choose another model."
        )
    source, target = needed[0], description.outputs[0]
    try:
        _check_space(source, target)
    except Unsupported as problem:
        raise CheckpointError(
            f"{package} has {problem}, expected an image in and scores of the same "
            "pixels out: choose another model."
        ) from problem
    try:
        normalized, remarks = normalization(source)
        finished = finish(target)
    except (Unsupported, Malformed) as problem:
        raise CheckpointError(
            f"{package} asks for {problem}, expected steps that this program can "
            "repeat exactly: choose another model, or open its weights file alone."
        ) from problem
    remarks = (*remarks, *finished.remarks)
    return Meaning(package, source, target, normalized, finished, remarks)


def _check_space(source: Tensor, target: Tensor) -> None:
    """Refuse what is no network from an image to scores of the same pixels."""
    for tensor in (source, target):
        space = "".join(axis.id for axis in tensor.space)
        if space not in ("yx", "zyx"):
            raise Unsupported(f"spatial axes {space!r}")
        if any(axis.kind in ("time", "index") for axis in tensor.axes):
            raise Unsupported(f"the axes {tensor.order!r}")
    if len(source.space) != len(target.space):
        raise Unsupported(f"axes {target.order!r} made of {source.order!r}")
    for before, after in zip(source.space, target.space, strict=True):
        sizes = (before.size, after.size)
        other = None not in sizes and before.size != after.size
        if other or after.offset or before.zoom != after.zoom:
            raise Unsupported("an output of another size than the input")


def described(spec: ModelSpec, description: Description, meaning: Meaning) -> ModelSpec:
    """Return a spec with what the description says put in.

    Parameters
    ----------
    spec : as the weights alone gave it
    description, meaning : of the package

    Raises
    ------
    CheckpointError
        If the description and the weights disagree.
    """
    architecture = spec.architecture
    found = (architecture.dims, architecture.in_channels, architecture.out_channels)
    said = (meaning.dims, meaning.input.channels, meaning.output.channels)
    for have, want in zip(found, said, strict=True):
        if want is not None and have != want:
            raise CheckpointError(
                f"{meaning.package} describes a network of {_of(said)}, and its "
                f"weights are of {_of(found)}: choose another model."
            )
    return _revalidated(spec, _fields(spec, description, meaning))


def _fields(
    spec: ModelSpec, description: Description, meaning: Meaning
) -> dict[str, Any]:
    activation = meaning.finish.activation or spec.activation
    classes = _classes(meaning.output, spec.architecture.out_channels)
    output = output_of(spec, activation, classes)
    sources = {**spec.sources, "normalization": "read", "output": "inferred"}
    if meaning.finish.activation:
        sources["activation"] = "read"
    if classes:
        sources["classes"] = "read"
    if _names(meaning.input) in (("blue", "green", "red"), ("b", "g", "r")):
        order, sources["channel_order"] = "BGR", "read"
    else:
        order = spec.channel_order
    size = tuple(axis.micrometres for axis in meaning.input.space)
    if all(size):
        sources["pixel_size"] = "read"
    return {
        "name": description.name, "activation": activation, "classes": classes,
        "output": output, "normalization": meaning.normalization, "sources": sources,
        "channel_order": order, "pixel_size": size if all(size) else spec.pixel_size,
        "provenance": {**spec.provenance, **description.provenance},
        "remarks": (*spec.remarks, *meaning.remarks),
    }  # fmt: skip


def _revalidated(spec: ModelSpec, fields: dict[str, Any]) -> ModelSpec:
    return ModelSpec.model_validate({**dict(spec), **fields})


def with_activation(spec: ModelSpec, activation: Activation) -> ModelSpec:
    """Return a spec with the activation that the test tensors show."""
    output = output_of(spec, activation, spec.classes)
    sources = {**spec.sources, "activation": "inferred"}
    return _revalidated(
        spec, {"activation": activation, "output": output, "sources": sources}
    )


def output_of(
    spec: ModelSpec, activation: Activation | None, classes: tuple[ClassSpec, ...]
) -> Output:
    """Return what channels mean that have this activation and these names."""
    channels = spec.architecture.out_channels
    if channels == 1:
        return "foreground"
    if channels == 2 and classes and classes[0].name.lower() in BACKGROUND:
        return "foreground"
    if activation == "softmax":
        return "classes"
    if activation == "sigmoid":
        return "multilabel"
    return "classes" if spec.output == "classes" else "multilabel"


def _names(tensor: Tensor) -> tuple[str, ...]:
    axis = tensor.axis("channel")
    return tuple(name.lower() for name in axis.names) if axis else ()


def _classes(tensor: Tensor, channels: int) -> tuple[ClassSpec, ...]:
    """Return the names of the output's channels, where each has one of its own."""
    axis = tensor.axis("channel")
    names = axis.names if axis else ()
    if len(names) != channels or len(set(names)) != channels or not all(names):
        return ()
    return tuple(ClassSpec(name=name) for name in names)


def _of(numbers: tuple[int | None, ...]) -> str:
    dims, inputs, outputs = numbers
    return f"{dims} axes, {inputs or 'any'} channels in and {outputs or 'any'} out"
