"""A shown viewer, hands that work in it, and small checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hands import Hands
from npe2 import PluginManifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def manifests_read_once() -> Iterator[None]:
    """Keep the manifests of plugins: npe2 reads them anew for each viewer, in 0.2 s."""
    found = list(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda *_, **__: iter(found))
        yield


@pytest.fixture
def hands(make_napari_viewer_proxy, qtbot) -> Callable[..., Hands]:
    """Open docks in a shown viewer."""

    def open_docks(*docks: str) -> Hands:
        return Hands(make_napari_viewer_proxy(show=True), qtbot, *docks)

    return open_docks


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints by what they give; that of instances finds the discs of nuclei."""
    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.finetune import finetune
    from napari_unet.engine.sampling import Example
    from napari_unet.formats import save_model
    from tiny import nuclei, tiny_model

    folder = tmp_path_factory.mktemp("checkpoints")
    config = FinetuneConfig(steps=60, learning_rate=1e-2, crop=64, augment="off")
    kinds: tuple[Any, ...] = ("instances", "classes")
    models = {kind: tiny_model(kind) for kind in kinds}
    examples = [Example(*nuclei(), axes="YX")]
    models["instances"] = finetune(models["instances"], examples, config=config).model
    return {
        kind: save_model(model, folder / f"{kind}.safetensors")
        for kind, model in models.items()
    }
