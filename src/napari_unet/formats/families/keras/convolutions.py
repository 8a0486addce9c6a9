"""Keras' convolutions: nodes of a graph, and kernels in torch's order.

TensorFlow pads "same" at the end first, so strides and even kernels need a node of
their own for it; sizes are multiples of all strides when a network is computed.

References
----------
TensorFlow's ``tf.nn.convolution`` and ``tf.nn.conv_transpose``, on padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.keras.activations import activated
from napari_unet.formats.families.keras.writer import (
    is_same,
    number,
    same_padding,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet.formats.families.keras.writer import Handler, Step, Writer


def _conv(w: Writer, step: Step) -> int:
    weights = w.stored_weights(step, _with_bias(step, "kernel"))
    key = w.key(step.path)
    _keep_kernel(w, step, key, weights)
    _check_described(w, step, key, 0)
    grouped = number(step, "groups", 1) > 1
    return activated(w, step, _convolved(w, step, step.x, key, grouped=grouped))


def _depthwise(w: Writer, step: Step) -> int:
    weights = w.stored_weights(step, _with_bias(step, "kernel"))
    key = w.key(step.path)
    _keep_depthwise(w, step, key, weights["kernel"])
    _keep_bias(w, key, weights)
    return activated(w, step, _convolved(w, step, step.x, key))


def _separable(w: Writer, step: Step) -> int:
    names = _with_bias(step, "depthwise_kernel", "pointwise_kernel")
    weights = w.stored_weights(step, names)
    key = w.key(step.path)
    _keep_depthwise(w, step, f"{key}.depthwise", weights["depthwise_kernel"])
    pointwise = {**weights, "kernel": weights["pointwise_kernel"]}
    _keep_kernel(w, step, f"{key}.pointwise", pointwise)
    x = _convolved(w, step, step.x, f"{key}.depthwise")
    return activated(w, step, w.b.conv(x, f"{key}.pointwise", padding=0))


def _convolved(
    w: Writer, step: Step, x: int, key: str, *, grouped: bool = False
) -> int:
    """Add a convolution, and before it what "same" pads unevenly."""
    dims = w.b.dims
    kernel = w.shapes[f"{key}.weight"][2:]
    stride = whole(step, "strides", dims, 1)
    dilation = whole(step, "dilation_rate", dims, 1)
    before = after = [0] * dims
    if is_same(step):
        spread = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        before, after = same_padding(spread, stride)
    if before != after:
        x = w.b.pad(x, before, after)
        before = [0] * dims
    return w.b.conv(
        x, key, stride=stride, padding=before, dilation=dilation, grouped=grouped
    )


def _conv_transpose(w: Writer, step: Step) -> int:
    """Add a transposed convolution, cropped to the size that TensorFlow gives it."""
    if set(whole(step, "dilation_rate", w.b.dims, 1)) != {1}:
        raise Misfit(f"its transposed layer {step.said} is dilated")
    weights = w.stored_weights(step, _with_bias(step, "kernel"))
    key = w.key(step.path)
    _keep_kernel(w, step, key, weights)
    _check_described(w, step, key, 1)
    stride = whole(step, "strides", w.b.dims, 1)
    surplus = _transposed_surplus(w, step, w.shapes[f"{key}.weight"][2:], stride)
    cut = [max(n, 0) for n in surplus]
    before = [n // 2 for n in cut]
    x = w.b.conv_transpose(
        step.x, key, stride=stride, padding=before,
        output_padding=[max(-n, 0) for n in surplus],
    )  # fmt: skip
    if any(n % 2 for n in cut):
        x = w.b.pad(x, 0, [-(n % 2) for n in cut])
    return activated(w, step, x)


def _transposed_surplus(
    w: Writer, step: Step, kernel: Sequence[int], stride: Sequence[int]
) -> list[int]:
    """Return by how much (n - 1) * stride + kernel exceeds the size, per axis."""
    same = is_same(step)
    pairs = zip(kernel, stride, strict=True)
    extra = step.config.get("output_padding")
    if extra is None:
        return [k - s if same else min(k - s, 0) for k, s in pairs]
    many = extra if isinstance(extra, list) else [extra] * w.b.dims
    if len(many) != w.b.dims or not all(type(n) is int and 0 <= n < 64 for n in many):
        raise Misfit(f"its layer {step.said} has the output_padding {str(extra)[:40]}")
    return [(k - k % 2 if same else 0) - n for k, n in zip(kernel, many, strict=True)]


def _dense(w: Writer, step: Step) -> int:
    """Add a layer over the channels alone, which is a convolution of one pixel."""
    weights = w.stored_weights(step, _with_bias(step, "kernel"))
    key = w.key(step.path)
    kernel = weights["kernel"]
    pixel = kernel.reshape(*[1] * w.b.dims, *kernel.shape)
    _keep_kernel(w, step, key, {**weights, "kernel": pixel})
    return activated(w, step, w.b.conv(step.x, key, padding=0))


def _with_bias(step: Step, *names: str) -> list[str]:
    return [*names, "bias"] if step.config.get("use_bias", True) else [*names]


def _keep_kernel(
    w: Writer, step: Step, key: str, weights: Mapping[str, NDArray[np.generic]]
) -> None:
    """Keep a kernel (Y, X, in, out), or (Y, X, out, in) of a transposed one."""
    kernel = weights["kernel"]
    if kernel.ndim != 2 + w.b.dims:
        raise Misfit(f"its layer {step.said} has a kernel of {kernel.ndim} axes")
    w.keep(f"{key}.weight", kernel.transpose(-1, -2, *range(w.b.dims)))
    _keep_bias(w, key, weights)


def _keep_depthwise(
    w: Writer, step: Step, key: str, kernel: NDArray[np.generic]
) -> None:
    """Keep a kernel (Y, X, in, multiplier)."""
    if kernel.ndim != 2 + w.b.dims:
        raise Misfit(f"its layer {step.said} has a kernel of {kernel.ndim} axes")
    moved = kernel.transpose(-2, -1, *range(w.b.dims))
    w.keep(f"{key}.weight", moved.reshape(-1, 1, *moved.shape[2:]))


def _check_described(w: Writer, step: Step, key: str, outputs: int) -> None:
    """Refuse a description that says other sizes than the weights have."""
    shape = w.shapes[f"{key}.weight"]
    said = step.config.get("filters", shape[outputs])
    size = step.config.get("kernel_size", list(shape[2:]))
    many = size if isinstance(size, list) else [size] * w.b.dims
    if said != shape[outputs] or many != list(shape[2:]):
        raise Misfit(
            f"its layer {step.said} has {shape[outputs]} kernels of {shape[2:]}, and "
            f"is described to have {said!s:.20} of {size!s:.40}"
        )


def _keep_bias(w: Writer, key: str, weights: Mapping[str, NDArray[np.generic]]) -> None:
    if "bias" in weights:
        w.keep(f"{key}.bias", weights["bias"])


LAYERS: dict[str, Handler] = {
    "Conv2D": _conv, "Conv3D": _conv, "Convolution2D": _conv, "Convolution3D": _conv,
    "Conv2DTranspose": _conv_transpose, "Conv3DTranspose": _conv_transpose,
    "DepthwiseConv2D": _depthwise, "SeparableConv2D": _separable, "Dense": _dense,
}  # fmt: skip
