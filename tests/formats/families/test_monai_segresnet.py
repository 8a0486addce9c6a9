"""MONAI's SegResNet, read from its weights alone."""

from __future__ import annotations

import pytest
from monai.networks.nets import SegResNet, SegResNetVAE
from tests.formats.families.monai_maker import check, drawn, facts, opened


def maker(dims=2, **more):
    return SegResNet(dims, **{"init_filters": 8, "blocks_down": (1, 2, 1),
                              "blocks_up": (1, 1), **more})  # fmt: skip


@pytest.mark.parametrize("mode", ["nontrainable", "deconv", "pixelshuffle"])
@pytest.mark.parametrize("dims", [2, 3])
def test_ways_up_are_found(tmp_path, mode, dims):
    network = maker(dims, upsample_mode=mode)
    model = check(tmp_path, network, (1, *(16, 24, 16)[:dims]))
    assert facts(model) == {
        "family": "MONAI SegResNet", "widths": (8, 16, 32), "norm": "group",
        "residual": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "norm"),
    [
        ({"blocks_down": (1, 2, 2, 4), "blocks_up": (1, 1, 1)}, "group"),
        ({"blocks_down": (2, 0, 3), "blocks_up": (2, 3)}, "group"),
        ({"blocks_down": (1, 1, 1), "blocks_up": (0, 1)}, "group"),
        ({"init_filters": 16, "in_channels": 4, "out_channels": 3}, "group"),
        ({"norm": "batch"}, "batch"),
        ({"norm": "instance", "dropout_prob": 0.2}, "instance"),
        ({"act": "prelu"}, "group"),
        ({"act": "prelu", "norm": "batch", "upsample_mode": "deconvgroup"}, "batch"),
        ({"init_filters": 12, "norm": ("group", {"num_groups": 4})}, "group"),
    ],
)
def test_options_that_weights_show_or_that_are_usual(tmp_path, options, norm):
    model = check(tmp_path, maker(**options), (options.get("in_channels", 1), 32, 24))
    assert facts(model)["norm"] == norm


@pytest.mark.parametrize(
    ("reading", "options"),
    [
        ("group norm of 4 groups", {"norm": ("group", {"num_groups": 4})}),
        ("instance norm", {"norm": ("instance", {"affine": True})}),
        ("without the final convolution", {"use_conv_final": False}),
        ("without the final convolution", {"use_conv_final": False, "act": "prelu"}),
        ("LeakyReLU of slope 0.01", {"act": "leakyrelu"}),
    ],
)
def test_what_weights_do_not_tell_can_be_chosen(tmp_path, reading, options):
    model = check(tmp_path, maker(**options), (1, 16, 16), reading)
    assert model.spec.reading in model.spec.readings


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"act": "prelu", "upsample_mode": "deconv"},
        {"norm": "batch", "upsample_mode": "pixelshuffle"},
        {"norm": "instance", "spatial_dims": 3, "input_image_size": (16, 16, 16)},
        {"vae_estimate_std": True, "upsample_mode": "deconvgroup"},
    ],
)
def test_the_half_of_an_autoencoder_network_that_segments_is_computed(
    tmp_path, options
):
    network = SegResNetVAE(
        **{"input_image_size": (16, 16), "spatial_dims": 2, "vae_nz": 6,
           "blocks_down": (1, 1, 1), "blocks_up": (1, 1), **options}
    )  # fmt: skip
    size = options.get("input_image_size", (24, 16))
    model = check(tmp_path, network, (1, *size))
    assert model.spec.architecture.stride == 4
    assert "autoencoder beside it" in model.spec.architecture.traits


def test_groups_are_said_to_be_assumed(tmp_path):
    model = opened(tmp_path, drawn(maker()))
    assert any("group norm of 8 groups" in remark for remark in model.spec.remarks)
