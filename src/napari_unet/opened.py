"""An image open in the session, and regions of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.corrections import Corrections
from napari_unet.engine.holdout import Roles
from napari_unet.engine.protect import HIGHEST
from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.report import Report
    from napari_unet.engine.spec import ModelSpec

# pixels of the model predicted around a region, so that objects at its edge are whole,
# by the axes that it sees at once; and of the image, at most
CONTEXT, MOST_CONTEXT = {2: 64, 3: 24}, 512


@dataclass(frozen=True)
class Asked:
    """Which part of an image is predicted.

    Attributes
    ----------
    region : slices over the axes of the labels
    within : bool, which pixels of the region, in a shape that goes with it; None: all
    window : the region and what is around it
    near : where to begin; None: anywhere
    """

    region: Region
    within: NDArray[np.bool_] | None
    window: Region
    near: Region | None = None


@dataclass(frozen=True)
class KeptScores:
    """The scores of the last prediction, so that sliders need no network.

    Attributes
    ----------
    scores : (K, ...) float16, of ``window``
    spec : of the model that gave them
    report : what is said of the prediction beside what was found
    window, region : where they lie, and which part of it was asked for
    within : which pixels of the region were asked for; None: all
    channel : of the image, that was predicted; see ``predict``
    """

    scores: NDArray[np.float16]
    spec: ModelSpec
    report: Report
    window: Region
    region: Region
    within: NDArray[np.bool_] | None = None
    channel: int | None = None


@dataclass(frozen=True)
class UncertaintyMap:
    """How far several looks at a part of an image are apart.

    Attributes
    ----------
    region : slices over the axes of the labels
    values : float32, of the region; see ``Prediction.uncertainty``
    """

    region: Region
    values: NDArray[np.float32]


@dataclass(frozen=True)
class ImageSource:
    """Where an image is from, so that a project can ask for it again.

    Attributes
    ----------
    path : of its file; None: it came from none
    reader : napari's plugin that read it
    scale, translate : of its layer
    labels_name : of the layer of its labels
    """

    path: str | None
    reader: str | None = None
    scale: tuple[float, ...] = ()
    translate: tuple[float, ...] = ()
    labels_name: str = ""


@dataclass(eq=False)
class OpenImage:
    """One image and its labels under correction.

    Attributes
    ----------
    name : as the user calls it
    image : never written
    axes : one letter per axis of the image, such as "YX" or "TYXC"
    corrections : labels and ledger, of the image's shape without channels
    summary : one line about the last prediction
    source : where the image is from; None: from no file
    shown : False: its labels layer was deleted; it is left out of fine-tuning
    roles : where its corrections are learnt from, and where they are held out
    pixel_size, channel : as for ``predict``
    """

    name: str
    image: Any
    axes: str
    corrections: Corrections
    summary: str = ""
    kept: KeptScores | None = None
    saved_revision: int = 0
    source: ImageSource | None = None
    shown: bool = True
    roles: Roles = field(default_factory=Roles)
    pixel_size: tuple[float, ...] | None = None
    channel: int | None = None

    @property
    def unsaved(self) -> bool:
        """Tell whether there are corrections that were not saved."""
        changed = self.corrections.revision != self.saved_revision
        return changed and bool(self.corrections.tally())

    def follow(self, dims: int, instances: bool, model: str) -> None:
        """Let empty labels be of the kind that a model gives.

        Parameters
        ----------
        dims, instances : of the model, and whether it gives objects
        model : its name

        Raises
        ------
        LabelsError
            If corrections of another kind are there.
        """
        corrections = self.corrections
        if (corrections.dims, corrections.instances) == (dims, instances):
            return
        if corrections.tally():
            kinds = {True: "objects", False: "classes"}
            raise LabelsError(
                f"The labels hold corrected {kinds[corrections.instances]}, the model "
                f"{model} gives {dims}D {kinds[instances]}: predict into a new layer."
            )
        corrections.dims, corrections.instances = dims, instances


def open_image(
    name: str, image: Any, axes: str, labels: NDArray[Any] | None,
    kind: tuple[int, bool],
) -> OpenImage:  # fmt: skip
    """Return an image with its labels, checked; see ``Session.add_image``."""
    from napari_unet.engine.axes import check_axes, check_labels

    axes = check_axes(axes, len(image.shape))
    shape = shape_without_channels(image.shape, axes)
    if labels is None:
        labels = np.zeros(shape, np.int32)
    check_labels(labels, shape)
    check_range(labels)
    dims, instances = kind
    corrections = Corrections(labels, dims=dims, instances=instances)
    return OpenImage(name, image, axes, corrections)


def check_range(labels: NDArray[Any]) -> None:
    """Refuse labels whose numbers do not fit into 32 bits.

    Raises
    ------
    LabelsError
        If they do not.
    """
    highest = int(labels.max(initial=0))
    if highest > HIGHEST:
        raise LabelsError(
            f"The labels go up to {highest}, expected numbers up to {HIGHEST}: number "
            "the objects anew."
        )


def shape_without_channels(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Return the shape of an image's labels."""
    return tuple(n for n, axis in zip(shape, axes, strict=True) if axis != "C")


def with_context(
    region: Region, shape: tuple[int, ...], spec: ModelSpec,
    pixel_size: tuple[float, ...] | None, *, soon: bool = False,
) -> Region:  # fmt: skip
    """Return a region widened along its planes, so that objects in it are whole.

    Parameters
    ----------
    region : slices over the axes of labels
    shape : of the labels
    spec : of the model, which says how large objects are likely to be
    pixel_size : of the image, as for ``predict``
    soon : half as far, so that it is there sooner

    Raises
    ------
    ImageError
        If the pixel size cannot be.
    """
    from napari_unet.engine.zoom import zoom_for

    dims, zoom = spec.architecture.dims, zoom_for(spec, pixel_size)
    factors = zoom.factors if zoom else (1.0,) * dims
    flat = len(shape) - dims
    wide = list(region)
    for axis, factor in enumerate(factors, start=flat):
        margin = min(round(CONTEXT[dims] / factor), MOST_CONTEXT) // (2 if soon else 1)
        start, stop = region[axis].start - margin, region[axis].stop + margin
        wide[axis] = slice(max(start, 0), min(stop, shape[axis]))
    return tuple(wide)
