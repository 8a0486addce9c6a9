"""What each kind of node does: its layer, or its function, in 2D and 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from napari_unet.engine.graph import Node

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
UP_CONV = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
MAX_POOL = {2: functional.max_pool2d, 3: functional.max_pool3d}
AVERAGE_POOL = {2: functional.avg_pool2d, 3: functional.avg_pool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
WEIGHTED = ("conv", "conv_transpose", "norm", "linear", "prelu", "dropout")


# -- nodes that are layers with a state


def layer(node: Node, dims: int) -> nn.Module:
    """Return the layer of a node whose ``op`` is in WEIGHTED.

    conv, conv_transpose : inputs, outputs, kernel, stride, padding, dilation, groups,
        bias; conv: padding_mode; conv_transpose: output_padding
    norm : kind (batch, instance, group, channel), channels, groups, eps, momentum,
        affine, track
    linear : inputs, outputs, bias. prelu : count. dropout : rate
    """
    return _LAYERS[node.op](dims, **node.options)


def _conv(dims: int, inputs: int, outputs: int, kernel: Any, **rest: Any) -> nn.Module:
    return CONV[dims](
        inputs, outputs, kernel, rest.pop("stride", 1), rest.pop("padding", 0), **rest
    )


def _up_conv(
    dims: int, inputs: int, outputs: int, kernel: Any, **rest: Any
) -> nn.Module:
    return UP_CONV[dims](
        inputs, outputs, kernel, rest.pop("stride", 1), rest.pop("padding", 0), **rest
    )


def _norm(
    dims: int, kind: str, channels: int, groups: int = 1, eps: float = 1e-5,
    momentum: float = 0.1, affine: bool = True, track: bool = True,
) -> nn.Module:  # fmt: skip
    if kind == "batch":
        return BATCH[dims](channels, eps, momentum, affine, track)
    if kind == "instance":
        return INSTANCE[dims](channels, eps, momentum, affine, track)
    if kind == "group":
        return nn.GroupNorm(groups, channels, eps, affine)
    if kind == "channel":
        return ChannelNorm(channels, eps, affine)
    raise ValueError(f"a norm of the kind {kind!r}")


class ChannelNorm(nn.LayerNorm):
    """Norm over the channels of each pixel on its own, as in transformers."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (N, C, ...) with mean 0 and deviation 1 at each pixel."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def _linear(dims: int, inputs: int, outputs: int, bias: bool = True) -> nn.Module:
    del dims
    return nn.Linear(inputs, outputs, bias)


def _prelu(dims: int, count: int = 1) -> nn.Module:
    del dims
    return nn.PReLU(count)


def _dropout(dims: int, rate: float) -> nn.Module:
    del dims
    return nn.Dropout(rate)


_LAYERS: dict[str, Callable[..., nn.Module]] = {
    "conv": _conv, "conv_transpose": _up_conv, "norm": _norm, "linear": _linear,
    "prelu": _prelu, "dropout": _dropout,
}  # fmt: skip


# -- nodes that are functions


def apply(node: Node, dims: int, values: list[Tensor]) -> Tensor:
    """Return what a node without weights makes of its inputs (N, C, [Z,] Y, X)."""
    result: Tensor = _FUNCTIONS[node.op](dims, *values, **node.options)
    return result


def _activation(
    dims: int, x: Tensor, kind: str, slope: float = 0.01, limit: float = 6.0
) -> Tensor:
    del dims
    if kind == "relu_limited":
        return x.clamp(0, limit)
    if kind == "leaky_relu":
        return functional.leaky_relu(x, slope)
    if kind == "elu":
        return functional.elu(x, slope)
    if kind == "softmax":
        return x.softmax(dim=1)
    if kind == "hard_sigmoid":  # Keras 2's: clip(x / 5 + 1 / 2)
        return (0.2 * x + 0.5).clamp(0, 1)
    return _ACTIVATIONS[kind](x)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "silu": functional.silu, "gelu": functional.gelu, "selu": functional.selu,
    "mish": functional.mish, "softplus": functional.softplus,
    "softsign": functional.softsign, "hard_swish": functional.hardswish,
    "exponential": torch.exp, "gelu_tanh": lambda x: functional.gelu(
        x, approximate="tanh"
    ),
}  # fmt: skip
ACTIVATIONS = (
    *_ACTIVATIONS, "relu_limited", "leaky_relu", "elu", "softmax", "hard_sigmoid",
)  # fmt: skip


def _pool(
    dims: int, x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0,
    kind: str = "max", ceil_mode: bool = False, count_padding: bool = True,
) -> Tensor:  # fmt: skip
    if kind == "max":
        return MAX_POOL[dims](x, kernel, stride, padding, ceil_mode=ceil_mode)
    return AVERAGE_POOL[dims](x, kernel, stride, padding, ceil_mode, count_padding)


