"""A package's test tensors, which tell whether a model was opened as it was meant."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.model import activate
from napari_unet.engine.normalize import normalize, statistics
from napari_unet.formats.bioimageio.document import Malformed
from napari_unet.formats.bioimageio.tensors import SPACE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import Activation
    from napari_unet.formats.bioimageio.archive import Package
    from napari_unet.formats.bioimageio.meaning import Meaning
    from napari_unet.formats.bioimageio.tensors import Source
    from napari_unet.formats.bioimageio.tensors import Tensor as Described

LARGEST = 2**26  # bytes of a test tensor
MOST_PIXELS = 2**19  # that are worth the wait, while a file is being opened
HEADER = 4096  # bytes before the numbers
SAME = 1e-3  # of the largest value: recorded on other machines, by other libraries


@dataclass(frozen=True)
class Trial:
    """A raw test image and what a package's maker got for it.

    Attributes
    ----------
    image : (C, [Z,] Y, X), raw
    expected : (K, [Z,] Y, X), after all steps
    """

    image: NDArray[Any]
    expected: NDArray[np.float32]

    def logits(self, model: Model) -> Tensor:
        """Return what a model's network makes of the test image (1, K, [Z,] Y, X)."""
        stats = statistics(self.image, model.spec.normalization)
        pixels = torch.from_numpy(normalize(self.image, stats))[np.newaxis]
        with torch.inference_mode():
            logits: Tensor = model.network(pixels.to(model.device))
        return logits.float().cpu()

    def difference(
        self, logits: Tensor, activation: Activation, meaning: Meaning
    ) -> float:
        """Return the largest difference to the expected output; infinity if unlike."""
        scores = np.asarray(activate(logits, activation)[0].numpy(), np.float32)
        found = meaning.finish.finished(scores)
        if found.shape != self.expected.shape:
            return float("inf")
        return float(np.abs(found - self.expected).max())

    def same(self, difference: float) -> bool:
        """Tell whether a difference is no more than machines differ in."""
        return difference <= SAME * max(float(np.abs(self.expected).max()), 1e-6)


def trial_of(package: Package, meaning: Meaning) -> tuple[Trial | None, str]:
    """Return the test tensors of a package, or None and why they are not used.

    Parameters
    ----------
    package, meaning : of which

    Raises
    ------
    CheckpointError
        If a tensor is damaged.
    """
    sources = (meaning.input.test, meaning.output.test)
    if None in sources:
        return None, "it has no test image, so nothing shows that it is read right"
    present = [s for s in sources if s and not s.remote and package.has(s.name)]
    if len(present) < 2:
        return None, "its test image is not in the package, so it was not tried"
    try:
        arrays = [_array(package, source) for source in present]
        image = _arranged(arrays[0], meaning.input)
        expected = _arranged(arrays[1], meaning.output).astype(np.float32)
    except (Malformed, ValueError) as problem:
        return None, f"its test image cannot be used ({problem})"
    if prod(image.shape[1:]) > MOST_PIXELS:
        return None, "its test image is too large to be tried on opening"
    return Trial(image, expected), ""


def _array(package: Package, source: Source) -> NDArray[Any]:
    """Return the array of an .npy file; objects, which are code, are refused."""
    content = package.read(source.name, LARGEST + HEADER)
    if source.sha256 and package.sha256(source.name) != source.sha256:
        raise Malformed(f"{source.name} differs from its SHA-256")
    file = BytesIO(content)
    shape, dtype = _header(file)
    if dtype.kind not in "fiub" or prod(shape) * dtype.itemsize > len(content):
        raise Malformed(f"{source.name} states {shape} {dtype}")
    file.seek(0)
    array: NDArray[Any] = np.load(file, allow_pickle=False)
    if not np.isfinite(array).all():
        raise Malformed(f"{source.name} holds NaN or infinity")
    return array.astype(np.uint8) if array.dtype == bool else array


def _header(file: BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file, max_header_size=HEADER)
    return shape, dtype


def _arranged(array: NDArray[Any], tensor: Described) -> NDArray[Any]:
    """Return the first image of a tensor as (C, [Z,] Y, X)."""
    if array.ndim != len(tensor.axes):
        raise Malformed(f"{array.ndim} axes for {tensor.order!r}")
    places = {axis.id if axis.kind == "space" else axis.kind: n
              for n, axis in enumerate(tensor.axes)}  # fmt: skip
    space = [places[name] for name in SPACE if name in places]
    rest = [places[name] for name in ("batch", "channel") if name in places]
    array = array.transpose([*rest, *space])
    if "batch" in places:
        array = array[0]
    return array if "channel" in places else array[np.newaxis]
