"""Examples, and the random crops that training sees of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.augmentation import Augmentation
from napari_unet.engine.axes import arrange, check_labels, in_channel_order
from napari_unet.engine.instances import as_objects, targets_from_labels
from napari_unet.engine.normalize import Measured, normalize
from napari_unet.engine.zoom import labels_zoomed, zoom_for, zoomed
from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.config import LearningConfig
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.engine.zoom import Zoom

CENTRES = 100_000  # supervised pixels kept as possible centres of crops, per plane
HARDER = 3.0  # how much oftener a pixel that was all wrong is drawn


@dataclass(frozen=True)
class Example:
    """An image and what is known of it.

    Attributes
    ----------
    image : one axis per letter of ``axes``, raw intensity
    labels : like the image without its channels; integers, 0 is background
    supervised : bool, like labels: where they can be trusted; None: everywhere
    axes : letters such as "ZYX"; None to guess them
    held_out : bool, like labels: where they only score what was learnt; None: nobody
        has said, so it is chosen
    accepted : bool, like labels: what was predicted and found right; None: all that can
        be trusted
    pixel_size, channel : as for ``predict``
    """

    image: NDArray[Any]
    labels: NDArray[Any]
    supervised: NDArray[np.bool_] | None = None
    axes: str | None = None
    held_out: NDArray[np.bool_] | None = None
    accepted: NDArray[np.bool_] | None = None
    pixel_size: tuple[float, ...] | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Plane:
    """One image, or one slice of a stack, ready for training.

    Attributes
    ----------
    image : (C, [Z,] Y, X) float32, normalised
    labels : ([Z,] Y, X) integers
    targets : (T, [Z,] Y, X) float32
    supervised : (1, [Z,] Y, X) float32, 0 or 1
    teacher : (K, [Z,] Y, X) float32, scores to follow; None: there is no teacher
    follow : (1, [Z,] Y, X) float32, 0 or 1: where the teacher is followed
    hard : (1, [Z,] Y, X) float32, 0 or more: how wrong a pixel was last; None: unknown
    held : (1, [Z,] Y, X) float32, 0 or 1: which supervised pixels only score what was
        learnt; None: nobody has said
    accepted : (1, [Z,] Y, X) float32, 0 or 1: what was predicted and found right; None:
        all that is supervised
    place : slices over the axes of the example, without channels; those of the plane
        are in its own pixels
    example : which of several it is of
    zoom : of the example to the plane's pixels; None: they are the same
    """

    image: NDArray[np.float32]
    labels: NDArray[Any]
    targets: NDArray[np.float32]
    supervised: NDArray[np.float32]
    teacher: NDArray[np.float32] | None = None
    follow: NDArray[np.float32] | None = None
    hard: NDArray[np.float32] | None = None
    held: NDArray[np.float32] | None = None
    accepted: NDArray[np.float32] | None = None
    place: tuple[slice, ...] = ()
    example: int = 0
    zoom: Zoom | None = None

    def part(self, window: tuple[slice, ...]) -> Plane:
        """Return what lies in a window of its ([Z,] Y, X) axes."""
        dims = len(window)
        inside = (slice(None), *window)

        def cut(array: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
            return None if array is None else array[inside]

        offsets = [s.start for s in self.place[len(self.place) - dims :]] or [0] * dims
        place = tuple(
            slice(o + s.start, o + s.stop) for o, s in zip(offsets, window, strict=True)
        )
        return replace(
            self, image=self.image[inside], labels=self.labels[window],
            targets=self.targets[inside], supervised=self.supervised[inside],
            teacher=cut(self.teacher), follow=cut(self.follow), hard=cut(self.hard),
            held=cut(self.held), accepted=cut(self.accepted),
            place=(*self.place[: len(self.place) - dims], *place),
        )  # fmt: skip


def planes(example: Example, spec: ModelSpec, number: int = 0) -> list[Plane]:
    """Split an example into planes for a 2D model, or volumes for a 3D one.

    They are on the grid of the model's pixels, where both sizes are known.

    Parameters
    ----------
    example : image, labels, and where they can be trusted
    spec : of the model to train
    number : of the example among several

    Returns
    -------
    planes : in the order of the stack; those without a supervised pixel are left out

    Raises
    ------
    ImageError, LabelsError
        If the image or the labels cannot be used.
    """
    arranged = arrange(example.image, example.axes, spec.architecture, example.channel)
    shape = arranged.image.shape[1:]
    check_labels(example.labels, shape)
    _check_classes(example.labels, spec)
    trusted = _trusted(example, shape)
    picture = in_channel_order(arranged.image, spec.channel_order)
    measured = Measured(picture, spec.normalization, arranged.stack)
    zoom = zoom_for(spec, example.pixel_size)

    def masked(mask: NDArray[np.bool_] | None) -> NDArray[np.float32] | None:
        if mask is None:
            return None
        return labels_zoomed(mask[index], zoom)[np.newaxis].astype(np.float32)

    found = []
    for index in product(*map(range, shape[: -spec.architecture.dims])):
        if not trusted[index].any():
            continue
        channels: tuple[slice | int, ...] = (slice(None), *index)
        labels = example.labels[index]
        if spec.output == "instances":
            labels = as_objects(labels)
        labels, supervised = labels_zoomed(labels, zoom), masked(trusted)
        if supervised is None or not supervised.any():  # too small to be seen
            continue
        place = (*(slice(i, i + 1) for i in index), *map(_whole, labels.shape))
        found.append(
            Plane(
                zoomed(normalize(picture[channels], measured.of(index)), zoom),
                labels,
                targets_from_labels(labels, spec.output),
                supervised,
                held=masked(example.held_out),
                accepted=masked(example.accepted),
                place=place,
                example=number,
                zoom=zoom,
            )
        )
    return found


def _whole(length: int) -> slice:
    return slice(0, length)


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
    """Crops, all (N, channels, [Z,] Y, X) float32; see ``Plane``."""

    images: torch.Tensor
    targets: torch.Tensor
    supervised: torch.Tensor
    teacher: torch.Tensor | None = None
    follow: torch.Tensor | None = None


class Sampler:
    """Draws batches of random crops around what is supervised or followed.

    Planes of which it is known how wrong their pixels were are seen more often where
    they were wrong.
    """

    def __init__(
        self, training: Sequence[Plane], config: LearningConfig, spec: ModelSpec
    ) -> None:
        self.batch_size = config.batch
        self.rng = np.random.default_rng(config.seed)
        dims, stride = spec.architecture.dims, spec.architecture.stride
        # a multiple of the stride; volumes are cropped to a comparable number of voxels
        side = config.crop if dims == 2 else round(config.crop ** (2 / 3))
        # two cells at least: an instance norm of the coarsest level needs them
        self.crop = max(round(side / stride), 2) * stride
        discrete = not spec.gives_objects
        strong = config.augment == "strong"
        self.augment = (
            Augmentation(dims, config.seed, discrete=discrete, strong=strong)
            if config.augment != "off"
            else None
        )
        self.use(training)

    def use(self, training: Sequence[Plane]) -> None:
        """Draw from other planes from now on; chance goes on where it was."""
        self.training = training
        self.taught = any(plane.teacher is not None for plane in training)
        self.centres = [self._possible_centres(plane) for plane in training]
        self.heights = [
            _heights(p, c) for p, c in zip(training, self.centres, strict=True)
        ]

    def _possible_centres(self, plane: Plane) -> NDArray[np.int64]:
        wanted = plane.supervised
        if plane.follow is not None and not wanted.any():
            wanted = plane.follow
        flat = np.flatnonzero(wanted)
        if len(flat) > CENTRES:
            flat = self.rng.choice(flat, CENTRES, replace=False)
        return flat

    def draw(self, device: torch.device) -> Batch:
        """Return a new batch on ``device``."""
        crops: list[dict[str, Any]] = [self._crop() for _ in range(self.batch_size)]
        if self.augment is not None:
            crops = self.augment(crops)

        def stacked(key: str) -> torch.Tensor:
            parts = [torch.as_tensor(np.asarray(crop[key])) for crop in crops]
            return torch.stack(parts).to(device)

        images, targets, supervised = map(stacked, ("image", "targets", "supervised"))
        if not self.taught:
            return Batch(images, targets, supervised)
        teacher, follow = stacked("teacher"), stacked("follow")
        return Batch(images, targets, supervised, teacher, follow)

    def _crop(self) -> dict[str, NDArray[np.float32]]:
        which = int(self.rng.integers(len(self.training)))
        plane, heights = self.training[which], self.heights[which]
        shape = plane.labels.shape
        if heights is None:
            chosen = self.rng.choice(self.centres[which])
        else:  # as often as it was wrong
            at = np.searchsorted(heights, self.rng.random() * heights[-1], "right")
            chosen = self.centres[which][min(at, len(heights) - 1)]
        centre = np.unravel_index(chosen, shape)
        jitter = self.rng.integers(-self.crop // 4, self.crop // 4 + 1, len(shape))
        starts = [
            int(np.clip(c + j - self.crop // 2, 0, max(n - self.crop, 0)))
            for c, j, n in zip(centre, jitter, shape, strict=True)
        ]
        window = (slice(None), *(slice(s, s + self.crop) for s in starts))
        return {
            key: _fill(array[window], self.crop, mode)
            for key, array, mode in self._parts(plane)
        }

    def _parts(self, plane: Plane) -> list[tuple[str, NDArray[np.float32], str]]:
        """Return what is cut of a plane, and how it is padded."""
        parts = [
            ("image", plane.image, "reflect"),
            ("targets", plane.targets, "constant"),
            ("supervised", plane.supervised, "constant"),
        ]
        if self.taught:
            if plane.teacher is None or plane.follow is None:
                raise ValueError("some planes have a teacher and others have none")
            parts.append(("teacher", plane.teacher, "constant"))
            parts.append(("follow", plane.follow, "constant"))
        return parts


def _heights(plane: Plane, centres: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return the running sum of how often a centre is to be drawn; None: all alike."""
    if plane.hard is None:
        return None
    return np.cumsum(1.0 + HARDER * plane.hard.ravel()[centres].astype(float))


def _fill(array: NDArray[np.float32], side: int, mode: str) -> NDArray[np.float32]:
    """Return (channels, [Z,] Y, X) padded at its end to ``side``."""
    missing = [(0, side - n) for n in array.shape[1:]]
    if not any(after for _, after in missing):
        return array
    if mode == "reflect":
        return np.pad(array, [(0, 0), *missing], mode="reflect")
    return np.pad(array, [(0, 0), *missing])


def all_planes(examples: Iterable[Example], spec: ModelSpec) -> list[Plane]:
    """Return the planes of several examples.

    Raises
    ------
    ImageError, LabelsError
        If an image or its labels cannot be used.
    """
    return [
        plane
        for number, example in enumerate(examples)
        for plane in planes(example, spec, number)
    ]
