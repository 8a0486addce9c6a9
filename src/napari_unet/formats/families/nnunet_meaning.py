"""What the input and output of an nnU-Net mean, by its plans and its dataset.

References
----------
Isensee et al.: nnU-Net: a self-configuring method for deep learning-based biomedical
image segmentation, Nature Methods 18, 2021, doi:10.1038/s41592-020-01008-z.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from napari_unet.engine.spec import ClassSpec, Normalization
from napari_unet.formats.families.common import likely_output

if TYPE_CHECKING:
    from napari_unet.engine.spec import Source
    from napari_unet.formats.families.nnunet_plans import Stated

UNKNOWN_SPACINGS = (1.0, 999.0)  # what nnU-Net writes where an image file has none
MILLIMETRES = ("SimpleITK", "Nibabel")  # readers of medical files, whose unit it is
SCHEMES = {
    "ZScoreNormalization": "zscore", "RescaleTo01Normalization": "minmax",
    "RGBTo01Normalization": "scale", "NoNormalization": "none",
    "CTNormalization": "fixed",
}  # fmt: skip
BY_CHANNEL_NAME = {  # what nnU-Net's planner makes of the names of channels
    "ct": "CTNormalization", "nonorm": "NoNormalization",
    "zscore": "ZScoreNormalization", "rescale_to_0_1": "RescaleTo01Normalization",
    "rgb_to_0_1": "RGBTo01Normalization",
}  # fmt: skip


class Meaning:
    """Fields of ModelSpec, where each was found, and remarks; filled step by step."""

    def __init__(self, known: Stated, dims: int, inputs: int, outputs: int) -> None:
        self.known, self.dims, self.inputs, self.outputs = known, dims, inputs, outputs
        self.fields: dict[str, Any] = {"output": likely_output(outputs)}
        self.sources: dict[str, Source] = {}
        self.remarks: list[str] = list(known.remarks)
        self._labels()
        self._normalization()
        self._spacing()
        self._others()
        self._provenance()

    # -- output

    def _labels(self) -> None:
        """Say what the output's channels are: regions, or labels in their order."""
        labels = self.known.dataset.labels
        if not labels:
            return
        regions = any(isinstance(v, tuple) and len(v) > 1 for v in labels.values())
        names = _regions(labels) if regions else _classes(labels)
        if len(names) != self.outputs or (self.outputs < 2 and not regions):
            self.remarks.append(
                f"the dataset has {len(names)} labels, the network {self.outputs} "
                "output channels: their names were left out"
            )
            return
        self.fields["output"] = "multilabel" if regions else "classes"
        self.fields["activation"] = "sigmoid" if regions else "softmax"
        self.fields["classes"] = tuple(ClassSpec(name=name) for name in names)
        self.sources |= {"output": "read", "classes": "read"}

    # -- input

    def _normalization(self) -> None:
        """Say how intensities are prepared; nnU-Net's own way where nothing is said."""
        self.fields["normalization"] = Normalization(kind="zscore")
        schemes = self._schemes()
        if not schemes:
            return
        kinds = [SCHEMES.get(scheme) for scheme in schemes]
        chosen = self._ct() if kinds[0] == "fixed" else _simple(kinds[0])
        if chosen is None:
            self.remarks.append(f"the normalization {schemes[0]} is not known")
            return
        if len(set(schemes)) > 1:
            self.remarks.append(
                f"the channels are normalized in different ways ({', '.join(schemes)}),"
                " here all like the first"
            )
        if any(self.known.configuration.use_mask_for_norm):
            self.remarks.append(
                "in training the statistics were those of the pixels that are not 0"
            )
        self.fields["normalization"] = chosen
        self.sources["normalization"] = "guessed" if len(set(schemes)) > 1 else "read"

    def _schemes(self) -> tuple[str, ...]:
        stored = self.known.configuration.normalization_schemes[: self.inputs]
        names = self.known.dataset.channel_names.values()
        return stored or tuple(
            BY_CHANNEL_NAME.get(name.lower(), "ZScoreNormalization") for name in names
        )

    def _ct(self) -> Normalization | None:
        """Return the limits, means and deviations of the training images."""
        measured = self.known.measured.intensities
        channels = [measured.get(str(n)) for n in range(self.inputs)]
        found = [c for c in channels if c is not None and c.lowest <= c.highest]
        if len(found) != self.inputs:
            return None
        return Normalization(
            kind="fixed",
            means=tuple(c.mean for c in found),
            deviations=tuple(max(c.std, 1e-8) for c in found),  # as nnU-Net does
            clip=tuple((c.lowest, c.highest) for c in found),
        )

    def _spacing(self) -> None:
        """Say how large a pixel is, where the training images told."""
        spacing = self.known.configuration.spacing
        if len(spacing) != self.dims or not _told(spacing):
            return
        reader = self.known.plans.image_reader_writer
        if reader.startswith(MILLIMETRES):
            self.fields["pixel_size"] = tuple(1000 * length for length in spacing)
            self.sources["pixel_size"] = "read"
            self.remarks.append("the spacing was read as millimetres")
        else:
            self.fields["pixel_size"] = spacing
            self.sources["pixel_size"] = "guessed"
            self.remarks.append("the spacing has no unit, taken to be micrometres")

    def _others(self) -> None:
        """Say what else the user must know to give the network what it knows."""
        order = self.known.plans.transpose_forward
        if order and order != tuple(range(len(order))):
            self.remarks.append(
                f"it was trained with the axes of its images in the order {order}"
            )
        if self.known.configuration.previous_stage:
            stage = self.known.configuration.previous_stage
            self.remarks.append(
                f"it is the second of a cascade: its last input channels are the labels"
                f" of the stage {stage}"
            )
        size = self.known.configuration.patch_size
        if size:
            shape = " x ".join(map(str, size))
            self.remarks.append(f"it was trained on patches of {shape} pixels")

    def _provenance(self) -> None:
        plans, channels = self.known.plans, self.known.dataset.channel_names.values()
        said = {
            "dataset": plans.dataset_name, "plans": plans.plans_name,
            "configuration": self.known.name, "trainer": self.known.trainer,
            "channels": ", ".join(list(channels)[: self.inputs]),
        }  # fmt: skip
        self.fields["provenance"] = {key: value for key, value in said.items() if value}


def _regions(labels: dict[str, int | tuple[int, ...]]) -> list[str]:
    """Return the names of the regions, without the background and what is ignored."""
    return [
        name
        for name, value in labels.items()
        if name != "ignore" and set(_values(value)) != {0}
    ]


def _classes(labels: dict[str, int | tuple[int, ...]]) -> list[str]:
    """Return the names of the labels by their numbers, without what is ignored."""
    by_number = {
        number: name
        for name, value in reversed(labels.items())
        if name != "ignore"
        for number in _values(value)
    }
    return [by_number[number] for number in sorted(by_number)]


def _values(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _simple(kind: str | None) -> Normalization | None:
    return None if kind is None else Normalization.model_validate({"kind": kind})


def _told(spacing: tuple[float, ...]) -> bool:
    return all(isfinite(length) and length > 0 for length in spacing) and not all(
        length in UNKNOWN_SPACINGS for length in spacing
    )
