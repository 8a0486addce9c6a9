"""Examples, and the random crops that training sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.axes import arrange, check_labels, in_channel_order
from napari_unet.engine.instances import as_objects, targets_from_labels
from napari_unet.engine.normalize import normalize, statistics
from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monai.transforms import Compose
    from numpy.typing import NDArray

    from napari_unet.engine.config import LearningConfig
    from napari_unet.engine.spec import ModelSpec

CENTRES = 100_000  # supervised pixels kept as possible centres of crops, per plane


@dataclass(frozen=True)
class Example:
    """An image and what is known of it.

    Attributes
    ----------
    image : one axis per letter of ``axes``, raw intensity
    labels : like the image without its channels; integers, 0 is background
    supervised : bool, like labels: where they can be trusted; None: everywhere
    axes : letters such as "ZYX"; None to guess them
    """

    image: NDArray[Any]
    labels: NDArray[Any]
    supervised: NDArray[np.bool_] | None = None
    axes: str | None = None


@dataclass(frozen=True)
class Plane:
    """One image, or one slice of a stack, ready for training.

    Attributes
    ----------
    image : (C, [Z,] Y, X) float32, normalised
    labels : ([Z,] Y, X) integers
    targets : (T, [Z,] Y, X) float32
    supervised : (1, [Z,] Y, X) float32, 0 or 1
    """

    image: NDArray[np.float32]
    labels: NDArray[Any]
    targets: NDArray[np.float32]
    supervised: NDArray[np.float32]


def planes(example: Example, spec: ModelSpec) -> list[Plane]:
    """Split an example into planes for a 2D model, or volumes for a 3D one.

    Parameters
    ----------
    example : image, labels, and where they can be trusted
    spec : of the model to train

    Returns
    -------
    planes : in the order of the stack; those without a supervised pixel are left out

    Raises
    ------
    ImageError, LabelsError
        If the image or the labels cannot be used.
    """
    arranged = arrange(example.image, example.axes, spec.architecture)
    shape = arranged.image.shape[1:]
    check_labels(example.labels, shape)
    _check_classes(example.labels, spec)
    trusted = _trusted(example, shape)
    picture = in_channel_order(arranged.image, spec.channel_order)
    stats = statistics(picture, spec.normalization)
    found = []
    for index in product(*map(range, shape[: -spec.architecture.dims])):
        if not trusted[index].any():
            continue
        channels: tuple[slice | int, ...] = (slice(None), *index)
        labels = example.labels[index]
        if spec.output == "instances":
            labels = as_objects(labels)
        found.append(
            Plane(
                normalize(picture[channels], stats),
                labels,
                targets_from_labels(labels, spec.output),
                trusted[index][np.newaxis].astype(np.float32),
            )
        )
    return found


def _trusted(example: Example, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if example.supervised is None:
        return np.ones(shape, bool)
    if example.supervised.shape != shape:
        raise LabelsError(
            f"What is supervised has the shape {example.supervised.shape}, the image "
            f"{shape}: give one value per pixel of the image."
        )
    return np.asarray(example.supervised, bool)


def _check_classes(labels: NDArray[Any], spec: ModelSpec) -> None:
    highest = spec.architecture.out_channels - (spec.output == "classes")
    if not spec.gives_objects and labels.size and int(labels.max()) > highest:
        raise LabelsError(
            f"The labels hold class {int(labels.max())}, the model knows classes 0 to "
            f"{highest}: correct the labels or choose another model."
        )


@dataclass(frozen=True)
class Batch:
    """Crops, all (N, channels, [Z,] Y, X) float32."""

    images: torch.Tensor
    targets: torch.Tensor
    supervised: torch.Tensor


class Sampler:
    """Draws batches of random crops around supervised pixels."""

    def __init__(
        self, training: Sequence[Plane], config: LearningConfig, spec: ModelSpec
    ) -> None:
        self.training = training
        self.batch_size = config.batch
        self.rng = np.random.default_rng(config.seed)
        dims, stride = spec.architecture.dims, spec.architecture.stride
        # a multiple of the stride; volumes are cropped to a comparable number of voxels
        side = config.crop if dims == 2 else round(config.crop ** (2 / 3))
        # two cells at least: an instance norm of the coarsest level needs them
        self.crop = max(round(side / stride), 2) * stride
        self.centres = [self._possible_centres(plane) for plane in training]
        discrete = not spec.gives_objects
        self.augment = (
            augmentation(dims, config.seed, discrete=discrete)
            if config.augment
            else None
        )

    def _possible_centres(self, plane: Plane) -> NDArray[np.int64]:
        flat = np.flatnonzero(plane.supervised)
        if len(flat) > CENTRES:
            flat = self.rng.choice(flat, CENTRES, replace=False)
        return flat

    def draw(self, device: torch.device) -> Batch:
        """Return a new batch on ``device``."""
        crops = [self._crop() for _ in range(self.batch_size)]
        if self.augment is not None:
            crops = [self.augment(crop) for crop in crops]
        images, targets, supervised = (
            torch.stack([torch.as_tensor(np.asarray(c[key])) for c in crops]).to(device)
            for key in ("image", "targets", "supervised")
        )
        return Batch(images, targets, supervised)

    def _crop(self) -> dict[str, NDArray[np.float32]]:
        which = int(self.rng.integers(len(self.training)))
        plane = self.training[which]
        shape = plane.labels.shape
        centre = np.unravel_index(self.rng.choice(self.centres[which]), shape)
        jitter = self.rng.integers(-self.crop // 4, self.crop // 4 + 1, len(shape))
        starts = [
            int(np.clip(c + j - self.crop // 2, 0, max(n - self.crop, 0)))
            for c, j, n in zip(centre, jitter, shape, strict=True)
        ]
        window = (slice(None), *(slice(s, s + self.crop) for s in starts))
        return {
            "image": _fill(plane.image[window], self.crop, "reflect"),
            "targets": _fill(plane.targets[window], self.crop, "constant"),
            "supervised": _fill(plane.supervised[window], self.crop, "constant"),
        }


def _fill(array: NDArray[np.float32], side: int, mode: str) -> NDArray[np.float32]:
    """Return (channels, [Z,] Y, X) padded at its end to ``side``."""
    missing = [(0, side - n) for n in array.shape[1:]]
    if not any(after for _, after in missing):
        return array
    if mode == "reflect":
        return np.pad(array, [(0, 0), *missing], mode="reflect")
    return np.pad(array, [(0, 0), *missing])


def augmentation(dims: int, seed: int, *, discrete: bool) -> Compose:
    """Return random rotation, scaling, bending, flips and re-lighting of a crop.

    ``discrete`` targets are class numbers, which must not be interpolated.
    """
    from monai import transforms as mt

    keys = ["image", "targets", "supervised"]
    modes = ["bilinear", "nearest" if discrete else "bilinear", "nearest"]
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
    light = [
        mt.RandScaleIntensityd("image", factors=0.3, prob=0.5),
        mt.RandShiftIntensityd("image", offsets=0.1, prob=0.3),
        mt.RandGaussianSmoothd(
            "image",
            sigma_x=(0.3, 1.5),
            sigma_y=(0.3, 1.5),
            sigma_z=(0.3, 1.0),
            prob=0.2,
        ),
        mt.RandGaussianNoised("image", std=0.05, prob=0.3),
    ]
    chain = mt.Compose([*flips, turn, bend, *light])
    chain.set_random_state(seed)
    return chain


def all_planes(examples: Iterable[Example], spec: ModelSpec) -> list[Plane]:
    """Return the planes of several examples.

    Raises
    ------
    ImageError, LabelsError
        If an image or its labels cannot be used.
    """
    return [plane for example in examples for plane in planes(example, spec)]
