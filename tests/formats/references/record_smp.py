"""Record what segmentation-models-pytorch gives, for tests without that library.

usage: python record_smp.py, where segmentation-models-pytorch is installed; version
0.6 for most files, 0.3.4 and 0.0.3 for those of older layouts.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from recorded import record

# torchvision's import asks for two operators that its build for another torch lacks;
# nothing that a U-Net uses depends on them
LIBRARY = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")

import segmentation_models_pytorch as smp  # noqa: E402

VERSION = version("segmentation-models-pytorch")
SMALL = {"encoder_depth": 3, "decoder_channels": (32, 16, 8)}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "smp_unet_resnet18": ("Unet", "resnet18", {}),
    "smp_unet_resnet34_one_channel": (
        "Unet", "resnet34", {"in_channels": 1, "classes": 1},
    ),
    "smp_unet_resnet50_depth4": (
        "Unet", "resnet50",
        {"encoder_depth": 4, "decoder_channels": (64, 32, 16, 8), "classes": 5},
    ),
    "smp_unet_resnet18_depth3_no_norm": (
        "Unet", "resnet18", {**SMALL, "decoder_use_norm": False},
    ),
    "smp_unet_resnet18_instance_norm": (
        "Unet", "resnet18",
        {**SMALL, "decoder_use_norm": {"type": "instancenorm", "affine": True}},
    ),
    "smp_unet_resnet18_scse": (
        "Unet", "resnet18",
        {"encoder_depth": 3, "decoder_channels": (64, 32, 16),
         "decoder_attention_type": "scse", "in_channels": 4},
    ),
    "smp_unet_resnet18_classifier": (
        "Unet", "resnet18", {**SMALL, "aux_params": {"classes": 4, "dropout": 0.5}},
    ),
    "smp_unet_resnet101": ("Unet", "resnet101", {}),
    "smp_unet_resnext50": ("Unet", "resnext50_32x4d", SMALL),
    "smp_unet_timm_resnet18": ("Unet", "tu-resnet18", {}),
    "smp_unet_timm_resnet50_depth4": (
        "Unet", "tu-resnet50",
        {"encoder_depth": 4, "decoder_channels": (32, 32, 16, 8)},
    ),
    "smp_plus_plus_resnet18": ("UnetPlusPlus", "resnet18", {}),
    "smp_plus_plus_resnet34_depth3": (
        "UnetPlusPlus", "resnet34", {**SMALL, "in_channels": 1},
    ),
    "smp_plus_plus_resnet50_depth4_scse": (
        "UnetPlusPlus", "resnet50",
        {"encoder_depth": 4, "decoder_channels": (64, 32, 32, 16),
         "decoder_attention_type": "scse", "decoder_use_norm": False},
    ),
}  # fmt: skip
OLDER = {
    "smp_unet_0_3": ("Unet", "resnet34", {"decoder_attention_type": "scse"}),
    "smp_plus_plus_0_3": ("UnetPlusPlus", "resnet18", {"decoder_use_batchnorm": False}),
}
OLDEST = {
    "smp_unet_0_0": ("Unet", "resnet18", {}),
    "smp_unet_0_0_scse": (
        "Unet", "resnet34",
        {"attention_type": "scse", "decoder_use_batchnorm": False, "classes": 1,
         "center": True},
    ),
}  # fmt: skip


class FirstOutput(torch.nn.Module):
    """A network without its second output, which names the whole image."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.network.load_state_dict(*args, **kwargs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self.network(x)
        return output[0] if isinstance(output, tuple) else output


def main() -> None:
    """Write one file per case."""
    old = {"0.0": OLDEST, "0.3": OLDER}
    for case, (kind, encoder, options) in old.get(VERSION[:3], CASES).items():
        given = {"in_channels": 3, "classes": 2, **options}
        if VERSION.startswith("0.0"):
            given.pop("in_channels")
        network = getattr(smp, kind)(encoder, encoder_weights=None, **given)
        # today's Unet goes to the sizes of its encoder's values, so it takes odd ones
        odd = kind == "Unet" and VERSION >= "0.4"
        size = (61, 77) if odd else (64, 96)
        record(
            case, FirstOutput(network), (given.get("in_channels", 3), *size),
            family=f"segmentation-models-pytorch {kind}", version=VERSION,
            encoder=encoder.removeprefix("tu-"), options=given,
        )  # fmt: skip


if __name__ == "__main__":
    main()
