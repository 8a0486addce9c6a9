"""Fine-tune a model on an image of which only a part was corrected.

python finetune_on_corrections.py [CHECKPOINT] [OUT] [STEPS]
"""

from __future__ import annotations

import sys

import numpy as np

from napari_unet import (
    Example,
    FinetuneConfig,
    evaluate,
    finetune,
    load_model,
    predict,
    save_model,
)
from napari_unet.sample_data import Optics, synthesize


def main(
    checkpoint: str = "nuclei-2d", out: str = "better.safetensors", steps: str = "40"
) -> None:
    model = load_model(checkpoint)
    hard = Optics(photons=35.0, background=30.0, haze=0.6, defocus=4.0)
    made = synthesize((256, 256), np.random.default_rng(0), optics=hard)
    unseen = synthesize((256, 256), np.random.default_rng(1), optics=hard)

    # the left half was corrected by hand: only there can the labels be trusted
    corrected = np.zeros(made.labels.shape, bool)
    corrected[:, :128] = True
    labels = np.where(corrected, made.labels, predict(model, made.image).labels)
    example = Example(made.image, labels, supervised=corrected)

    config = FinetuneConfig(steps=int(steps), evaluate_every=max(int(steps) // 4, 1))
    result = finetune(model, [example], config=config)

    print(result.summary)
    for name, one in (("before", model), ("after", result.model)):
        measured = evaluate(predict(one, unseen.image).labels, unseen.labels)
        print(f"unseen image {name}: AP@0.5 {measured['ap50']:.2f}")
    print("written to", save_model(result.model, out))


if __name__ == "__main__":
    main(*sys.argv[1:])
