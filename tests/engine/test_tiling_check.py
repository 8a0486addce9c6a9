"""The check that tiles give what the whole gives."""

from __future__ import annotations

import pytest

from napari_unet.engine import tiling_check
from napari_unet.engine.builder import Builder
from napari_unet.engine.drain import drain
from napari_unet.engine.model import new_model
from napari_unet.engine.spec import ModelSpec
from napari_unet.engine.tiling_check import check_tiling_steps
from tiny import noise, tiny_model


@pytest.fixture(autouse=True)
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling_check, "CROP", {2: 100, 3: 40})
    monkeypatch.setattr(tiling_check, "TILE", {2: 32, 3: 16})


@pytest.mark.parametrize(
    ("dims", "shape", "axes"),
    [(2, (150, 90), "YX"), (2, (3, 150, 90, 3), "TYXC"), (3, (20, 60, 50), "ZYX")],
)
def test_our_networks_are_exact(dims: int, shape: tuple, axes: str) -> None:
    found = drain(check_tiling_steps(tiny_model(dims=dims), noise(shape), axes))
    assert found.difference <= 1e-5
    assert "Tiles give what the whole image gives" in str(found)


def test_a_network_that_measures_all_it_sees_is_found_out() -> None:
    b = Builder(2, 1, None)
    b.conv(b.norm(b.conv(0, "a", 2, 3), "n", "instance"), "head", 1, 1)
    spec = ModelSpec(architecture=b.graph("test", (2,)), output="foreground")
    image = noise((100, 100))
    image[:50] *= 3
    found = drain(check_tiling_steps(new_model(spec), image, "YX"))
    assert found.difference > 1e-3
    assert "Tiles differ from the whole image" in str(found)
    assert "100 x 100 pixels" in str(found)
