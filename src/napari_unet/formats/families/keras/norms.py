"""Keras' norms and scalings: nodes of a graph, and weights by torch's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.keras.writer import number, scaled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_unet.formats.families.keras.writer import Handler, Step, Writer
GUESSED_SCALE = 1 / 255  # what stands in for code at the input


def _batch_norm(w: Writer, step: Step) -> int:
    _check_axis(w, step)
    held = _scale_and_center(step)
    weights = w.stored_weights(step, [*held, "moving_mean", "moving_variance"])
    key = w.key(step.path)
    w.keep(f"{key}.running_mean", weights["moving_mean"])
    w.keep(f"{key}.running_var", weights["moving_variance"])
    _keep_affine(w, key, weights, held)
    eps, momentum = number(step, "epsilon", 1e-3), 1 - number(step, "momentum", 0.99)
    return w.b.norm(step.x, key, "batch", eps=eps, momentum=momentum)


def _group_norm(w: Writer, step: Step) -> int:
    _check_axis(w, step)
    channels = w.b.channels[step.x]
    by_instance = step.layer.kind == "InstanceNormalization"
    groups = int(number(step, "groups", channels if by_instance else 32))
    return _affine_norm(w, step, "group", channels if groups == -1 else groups)


def _layer_norm(w: Writer, step: Step) -> int:
    _check_axis(w, step)
    if step.config.get("rms_scaling"):
        raise Misfit(f"its layer {step.said} scales by the root mean square")
    return _affine_norm(w, step, "channel", 1)


def _affine_norm(w: Writer, step: Step, kind: str, groups: int) -> int:
    held = _scale_and_center(step)
    weights = w.stored_weights(step, held)
    key = w.key(step.path)
    _keep_affine(w, key, weights, held)
    if groups < 1:
        raise Misfit(f"its layer {step.said} has {groups} groups")
    eps = number(step, "epsilon", 1e-3)
    return w.b.norm(step.x, key, kind, groups=groups, eps=eps)


def _check_axis(w: Writer, step: Step) -> None:
    axis = step.config.get("axis", 1 if w.channels_first else -1)
    if not w.is_channels(axis):
        raise Misfit(f"its layer {step.said} normalises along another axis ({axis})")


def _scale_and_center(step: Step) -> list[str]:
    named = {"gamma": "scale", "beta": "center"}
    return [name for name, option in named.items() if step.config.get(option, True)]


def _keep_affine(
    w: Writer, key: str, weights: Mapping[str, NDArray[np.generic]], held: list[str]
) -> None:
    """Keep scale and center; what Keras left out of the two is 1 or 0."""
    if not held:
        return
    like = np.asarray(weights[held[0]], np.float32)
    w.keep(f"{key}.weight", weights.get("gamma", np.ones_like(like)))
    w.keep(f"{key}.bias", weights.get("beta", np.zeros_like(like)))


def _rescaling(w: Writer, step: Step) -> int:
    scale, offset = step.config.get("scale", 1.0), step.config.get("offset", 0.0)
    return scaled(w, step, step.x, _numbers(step, scale), _numbers(step, offset))


def _normalization(w: Writer, step: Step) -> int:
    """Add Keras' Normalization, whose mean and variance were measured."""
    mean, variance = step.config.get("mean"), step.config.get("variance")
    if mean is None or variance is None:
        weights = w.stored_weights(step, ["mean", "variance", "count"])
        mean, variance = weights["mean"].tolist(), weights["variance"].tolist()
    means = np.ravel(np.asarray(mean, float))
    spreads = np.maximum(np.sqrt(np.ravel(np.asarray(variance, float))), 1e-7)
    if step.config.get("invert"):
        return scaled(w, step, step.x, spreads, means)
    return scaled(w, step, step.x, 1 / spreads, -means / spreads)


def _numbers(step: Step, value: Any) -> NDArray[np.float64]:
    if isinstance(value, dict):  # numpy's numbers
        value = value.get("config", {}).get("value", value.get("value"))
    try:
        return np.ravel(np.asarray(value, float))
    except (TypeError, ValueError) as error:
        raise Misfit(f"its layer {step.said} scales by {str(value)[:40]}") from error


def _lambda(w: Writer, step: Step) -> int:
    """Stand in for code at the input; code anywhere else cannot be replaced."""
    if step.inputs != (0,):
        raise Misfit(
            f"its Lambda layer {step.said} holds Python code in the middle of the "
            "network, which is never run"
        )
    w.lambdas.append(step.path[-1])
    return scaled(w, step, 0, GUESSED_SCALE)


LAYERS: dict[str, Handler] = {
    "BatchNormalization": _batch_norm, "SyncBatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm, "InstanceNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "Rescaling": _rescaling, "Normalization": _normalization, "Lambda": _lambda,
}  # fmt: skip
