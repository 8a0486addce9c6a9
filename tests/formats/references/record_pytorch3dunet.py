"""Record what pytorch-3dunet gives, for tests without that library.

usage: python record_pytorch3dunet.py, where pytorch-3dunet is installed. The file whose
name ends in "_old" is not a run of the library: it was recorded from a shortened copy,
typed after its sources at commit 52dfff5c of 2019, in a module ``unet3d.model``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from recorded import record

OLD_VERSION = "a copy typed after commit 52dfff5c"

try:
    from pytorch3dunet.__version__ import __version__ as version
    from pytorch3dunet.unet3d import model as library
except ImportError:
    from unet3d import model as library

    version = OLD_VERSION

SMALL = {"f_maps": 8, "num_levels": 3, "num_groups": 4}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "3dunet_2d_gcr": ("UNet2D", {"f_maps": 16, "out_channels": 3}),
    "3dunet_2d_bcr": ("UNet2D", {**SMALL, "layer_order": "bcr"}),
    "3dunet_2d_cbr": (
        "UNet2D", {**SMALL, "layer_order": "cbr", "in_channels": 3, "out_channels": 2},
    ),
    "3dunet_2d_crb": ("UNet2D", {**SMALL, "layer_order": "crb"}),
    "3dunet_2d_cl": ("UNet2D", {**SMALL, "layer_order": "cl"}),
    "3dunet_2d_wide": (
        "UNet2D", {"f_maps": [12, 24, 36], "num_groups": 6, "conv_upscale": 1},
    ),
    "3dunet_2d_deconv": ("UNet2D", {**SMALL, "upsample": "deconv"}),
    "3dunet_2d_linear": ("UNet2D", {**SMALL, "upsample": "bilinear"}),
    "3dunet_2d_residual": ("ResidualUNet2D", {**SMALL, "layer_order": "cge"}),
    "3dunet_2d_residual_bcr": ("ResidualUNet2D", {**SMALL, "layer_order": "bcr"}),
    "3dunet_3d_gcr": ("UNet3D", {**SMALL, "out_channels": 3, "final_sigmoid": False}),
    "3dunet_3d_gcr_eight_groups": ("UNet3D", {**SMALL, "num_groups": 8}),
    "3dunet_3d_gcl": ("UNet3D", {**SMALL, "layer_order": "gcl"}),
    "3dunet_3d_crg": ("UNet3D", {**SMALL, "layer_order": "crg"}),
    "3dunet_3d_ce": ("UNet3D", {**SMALL, "layer_order": "ce", "in_channels": 2}),
    "3dunet_3d_dropout": ("UNet3D", {**SMALL, "layer_order": "gcrd"}),
    "3dunet_3d_regression": ("UNet3D", {**SMALL, "is_segmentation": False}),
    "3dunet_3d_residual": ("ResidualUNet3D", {**SMALL, "num_levels": 4}),
    "3dunet_3d_residual_gcl": ("ResidualUNet3D", {**SMALL, "layer_order": "gcl"}),
    "3dunet_3d_residual_nothing": ("ResidualUNet3D", {**SMALL, "layer_order": "cr"}),
    "3dunet_3d_excited": ("ResidualUNetSE3D", SMALL),
}  # fmt: skip
OLD: dict[str, tuple[str, dict[str, Any]]] = {
    "3dunet_3d_residual_old": (
        "ResidualUNet3D",
        {"f_maps": 8, "conv_layer_order": "cge", "num_groups": 4},
    ),
}


def main() -> None:
    """Write one file per case."""
    for case, (kind, options) in (OLD if version == OLD_VERSION else CASES).items():
        given = {"in_channels": 1, "out_channels": 1, "final_sigmoid": True, **options}
        network = getattr(library, kind)(**given)
        # a transposed convolution of the old version takes even sizes only
        size = (16, 16, 16) if case.endswith("_old") else (9, 14, 19)
        size = size if "3D" in kind else (29, 36)
        record(
            case, network, (given["in_channels"], *size), version=version,
            family=f"pytorch-3dunet {kind}", options=given,
        )  # fmt: skip


if __name__ == "__main__":
    main()
