"""What each of Keras' layers becomes: a table of kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.keras import activations, convolutions, norms
from napari_unet.formats.families.keras.activations import ACTIVATIONS, activate
from napari_unet.formats.families.keras.writer import (
    is_same,
    number,
    same_padding,
    scaled,
    whole,
)

if TYPE_CHECKING:
    from napari_unet.formats.families.keras.writer import Handler, Step, Writer


def add_layer(w: Writer, step: Step) -> int:
    """Add the nodes of one layer; return its result."""
    handler = LAYERS.get(step.layer.kind)
    if handler is None:
        raise Misfit(
            f"its layer {step.said} is of the kind {step.layer.kind[:80]!r}, which is "
            "not known here"
        )
    result = handler(w, step)
    if step.inputs and w.pixels.issuperset(step.inputs):
        w.pixels.add(result)
    return result


# -- sizes


def _pool(w: Writer, step: Step) -> int:
    dims, kind = w.b.dims, "max" if step.layer.kind.startswith("Max") else "average"
    size = whole(step, "pool_size", dims, 2)
    stride = whole(step, "strides", dims) if step.config.get("strides") else size
    options: dict[str, Any] = {"kernel": size, "stride": stride, "kind": kind}
    x, channels = step.x, w.b.channels[step.x]
    before, after = same_padding(size, stride) if is_same(step) else ([0], [0])
    if any(after) and kind == "max":
        # an edge pixel is in each window that reaches over the edge: no new maximum
        x = w.b.pad(x, before, after, "replicate")
    elif any(after):
        if any(a > b and s == 1 for a, b, s in zip(after, before, stride, strict=True)):
            raise Misfit(f"its layer {step.said} averages unevenly")
        options |= {"padding": tuple(before), "count_padding": False, "ceil_mode": True}
    return w.b.function("pool", x, channels, **options)


def _upsampling(w: Writer, step: Step) -> int:
    mode = str(step.config.get("interpolation", "nearest")).lower()
    if mode not in ("nearest", "bilinear"):
        raise Misfit(f"its layer {step.said} up-samples by {mode[:40]!r}")
    factor = whole(step, "size", w.b.dims, 2)
    if mode == "nearest":
        return w.b.upsample(step.x, factor, mode="nearest")
    return w.b.upsample(step.x, factor, mode="linear")


def _zero_padding(w: Writer, step: Step) -> int:
    before, after = _margins(w, step, "padding")
    return w.b.pad(step.x, before, after)


def _cropping(w: Writer, step: Step) -> int:
    before, after = _margins(w, step, "cropping")
    return w.b.pad(step.x, [-n for n in before], [-n for n in after])


def _margins(w: Writer, step: Step, name: str) -> tuple[list[int], list[int]]:
    """Return pixels before and after per axis, of ((top, bottom), (left, right))."""
    said = step.config.get(name, 1)
    many = said if isinstance(said, list) else [said] * w.b.dims
    pairs = [pair if isinstance(pair, list) else [pair, pair] for pair in many]
    if len(pairs) != w.b.dims or not all(
        len(pair) == 2 and all(type(n) is int and 0 <= n < 4096 for n in pair)
        for pair in pairs
    ):
        raise Misfit(f"its layer {step.said} has the {name} {str(said)[:40]}")
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _global_average(w: Writer, step: Step) -> int:
    """Add the mean over all pixels; kept as an image of one pixel."""
    x = w.b.global_mean(step.x)
    w.pixels.add(x)
    return x


def _reshape(w: Writer, step: Step) -> int:
    """Pass one pixel's channels on; other shapes have no place in a picture."""
    shape = list(step.config.get("target_shape") or [])
    if step.x not in w.pixels or sorted(shape)[:-1] != [1] * w.b.dims:
        raise Misfit(f"its layer {step.said} reshapes the picture")
    return step.x


# -- several values


def _concatenate(w: Writer, step: Step) -> int:
    default = 1 if w.channels_first and step.layer.kind != "Concatenate" else -1
    if not w.is_channels(step.config.get("axis", default)):
        raise Misfit(f"its layer {step.said} joins along another axis")
    return w.b.concat(*step.values())


def _told_apart(step: Step) -> tuple[list[int], list[float]]:
    """Return the values that a layer reads, one at least, and the numbers."""
    values = [i for i in step.inputs if isinstance(i, int)]
    if not values:
        raise Misfit(f"its layer {step.said} reads nothing")
    return values, [i for i in step.inputs if isinstance(i, float)]


