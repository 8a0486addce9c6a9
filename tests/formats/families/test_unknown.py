"""U-Nets of people's own classes are rebuilt from their weights alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from own_classes import CLASSES, channels_of, images, seen, untouched
from torch import nn

from napari_unet.engine.builder import Misfit
from napari_unet.engine.networks import build
from napari_unet.formats.families import unknown
from napari_unet.formats.reading import Contents

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from napari_unet.formats.reading import Reading

# What weights cannot tell, and where habit, taken first, is not what the class does:
# the right reading is then among those that are listed.
ONLY_LISTED = {
    "volume interpolated", "instance norm", "instance norm without weights", "leaky",
    "bilinear 3", "equal widths", "two levels", "norm first",
}  # fmt: skip
ALWAYS_TRIED = (
    "named layers", "attention", "recurrent", "paths", "nested", "residual",
    "deep residual", "nameless backwards", "strided", "added nearest", "ELU", "link",
    "volumetric", "separable", "leaky",
)  # fmt: skip


def _contents(weights: dict[str, Tensor], wanted: str = "") -> Contents:
    return Contents("own.pth", "own", weights, wanted=wanted)


def _read(network: nn.Module, wanted: str = "") -> Reading:
    found = unknown.read(_contents(network.state_dict(), wanted))
    assert found is not None
    return found


def _error(found: Reading, network: nn.Module) -> float:
    """Return the largest difference to the class's own output, over its largest."""
    channels, dims = channels_of(network)
    torch.manual_seed(5)
    x = images(1, channels, dims, 64 if dims == 2 else 32)
    rebuilt = build(found.spec.architecture)
    rebuilt.load_state_dict(dict(found.weights))
    with torch.no_grad():
        expected, output = network(x), rebuilt.eval()(x)
    return float((output - expected).abs().max() / expected.abs().max())


def _listed_error(found: Reading, network: nn.Module) -> float:
    """Return the least error of all readings that are listed."""
    errors = [_error(found, network)]
    for said in found.spec.readings[1:]:
        if errors[-1] < 1e-4:
            break
        errors.append(_error(_read(network, said), network))
    return min(errors)


@pytest.mark.parametrize("name", CLASSES)
def test_right_reading_is_listed_without_statistics(name: str) -> None:
    network = untouched(name)

    found = _read(network)

    assert _listed_error(found, network) < 1e-4
    assert found.spec.architecture.family == "unknown U-Net"
    assert found.spec.sources["architecture"] == "guessed"


@pytest.mark.parametrize("name", CLASSES)
def test_statistics_decide(name: str, full_counts: bool) -> None:
    if name not in ALWAYS_TRIED and not full_counts:
        pytest.skip("one of the full counts")
    network = seen(name)

    found = _read(network)

    assert found.spec.sources["architecture"] in ("inferred", "guessed")
    if name in ONLY_LISTED:
        assert _listed_error(found, network) < 1e-4
    else:
        assert _error(found, network) < 1e-4


def test_made_up_statistics_are_not_believed() -> None:
    network = untouched("flexible")
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5

    assert _error(_read(network), network) < 1e-4


def test_reading_can_be_chosen() -> None:
    network = untouched("flexible")
    likeliest = _read(network)

    other = _read(network, likeliest.spec.readings[1])

    assert likeliest.spec.reading == likeliest.spec.readings[0]
    assert other.spec.reading == likeliest.spec.readings[1]
    assert other.spec.sources["architecture"] == "chosen"
    assert other.spec.readings == likeliest.spec.readings
    assert other.spec.architecture != likeliest.spec.architecture


