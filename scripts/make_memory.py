"""Make the synthetic images that recall what the bundled model was trained on.

Fine-tuning nuclei-2d on another kind of image mixes in crops of these, of which it
learns what the bundled model says of them; so it stays good at fluorescence. They are
drawn by ``sample_data``, not photographed, and need no data.

    python scripts/make_memory.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet.formats.bundled import memory_path
from napari_unet.sample_data import Optics, synthesize

if TYPE_CHECKING:
    from napari_unet.sample_data import SyntheticNuclei

CROPS = 120
SIDE = 128  # pixels
SEED = 1234


def drawn(rng: np.random.Generator) -> SyntheticNuclei:
    """Return nuclei of any size, density, sharpness and noise."""

    def between(low: float, high: float, *, log: bool = False) -> float:
        if log:
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))
        return float(rng.uniform(low, high))

    diameter = between(9, 70, log=True)
    optics = Optics(
        blur=between(0.5, 2), defocus=between(1, 4), haze=between(0, 0.5),
        background=between(2, 60), photons=between(30, 1000, log=True),
        read_noise=between(0.5, 5), shading=between(0, 0.6),
    )  # fmt: skip
    density = between(0.05, 0.6)
    return synthesize(
        (SIDE, SIDE), rng, diameter=diameter, density=density, optics=optics
    )


def main() -> None:
    """Draw the images and write them beside the model."""
    rng = np.random.default_rng(SEED)
    found: list[SyntheticNuclei] = []
    while len(found) < CROPS:
        crop = drawn(rng)
        if 0 < crop.labels.max() < 256:
            found.append(crop)
    np.savez_compressed(
        memory_path("nuclei-2d"),
        images=np.stack([crop.image for crop in found]),
        labels=np.stack([crop.labels.astype(np.uint8) for crop in found]),
    )


if __name__ == "__main__":
    main()
