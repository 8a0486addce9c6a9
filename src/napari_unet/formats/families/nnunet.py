"""The U-Nets of nnU-Net v2: plain, with residual encoder, and residual throughout.

The library is dynamic_network_architectures. The weights show all but the kind of the
activation, the norm's epsilon and, sometimes, whether norm or activation comes first:
that is taken from the plans, and without them there are several readings.

References
----------
Isensee et al.: nnU-Net revisited, MICCAI 2024, arXiv:2404.09556 (residual encoder).
He et al.: Bag of tricks for image classification with convolutional neural networks,
CVPR 2019, arXiv:1812.01187 (its blocks).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_unet.engine.builder import Builder, Misfit
from napari_unet.formats.families.common import numbered, reading
from napari_unet.formats.families.nnunet_meaning import Meaning
from napari_unet.formats.families.nnunet_names import named_once
from napari_unet.formats.families.nnunet_plans import stated

if TYPE_CHECKING:
    from napari_unet.formats.families.nnunet_plans import NetworkPlan, Stated
    from napari_unet.formats.reading import Contents, Reading

NAME = "a U-Net of nnU-Net v2"
PLAIN = "nnU-Net v2 PlainConvUNet"
RESIDUAL = "nnU-Net v2 ResidualEncoderUNet"
RESIDUAL_THROUGHOUT = "nnU-Net v2 ResidualUNet"
CLASSES = {"PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet", ""}
FIRST = re.compile(
    r"(decoder\.)?encoder\.(stem\.convs\.0|stages\.0\.0\.convs\.0)\."
    r"(conv|all_modules\.0)\.weight"
)
UNTITLED = ("checkpoint_final", "checkpoint_best", "checkpoint_latest")
HEADS = "decoder.seg_layers."
ACTIVATIONS = {  # of torch.nn; None: the identity
    "LeakyReLU": "leaky_relu", "ReLU": "relu", "ELU": "elu", "GELU": "gelu",
    "SiLU": "silu", "SELU": "selu", "Mish": "mish", "ReLU6": "relu_limited",
    "Hardswish": "hard_swish", "Softplus": "softplus", "Tanh": "tanh",
    "Sigmoid": "sigmoid", "Identity": None,
}  # fmt: skip
NORM_FIRST, ACTIVATION_FIRST = "norm before activation", "activation before norm"
LEAKY, RELU = "LeakyReLU", "ReLU"


@dataclass(frozen=True)
class _Style:
    """What all layers have in common."""

    norm: str | None
    eps: float
    momentum: float
    activation: str | None  # where it has no weights
    slope: float
    activation_first: bool
    dropout: float


def read(contents: Contents) -> Reading | None:
    """Read a network of nnU-Net; see the module."""
    shapes = contents.shapes
    first = next((key for key in shapes if FIRST.fullmatch(key)), None)
    if first is None or not any(key.startswith(HEADS) for key in shapes):
        return None
    kernel = shapes[first]
    if len(kernel) not in (4, 5):
        raise Misfit(f"{first} has {len(kernel)} axes, not 4 or 5")
    empty = next((key for key, shape in shapes.items() if 0 in shape), None)
    if empty is not None:
        raise Misfit(f"{empty} is empty")
    weights, places = named_once(contents.weights)
    contents = replace(contents, weights=weights)
    known = stated(contents, len(kernel) - 2)
    style, readings = _style(contents, known.network, places)
    b = Builder(len(kernel) - 2, kernel[1], contents.shapes)
    return _read(contents, b, known, style, readings)


def _read(
    contents: Contents, b: Builder, known: Stated, style: _Style,
    readings: tuple[str, ...],
) -> Reading:  # fmt: skip
    shapes = contents.shapes
    family = _family(shapes)
    strides = _strides(shapes, b.dims)
    widths = _network(b, style, strides)
    graph = b.graph(
        family, widths, norm=style.norm or "none", residual=family != PLAIN,
        traits=_traits(shapes, strides),
    )  # fmt: skip
    meaning = Meaning(known, b.dims, graph.in_channels, graph.out_channels)
    meaning.remarks += _disagreements(known, strides)
    if contents.title in UNTITLED and known.plans.dataset_name:
        title = f"{known.plans.dataset_name} {known.name}".strip()
        contents = replace(contents, title=title)
    if known.network is not None:
        meaning.sources["architecture"] = "read"
    return reading(
        contents, graph, b, sources=meaning.sources, ignored=(HEADS,),
        remarks=tuple(meaning.remarks), reading=_chosen(contents, readings),
        readings=readings, **meaning.fields,
    )  # fmt: skip


# -- what the layers have in common


def _style(
    contents: Contents, plan: NetworkPlan | None, places: dict[str, int]
) -> tuple[_Style, tuple[str, ...]]:
    """Return the common options, and the readings that they leave."""
    readings = _readings(plan, places)
    chosen = _chosen(contents, readings)
    activation, slope = _activation(plan)
    if chosen.startswith(RELU):
        activation = "relu"
    norm_options = plan.norm_op_kwargs if plan else None
    dropout = plan.dropout_op_kwargs if plan and plan.dropout_op else None
    style = _Style(
        norm=_norm(contents.shapes, plan),
        eps=norm_options.eps if norm_options else 1e-5,
        momentum=norm_options.momentum if norm_options else 0.1,
        activation=activation,
        slope=slope,
        activation_first=chosen.endswith(ACTIVATION_FIRST),
        dropout=dropout.p if dropout else 0.0,
    )
    return style, readings if len(readings) > 1 else ()


def _chosen(contents: Contents, readings: tuple[str, ...]) -> str:
    if not readings:
        return ""
    return contents.wanted if contents.wanted in readings else readings[0]


def _norm(shapes: dict[str, tuple[int, ...]], plan: NetworkPlan | None) -> str | None:
    """Return the kind of norm, by its weights; by the plans where they are alike."""
    said = (plan.norm_op or "") if plan else ""
    if any(key.endswith(".running_mean") for key in shapes):
        return "instance" if "Instance" in said else "batch"
    seen = any(key.endswith(".norm.weight") for key in shapes)
    return "instance" if seen or "InstanceNorm" in said else None


def _activation(plan: NetworkPlan | None) -> tuple[str | None, float]:
    """Return the activation and its slope; without plans nnU-Net's own."""
    if plan is None:
        return "leaky_relu", 0.01
    name = (plan.nonlin or "Identity").rpartition(".")[2]
    if name == "PReLU":  # has weights, and is seen there
        return None, 0.0
    if name not in ACTIVATIONS:
        raise Misfit(f"its plans state the activation {name}, which is not known")
    kind, options = ACTIVATIONS[name], plan.nonlin_kwargs
    if kind == "gelu" and options and options.approximate == "tanh":
        return "gelu_tanh", 0.0
    if kind == "elu":
        return kind, options.alpha if options else 1.0
    return kind, options.negative_slope if options else 0.01


