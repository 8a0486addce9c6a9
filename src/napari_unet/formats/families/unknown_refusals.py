"""What weights are that are no U-Net's, in a sentence."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from napari_unet.engine.builder import Misfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_unet.formats.families.unknown_blocks import Block
    from napari_unet.formats.families.unknown_parts import Part


class NoUNet(Misfit):
    """The weights are of something else; the sentence says of what."""


def check_is_convolutional(parts: Sequence[Part]) -> None:
    """Refuse what is no network of convolutions.

    Raises
    ------
    NoUNet
        Saying what it is.
    """
    kinds = [part.kind for part in parts]
    if "conv" not in kinds:
        what = "a multilayer perceptron" if "linear" in kinds else "no network"
        raise NoUNet(f"{what}, without convolutions")
    _check_one_network(parts)
    linear = [part.key for part in parts if part.kind == "linear"]
    if not linear:
        return
    if _expands([part for part in parts if part.kind == "conv"]):
        raise Misfit(f"{linear[0]}.weight fits no place")
    raise NoUNet("a classifier (it ends in fully connected layers)")


def _check_one_network(parts: Sequence[Part]) -> None:
    """Refuse two networks in one file: both begin at an image."""
    groups: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        if part.kind in ("conv", "linear"):
            groups[part.key.partition(".")[0]].append(part)
    whole = [
        name
        for name, members in groups.items()
        if len(members) > 3
        and members[0].kind == "conv"
        and members[0].shape[1] <= 4 < members[0].shape[0]
    ]
    if len(whole) > 1 and sum(len(groups[name]) for name in whole) >= 0.9 * sum(
        len(members) for members in groups.values()
    ):
        names = " and ".join(f"'{name}.'" for name in whole[:3])
        raise NoUNet(f"{len(whole)} networks side by side (weights under {names})")


def check_alike(parts: Sequence[Part]) -> None:
    """Refuse a layer that lacks a tensor that all layers like it have.

    Raises
    ------
    Misfit
        Naming the missing tensor.
    """
    families: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        if part.kind == "conv" and max(part.shape[2:]) > 1:
            families[re.sub(r"\d+", "#", part.key)].append(part)
    for members in families.values():
        bare = [part for part in members if not part.bias]
        if len(members) > 3 and len(bare) == 1:
            raise Misfit(f"{bare[0].key}.bias is missing, others like it have one")


def check_biases(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a network where one convolution of all lacks a bias.

    Raises
    ------
    Misfit
        Naming the missing tensor.
    """
    convs = [k.removesuffix(".weight") for k, s in shapes.items() if len(s) > 3]
    bare = [key for key in convs if f"{key}.bias" not in shapes]
    if len(convs) > 5 and len(bare) == 1:
        raise Misfit(f"{bare[0]}.bias is missing, all others have one")


def check_norms(blocks: Sequence[Block]) -> None:
    """Refuse a block in the midst of like ones that lacks a norm that they have.

    Raises
    ------
    Misfit
        Naming the convolution that has none.
    """
    families: dict[tuple[str, int], list[Block]] = defaultdict(list)
    for block in blocks:
        families[block.family, len(block.units)].append(block)
    for members in families.values():
        for block in members[1:-1]:
            others = [other for other in members if other is not block]
            for place, unit in enumerate(block.units):
                if not unit.post and all(b.units[place].post for b in others):
                    raise Misfit(f"{unit.key} has no norm, others like it have one")


def check_in_a_row(parts: Sequence[Part]) -> None:
    """Refuse a norm right behind a convolution of other channels, in one container.

    Raises
    ------
    Misfit
        Naming both.
    """
    places = {(part.parent, part.slot): part for part in parts}
    norms = (part for part in parts if part.kind == "norm" and part.slot)
    for norm in norms:
        conv = places.get((norm.parent, (norm.slot or 0) - 1))
        if conv is None or conv.kind != "conv" or conv.order + 1 != norm.order:
            continue
        if norm.shape[0] not in conv.shape[:2]:
            raise Misfit(
                f"{conv.key}.weight has the shape {conv.shape}, and {norm.key} behind "
                f"it {norm.shape[0]} channels"
            )


def unfitting(parts: Iterable[Part], unplaced: Sequence[str]) -> str:
    """Say why no structure fits.

    Parameters
    ----------
    parts : all
    unplaced : keys of the convolutions that the best try found no place for
    """
    convs = [part for part in parts if part.kind == "conv"]
    most = not unplaced or len(unplaced) > len(convs) / 3
    if most and not _expands(convs):
        return "has convolutions but no expanding path"
    if not unplaced:
        return "its convolutions make no contracting and expanding path"
    shown = [f"{key}.weight" for key in unplaced[:2]]
    verb = "fits" if len(shown) == 1 else "fit"
    more = f" (nor do {len(unplaced) - 2} others)" if len(unplaced) > 2 else ""
    return f"{' and '.join(shown)} {verb} no place{more}"


def _expands(convs: Sequence[Part]) -> bool:
    """Tell whether channels become fewer again after the widest."""
    widths = [max(part.shape[:2]) for part in convs]
    widest = max(range(len(convs)), key=lambda n: (widths[n], n))
    fewer = [
        part for part in convs[widest:]
        if part.shape[0] != part.shape[1] and max(part.shape[:2]) > 1
    ]  # fmt: skip
    return len(fewer) > 1
