"""Compares networks that MONAI builds here with what is opened from their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tests.formats.recorded import drawn_input, drawn_weights, relative_error

from napari_unet.formats import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model

TOLERANCE = 1e-4


def drawn(maker: torch.nn.Module) -> torch.nn.Module:
    """Return a network of MONAI with drawn weights and statistics."""
    shapes = {key: list(value.shape) for key, value in maker.state_dict().items()}
    maker.load_state_dict(drawn_weights(shapes))
    return maker.eval()


def result_of(maker: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the segmentation, also of networks that return a list or a pair."""
    with torch.no_grad():
        result = maker(x)
    return result if isinstance(result, torch.Tensor) else result[0]


def opened(folder: Path, maker: torch.nn.Module, reading: str = "") -> Model:
    """Save a network's weights as a training script does, and open the file."""
    path = folder / "monai.pth"
    torch.save(maker.state_dict(), path)
    overrides = {"reading": reading} if reading else None
    return load_model(path, device="cpu", overrides=overrides)


def check(
    folder: Path, maker: torch.nn.Module, size: tuple[int, ...], reading: str = ""
) -> Model:
    """Open what MONAI made, compare outputs, and hand the weights back.

    ``size`` is that of the input (C, [Z,] Y, X).
    """
    drawn(maker)
    model = opened(folder, maker, reading)
    x = drawn_input((2, *size))
    expected = result_of(maker, x).numpy()
    with torch.no_grad():
        assert relative_error(model.network(x), expected) <= TOLERANCE
    assert model.spec.architecture.dims == len(size) - 1
    assert model.spec.architecture.in_channels == size[0]
    assert model.spec.architecture.out_channels == expected.shape[1]
    _check_handed_back(model, maker, x)
    return model


def _check_handed_back(model: Model, maker: torch.nn.Module, x: torch.Tensor) -> None:
    """Change all weights, as training does, and load them into MONAI's network."""
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(1.25)
        weights = {k: v.clone() for k, v in model.network.state_dict().items()}
        assert set(weights) == set(maker.state_dict())
        maker.load_state_dict(weights)
        expected = result_of(maker, x).numpy()
        assert relative_error(model.network(x), expected) <= TOLERANCE


def facts(model: Model) -> dict[str, Any]:
    """Return what was found out about the architecture."""
    found = model.spec.architecture
    return {
        "family": found.family, "widths": found.widths, "norm": found.norm,
        "residual": found.residual,
    }  # fmt: skip
