"""A model that only predicts: the same scores, from less work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet.engine.builder import Builder
from napari_unet.engine.cost import channels_of, most_held
from napari_unet.engine.cropping import Croppable, can_crop
from napari_unet.engine.inference import Frame, Inference
from napari_unet.engine.model import new_model
from napari_unet.engine.networks import Network
from napari_unet.engine.networks.folded import folded
from napari_unet.engine.spec import ModelSpec
from tiny import noise, tiny_model


def test_batch_norm_and_dropout_are_folded_away() -> None:
    network = tiny_model(norm="batch", dropout=(0.1, 0.2)).network
    assert isinstance(network, Network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    less = folded(network)
    x = torch.from_numpy(noise((1, 1, 33, 20)) / 1000)
    with torch.no_grad():
        torch.testing.assert_close(less(x), network(x), atol=1e-5, rtol=1e-5)
    assert {"norm", "dropout"}.isdisjoint(node.op for node in less.graph.nodes)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_making_a_model_ready_draws_no_random_numbers_and_shares_no_memory() -> None:
    model = tiny_model()
    torch.manual_seed(3)
    expected = torch.random.get_rng_state()
    network = Inference(model, torch.float32).network
    assert torch.equal(torch.random.get_rng_state(), expected)
    places = {value.data_ptr() for value in model.network.state_dict().values()}
    assert places.isdisjoint(v.data_ptr() for v in network.state_dict().values())


def test_a_norm_that_others_read_past_stays() -> None:
    b = Builder(2, 1, None)
    x = b.conv(0, "a", 2, 3)
    b.conv(b.add(b.norm(x, "n"), x), "head", 1, 1)
    model = new_model(ModelSpec(architecture=b.graph("t", (2,)), output="foreground"))
    assert isinstance(model.network, Network)
    model.network.get_submodule("n").running_mean.fill_(0.7)
    less = folded(model.network)
    x = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(less(x), model.network(x))
    assert "norm" in [node.op for node in less.graph.nodes]


def test_the_model_keeps_its_number_format() -> None:
    model = tiny_model()
    inference = Inference(model, torch.bfloat16)
    assert next(inference.network.parameters()).dtype == torch.bfloat16
    assert next(model.network.parameters()).dtype == torch.float32


def test_bfloat16_scores_are_nearly_the_same() -> None:
    model, image = tiny_model(), noise((1, 40, 40)) / 1000
    frame = ((0, 40), (0, 40))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        inference = Inference(model, dtype)
        window = Frame(inference, (40, 40)).window(frame)
        found.append(inference.scores(image, window))
    assert found[1].dtype == np.float32
    assert 0 < np.abs(found[0] - found[1]).max() < 0.05


def test_a_part_of_the_middle_reads_less_than_core_and_halo() -> None:
    model = tiny_model(widths=(4, 8, 16, 32))
    assert isinstance(model.network, Network)
    side, halo = 32, model.network.halo
    window = Frame(Inference(model, torch.float32), (512, 512)).window(
        ((256, 256 + side), (240, 240 + side))
    )
    for start, stop in window.read:
        assert side < stop - start <= side + 2 * halo


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("depth", [1, 8])
def test_low_bands_are_exact_where_layers_skip_some(rows: int, depth: int) -> None:
    b = Builder(2, 1, None)
    x = b.activation(b.conv(0, "a", 3, 3))
    fine = x
    for number in range(depth):  # looks further ahead, the deeper it is
        fine = b.activation(b.conv(fine, f"fine{number}", 3, 3))
    coarse = b.conv(x, "coarse", 3, 9, stride=4, padding=4)  # makes no row in most
    coarse = b.upsample(b.activation(coarse), 4, mode="nearest")
    b.conv(b.concat(fine, coarse), "head", 1, 1)
    spec = ModelSpec(architecture=b.graph("t", (3,)), output="foreground")
    model, image = new_model(spec), noise((1, 48, 32)) / 1000
    inference = Inference(model, torch.float32)
    frame = Frame(inference, (48, 32))
    with torch.no_grad():
        whole = model.scores(torch.from_numpy(image)[None])[0].numpy()
    window, found = None, []
    for start in range(0, 48, rows):
        window = frame.window(((start, min(start + rows, 48)), (0, 32)), window)
        read = tuple(slice(*span) for span in window.read)
        found.append(inference.scores(image[(slice(None), *read)], window))
    np.testing.assert_allclose(np.concatenate(found, axis=1), whole, atol=1e-5)


def test_networks_that_look_beyond_the_border_are_not_cropped() -> None:
    for options in ({"padding_mode": "reflect"}, {}):
        b = Builder(2, 1, None)
        b.conv(b.conv(0, "a", 2, 3, **options), "head", 1, 1)
        assert can_crop(b.graph("t", (2,))) is not bool(options)


def test_cropping_holds_less_in_memory() -> None:
    network = tiny_model(widths=(4, 8, 16)).network
    assert isinstance(network, Network)
    croppable = Croppable(network.graph, (256, 256))
    small, large = (
        most_held(network.graph, croppable.cropped(((64, 64 + n), (64, 64 + n))))
        for n in (32, 128)
    )
    assert 128 * 128 * 8 < large < 256 * 256 * 20
    assert small < large / 4


def test_channels_are_counted_through_concatenations() -> None:
    graph = tiny_model(widths=(4, 8)).network.graph  # type: ignore[union-attr]
    channels = channels_of(graph)
    assert channels[0] == 1
    assert max(channels) == 8
    assert channels[-1] == 2
