"""MONAI's BasicUNet, read from its weights alone."""

from __future__ import annotations

import pytest
from monai.networks.nets import BasicUNet
from tests.formats.families.monai_maker import check, drawn, facts, opened

from napari_unet.formats import load_model

FEATURES = (4, 8, 12, 16, 20, 8)


def maker(dims=2, inputs=1, outputs=2, features=FEATURES, **more):
    return BasicUNet(dims, inputs, outputs, features, **more)


@pytest.mark.parametrize("upsample", ["deconv", "nontrainable", "pixelshuffle"])
@pytest.mark.parametrize("dims", [2, 3])
def test_ways_up_are_found(tmp_path, upsample, dims):
    network = maker(dims, upsample=upsample)
    model = check(tmp_path, network, (1, *(32, 48, 32)[:dims]))
    assert facts(model) == {
        "family": "MONAI BasicUNet", "widths": FEATURES[:5], "residual": False,
        "norm": "instance",
    }  # fmt: skip


@pytest.mark.parametrize("upsample", ["deconv", "nontrainable", "pixelshuffle"])
@pytest.mark.parametrize("size", [(201, 187), (33, 47), (40, 64)])
def test_any_size_is_taken_as_the_maker_takes_it(tmp_path, upsample, size):
    check(tmp_path, maker(upsample=upsample, norm="batch"), (1, *size))


def test_odd_sizes_in_3d(tmp_path):
    check(tmp_path, maker(3, 2, 3), (2, 19, 33, 50))


@pytest.mark.parametrize(
    ("options", "norm"),
    [
        ({"norm": "batch"}, "batch"),
        ({"norm": "instance"}, "instance"),
        ({"norm": ("batch", {"affine": False}), "bias": False}, "batch"),
        ({"act": "prelu"}, "instance"),
        ({"act": ("prelu", {"num_parameters": 8}), "features": (8,) * 6}, "instance"),
        ({"inputs": 3, "outputs": 1, "dropout": 0.1}, "instance"),
        ({"upsample": "deconvgroup"}, "instance"),
        ({"features": (7, 5, 9, 11, 13, 3), "upsample": "nontrainable"}, "instance"),
    ],
)
def test_options_that_weights_show_or_that_are_usual(tmp_path, options, norm):
    model = check(tmp_path, maker(**options), (options.get("inputs", 1), 48, 32))
    assert facts(model)["norm"] == norm


@pytest.mark.parametrize(
    ("reading", "options"),
    [
        ("group norm of 4 groups", {"norm": ("group", {"num_groups": 4})}),
        ("no norm", {"norm": None}),
        ("ReLU", {"act": "relu"}),
        ("LeakyReLU of slope 0.2; instance norm",
         {"act": ("leakyrelu", {"negative_slope": 0.2})}),
    ],
)  # fmt: skip
def test_what_weights_do_not_tell_can_be_chosen(tmp_path, reading, options):
    check(tmp_path, maker(**options), (1, 32, 32), reading)


def test_group_norms_that_do_not_divide_are_no_readings(tmp_path):
    model = opened(tmp_path, drawn(maker()))
    groups = {part for reading in model.spec.readings for part in reading.split("; ")}
    assert {"group norm of 4 groups", "group norm of 1 group"} <= groups
    assert "group norm of 8 groups" not in groups


def test_a_trained_network_of_membranes_opens_from_its_wrapper(data_folder):
    folder = data_folder / "checkpoints" / "monai_basicunet_membranes_generated"
    model = load_model(folder / "model.pt", device="cpu")
    assert model.spec.architecture.widths == (16, 16, 32, 64, 128)
    assert model.spec.layout.wrapper == ("state_dict",)
