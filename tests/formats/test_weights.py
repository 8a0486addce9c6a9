"""What weights tell of the images that a network was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_unet.engine.evidence import smooth_noise
from napari_unet.formats import load_model
from tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def trained_on(path: Path, mean: float, spread: float) -> None:
    """Save a network whose batch norms have seen images of this mean and spread."""
    network = tiny_model("foreground", widths=(16, 16)).network.train()
    for seed in range(200):
        network(mean + spread * smooth_noise((2, 1, 32, 32), seed=seed))
    torch.save(network.state_dict(), path)


@pytest.mark.parametrize(
    ("mean", "spread", "kind", "source"),
    [
        (0.0, 1.0, "zscore", "inferred"),
        (90.0, 40.0, "none", "inferred"),
        (0.15, 0.1, "percentile", "guessed"),
    ],
)
def test_the_first_batch_norm_tells_the_scaling(
    tmp_path: Path, mean: float, spread: float, kind: str, source: str
) -> None:
    trained_on(tmp_path / "m.pth", mean, spread)
    spec = load_model(tmp_path / "m.pth").spec
    assert spec.normalization.kind == kind
    assert spec.source("normalization") == source
    assert "as its first batch norm tells" in spec.remarks[-1]


def test_a_network_that_has_seen_nothing_tells_nothing(tmp_path: Path) -> None:
    network = tiny_model("foreground", norm="none").network
    torch.save(network.state_dict(), tmp_path / "m.pth")
    spec = load_model(tmp_path / "m.pth").spec
    assert spec.remarks == ()
    assert spec.source("normalization") == "guessed"
