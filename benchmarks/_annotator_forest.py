"""A pixel classifier beside which the annotator's fine-tuning is put."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.config import PredictConfig
from napari_unet.engine.instances import labels_from_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Case = tuple[NDArray[Any], NDArray[Any]]  # image, true labels

RIM = 3  # pixels around an object that are given as background


def forest_labels(
    cases: list[Case], unseen: list[Case], objects: int, seed: int
) -> list[NDArray[np.int32]]:
    """Teach a random forest some objects of images; return what it finds in others.

    Every pixel of an object and those around it are given; nobody has to delete what a
    model found wrongly, since there is none. Touching objects are split as those of a
    network that gives foreground.

    Parameters
    ----------
    cases : images to learn from
    unseen : images to predict
    objects : that are given, as many of each image
    seed : chooses them
    """
    from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-not-found]  # no dependency

    rng = np.random.default_rng(seed)
    left, inputs, answers = objects, [], []
    for image, truth in cases:
        ids = rng.permutation(np.unique(truth[truth > 0]))
        chosen = ids[: min(-(-objects // len(cases)), left)]
        left -= len(chosen)
        given = np.isin(truth, chosen)
        around = ndimage.binary_dilation(given, iterations=RIM)
        known = given | (around & (truth == 0))
        inputs.append(_features(image)[known])
        answers.append(given[known])
    forest = RandomForestClassifier(
        100, max_samples=0.3, min_samples_leaf=5, random_state=seed, n_jobs=1
    )
    forest.fit(np.concatenate(inputs), np.concatenate(answers))
    found = []
    for image, truth in unseen:
        table = _features(image)
        scores = forest.predict_proba(table.reshape(-1, table.shape[-1]))[:, 1]
        foreground = scores.reshape(truth.shape).astype(np.float32)[np.newaxis]
        found.append(labels_from_scores(foreground, "foreground", PredictConfig()))
    return found


def _features(image: Any) -> NDArray[Any]:
    from skimage.feature import multiscale_basic_features

    colour = 2 if image.ndim == 3 else None
    found: NDArray[Any] = multiscale_basic_features(
        image, sigma_max=8, channel_axis=colour
    )
    return found
