"""Images that are read part by part give what the same ones in memory give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_unet.engine import lazy, normalize
from napari_unet.engine.config import PredictConfig
from napari_unet.engine.predict import predict, predict_steps
from napari_unet.engine.spec import Normalization
from napari_unet.errors import ImageError
from tiny import noise, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = PredictConfig(precision="float32", keep_scores=True, tile=16)


def scores(image: Any, **changes: Any) -> np.ndarray:
    axes = changes.pop("axes", None)
    config = CONFIG.model_copy(update=changes)
    return predict(tiny_model(), image, axes=axes, config=config).scores


def as_zarr(image: np.ndarray, folder: Path) -> Any:
    return zarr.create_array(folder / "a.zarr", data=image, chunks=(16,) * image.ndim)


def as_dask(image: np.ndarray, _: Path) -> Any:
    return da.from_array(image, chunks=17)


@pytest.mark.parametrize("made", [as_zarr, as_dask])
@pytest.mark.parametrize(("shape", "axes"), [((50, 61), "YX"), ((3, 40, 37), "CYX")])
def test_scores_are_those_of_the_image_in_memory(
    made: Callable, shape: tuple, axes: str, tmp_path: Path
) -> None:
    image = noise(shape)
    found = scores(made(image, tmp_path), axes=axes)
    np.testing.assert_allclose(found, scores(image, axes=axes), atol=1e-5)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1, ::-1], lambda a: a.T, lambda a: a[::2, ::3],
        lambda a: np.asfortranarray(a), lambda a: a.astype(">f8"),
    ],
)  # fmt: skip
def test_any_memory_layout_is_predicted_alike(view: Callable) -> None:
    image = view(noise((60, 75)))
    np.testing.assert_allclose(scores(image), scores(np.array(image, "f4")), atol=1e-5)


def test_masked_pixels_become_the_darkest_of_the_others() -> None:
    image = np.ma.masked_greater(noise((40, 40)), 900)
    expected = scores(np.ma.filled(image, image.min()))
    np.testing.assert_array_equal(scores(image), expected)
    assert np.isfinite(scores(np.ma.masked_all((20, 20)))).all()


def broken(chunk: tuple[int, int], error: Exception) -> Any:
    """Return an image of which a chunk cannot be read."""

    def load(block: np.ndarray, block_id: tuple[int, int]) -> np.ndarray:
        if block_id == chunk:
            raise error
        return block

    return da.from_array(noise((64, 64)), chunks=16).map_blocks(load, dtype="f4")


@pytest.mark.parametrize("error", [OSError("disk gone"), KeyError("x"), ValueError()])
def test_a_chunk_that_cannot_be_read_is_named(error: Exception) -> None:
    with pytest.raises(ImageError, match=r"pixels \(32 to 48, 16 to 32\) cannot"):
        predict(tiny_model(), broken((2, 1), error), config=CONFIG)


def test_a_chunk_that_a_tile_needs_is_named_by_its_place_in_the_image() -> None:
    model, image = tiny_model(), broken((3, 2), OSError("disk gone"))
    fixed = Normalization(kind="none")
    spec = model.spec.model_copy(update={"normalization": fixed})
    with pytest.raises(ImageError, match=r"48 to 56, 32 to 40.*disk gone"):
        predict(type(model)(model.network, spec), image, config=CONFIG)


def test_a_region_beside_a_broken_chunk_is_predicted() -> None:
    model = tiny_model()
    fixed = Normalization(kind="scale", divisor=1000.0)
    model = type(model)(model.network, model.spec.model_copy(
        update={"normalization": fixed}
    ))  # fmt: skip
    region = (slice(48, 64), slice(48, 64))
    image = broken((0, 0), OSError("disk gone"))
    found = list(predict_steps(model, image, config=CONFIG, region=region))
    assert found[-1].done == found[-1].total


def test_nan_in_a_lazy_image_is_refused_with_its_place() -> None:
    image = noise((40, 40))
    image[35, 3] = np.nan
    with pytest.raises(ImageError, match="NaN or infinity in 1 pixels of the part"):
        predict(tiny_model(), da.from_array(image, chunks=20), config=CONFIG)


def test_a_large_lazy_image_is_sampled_over_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(normalize, "SAMPLE", 5000)
    image = np.arange(200 * 200, dtype=np.float32).reshape(200, 200)
    values = lazy.sample(da.from_array(image, chunks=10), 5000)
    assert 2000 < values.size <= 5000
    assert abs(values.mean() / image.mean() - 1) < 0.05
    found = predict(tiny_model(), da.from_array(image, chunks=50), config=CONFIG)
    assert "on a sample of" in found.summary


def test_only_what_a_region_needs_is_read() -> None:
    reads: list[tuple[int, int]] = []

    def load(block: np.ndarray, block_id: tuple[int, int]) -> np.ndarray:
        reads.append(block_id)
        return block

    image = da.from_array(noise((256, 256)), chunks=32)
    image = image.map_blocks(load, dtype="f4", meta=np.zeros((0, 0), "f4"))
    model = tiny_model()
    fixed = Normalization(kind="scale", divisor=1000.0)
    spec = model.spec.model_copy(update={"normalization": fixed})
    region = (slice(0, 16), slice(0, 16))
    list(predict_steps(type(model)(model.network, spec), image, region=region))
    assert 0 < len(set(reads)) <= 4