def _readings(plan: NetworkPlan | None, places: dict[str, int]) -> tuple[str, ...]:
    """Return in which ways the weights can be understood, the likeliest first."""
    if plan is not None:
        return (ACTIVATION_FIRST if plan.nonlin_first else NORM_FIRST,)
    orders = _orders(places)
    if any(layer.endswith(".nonlin") for layer in places):
        return orders
    return tuple(f"{kind}, {order}" for order in orders for kind in (LEAKY, RELU))


def _orders(places: dict[str, int]) -> tuple[str, ...]:
    """Return in which orders norm and activation may be, the likeliest first.

    Layers are numbered convolution, dropout where there is one, then norm and
    activation: a norm with the number 2 comes after one of the other two.
    """
    number = places.get("encoder.stages.0.0.convs.0.norm", 1)
    activation = places.get("encoder.stages.0.0.convs.0.nonlin")
    if activation is not None:
        return (ACTIVATION_FIRST if activation < number else NORM_FIRST,)
    if number == 2:
        return NORM_FIRST, ACTIVATION_FIRST
    return (ACTIVATION_FIRST if number > 2 else NORM_FIRST,)


# -- the network


def _family(shapes: dict[str, tuple[int, ...]]) -> str:
    if "encoder.stem.convs.0.conv.weight" not in shapes:
        return PLAIN
    throughout = any(key.startswith("decoder.stages.0.blocks.") for key in shapes)
    return RESIDUAL_THROUGHOUT if throughout else RESIDUAL