def _add(w: Writer, step: Step) -> int:
    values, numbers = _told_apart(step)
    shift = sum(numbers)
    x = w.b.add(*values) if len(values) > 1 else values[0]
    return scaled(w, step, x, 1.0, shift) if shift else x


def _multiply(w: Writer, step: Step) -> int:
    values, numbers = _told_apart(step)
    x = w.b.multiply(*values) if len(values) > 1 else values[0]
    return scaled(w, step, x, float(np.prod(numbers))) if numbers else x


def _subtract(w: Writer, step: Step) -> int:
    first, second = _two(step)
    if isinstance(second, float):
        return scaled(w, step, int(first), 1.0, -second)
    negative = scaled(w, step, second, -1.0)
    if isinstance(first, float):
        return scaled(w, step, negative, 1.0, first)
    return w.b.add(first, negative)


def _two(step: Step) -> tuple[int | float, int | float]:
    if len(step.inputs) != 2:
        raise Misfit(f"its layer {step.said} reads {len(step.inputs)} things, not two")
    return step.inputs[0], step.inputs[1]


def _divide(w: Writer, step: Step) -> int:
    first, second = _two(step)
    if not isinstance(first, int) or not isinstance(second, float) or not second:
        raise Misfit(f"its layer {step.said} divides by a picture")
    return scaled(w, step, first, 1 / second)


def _average(w: Writer, step: Step) -> int:
    values = step.values()
    return scaled(w, step, w.b.add(*values), 1 / len(values))


# -- the rest


def _nothing(w: Writer, step: Step) -> int:
    """Pass on what acts in training only, or not at all."""
    del w
    return step.x


def _dropout(w: Writer, step: Step) -> int:
    rate = number(step, "rate", 0.5)
    return w.b.dropout(step.x, rate) if 0 < rate < 1 else step.x


def _classifier(w: Writer, step: Step) -> int:
    del w
    raise Misfit(
        f"its layer {step.said} ({step.layer.kind}) takes the picture apart, so it is "
        "a classifier, not a U-Net"
    )


def _operation(w: Writer, step: Step) -> int:
    """Add one of TensorFlow's own functions, which Keras 2 stores by name."""
    said = str(step.config.get("function", ""))
    name = said.split(".")[-1].strip("_")
    handler = OPERATIONS.get(name)
    if handler is not None:
        return handler(w, step)
    if name in ACTIVATIONS or name in ("identity", "cast"):
        return activate(w, step, step.values()[0], name.replace("cast", "identity"))
    raise Misfit(f"its layer {step.said} is the function {said[:40]!r}")


OPERATIONS: dict[str, Handler] = {
    "truediv": _divide, "divide": _divide, "multiply": _multiply, "mul": _multiply,
    "subtract": _subtract, "sub": _subtract, "add": _add, "concat": _concatenate,
}  # fmt: skip

LAYERS: dict[str, Handler] = {
    **convolutions.LAYERS, **norms.LAYERS, **activations.LAYERS,
    "MaxPooling2D": _pool, "MaxPooling3D": _pool, "AveragePooling2D": _pool,
    "AveragePooling3D": _pool, "UpSampling2D": _upsampling, "UpSampling3D": _upsampling,
    "ZeroPadding2D": _zero_padding, "ZeroPadding3D": _zero_padding,
    "Cropping2D": _cropping, "Cropping3D": _cropping,
    "GlobalAveragePooling2D": _global_average,
    "GlobalAveragePooling3D": _global_average, "Reshape": _reshape,
    "Concatenate": _concatenate, "Add": _add, "Multiply": _multiply,
    "Subtract": _subtract, "Average": _average, "Divide": _divide,
    "TrueDivide": _divide, "TFOpLambda": _operation,
    "Flatten": _classifier, "GlobalMaxPooling2D": _classifier,
    **dict.fromkeys(("Dropout", "SpatialDropout2D", "SpatialDropout3D"), _dropout),
    **dict.fromkeys((
        "Identity", "GaussianNoise", "GaussianDropout", "AlphaDropout",
        "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom",
        "RandomTranslation", "RandomContrast", "RandomBrightness",
    ), _nothing),
}  # fmt: skip
