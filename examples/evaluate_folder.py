"""Predict every image of a folder and score the labels against its masks.

python evaluate_folder.py FOLDER [CHECKPOINT]

FOLDER holds images/ and masks/ with equal names.
"""

from __future__ import annotations

import sys
from pathlib import Path

from napari_unet import evaluate, load_model, predict
from napari_unet.io.pairs import find_pairs


def main(folder: str, checkpoint: str = "nuclei-2d") -> None:
    model = load_model(checkpoint)
    for pair in find_pairs(Path(folder)):
        image, truth = pair.read()
        measured = evaluate(predict(model, image).labels, truth)
        print(
            f"{pair.name}: Dice {measured['dice']:.3f}, AP@0.5 {measured['ap50']:.3f}, "
            f"{measured['predicted']:.0f} objects, {measured['true']:.0f} true"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
