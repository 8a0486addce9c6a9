"""Predict labels for one image and save them.

python predict_image.py                          a synthetic image, the bundled model
python predict_image.py cells.tif my.safetensors labels.tif
"""

from __future__ import annotations

import sys
from pathlib import Path

from napari_unet import PredictConfig, load_model, predict
from napari_unet.io.images import read_image
from napari_unet.io.masks import write_labels
from napari_unet.sample_data import synthetic_nuclei_2d


def main(file: str = "", checkpoint: str = "nuclei-2d", out: str = "") -> None:
    model = load_model(checkpoint)
    image = read_image(Path(file)) if file else synthetic_nuclei_2d()[0][0]

    prediction = predict(model, image, config=PredictConfig(threshold=0.5, tile=256))

    print(f"{model.spec.name}: {prediction.summary}")
    print("written to", write_labels(Path(out or "labels.tif"), prediction.labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
