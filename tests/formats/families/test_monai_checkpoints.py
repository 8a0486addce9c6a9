"""MONAI's networks in real files, with outputs that MONAI recorded."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.formats.families.monai_maker import TOLERANCE
from tests.formats.recorded import relative_error

from napari_unet.formats import load_model

FAMILIES = {  # by the name of the folder
    "monai_attentionunet_generated": "MONAI AttentionUnet",
    "monai_basicunet_default_2d_generated": "MONAI BasicUNet",
    "monai_basicunet_membranes_generated": "MONAI BasicUNet",
    "monai_basicunetplusplus_generated": "MONAI BasicUNetPlusPlus",
    "monai_segresnet_generated": "MONAI SegResNet",
    "monai_unet_3d_generated": "MONAI UNet",
    "monai_unet_res2_batchnorm_generated": "MONAI UNet",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_recorded_output_is_reproduced(data_folder, name):
    folder = data_folder / "checkpoints" / name
    model = load_model(folder / "state_dict.pth", device="cpu")
    with np.load(folder / "reference_io.npz") as file:
        x = torch.from_numpy(file["input"].astype(np.float32))
        expected = file["output"]
    made = json.loads((folder / "meta.json").read_text())["ctor"]
    with torch.no_grad():
        assert relative_error(model.network(x), expected) <= TOLERANCE
    found = model.spec.architecture
    assert found.family == FAMILIES[name]
    assert (found.dims, found.in_channels, found.out_channels) == tuple(
        made[key] for key in ("spatial_dims", "in_channels", "out_channels")
    )
