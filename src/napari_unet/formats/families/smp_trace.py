"""Makes a graph of an encoder that a library built; none of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet.engine.builder import Misfit

if TYPE_CHECKING:
    from napari_unet.engine.builder import Builder

ACTIVATIONS = {
    "ReLU": "relu", "ReLU6": "relu_limited", "SiLU": "silu", "Swish": "silu",
    "Sigmoid": "sigmoid", "Hardswish": "hard_swish", "HardSwish": "hard_swish",
    "HardswishMe": "hard_swish", "GELU": "gelu", "Mish": "mish", "Tanh": "tanh",
}  # fmt: skip
FUNCTIONS = {
    "relu": "relu", "relu_": "relu", "silu": "silu", "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid", "relu6": "relu_limited", "hardswish": "hard_swish",
    "gelu": "gelu", "tanh": "tanh",
}  # fmt: skip
NOTHING = ("Identity", "Dropout", "Dropout2d", "DropPath", "DropBlock2d")
HARD_SIGMOIDS = ("Hardsigmoid", "HardSigmoid", "HardsigmoidMe")
NORMS = ("BatchNorm2d", "BatchNormAct2d", "FrozenBatchNorm2d")


class Untold(Exception):
    """A layer for which a graph has no node."""


def features(b: Builder, image: int, encoder: Any, key: str, missing: str) -> list[int]:
    """Write an encoder; return its values, the image in place of the first.

    Parameters
    ----------
    b : with the shapes of the weights
    image : the value that goes in
    encoder : the library's module, in evaluation mode, on any device
    key : what its weights' keys begin with in the file
    missing : what the module's keys begin with, and the file's do not
    """
    graph = _traced(encoder)
    found: list[int] = []
    values: dict[Any, Any] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = image
        elif node.op == "call_module":
            module = encoder.get_submodule(node.target)
            place = key + node.target.removeprefix(missing)
            values[node] = _module(b, _value(values, node.args[0]), module, place)
        elif node.op in ("call_function", "call_method"):
            values[node] = _function(b, node, values)
        elif node.op == "output":
            found = [image, *(_value(values, one) for one in node.args[0][1:])]
        else:
            raise Untold(f"weight {node.target}")
    _keep_unused(b, encoder, key, missing)
    return found


def _keep_unused(b: Builder, encoder: Any, key: str, missing: str) -> None:
    """Write layers whose weights are kept and whose values nothing reads."""
    for name, module in encoder.named_modules():
        place = key + name.removeprefix(missing)
        weight = (b.shapes or {}).get(f"{place}.weight", ())
        if f"{place}.weight" in b.used or type(module).__name__ not in _KEPT:
            continue
        inputs = weight[1] * module.groups if len(weight) == 4 else weight[0]
        alike = [value for value, n in enumerate(b.channels) if n == inputs]
        if alike:
            _module(b, alike[-1], module, place)


def _traced(encoder: Any) -> Any:
    """Return what the encoder computes, one node a layer."""
    from torch import fx, nn

    class Tracer(fx.Tracer):
        """Does not look into convolutions and norms, whatever they derive from."""

        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            del module_qualified_name
            named = type(m).__name__ in (*ACTIVATIONS, *HARD_SIGMOIDS, *NOTHING)
            layers = (nn.Conv2d, nn.BatchNorm2d)
            return named or isinstance(m, layers) or m.__module__ in _TORCHS

    try:
        return Tracer().trace(encoder)
    except (
        TypeError,
        ValueError,
        RuntimeError,
        NameError,
        fx.proxy.TraceError,
    ) as error:
        raise Untold("way of computing") from error


_TORCHS = tuple(
    f"torch.nn.modules.{part}"
    for part in ("activation", "pooling", "padding", "dropout", "linear", "upsampling")
)


def _value(values: dict[Any, Any], node: Any) -> int:
    value = values.get(node) if not isinstance(node, (int, float)) else None
    if not isinstance(value, int):
        raise Untold("number beside the layers")
    return value


# -- layers


def _module(b: Builder, x: int, module: Any, key: str) -> int:
    """Write a module."""
    name = type(module).__name__
    if name in NOTHING:
        return x
    if name in HARD_SIGMOIDS:
        return _hard_sigmoid(b, x)
    if name in ACTIVATIONS:
        return b.activation(x, ACTIVATIONS[name])
    if name == "LeakyReLU":
        return b.activation(x, "leaky_relu", slope=module.negative_slope)
    if name in NORMS:
        return _norm(b, x, module, key)
    if name in _CONVS:
        return _conv(b, x, module, key, _CONVS[name])
    if name in ("MaxPool2d", "AvgPool2d"):
        return _pool(b, x, module, name)
    if name in ("AdaptiveAvgPool2d", "ZeroPad2d"):
        return _adaptive(b, x, module) if "Pool" in name else _padded(b, x, module)
    raise Untold(f"layer {name}")


def _conv(b: Builder, x: int, conv: Any, key: str, kind: str) -> int:
    """Write a convolution, with the padding of its kind."""
    padding = conv.padding
    if kind == "static":
        x = _padded(b, x, conv.static_padding)
    elif kind == "same":
        x = _same(b, x, conv)
        padding = 0
    if isinstance(padding, str) or conv.padding_mode != "zeros":
        raise Untold(f"padding {padding}")
    y = b.conv(
        x, key, stride=tuple(conv.stride), padding=padding,
        dilation=tuple(conv.dilation), grouped=True,
    )  # fmt: skip
    if b.nodes[-1].options.get("groups", 1) != conv.groups:
        raise Misfit(f"{key} has other groups")
    return y


_CONVS = {
    "Conv2d": "plain", "Conv2dStaticSamePadding": "static", "Conv2dSame": "same",
}  # fmt: skip
_KEPT = (*_CONVS, *NORMS)


def _same(b: Builder, x: int, conv: Any) -> int:
    """Pad as Keras does: on a size that the stride divides, more at the end."""
    spread = zip(conv.kernel_size, conv.dilation, conv.stride, strict=True)
    total = [
        max(0, (kernel - 1) * dilation + 1 - step) for kernel, dilation, step in spread
    ]
    if not any(total):
        return x
    before = tuple(n // 2 for n in total)
    return b.pad(x, before, tuple(n - m for n, m in zip(total, before, strict=True)))


def _padded(b: Builder, x: int, module: Any) -> int:
    if type(module).__name__ == "Identity":
        return x
    left, right, top, bottom = module.padding
    return b.pad(x, (top, left), (bottom, right))


def _norm(b: Builder, x: int, norm: Any, key: str) -> int:
    momentum = 0.1 if norm.momentum is None else norm.momentum
    x = b.norm(x, key, eps=norm.eps, momentum=momentum)
    for part in ("drop", "act"):
        if hasattr(norm, part):
            x = _module(b, x, getattr(norm, part), f"{key}.{part}")
    return x


def _pool(b: Builder, x: int, pool: Any, name: str) -> int:
    pairs = (pool.kernel_size, pool.stride, pool.padding)
    kernel, stride, padding = (n if isinstance(n, tuple) else (n, n) for n in pairs)
    rest: dict[str, Any] = {"ceil_mode": pool.ceil_mode}
    if name == "AvgPool2d":
        rest["count_padding"] = pool.count_include_pad
    elif pool.dilation not in (1, (1, 1)):
        raise Untold("dilated pooling")
    return b.pool(
        x, kernel, kind="max" if name == "MaxPool2d" else "average",
        stride=stride, padding=padding, **rest,
    )  # fmt: skip


def _adaptive(b: Builder, x: int, pool: Any) -> int:
    if pool.output_size not in (1, (1, 1)):
        raise Untold("adaptive pooling")
    return b.global_mean(x)


def _hard_sigmoid(b: Builder, x: int) -> int:
    """Write torch's clip(x / 6 + 1 / 2), which is not Keras'."""
    y = b.function("scale", x, b.channels[x], scale=1 / 6, offset=0.5)
    return b.activation(y, "relu_limited", limit=1.0)


# -- functions


def _function(b: Builder, node: Any, values: dict[Any, Any]) -> Any:
    """Write a function, or keep a list of values."""
    name = node.target if isinstance(node.target, str) else node.target.__name__
    first = node.args[0]
    if name in ("cat", "concat"):
        _only(node, dim=1)
        return b.concat(*(_value(values, one) for one in first))
    if name in ("add", "iadd", "add_", "mul", "imul", "mul_"):
        return _pair(b, name, values, node.args[:2])
    if name == "getitem":
        return values[first][node.args[1]]
    x = _value(values, first)
    if name in ("split", "chunk"):
        return _split(b, x, node, name)
    if name in FUNCTIONS:
        return b.activation(x, FUNCTIONS[name])
    if name in ("hardsigmoid", "hard_sigmoid"):
        return _hard_sigmoid(b, x)
    if name == "adaptive_avg_pool2d" and node.args[1] in (1, (1, 1)):
        return b.global_mean(x)
    if name == "mean" and _is_global_mean(node):
        return b.global_mean(x)
    if name in ("dropout", "contiguous"):
        return x
    raise Untold(f"function {name}")


def _pair(b: Builder, name: str, values: dict[Any, Any], pair: Any) -> int:
    """Add or multiply two values, or a value and a number."""
    adds = "add" in name
    numbers = [one for one in pair if isinstance(one, (int, float))]
    others = [_value(values, one) for one in pair if one not in numbers]
    if len(others) == 2:
        return b.add(*others) if adds else b.multiply(*others)
    (x,), (number,) = others, numbers
    if number == (0 if adds else 1):
        return x
    changed = {"offset": float(number)} if adds else {"scale": float(number)}
    return b.function("scale", x, b.channels[x], **changed)


def _split(b: Builder, x: int, node: Any, name: str) -> list[int]:
    """Write the parts of a value's channels."""
    dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    size, total = node.args[1], b.channels[x]
    if dim != 1 or not isinstance(size, int) or size < 1:
        raise Untold(f"function {name}")
    step = size if name == "split" else -(-total // size)
    ends = [(start, min(start + step, total)) for start in range(0, total, step)]
    return [
        b.function("take", x, stop - start, start=start, stop=stop)
        for start, stop in ends
    ]


def _only(node: Any, dim: int) -> None:
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if given != dim:
        raise Untold("concatenation of pixels")


def _is_global_mean(node: Any) -> bool:
    given = [*node.args[1:], *node.kwargs.values()]
    return given in ([(2, 3), True], [[2, 3], True], [(-1, -2), True])
