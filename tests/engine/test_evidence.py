"""What statistics of batch norms tell of a network and its images."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

import pytest
import torch

from napari_unet.engine.builder import Builder
from napari_unet.engine.evidence import (
    Input,
    correlation,
    has_statistics,
    likely_input,
    smooth_noise,
    statistics_matches,
    statistics_mismatch,
)
from napari_unet.engine.networks import build

if TYPE_CHECKING:
    from napari_unet.engine.networks import Network


def _network(*, channels: int = 1, kind: str = "relu", mode: str = "max") -> Network:
    b = Builder(2, channels, None)
    x = 0
    for n, width in enumerate((8, 16, 16)):
        x = b.conv(b.pool(x, kind=mode) if n else x, f"conv{n}", width, 3)
        x = b.activation(b.norm(x, f"norm{n}"), kind)
    b.conv(b.upsample(x, 4), "head", 1, 1)
    return build(b.graph("test", (8, 16, 16)))


def _trained(seen: Input, steps: int = 60, **options: str | int) -> Network:
    torch.manual_seed(0)
    network = _network(**options)
    size = (4, len(seen.mean), 64, 64)
    with torch.no_grad():
        for seed in range(steps):
            network.train()(smooth_noise(size, seen, seed=seed))
    return network.eval()


def test_fresh_network_has_no_statistics() -> None:
    network = _network()

    assert not has_statistics(network)
    assert likely_input(network) is None
    assert isnan(statistics_mismatch(network, smooth_noise((1, 1, 32, 32))))


@pytest.mark.parametrize(
    "seen",
    [
        Input((0.3,), (0.2,)),
        Input((110.0,), (40.0,)),
        Input((0.0,), (1.0,)),
        Input((0.7, 0.4, 0.5), (0.2, 0.2, 0.2)),
    ],
)
@pytest.mark.parametrize("steps", [3, 60])
def test_likely_input_is_what_the_network_was_trained_on(
    seen: Input, steps: int
) -> None:
    network = _trained(seen, steps, channels=len(seen.mean))

    found = likely_input(network)

    assert found is not None
    for mean, expected, std in zip(found.mean, seen.mean, seen.std, strict=True):
        assert abs(mean - expected) < std / 2
    assert found.std[0] == pytest.approx(seen.std[0], rel=0.3)


def test_own_images_match_and_others_do_not() -> None:
    network = _trained(Input((0.3,), (0.2,)))
    own = smooth_noise((4, 1, 64, 64), Input((0.3,), (0.2,)), seed=99)

    assert statistics_mismatch(network, own) < 0.1
    assert statistics_mismatch(network, own * 255) > 1
    assert correlation(statistics_matches(network, own)) > 0.9


@pytest.mark.parametrize("wrong", [{"kind": "silu"}, {"mode": "average"}])
def test_a_wrong_layer_shows(wrong: dict[str, str]) -> None:
    right = _trained(Input((0.3,), (0.2,)))
    other = _network(**wrong)
    other.load_state_dict(right.state_dict())
    x = smooth_noise((4, 1, 64, 64), Input((0.3,), (0.2,)), seed=99)

    misses = [statistics_mismatch(n, x, renormalise=True) for n in (right, other)]

    assert misses[1] > 2 * misses[0]


def test_watching_leaves_the_network_as_it_was() -> None:
    network = _trained(Input((0.3,), (0.2,)))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = smooth_noise((1, 1, 32, 32))
    with torch.no_grad():
        expected = network(x)

    statistics_mismatch(network, x, renormalise=True)

    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    with torch.no_grad():
        assert torch.equal(network(x), expected)


def test_made_up_statistics_do_not_correlate() -> None:
    network = _trained(Input((0.3,), (0.2,)))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5

    found = statistics_matches(network, smooth_noise((4, 1, 64, 64)), renormalise=True)

    assert abs(correlation(found)) < 0.45


def test_smooth_noise_has_the_given_mean_and_spread() -> None:
    noise = smooth_noise((2, 2, 64, 64), Input((0.5, -3.0), (0.1, 2.0)))

    assert noise.mean((0, 2, 3)).tolist() == pytest.approx([0.5, -3.0], abs=1e-4)
    assert noise.std((0, 2, 3)).tolist() == pytest.approx([0.1, 2.0], rel=0.01)
