"""Images of two kinds, light and dark discs, and a model that knows one of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_unet.engine.config import FinetuneConfig
from napari_unet.engine.finetune import finetune
from napari_unet.engine.sampling import Example
from tiny import nuclei, tiny_model

if TYPE_CHECKING:
    from napari_unet.engine.model import Model

CONFIG = FinetuneConfig(
    steps=40, batch=2, crop=32, augment="off", start="current", teacher=0.0,
    learning_rate=1e-2, evaluate_every=20,
)  # fmt: skip
SIZE = 192


def light(seed: int, held: bool = True) -> Example:
    """A few bright discs on a dark ground, all labelled; the right half may score."""
    image, labels = nuclei(SIZE, seed)
    image, labels = np.where(labels % 4, 30, image), np.where(labels % 4, 0, labels)
    held_out = np.zeros(labels.shape, bool)
    held_out[:, SIZE // 2 :] = held
    return Example(image, labels, held_out=held_out)


def dark(seed: int) -> Example:
    example = light(seed)
    return replace(example, image=255 - example.image)


@cache
def knowing() -> Model:
    """A model that finds the middles of light discs, and nothing in dark ones."""
    whole = light(0, held=False)
    middles = ndimage.binary_erosion(whole.labels > 0, iterations=2)
    example = replace(whole, labels=np.where(middles, whole.labels, 0))
    config = CONFIG.model_copy(update={"steps": 150})
    return finetune(tiny_model("foreground"), [example], config=config).model
