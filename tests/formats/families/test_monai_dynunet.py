"""MONAI's DynUNet, read from its weights alone."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DynUNet
from tests.formats.families.monai_maker import check, drawn, facts, opened
from tests.formats.recorded import drawn_input, relative_error

from napari_unet.errors import CheckpointError
from napari_unet.formats import load_model, save_model

FILTERS = (4, 6, 8, 10)


def maker(
    dims=2, inputs=1, outputs=2, kernels=(3, 3, 3, 3), strides=(1, 2, 2, 2), **more
):
    more = {"filters": FILTERS, **more}
    return DynUNet(dims, inputs, outputs, kernels, strides, strides[1:], **more)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("res_block", [False, True])
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_blocks_and_heads_are_found(tmp_path, dims, res_block, deep_supervision):
    network = maker(
        dims, res_block=res_block, deep_supervision=deep_supervision, deep_supr_num=2
    )
    model = check(tmp_path, network, (1, *(16, 24, 16)[:dims]))
    assert facts(model) == {
        "family": "MONAI DynUNet", "widths": FILTERS, "norm": "instance",
        "residual": res_block,
    }  # fmt: skip


@pytest.mark.parametrize("res_block", [False, True])
def test_kernels_and_strides_of_each_level_are_found(tmp_path, res_block):
    last = (1, 2, 2) if res_block else (1, 2, 3)  # its 1x1 convolution takes no 3
    network = maker(
        3, kernels=[(1, 3, 3), (3, 5, 3), (3, 3, 3), 3],
        strides=[1, (1, 2, 2), (2, 2, 1), last], res_block=res_block,
    )  # fmt: skip
    model = check(tmp_path, network, (1, 6, 16, 12))
    assert model.spec.architecture.strides == (2, 8, 2 * last[2])


@pytest.mark.parametrize(
    "options",
    [
        {"norm_name": "batch"},
        {"norm_name": "instance"},
        {"act_name": "prelu", "res_block": True},
        {"trans_bias": True, "dropout": 0.1},
        {"inputs": 3, "outputs": 1, "filters": (7, 9, 9, 9)},
        {"filters": (4, 4, 4, 4), "res_block": True, "inputs": 4},
        {"kernels": (5, 3, 7, 1)},
        {"strides": (1, 1, 2, 1), "res_block": True},
        {"strides": (1, 2, 1), "kernels": (3, 3, 3), "filters": (4, 8, 8)},
    ],
)
def test_options_that_weights_show_or_that_are_usual(tmp_path, options):
    check(tmp_path, maker(**options), (options.get("inputs", 1), 24, 32))


@pytest.mark.parametrize(
    ("reading", "options"),
    [
        ("group norm of 2 groups", {"norm_name": ("group", {"num_groups": 2})}),
        ("ReLU", {"act_name": "relu"}),
    ],
)
def test_what_weights_do_not_tell_can_be_chosen(tmp_path, reading, options):
    check(tmp_path, maker(**options), (1, 16, 16), reading)


def test_weights_of_older_versions_without_second_names_open(tmp_path):
    network = drawn(maker(res_block=True))
    weights = {
        key: value
        for key, value in network.state_dict().items()
        if not key.startswith("skip_layers.")
    }
    torch.save(weights, tmp_path / "older.pth")
    model = load_model(tmp_path / "older.pth", device="cpu")
    x = drawn_input((1, 1, 16, 16))
    with torch.no_grad():
        assert relative_error(model.network(x), network(x).numpy()) <= 1e-4
    assert set(model.network.state_dict()) == set(weights)


def test_a_needless_convolution_of_older_versions_is_kept_and_not_used(tmp_path):
    network = drawn(maker(filters=(4, 4, 8, 8), strides=(1, 1, 2, 2), res_block=True))
    weights = dict(network.state_dict())
    weights = {k: v for k, v in weights.items() if not k.startswith("skip_layers.")}
    needless = {
        "downsamples.0.conv3.conv.weight": torch.ones(4, 4, 1, 1),
        "downsamples.0.norm3.weight": torch.ones(4),
        "downsamples.0.norm3.bias": torch.ones(4),
    }
    torch.save(weights | needless, tmp_path / "older.pth")
    model = load_model(tmp_path / "older.pth", device="cpu")
    x = drawn_input((1, 1, 16, 16))
    with torch.no_grad():
        assert relative_error(model.network(x), network(x).numpy()) <= 1e-4
    assert set(needless) <= set(model.network.state_dict())


def test_of_weights_that_differ_under_their_two_names_the_makers_choice_is_taken(
    tmp_path,
):
    network = drawn(maker())
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    for key in weights:
        if not key.startswith("skip_layers."):
            weights[key] *= 0.5
    network.load_state_dict(weights)
    torch.save(weights, tmp_path / "two.pth")
    model = load_model(tmp_path / "two.pth", device="cpu")
    x = drawn_input((1, 1, 16, 16))
    with torch.no_grad():
        assert relative_error(model.network(x), network(x).numpy()) <= 1e-4
    assert any("stored twice" in remark for remark in model.spec.remarks)


def test_one_weight_under_two_names_is_one_parameter(tmp_path):
    network = drawn(maker())
    model = opened(tmp_path, network)
    counts = [sum(p.numel() for p in n.parameters()) for n in (network, model.network)]
    assert counts[0] == counts[1]


def test_a_model_with_weights_under_two_names_is_saved_natively(tmp_path):
    model = opened(tmp_path, drawn(maker(deep_supervision=True)))
    again = load_model(save_model(model, tmp_path / "a.safetensors"), device="cpu")
    x = drawn_input((1, 1, 16, 16))
    with torch.no_grad():
        assert torch.equal(again.network(x), model.network(x))


def test_a_missing_second_name_is_named(tmp_path):
    weights = dict(drawn(maker()).state_dict())
    del weights["skip_layers.upsample.conv_block.norm2.bias"]
    torch.save(weights, tmp_path / "broken.pth")
    with pytest.raises(CheckpointError, match=r"skip_layers\.upsample.*norm2\.bias"):
        load_model(tmp_path / "broken.pth")