def _upsample(
    dims: int, x: Tensor, factor: Any, mode: str = "nearest",
    align_corners: bool = False,
) -> Tensor:  # fmt: skip
    factors = factor if isinstance(factor, tuple) else (factor,) * dims
    size = [n * int(f) for n, f in zip(x.shape[2:], factors, strict=True)]
    return _resized(dims, x, size, mode, align_corners)


def _resize_like(
    dims: int, x: Tensor, like: Tensor, mode: str = "nearest",
    align_corners: bool = False,
) -> Tensor:  # fmt: skip
    return _resized(dims, x, list(like.shape[2:]), mode, align_corners)


def _resized(
    dims: int, x: Tensor, size: list[int], mode: str, align_corners: bool
) -> Tensor:
    if mode != "linear":
        return functional.interpolate(x, size, mode=mode)
    return functional.interpolate(
        x, size, mode=LINEAR[dims], align_corners=align_corners
    )


def _pad(
    dims: int, x: Tensor, before: Any = 0, after: Any = 0, mode: str = "constant",
    value: float = 0.0,
) -> Tensor:  # fmt: skip
    starts = before if isinstance(before, tuple) else (before,) * dims
    ends = after if isinstance(after, tuple) else (after,) * dims
    amounts = [n for pair in zip(starts, ends, strict=True) for n in pair[::-1]]
    return functional.pad(x, amounts[::-1], mode, value if mode == "constant" else None)


def _pad_like(
    dims: int, x: Tensor, like: Tensor, where: str = "both", mode: str = "constant"
) -> Tensor:
    """Pad to the size of another value: at the end, or half on both sides."""
    del dims
    amounts = []
    for have, want in zip(reversed(x.shape[2:]), reversed(like.shape[2:]), strict=True):
        before = (want - have) // 2 if where == "both" else 0
        amounts += [before, want - have - before]
    return functional.pad(x, amounts, mode)


def _crop_like(dims: int, x: Tensor, like: Tensor, where: str = "both") -> Tensor:
    """Crop to the size of another value: at the end, or half on both sides."""
    del dims
    for axis in range(2, x.ndim):
        have, want = x.shape[axis], like.shape[axis]
        start = (have - want) // 2 if where == "both" else 0
        x = x.narrow(axis, start, want)
    return x


def _concat(dims: int, *values: Tensor) -> Tensor:
    del dims
    return torch.cat(values, dim=1)


def _add(dims: int, first: Tensor, *others: Tensor) -> Tensor:
    del dims
    for other in others:
        first = first + other
    return first


def _multiply(dims: int, first: Tensor, *others: Tensor) -> Tensor:
    """Multiply; a flat value (N, C) is spread over all pixels."""
    for other in others:
        flat = other.ndim < first.ndim
        first = first * (other[(..., *(None,) * dims)] if flat else other)
    return first


def _scale(dims: int, x: Tensor, scale: Any = 1.0, offset: Any = 0.0) -> Tensor:
    """Return ``x * scale + offset``; one number, or one per channel."""
    column = (1, -1) + (1,) * dims
    factor, shift = (
        torch.as_tensor(v, dtype=x.dtype, device=x.device).reshape(column)
        if isinstance(v, tuple) else v
        for v in (scale, offset)
    )  # fmt: skip
    scaled: Tensor = x * factor + shift
    return scaled


def _global_mean(dims: int, x: Tensor, flat: bool = False) -> Tensor:
    return x.mean(dim=tuple(range(2, 2 + dims)), keepdim=not flat)


def _pixel_shuffle(dims: int, x: Tensor, factor: int) -> Tensor:
    """Move channels to space, as torch does, in 2D and 3D.

    References
    ----------
    Shi et al.: Real-time single image and video super-resolution, CVPR 2016,
    arXiv:1609.05158.
    """
    batch, channels, *size = x.shape
    parts = x.reshape(batch, channels // factor**dims, *[factor] * dims, *size)
    order = [0, 1]
    for axis in range(dims):
        order += [2 + dims + axis, 2 + axis]
    return parts.permute(order).reshape(
        batch, channels // factor**dims, *(n * factor for n in size)
    )


def _take(dims: int, x: Tensor, start: int, stop: int) -> Tensor:
    del dims
    return x[:, start:stop]


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "activation": _activation, "pool": _pool, "upsample": _upsample,
    "resize_like": _resize_like, "pad": _pad, "pad_like": _pad_like,
    "crop_like": _crop_like, "concat": _concat, "add": _add, "multiply": _multiply,
    "scale": _scale, "global_mean": _global_mean, "pixel_shuffle": _pixel_shuffle,
    "take": _take,
}  # fmt: skip
