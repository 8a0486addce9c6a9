"""Changes of crops by chance: all parts alike, nothing else of MONAI's touched."""

from __future__ import annotations

import numpy as np
import pytest
from monai.data import get_track_meta

from napari_unet.engine.augmentation import Augmentation

SIDES = {2: 64, 3: 16}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("discrete", [False, True])
def test_all_parts_of_a_crop_are_moved_alike(dims: int, discrete: bool) -> None:
    augment = Augmentation(dims, seed=1, discrete=discrete, strong=True)
    rng = np.random.default_rng(0)
    shape = (1, *[SIDES[dims]] * dims)
    for _ in range(12):
        coarse = rng.random((1, *[4] * dims)) > 0.5
        block = np.ones((1, *[SIDES[dims] // 4] * dims))
        mask = np.kron(coarse, block).astype(np.float32)
        crop = {
            "image": np.zeros(shape, np.float32),
            "targets": np.concatenate([mask, 1 - mask]),
            "supervised": mask,
            "teacher": np.concatenate([1 - mask, mask]),
            "follow": 1 - mask,
        }
        (changed,) = augment([crop])
        got = {key: np.asarray(part) for key, part in changed.items()}
        assert {k: v.shape for k, v in got.items()} == {
            k: v.shape for k, v in crop.items()
        }
        trusted = got["supervised"][0] > 0.5
        # an interpolated edge may lie half a pixel beside one that is not
        assert np.mean((got["targets"][0] > 0.5) == trusted) > 0.95
        assert np.mean((got["teacher"][1] > 0.5) == trusted) > 0.95
        assert np.array_equal(got["follow"][0], 1 - got["supervised"][0])
        assert set(np.unique(got["supervised"])) <= {0, 1}
        if discrete:
            assert set(np.unique(got["targets"])) <= {0, 1}


def test_parts_that_are_absent_are_not_made_up() -> None:
    augment = Augmentation(2, seed=0, discrete=False, strong=False)
    part = np.ones((1, 32, 32), np.float32)
    (changed,) = augment([{"image": part, "targets": part, "supervised": part}])
    assert list(changed) == ["image", "targets", "supervised"]


def test_monai_takes_down_its_history_for_others_as_before() -> None:
    before = get_track_meta()
    augment = Augmentation(2, seed=0, discrete=False, strong=False)
    part = np.ones((1, 32, 32), np.float32)
    augment([{"image": part, "targets": part, "supervised": part}])
    assert get_track_meta() == before
