"""MONAI's UNet, read from its weights alone."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet
from monai.networks.nets.unet import CheckpointUNet
from tests.formats.families.monai_maker import check, drawn, facts, opened

from napari_unet.errors import CheckpointError

WIDTHS = (8, 12, 16)


def maker(
    kind=UNet, dims=2, inputs=1, outputs=2, channels=WIDTHS, strides=(2, 2), **more
):
    return kind(dims, inputs, outputs, channels, strides, **more)


@pytest.mark.parametrize("units", [0, 1, 2, 3])
@pytest.mark.parametrize("norm", ["instance", "batch", ("instance", {"affine": True})])
@pytest.mark.parametrize("dims", [2, 3])
def test_units_and_norms_are_found(tmp_path, units, norm, dims):
    network = maker(dims=dims, num_res_units=units, norm=norm)
    model = check(tmp_path, network, (1, *(16, 24, 16)[:dims]))
    assert facts(model) == {
        "family": "MONAI UNet", "widths": WIDTHS, "residual": units > 0,
        "norm": "batch" if norm == "batch" else "instance",
    }  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 5, "up_kernel_size": 7},
        {"kernel_size": (3, 5), "up_kernel_size": (5, 3), "num_res_units": 2},
        {"bias": False, "norm": "batch"},
        {"dropout": 0.2, "num_res_units": 1},
        {"inputs": 3, "outputs": 1, "channels": (7, 9, 5, 11), "strides": (2, 2, 2)},
        {"channels": (8, 8), "strides": (2,), "num_res_units": 2},
        {"act": ("prelu", {"num_parameters": 8}), "channels": (8, 8, 8), "outputs": 8},
        {"adn_ordering": "ADN", "norm": "batch"},
        {"adn_ordering": "AND", "norm": "batch", "num_res_units": 2},
        {"adn_ordering": "DNA", "norm": ("instance", {"affine": True})},
        {"norm": ("batch", {"affine": False}), "num_res_units": 1},
        {"act": "relu", "num_res_units": 2, "norm": "batch"},
        {"kind": CheckpointUNet, "num_res_units": 2},
        {"kind": CheckpointUNet, "norm": "batch", "strides": (2, 2, 2),
         "channels": (4, 4, 8, 8)},
    ],
)  # fmt: skip
def test_options_that_weights_show_or_that_are_usual(tmp_path, options):
    check(tmp_path, maker(**options), (options.get("inputs", 1), 24, 32))


@pytest.mark.parametrize(
    ("dims", "channels", "strides"),
    [(2, (8, 8, 16), (1, 2)), (2, (8, 12, 16), (2, 1)), (2, (4, 8, 8), (1, 1)),
     (3, (4, 4, 8, 8), (2, 1, 2))],
)  # fmt: skip
def test_residuals_tell_strides_of_one(tmp_path, dims, channels, strides):
    network = maker(dims=dims, channels=channels, strides=strides, num_res_units=1)
    check(tmp_path, network, (1, *(8, 12, 16)[:dims]))


def test_kernels_over_one_plane_tell_flat_strides(tmp_path):
    network = maker(
        dims=3, kernel_size=(1, 3, 3), up_kernel_size=(1, 3, 3),
        strides=[(1, 2, 2), (1, 2, 2)],
    )  # fmt: skip
    model = check(tmp_path, network, (1, 5, 12, 12))
    assert model.spec.architecture.strides == (1, 4, 4)


@pytest.mark.parametrize(
    ("reading", "options"),
    [
        ("strides 1, 2", {"strides": (1, 2)}),
        ("strides 2, 1; instance norm", {"strides": (2, 1)}),
        ("strides 3, 2", {"strides": (3, 2)}),
        ("strides 2x1, 2", {"strides": [(2, 1), 2]}),
        ("no norm", {"norm": None}),
        ("activation before norm", {"adn_ordering": "AN"}),
        ("LeakyReLU of slope 0.1", {"act": ("leakyrelu", {"negative_slope": 0.1})}),
        ("ELU", {"act": "elu"}),
        ("GELU", {"act": "gelu"}),
        ("Swish", {"act": "swish"}),
        ("Mish", {"act": "mish"}),
        ("SELU", {"act": "selu"}),
        ("ReLU6", {"act": "relu6"}),
        ("no activation", {"act": None}),
        ("group norm of 4 groups", {"norm": ("group", {"num_groups": 4})}),
        ("group norm of 1 group; ELU",
         {"norm": ("group", {"num_groups": 1}), "act": "elu", "num_res_units": 2}),
    ],
)  # fmt: skip
def test_what_weights_do_not_tell_can_be_chosen(tmp_path, reading, options):
    model = check(tmp_path, maker(**options), (1, 24, 24), reading)
    assert set(reading.split("; ")) <= set(model.spec.reading.split("; "))
    assert model.spec.reading in model.spec.readings


def test_what_was_assumed_is_said(tmp_path):
    model = opened(tmp_path, drawn(maker(act="relu")))
    assert model.spec.reading == model.spec.readings[0]
    assert model.spec.readings[0].startswith("strides 2, 2; ReLU; instance norm")
    assert len(set(model.spec.readings)) == len(model.spec.readings) > 10
    for subject in ("strides", "activation", "norm"):
        assert any(subject in remark for remark in model.spec.remarks)


def test_nothing_is_assumed_of_a_chosen_reading(tmp_path):
    readings = opened(tmp_path, drawn(maker())).spec.readings
    model = opened(tmp_path, drawn(maker()), readings[0])
    assert model.spec.reading == readings[0]
    assert model.spec.remarks == ()


@pytest.mark.parametrize("reading", ["four legs", "strides 2, 2, 2", "strides 0, 2"])
def test_a_reading_that_there_is_not_is_refused(tmp_path, reading):
    with pytest.raises(CheckpointError, match="cannot be read with"):
        opened(tmp_path, drawn(maker()), reading)


def test_sorted_weights_tell_no_order(tmp_path):
    weights = drawn(maker(norm="batch")).state_dict()
    torch.save(dict(sorted(weights.items())), tmp_path / "sorted.pth")
    from napari_unet.formats import load_model

    model = load_model(tmp_path / "sorted.pth", device="cpu")
    assert "norm before activation" in model.spec.reading


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("model.1.submodule.2.conv.weight"), "is not there"),
        (lambda w: w.pop("model.1.submodule.0.conv.bias"), "bias is not there"),
        (lambda w: w.update({"model.2.conv.bias": torch.zeros(5)}), "has the shape"),
        (lambda w: w.update({"model.9.weight": torch.zeros(5)}), "surplus"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, words):
    weights = dict(drawn(maker()).state_dict())
    change(weights)
    torch.save(weights, tmp_path / "broken.pth")
    from napari_unet.formats import load_model

    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path / "broken.pth")
