"""One name for each weight of nnU-Net, whose state dicts name them several times.

A layer has its name and a number (``conv`` and ``all_modules.0``), and the encoder is
also a part of the decoder. Who saves without repetition keeps one name, any of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_unet.engine.builder import Misfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

BY_NUMBER = re.compile(r"(.+)\.all_modules\.(\d{1,2})\.(\w+)")


def named_once(
    repeated: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return each weight under one name, and the numbers that layers have.

    Parameters
    ----------
    repeated : weights under all their names, or some of them

    Returns
    -------
    weights : under the names ``conv``, ``norm`` and ``nonlin``, the encoder's as such
    places : numbers in the order of computation by the layers' names, as far as given

    Raises
    ------
    Misfit
        If two names of one weight hold different numbers.
    """
    parameters = _parameters(repeated)
    weights: dict[str, Tensor] = {}
    places: dict[str, int] = {}
    for key, value in repeated.items():
        name = _of_the_encoder(key)
        match = BY_NUMBER.fullmatch(name)
        if match:
            layer = f"{match[1]}.{_kind(parameters[match[1], match[2]], match[2])}"
            places[layer] = int(match[2])
            name = f"{layer}.{match[3]}"
        twin = weights.setdefault(name, value)
        if not _same(twin, value):
            raise Misfit(f"{key} differs from {name}, which is the same weight")
    return weights, places


def _of_the_encoder(key: str) -> str:
    return key.removeprefix("decoder.") if key.startswith("decoder.encoder.") else key


def _parameters(keys: Iterable[str]) -> dict[tuple[str, str], set[str]]:
    """Return what each numbered layer has: "weight", "bias" ..."""
    found: dict[tuple[str, str], set[str]] = {}
    for key in keys:
        match = BY_NUMBER.fullmatch(_of_the_encoder(key))
        if match:
            found.setdefault((match[1], match[2]), set()).add(match[3])
    return found


def _kind(parameters: set[str], number: str) -> str:
    """Tell a norm, which has a bias too, from an activation with a slope."""
    if int(number) == 0:
        return "conv"
    return "norm" if parameters - {"weight"} else "nonlin"


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
        return True  # without a look at the numbers
    return bool((one == other).all())