@pytest.mark.parametrize(
    ("folder", "file", "place"),
    [
        ("segmentify_Nuclei", "Nuclei.pth", "model_state"),
        ("segmentify_HPA", "HPA.pth", "model_state"),
        (
            "bioimageio_unet2d_nuclei_broad",
            "state_dict_from_torchscript.pt",
            "",
        ),
    ],
)
def test_published_files_give_their_makers_output(
    data_folder: Path, folder: str, file: str, place: str
) -> None:
    path = data_folder / "checkpoints" / folder
    content = torch.load(path / file, weights_only=True, map_location="cpu")
    found = unknown.read(_contents(content[place] if place else content))
    assert found is not None
    network = build(found.spec.architecture)
    network.load_state_dict(dict(found.weights))
    with np.load(path / "reference_io.npz") as recorded:
        x, expected = torch.from_numpy(recorded["input"]), recorded["output"]

    with torch.no_grad():
        output = network.eval()(x)
    output = output.sigmoid() if place else output

    assert np.abs(output.numpy() - expected).max() < 1e-4 * np.abs(expected).max()


# -- what is refused


def _conv(i: int, o: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(i, o, size)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (
            nn.Sequential(_conv(3, 8), _conv(8, 16), nn.Linear(16, 10)),
            r"a classifier \(it ends in fully connected layers\)",
        ),
        (nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), "a multilayer perceptron"),
        (
            nn.Sequential(*(_conv(8 * n, 8 * n + 8) for n in (1, 2, 3)), _conv(32, 2)),
            "has convolutions but no expanding path",
        ),
        (
            nn.ModuleDict(
                {
                    key: nn.Sequential(
                        _conv(3, 8), _conv(8, 16), _conv(16, 8), _conv(8, 3)
                    )
                    for key in "GD"
                }
            ),
            r"2 networks side by side \(weights under 'G.' and 'D.'\)",
        ),
        (nn.LSTM(4, 4), "weight_ih_l0 is a weight of no known layer"),
    ],
)
def test_other_networks_are_called_what_they_are(
    network: nn.Module, reason: str
) -> None:
    with pytest.raises(Misfit, match=reason):
        unknown.read(_contents(network.state_dict()))


def _weights() -> dict[str, Tensor]:
    return untouched("flexible").state_dict()


def test_surplus_weight_is_named() -> None:
    extra = {"further.weight": torch.zeros(77, 55, 3, 3)}

    with pytest.raises(Misfit, match=r"further\.weight fits no place"):
        unknown.read(_contents({**_weights(), **extra}))


@pytest.mark.parametrize(
    "key", ["encoder.1.0.weight", "decoder.0.3.weight", "expand.1.weight", "head.bias"]
)
def test_damaged_shape_is_refused(key: str) -> None:
    weights = _weights()
    weights[key] = torch.zeros([n + 1 for n in weights[key].shape])

    with pytest.raises(Misfit):
        unknown.read(_contents(weights))


@pytest.mark.parametrize(
    "key", ["encoder.1.1.running_var", "encoder.2.1.bias", "decoder.0.3.weight"]
)
def test_missing_weight_is_refused(key: str) -> None:
    weights = _weights()
    del weights[key]

    with pytest.raises(Misfit, match=r"missing|no known layer|fits? no place"):
        unknown.read(_contents(weights))


def test_missing_norm_is_refused() -> None:
    weights = {
        key: value
        for key, value in _weights().items()
        if not key.startswith("encoder.2.1.")
    }

    with pytest.raises(Misfit, match=r"encoder\.2\.0 has no norm"):
        unknown.read(_contents(weights))


@pytest.mark.parametrize("count", [40, 300])
@pytest.mark.parametrize("width", [1, 8])
def test_search_is_bounded(count: int, width: int) -> None:
    weights = {f"a{n}.c.weight": torch.zeros(width, width, 3, 3) for n in range(count)}

    with pytest.raises(Misfit):
        unknown.read(_contents(weights))


def test_no_more_layers_than_a_network_has() -> None:
    weights = {f"a{n}.weight": torch.zeros(1, 1, 1, 1) for n in range(3000)}

    with pytest.raises(Misfit, match="3000 layers"):
        unknown.read(_contents(weights))


def test_half_precision_is_read() -> None:
    network = untouched("flexible")
    half = {
        key: value.half() if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }

    found = unknown.read(replace(_contents(half)))

    assert found is not None
    assert found.spec.architecture == _read(network).spec.architecture