def _strides(
    shapes: dict[str, tuple[int, ...]], dims: int
) -> tuple[tuple[int, ...], ...]:
    """Return the stride before each level but the first, from fine to coarse.

    A transposed convolution's kernel is as large as its stride.
    """
    count = len(numbered(shapes, r"decoder\.transpconvs\.(\d{1,2})\.weight"))
    strides = []
    for number in range(count):
        shape = shapes.get(f"decoder.transpconvs.{number}.weight", ())
        if len(shape) != 2 + dims:
            raise Misfit(f"decoder.transpconvs.{number}.weight is not there")
        strides.append(shape[2:])
    if not strides:
        raise Misfit("it has no transposed convolutions")
    return tuple(reversed(strides))


def _network(
    b: Builder, style: _Style, strides: tuple[tuple[int, ...], ...]
) -> tuple[int, ...]:
    """Add all layers; return the widths of the levels."""
    x = 0
    if _has(b, "encoder.stem.convs.0.conv"):
        x = _convs(b, x, "encoder.stem", style)
    skips: list[int] = []
    for level, stride in enumerate(((1,) * b.dims, *strides)):
        x = _stage(b, x, f"encoder.stages.{level}", style, stride)
        skips.append(x)
    for number, stride in enumerate(reversed(strides)):
        x = b.conv_transpose(x, f"decoder.transpconvs.{number}", stride=stride)
        x = b.concat(x, skips[-2 - number])
        x = _stage(b, x, f"decoder.stages.{number}", style)
    b.conv(x, f"{HEADS}{len(strides) - 1}")
    return tuple(b.channels[skip] for skip in skips)


def _stage(
    b: Builder, x: int, key: str, style: _Style, stride: tuple[int, ...] | None = None
) -> int:
    """Add a level's convolutions, or its residual blocks."""
    stride = stride or (1,) * b.dims
    if not _has(b, f"{key}.blocks.0.conv1.conv"):
        inner = f"{key}.0" if _has(b, f"{key}.0.convs.0.conv") else key
        return _convs(b, x, inner, style, stride)
    for number in _counted(b, f"{key}.blocks"):
        first = stride if number == 0 else (1,) * b.dims
        x = _block(b, x, f"{key}.blocks.{number}", style, first)
    return x


def _convs(
    b: Builder, x: int, key: str, style: _Style, stride: tuple[int, ...] | None = None
) -> int:
    for number in _counted(b, f"{key}.convs"):
        first = stride if stride and number == 0 else (1,) * b.dims
        x = _unit(b, x, f"{key}.convs.{number}", style, first, dropout=True)
    return x


def _block(b: Builder, x: int, key: str, style: _Style, stride: tuple[int, ...]) -> int:
    """Add a residual block of two convolutions, or of three with a bottleneck."""
    one = (1,) * b.dims
    last = 3 if _has(b, f"{key}.conv3.conv") else 2
    y = x
    for number in range(1, last + 1):
        strided = number == last - 1  # the bottleneck's middle one
        y = _unit(
            b, y, f"{key}.conv{number}", style, stride if strided else one,
            dropout=strided, active=number < last,
        )  # fmt: skip
    y = _squeezed(b, y, f"{key}.squeeze_excitation")
    return _active(
        b, b.add(y, _skip(b, x, key, style, stride)), f"{key}.nonlin{last}", style
    )


