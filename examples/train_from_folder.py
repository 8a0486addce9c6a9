"""Train a network from a folder of images and masks.

python train_from_folder.py FOLDER OUT [STEPS]

FOLDER holds images/ and masks/ with equal names; where it is not there, synthetic
images are written into it. The same as: napari-unet train FOLDER -o OUT --steps STEPS
"""

from __future__ import annotations

import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from napari_unet.cli import main as napari_unet
from napari_unet.io.masks import write_labels
from napari_unet.sample_data import synthesize


def write_synthetic_pairs(folder: Path, count: int = 8) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        made = synthesize((256, 256), np.random.default_rng(number))
        iio.imwrite(folder / "images" / f"nuclei{number:02d}.png", made.image)
        write_labels(folder / "masks" / f"nuclei{number:02d}.tif", made.labels)


def main(folder: str = "pairs", out: str = "my.safetensors", steps: str = "300") -> int:
    if not Path(folder).exists():
        write_synthetic_pairs(Path(folder))
    every = str(max(int(steps) // 5, 1))
    return napari_unet(
        ["train", folder, "-o", out, "--steps", steps, "--evaluate-every", every,
         "--crop", "128", "--val", "0.2"]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
