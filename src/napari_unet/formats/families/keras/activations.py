"""Keras' activations, by name and as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.keras.config import Layer
from napari_unet.formats.families.keras.writer import Step, number, scaled

if TYPE_CHECKING:
    from napari_unet.formats.families.keras.writer import Handler, Writer


def activated(w: Writer, step: Step, x: int) -> int:
    """Add the activation that is part of a layer."""
    return activate(w, step, x, step.config.get("activation"))


def activate(w: Writer, step: Step, x: int, said: Any) -> int:
    """Add an activation, named or described."""
    if isinstance(said, dict):
        kind, config = said.get("class_name"), said.get("config")
        if kind != "function" and isinstance(config, dict):
            if kind not in LAYERS:
                raise Misfit(f"its layer {step.said} has the activation {kind!r:.40}")
            inner = Layer("activation", str(kind), config, ())
            return LAYERS[kind](w, Step(inner, (*step.path, "activation"), (x,)))
        said = config
    name = "linear" if said is None else str(said).lower()
    if name in ("linear", "identity"):
        return x
    if name == "softmax" and w.channels_first:
        raise Misfit(f"its layer {step.said} takes a softmax along the width")
    if name == "hard_sigmoid" and w.major >= 3:
        x = scaled(w, step, x, 1 / 6, 0.5)
        return w.b.activation(x, "relu_limited", limit=1.0)
    if name not in ACTIVATIONS:
        raise Misfit(f"its layer {step.said} has the activation {name[:40]!r}")
    kind, options = ACTIVATIONS[name]
    return w.b.activation(x, kind, **options)


ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("relu", {}), "relu6": ("relu_limited", {"limit": 6.0}),
    "elu": ("elu", {"slope": 1.0}), "leaky_relu": ("leaky_relu", {"slope": 0.2}),
    "swish": ("silu", {}), "hard_swish": ("hard_swish", {}),
    "hard_silu": ("hard_swish", {}),
    **{
        name: (name, {})
        for name in (
            "sigmoid", "softmax", "tanh", "silu", "gelu", "selu", "mish", "softplus",
            "softsign", "exponential", "hard_sigmoid",
        )
    },
}  # fmt: skip


def _relu(w: Writer, step: Step) -> int:
    slope = number(step, "negative_slope", 0.0)
    most = step.config.get("max_value")
    if number(step, "threshold", 0.0) or (slope and most is not None):
        raise Misfit(f"its layer {step.said} is a ReLU with a threshold")
    if most is not None:
        return w.b.activation(
            step.x, "relu_limited", limit=number(step, "max_value", 6)
        )
    if slope:
        return w.b.activation(step.x, "leaky_relu", slope=slope)
    return w.b.activation(step.x, "relu")


def _leaky_relu(w: Writer, step: Step) -> int:
    old = number(step, "alpha", 0.3)
    slope = number(step, "negative_slope", old)
    return w.b.activation(step.x, "leaky_relu", slope=slope)


def _elu(w: Writer, step: Step) -> int:
    return w.b.activation(step.x, "elu", slope=number(step, "alpha", 1.0))


def _prelu(w: Writer, step: Step) -> int:
    slopes = w.stored_weights(step, ["alpha"])["alpha"]
    if not slopes.ndim or slopes.size != slopes.shape[0 if w.channels_first else -1]:
        raise Misfit(f"its layer {step.said} has a slope for each pixel of one size")
    key = w.key(step.path)
    w.keep(f"{key}.weight", slopes.ravel())
    return w.b.prelu(step.x, key)


def _softmax(w: Writer, step: Step) -> int:
    if not w.is_channels(step.config.get("axis", -1)):
        raise Misfit(f"its layer {step.said} takes a softmax along another axis")
    return w.b.activation(step.x, "softmax")


def _activation(w: Writer, step: Step) -> int:
    return activated(w, step, step.x)


def _named(w: Writer, step: Step) -> int:
    """Add an operation of Keras 3 that is called like an activation."""
    return activate(w, step, step.x, step.layer.kind)


LAYERS: dict[str, Handler] = {
    "Activation": _activation, "ReLU": _relu, "LeakyReLU": _leaky_relu, "ELU": _elu,
    "PReLU": _prelu, "Softmax": _softmax,
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Silu", "Elu"), _named),
}  # fmt: skip
