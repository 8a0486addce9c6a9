"""What may be otherwise than was guessed of a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.model import revised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import ModelSpec

    Named = tuple[str, dict[str, Any]]  # for a button, and for ``revised``

OPEN = ("guessed", "chosen")  # what may be otherwise; all else is known
SCALES = (1.0, 1 / 255, 255.0)


@dataclass(frozen=True)
class Alternative:
    """Another way of understanding a file.

    Attributes
    ----------
    name : what is different, for a button
    changes : as for ``revised``
    make : makes the model; only the one that is looked at is in memory
    """

    name: str
    changes: Mapping[str, Any]
    make: Callable[[], Model]


def alternatives_of(model: Model) -> list[Alternative]:
    """Return the likely alternatives of what was guessed of a model.

    Readings are not among them: they need the file.
    """
    spec = model.spec
    found = [
        *_negatives(spec), *_scalings(spec), *_orders(spec), *_activations(spec),
    ]  # fmt: skip
    return [
        Alternative(name, changes, partial(revised, model, changes))
        for name, changes in found
    ]


def _negatives(spec: ModelSpec) -> list[Named]:
    """Return the image turned over: networks are trained on one kind of contrast."""
    if spec.architecture.in_channels != 1:
        return []
    negative = not spec.normalization.negative
    name = "the image turned over" if negative else "the image as it is"
    return [(f"{name} (Negative)", {"normalization": {"negative": negative}})]


def _scalings(spec: ModelSpec) -> list[Named]:
    """Return other ways to scale the image, and to scale inside the network."""
    if spec.source("normalization") != "read":  # inferred from statistics at best
        kinds: tuple[dict[str, Any], ...] = (
            {"kind": "percentile"}, {"kind": "zscore"}, {"kind": "minmax"},
            {"kind": "scale", "divisor": 255.0}, {"kind": "scale", "divisor": 65535.0},
            {"kind": "none"},
        )  # fmt: skip
        now = spec.normalization
        others = [(now.model_copy(update=kind), kind) for kind in kinds]
        found = [
            (f"scaling by {other}", {"normalization": kind})
            for other, kind in others
            if str(other) != str(now)
        ]
    else:
        found = []
    scale = getattr(spec.architecture, "input_scale", None)
    if scale is None or spec.source("input_scaling") not in OPEN:
        return found
    return found + [
        (
            f"the network's input times {other:.4g}",
            {"architecture": {"input_scale": other}},
        )
        for other in SCALES
        if not np.isclose(other, scale)
    ]


def _orders(spec: ModelSpec) -> list[Named]:
    guessed = spec.source("channel_order") in OPEN
    if spec.architecture.in_channels != 3 or not guessed:
        return []
    other = {"RGB": "BGR", "BGR": "RGB"}[spec.channel_order]
    return [(f"colours in the order {other}", {"channel_order": other})]


def _activations(spec: ModelSpec) -> list[Named]:
    """Return the other end of the network: scores may leave it ready made."""
    if spec.source("activation") not in OPEN:
        return []
    if spec.likely_activation != "none":
        return [("the network's output as it is", {"activation": "none"})]
    other = "softmax" if spec.output == "classes" else "sigmoid"
    return [(f"a {other} at the end", {"activation": other})]
