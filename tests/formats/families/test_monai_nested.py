"""MONAI's BasicUNetPlusPlus, read from its weights alone."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus
from tests.formats.families.monai_maker import check, drawn, facts, opened
from tests.formats.recorded import drawn_input, relative_error

from napari_unet.errors import CheckpointError
from napari_unet.formats import load_model

FEATURES = (4, 8, 12, 16, 20, 6)


def maker(dims=2, inputs=1, outputs=2, features=FEATURES, **more):
    return BasicUNetPlusPlus(dims, inputs, outputs, features, **more)


@pytest.mark.parametrize("upsample", ["deconv", "nontrainable", "pixelshuffle"])
@pytest.mark.parametrize("norm", ["batch", ("instance", {"affine": True})])
@pytest.mark.parametrize("dims", [2, 3])
def test_ways_up_and_norms_are_found(tmp_path, upsample, norm, dims):
    network = maker(dims, upsample=upsample, norm=norm)
    model = check(tmp_path, network, (1, *(32, 16, 32)[:dims]))
    assert facts(model) == {
        "family": "MONAI BasicUNetPlusPlus", "widths": FEATURES[:5],
        "norm": "batch" if norm == "batch" else "instance", "residual": False,
    }  # fmt: skip


@pytest.mark.parametrize("size", [(45, 67), (31, 32)])
def test_any_size_is_taken_as_the_maker_takes_it(tmp_path, size):
    check(tmp_path, maker(inputs=3, outputs=1, act="prelu"), (3, *size))


def test_with_deep_supervision_the_deepest_output_is_taken(tmp_path):
    network = drawn(maker(deep_supervision=True))
    model = opened(tmp_path, network)
    x = drawn_input((1, 1, 32, 32))
    with torch.no_grad():
        outputs = network(x)
        assert relative_error(model.network(x), outputs[-1].numpy()) <= 1e-4
    assert set(model.network.state_dict()) == set(network.state_dict())


def test_a_missing_head_is_named(tmp_path):
    weights = dict(drawn(maker()).state_dict())
    del weights["final_conv_0_2.weight"]
    torch.save(weights, tmp_path / "broken.pth")
    with pytest.raises(CheckpointError, match="final_conv_0_2"):
        load_model(tmp_path / "broken.pth")
