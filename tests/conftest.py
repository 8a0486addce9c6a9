"""What all tests share. No napari, Qt or torch here: engine tests run without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
WINDOWS = {"qtbot", "make_napari_viewer", "make_napari_viewer_proxy"}  # fixtures
FULL = os.environ.get("NAPARI_UNET_FULL", "") not in {"", "0"}

settings.register_profile("quick", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("full", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("full" if FULL else "quick")


@pytest.fixture(scope="session", autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what is remembered and downloaded away from those of the person testing."""
    for name in ("SETTINGS", "CACHE", "PROJECTS"):
        folder = tmp_path_factory.mktemp(name.lower())
        os.environ[f"NAPARI_UNET_{name}"] = str(folder)


@pytest.fixture
def projects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return where projects are made, which is not there yet."""
    monkeypatch.setenv("NAPARI_UNET_PROJECTS", str(tmp_path / "projects"))
    monkeypatch.setenv("NAPARI_UNET_SETTINGS", str(tmp_path / "settings"))
    return tmp_path / "projects"


@pytest.fixture(scope="session")
def full_counts() -> bool:
    """Whether `make test-all` asks for the full counts."""
    return FULL


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images and checkpoints, which the repository does not hold."""
    named = os.environ.get("NAPARI_UNET_DATA")
    folder = Path(named) if named else ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"no real images: {folder} has no data/ (set NAPARI_UNET_DATA)")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process do all that opens windows: two would fight for the focus."""
    for item in items:
        windows = {"qt", "integration"} & set(item.path.relative_to(ROOT).parts)
        if windows or WINDOWS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("windows"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked gpu where there is no CUDA device."""
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
