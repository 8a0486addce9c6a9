"""Sees through what people wrap around weights: dictionaries, prefixes, average copies.

A training script saves more than weights: epochs, optimizer states, hyper-parameters,
averaged copies. Here the weights are found, and the plain values beside them kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from napari_unet.errors import CheckpointError
from napari_unet.formats.reading import Contents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEEPEST = 6  # wrappers in wrappers; a damaged file may contain itself
MOST_TENSORS = 20_000
AVERAGED = (
    "ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "params_ema",
    "model_ema_state_dict", "ema_model_state_dict", "swa_model", "swa_state_dict",
    "averaged_model",
)  # fmt: skip
WEIGHTS = (
    "state_dict", "model_state_dict", "model_state", "network_weights", "model",
    "net", "network", "weights", "params", "module", "net_state_dict", "unet",
    "model_weights", "network_state_dict", "generator", "G",
)  # fmt: skip
NOT_WEIGHTS = re.compile(
    r"optim|sched|scaler|^amp|callbacks|loops|rng|random|grad|loss|criterion|metric|"
    r"history|logger|hparams|hyper",
    re.IGNORECASE,
)
PREFIX = re.compile(r"[A-Za-z_]\w{0,80}\.(?!\d)")  # "model.0." is of a list
NOT_OF_THE_NETWORK = re.compile(  # of a Lightning module, beside its network
    r"^(criterion|loss|loss_fn|loss_function|\w*metrics?|\w*_loss|train_\w+|val_\w+|"
    r"valid_\w+|test_\w+)\."
)
AVERAGED_STARTS = ("ema_model.", "model_ema.", "ema.", "averaged_model.")
COUNTERS = ("n_averaged", "global_step", "num_updates", "decay", "initted", "step")


@dataclass(frozen=True)
class _Found:
    """A dictionary of tensors and the way to it."""

    weights: Mapping[str, Tensor]
    path: tuple[str, ...]


def unwrap(name: str, title: str, content: object) -> list[Contents]:
    """Return the networks whose weights a file's plain content holds.

    Copies of one network are one: the averaged copy is taken, else the first under a
    usual name, and a remark says so.

    Parameters
    ----------
    name : of the file, for messages
    title : what the model is to be called
    content : what the container held: dictionaries, lists, numbers, text, tensors

    Returns
    -------
    networks : at least one, that under the most usual name first

    Raises
    ------
    CheckpointError
        If there are no weights by name in it.
    """
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{name} holds a {type(content).__name__}, expected weights by name: "
            "save network.state_dict()."
        )
    if not content:
        raise CheckpointError(
            f"{name} holds no weights at all, expected weights by name: "
            "save network.state_dict()."
        )
    found = list(_sets_of_weights(content))
    if not found:
        raise CheckpointError(
            f"{name} holds {_kinds(content)} and no weights by name, expected those of "
            "a network: save network.state_dict()."
        )
    for one in found:
        if len(one.path) - len(set(one.path)) > 1:
            raise CheckpointError(
                f"{name} wraps its weights in {one.path[0]!r} {len(one.path)} times "
                "over, expected once: save network.state_dict() again."
            )
    beside = {k: v for k, v in content.items() if isinstance(k, str)}
    return [
        _network(name, title, chosen, beside, remarks)
        for chosen, remarks in _one_of_each(found)
    ]


def _sets_of_weights(
    content: dict[Any, Any], path: tuple[str, ...] = ()
) -> Iterator[_Found]:
    """Yield the dictionaries of tensors, those in wrappers after the outer one."""
    own = _tensors(content)
    if own:
        yield _Found(own, path)
    if len(path) >= DEEPEST:
        return
    for key, value in content.items():
        named = isinstance(key, str) and not NOT_WEIGHTS.search(key)
        if isinstance(value, dict) and named:
            yield from _sets_of_weights(value, (*path, key))


def _tensors(content: dict[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors of a dictionary that is not an optimizer's."""
    tensors = {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    return tensors if any(t.ndim > 1 for t in tensors.values()) else {}


def _one_of_each(found: list[_Found]) -> list[tuple[_Found, tuple[str, ...]]]:
    """Group the copies of a network, and take one of each group."""
    groups: dict[tuple[tuple[int, ...], ...], list[_Found]] = {}
    for one in found:
        groups.setdefault(_shapes(one.weights), []).append(one)
    chosen = [_choose(group) for group in groups.values()]
    return sorted(chosen, key=lambda pair: -_named(pair[0]))


def _choose(copies: list[_Found]) -> tuple[_Found, tuple[str, ...]]:
    """Take the averaged copy where there is one, else the first under a usual name."""
    best = max(copies, key=lambda one: (_is_averaged(one), _named(one)))
    if len(copies) == 1:
        return best, ()
    what = "averaged weights (EMA)" if _is_averaged(best) else "weights"
    where = ".".join(best.path) or "the outermost"
    return best, (f"of {len(copies)} copies the {what} under {where!r} were taken",)


def _is_averaged(one: _Found) -> bool:
    return any(part.lower() in AVERAGED for part in one.path)


def _shapes(weights: Mapping[str, Tensor]) -> tuple[tuple[int, ...], ...]:
    shapes = (tuple(tensor.shape) for tensor in weights.values() if tensor.ndim > 1)
    return tuple(sorted(shapes))


def _named(one: _Found) -> int:
    return sum(part in WEIGHTS for part in one.path)


def _network(
    name: str, title: str, chosen: _Found, beside: Mapping[str, Any],
    remarks: tuple[str, ...],
) -> Contents:  # fmt: skip
    """Return one network's weights, without prefixes and what is not of the network."""
    weights = {
        key: value
        for key, value in chosen.weights.items()
        if not (NOT_OF_THE_NETWORK.match(key) or key in COUNTERS)
    }
    if len(weights) > MOST_TENSORS:
        raise CheckpointError(
            f"{name} holds {len(weights):,} tensors, expected at most "
            f"{MOST_TENSORS:,}: choose the checkpoint of a U-Net."
        )
    weights, prefix, averaged = _averaged_keys(weights)
    weights, further, others = _without_prefix(weights)
    return Contents(
        name, title, weights, beside, (*remarks, *averaged, *others),
        wrapper=chosen.path, prefix=prefix + further,
    )  # fmt: skip


def _without_prefix(
    weights: dict[str, Tensor],
) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """Strip what the keys of all kernels begin with, such as "module." or "net.".

    Small tensors beside the network, such as the weights of a loss, have another
    beginning; they are left out, and said.
    """
    prefix, left_out = "", []
    for _ in range(DEEPEST):
        kernels = [key for key, value in weights.items() if value.ndim > 1]
        found = PREFIX.match(kernels[0]) if kernels else None
        if found is None or not all(key.startswith(found[0]) for key in kernels):
            break
        left_out += [key for key in weights if not key.startswith(found[0])]
        prefix += found[0]
        weights = {
            key.removeprefix(found[0]): value
            for key, value in weights.items()
            if key.startswith(found[0])
        }
    said = f"left out beside the network: {', '.join(left_out[:3])}"
    return weights, prefix, (said,) if left_out else ()


def _averaged_keys(
    weights: dict[str, Tensor],
) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """Take the averaged of two copies that lie side by side in one dictionary."""
    for start in AVERAGED_STARTS:
        copy = {k: v for k, v in weights.items() if k.startswith(start)}
        rest = [k for k in weights if not k.startswith(start)]
        if copy and len(rest) >= len(copy) // 2:
            remark = f"the averaged weights (EMA) under {start[:-1]!r} were taken"
            return {k[len(start) :]: v for k, v in copy.items()}, start, (remark,)
    return weights, "", ()


def _kinds(content: dict[Any, Any]) -> str:
    keys = ", ".join(repr(str(key)[:40]) for key in list(content)[:3])
    return f"{keys}{' and so on' if len(content) > 3 else ''}"
