"""Labels in blocks are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from napari_unet.engine import seams
from napari_unet.engine.config import BlockDone, LabelsConfig
from napari_unet.engine.drain import drain
from napari_unet.engine.instances import boundary_distance, labels_from_scores
from napari_unet.engine.metrics import count, measures
from tiny import nuclei

CONFIG = LabelsConfig(smallest=5)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "LARGEST", 1000)
    monkeypatch.setattr(seams, "CORE", {2: 48, 3: 16})
    monkeypatch.setattr(seams, "MARGIN", {2: 24, 3: 8})


def scores_of(labels: np.ndarray) -> np.ndarray:
    inside = (labels > 0).astype(np.float32)
    return np.stack([inside, boundary_distance(labels)])


def labels_of(scores: np.ndarray, output: str, config: LabelsConfig) -> np.ndarray:
    labels = np.zeros(scores.shape[1:], np.int32)
    drain(seams.label_steps(labels, scores, output, config))
    return labels


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether labels are the same but for their numbers."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("seed", range(4))
def test_objects_across_seams_are_one(seed: int) -> None:
    _, truth = nuclei(190, seed)
    scores = scores_of(truth)
    whole = labels_from_scores(scores, "instances", CONFIG)
    blocks = labels_of(scores, "instances", CONFIG)
    assert measures(count(blocks, whole))["ap75"] == 1
    assert blocks.max() == whole.max() == len(np.unique(blocks)) - 1


def test_each_block_is_told_of_and_a_single_one_is_not() -> None:
    scores = scores_of(nuclei(190)[1])
    for output in ("instances", "multilabel"):
        labels = np.zeros(scores.shape[1:], np.int32)
        events = list(seams.label_steps(labels, scores, output, CONFIG))
        assert events == [BlockDone(done, 16) for done in range(1, 17)]
    labels = np.zeros((30, 30), np.int32)
    small = scores[:, :30, :30]
    assert list(seams.label_steps(labels, small, "instances", CONFIG)) == []


def test_an_object_longer_than_blocks_keeps_one_number() -> None:
    truth = np.zeros((60, 300), np.int32)
    truth[20:40, 5:295] = 1
    truth[50:55, :] = 2
    found = labels_of((truth > 0)[None].astype(np.float32), "foreground", CONFIG)
    assert alike(found, truth)


def test_a_volume_is_the_same() -> None:
    truth = np.zeros((40, 44, 50), np.int32)
    for number, corner in enumerate(np.ndindex(4, 4, 5), start=1):
        start = np.array(corner) * 10 + 1
        truth[tuple(slice(s, s + 8) for s in start)] = number
    found = labels_of((truth > 0)[None].astype(np.float32), "foreground", CONFIG)
    assert alike(found, truth)


def test_small_parts_at_seams_are_not_dropped_but_small_objects_are() -> None:
    truth = np.zeros((100, 100), np.int32)
    truth[46:50, 46:49] = 1  # 12 pixels in four blocks
    truth[80, 80:83] = 2
    found = labels_of((truth > 0)[None].astype(np.float32), "foreground", CONFIG)
    assert (found[46:50, 46:49] == 1).all()
    assert not found[80].any()
