"""Random changes of crops, so that few corrections teach as much as many."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monai.transforms import Compose
    from numpy.typing import NDArray
    from torch import Tensor

# Re-lighting: share by which contrast varies, offset, how often that, noise.
MILD = 0.3, 0.1, 0.3, 0.05
STRONG = 0.4, 0.25, 0.5, 0.1
SMOOTH, SHARP = "smooth", "sharp"  # interpolated, and not

Crop = dict[str, Any]


class Augmentation:
    """Rotates, scales, bends, flips and re-lights crops by chance.

    Parameters
    ----------
    dims : 2, or 3 for volumes
    seed : of the chance
    discrete : whether targets are class numbers, which must not be interpolated
    strong : of the re-lighting

    References
    ----------
    Ronneberger et al.: U-Net, MICCAI 2015, section 3.1 (bending); MONAI.
    """

    def __init__(self, dims: int, seed: int, *, discrete: bool, strong: bool) -> None:
        self.sharp = {"supervised", "follow", *(["targets"] if discrete else [])}
        self._chain = _chain(dims, seed, self._joined, self._parted, strong=strong)
        self._channels: list[tuple[str, str, slice]] = []

    def __call__(self, crops: Sequence[Crop]) -> list[dict[str, Tensor]]:
        """Return crops that were changed by chance, all parts of one alike.

        Parameters
        ----------
        crops : "image", "targets", "supervised", it may be "teacher" and "follow"; each
            (channels, [Z,] Y, X) float32
        """
        with _without_history():
            return [self._chain(crop) for crop in crops]

    def _joined(self, crop: Crop) -> Crop:
        """Put parts that are moved alike into one array: half the time."""
        lists: dict[str, list[NDArray[np.float32]]] = {SMOOTH: [], SHARP: []}
        self._channels = []
        for key, part in crop.items():
            group = SHARP if key in self.sharp else SMOOTH
            begin = sum(map(len, lists[group]))
            self._channels.append((key, group, slice(begin, begin + len(part))))
            lists[group].append(part)
        return {group: np.concatenate(parts) for group, parts in lists.items()}

    def _parted(self, joined: Crop) -> Crop:
        return {key: joined[group][which] for key, group, which in self._channels}


def _chain(dims: int, seed: int, joined: Any, parted: Any, *, strong: bool) -> Compose:
    from monai import transforms as mt

    keys, modes = [SMOOTH, SHARP], ["bilinear", "nearest"]
    bend: Any
    if dims == 2:
        bend = mt.Rand2DElasticd(
            keys, spacing=(32, 32), magnitude_range=(0, 2), prob=0.6,
            rotate_range=np.pi, scale_range=(0.25, 0.25),
            mode=modes, padding_mode="reflection",
        )  # fmt: skip
    else:
        bend = mt.RandAffined(
            keys, prob=0.6, rotate_range=(np.pi, 0.1, 0.1), scale_range=(0.2,) * 3,
            mode=modes, padding_mode="reflection",
        )  # fmt: skip
    flips = [mt.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(dims)]
    turn = mt.RandRotate90d(keys, prob=0.5, spatial_axes=(dims - 2, dims - 1))
    factors, offsets, often, std = STRONG if strong else MILD
    light = [
        mt.RandScaleIntensityd("image", factors=factors, prob=0.5),
        mt.RandShiftIntensityd("image", offsets=offsets, prob=often),
        mt.RandGaussianSmoothd(
            "image", sigma_x=(0.3, 1.5), sigma_y=(0.3, 1.5), sigma_z=(0.3, 1.0),
            prob=0.2,
        ),
        mt.RandGaussianNoised("image", std=std, prob=0.3),
    ]  # fmt: skip
    gamma = mt.RandAdjustContrastd("image", gamma=(0.5, 2.0), prob=0.4)
    light = [*([gamma] if strong else []), *light]
    chain = mt.Compose([joined, *flips, turn, bend, parted, *light])
    chain.set_random_state(seed)
    return chain


@contextmanager
def _without_history() -> Iterator[None]:
    """Let MONAI take down nothing of what it does: a third of the time."""
    from monai.data import get_track_meta, set_track_meta

    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)
