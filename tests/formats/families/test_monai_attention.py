"""MONAI's AttentionUnet, read from its weights alone."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import AttentionUnet
from tests.formats.families.monai_maker import check, drawn, facts, opened

from napari_unet.errors import CheckpointError
from napari_unet.formats import load_model


def maker(dims=2, inputs=1, outputs=2, channels=(8, 12, 16), strides=(2, 2), **more):
    return AttentionUnet(dims, inputs, outputs, channels, strides, **more)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel_size": 5, "up_kernel_size": 7},
        {"inputs": 3, "outputs": 1, "dropout": 0.1},
        {"channels": (6, 8), "strides": (2,)},
        {"channels": (5, 7, 9, 11, 13), "strides": (2, 2, 2, 2)},
    ],
)
def test_architecture_is_found(tmp_path, dims, options):
    levels = len(options.get("channels", (8, 12, 16))) - 1
    size = tuple(2**levels * n for n in (2, 3, 2)[:dims])
    model = check(tmp_path, maker(dims, **options), (options.get("inputs", 1), *size))
    assert facts(model) == {
        "family": "MONAI AttentionUnet", "norm": "batch", "residual": False,
        "widths": options.get("channels", (8, 12, 16)),
    }  # fmt: skip


@pytest.mark.parametrize("strides", [(1, 2), (2, 1), (1, 1), (4, 2)])
def test_other_strides_can_be_chosen(tmp_path, strides):
    reading = f"strides {strides[0]}, {strides[1]}"
    check(tmp_path, maker(strides=strides), (1, 16, 32), reading)


def test_strides_are_said_to_be_assumed(tmp_path):
    model = opened(tmp_path, drawn(maker(3)))
    said = "the weights do not tell the strides; assumed: strides 2, 2"
    assert said in model.spec.remarks
    assert "strides 1x2x2, 2" in model.spec.readings


@pytest.mark.parametrize(
    "lost", ["model.1.attention.W_g.1.weight", "model.1.merge.conv.bias"]
)
def test_a_lost_weight_is_named(tmp_path, lost):
    weights = dict(drawn(maker()).state_dict())
    for key in (lost, lost.replace("1.weight", "1.bias")):
        weights.pop(key, None)
    torch.save(weights, tmp_path / "broken.pth")
    with pytest.raises(CheckpointError, match=lost):
        load_model(tmp_path / "broken.pth")
