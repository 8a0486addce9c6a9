"""The example scripts, each run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_unet import load_model, save_model
from napari_unet.engine.model import new_model
from napari_unet.engine.spec import ModelSpec, UNetSpec

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small untrained network in a native file."""
    spec = ModelSpec(name="tiny", architecture=UNetSpec(out_channels=2, widths=(4, 8)))
    folder = tmp_path_factory.mktemp("model")
    return str(save_model(new_model(spec), folder / "tiny.safetensors"))


def run(name: str, *args: str, cwd: Path) -> str:
    """Return what an example prints."""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(EXAMPLES / name), *args],
        capture_output=True, text=True, check=False, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")

    assert [e.name for e in EXAMPLES.glob("*.py") if f'"{e.name}"' not in tested] == []


def test_predict_image_writes_labels(tiny: str, tmp_path: Path) -> None:
    image = tmp_path / "image.tif"
    pixels = np.random.default_rng(0).integers(0, 99, (40, 50), np.uint8)
    tifffile.imwrite(image, pixels)

    said = run("predict_image.py", str(image), tiny, "out.tif", cwd=tmp_path)

    assert said.startswith("tiny: ")
    assert tifffile.imread(tmp_path / "out.tif").shape == (40, 50)


def test_finetune_on_corrections_writes_a_new_model(tiny: str, tmp_path: Path) -> None:
    said = run("finetune_on_corrections.py", tiny, "new.safetensors", "3", cwd=tmp_path)

    assert "unseen image after" in said
    assert load_model(tmp_path / "new.safetensors").spec.architecture.widths == (4, 8)


def test_a_folder_trains_a_network_and_is_evaluated(tmp_path: Path) -> None:
    trained = run("train_from_folder.py", "pairs", "my.safetensors", "2", cwd=tmp_path)
    scored = run("evaluate_folder.py", "pairs", "my.safetensors", cwd=tmp_path)

    assert "dice" in trained
    assert load_model(tmp_path / "my.safetensors").spec.name == "my"
    assert len(scored.splitlines()) == 8