def _skip(b: Builder, x: int, key: str, style: _Style, stride: tuple[int, ...]) -> int:
    """Add the way around a block: averages, then a convolution where widths differ."""
    place = 0
    if set(stride) != {1}:
        x = b.pool(x, stride, kind="average")
        place = 1
    projection = f"{key}.skip.{place}"
    if _has(b, f"{projection}.conv"):
        x = _unit(b, x, projection, style, (1,) * b.dims, active=False)
    return x


def _squeezed(b: Builder, x: int, key: str) -> int:
    """Add squeeze and excitation, where a block has it."""
    if not _has(b, f"{key}.fc1"):
        return x
    if b.dims == 3:  # the library averages over two of three axes there
        raise Misfit("squeeze and excitation is read in 2D only")
    weight = b.conv(b.global_mean(x), f"{key}.fc1")
    weight = b.conv(b.activation(weight), f"{key}.fc2")
    return b.multiply(x, b.activation(weight, "sigmoid"))


def _unit(
    b: Builder, x: int, key: str, style: _Style, stride: tuple[int, ...], *,
    dropout: bool = False, active: bool = True,
) -> int:  # fmt: skip
    """Add convolution, dropout, norm and activation, as far as they are there."""
    x = b.conv(x, f"{key}.conv", stride=stride)
    if any(size % 2 == 0 for size in b.nodes[-1].per_axis("kernel", b.dims)):
        raise Misfit(f"{key}.conv has an even kernel")
    if dropout:
        x = b.dropout(x, style.dropout)
    if active and style.activation_first:
        x = _active(b, x, f"{key}.nonlin", style)
    if style.norm:
        x = b.norm(x, f"{key}.norm", style.norm, eps=style.eps, momentum=style.momentum)
    if active and not style.activation_first:
        x = _active(b, x, f"{key}.nonlin", style)
    return x


def _active(b: Builder, x: int, key: str, style: _Style) -> int:
    if _has(b, key):
        return b.prelu(x, key)
    if style.activation is None:
        return x
    if style.activation in ("leaky_relu", "elu"):
        return b.activation(x, style.activation, slope=style.slope)
    return b.activation(x, style.activation)


def _has(b: Builder, key: str) -> bool:
    return f"{key}.weight" in (b.shapes or {})


def _counted(b: Builder, key: str) -> range:
    """Return the numbers of the parts of a list, which begin with 0."""
    found = numbered(dict(b.shapes or {}), re.escape(key) + r"\.(\d{1,2})\.")
    if not found:
        raise Misfit(f"{key}.0 is not there")
    return range(found[-1] + 1)


# -- what to say of it


def _traits(
    shapes: dict[str, tuple[int, ...]], strides: tuple[tuple[int, ...], ...]
) -> tuple[str, ...]:
    uneven = ["x".join(map(str, s)) for s in strides if set(s) != {2}]
    heads = numbered(shapes, r"decoder\.seg_layers\.(\d{1,2})")
    said = {
        f"strides {', '.join(uneven)}": bool(uneven),
        "bottleneck blocks": any(".conv3.conv." in key for key in shapes),
        "squeeze and excitation": any(".squeeze_excitation." in key for key in shapes),
        "deep supervision": len(heads) > 1,
    }
    return tuple(trait for trait, so in said.items() if so)


def _disagreements(known: Stated, strides: tuple[tuple[int, ...], ...]) -> list[str]:
    """Say where the plans are not those of the weights."""
    remarks = []
    if known.class_name not in CLASSES:
        remarks.append(
            f"the plans name the network {known.class_name}; its weights are those of "
            "a U-Net that is known"
        )
    dims = len(strides[0])
    planned = tuple(
        stride if isinstance(stride, tuple) else (stride,) * dims
        for stride in (known.network.strides if known.network else ())
    )
    if planned and set(planned[0]) != {1}:
        raise Misfit("its first level has a stride, so its output is too small")
    if planned and planned[1:] != strides:
        remarks.append(
            "the plans state other strides than the weights have; the weights count"
        )
    return remarks
