"""Record what torch-em gives, for tests without that library.

usage: python record_torch_em.py, where torch-em is installed; its networks' module is
imported alone, since the package around it asks for much more.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from recorded import record

SMALL = {"depth": 3, "initial_features": 8}
PLANES = [[1, 2, 2], [2, 2, 2], [2, 2, 2]]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "torch_em_2d": ("UNet2d", {"initial_features": 16, "out_channels": 2}),
    "torch_em_2d_batch": ("UNet2d", {**SMALL, "norm": "BatchNorm", "gain": 3}),
    "torch_em_2d_group": ("UNet2d", {**SMALL, "norm": "GroupNorm", "in_channels": 3}),
    "torch_em_2d_group_wide": (
        "UNet2d", {"depth": 2, "initial_features": 64, "norm": "GroupNorm"},
    ),
    "torch_em_2d_no_norm": ("UNet2d", {**SMALL, "norm": None}),
    "torch_em_2d_tracked": ("UNet2d", {**SMALL, "norm": "InstanceNormTrackStats"}),
    "torch_em_2d_side_outputs": ("UNet2d", {**SMALL, "return_side_outputs": True}),
    "torch_em_2d_no_head": ("UNet2d", {**SMALL, "out_channels": None}),
    "torch_em_2d_sigmoid": ("UNet2d", {**SMALL, "final_activation": "Sigmoid"}),
    "torch_em_3d": ("UNet3d", {**SMALL, "out_channels": 3}),
    "torch_em_3d_planes": (
        "AnisotropicUNet",
        {"scale_factors": PLANES, "initial_features": 8, "anisotropic_kernel": True},
    ),
    "torch_em_3d_planes_even_kernel": (
        "AnisotropicUNet", {"scale_factors": PLANES, "initial_features": 8},
    ),
}  # fmt: skip


def library() -> Any:
    """Return torch-em's module of U-Nets."""
    package = PathFinder.find_spec("torch_em")
    if package is None or package.origin is None:
        raise SystemExit("torch-em is not installed")
    place = Path(package.origin).parent / "model" / "unet.py"
    spec = spec_from_file_location("torch_em_unet", place)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{place} cannot be imported")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Write one file per case."""
    networks = library()
    for case, (kind, options) in CASES.items():
        given = {"in_channels": 1, "out_channels": 1, **options}
        network = getattr(networks, kind)(**given)
        if options.get("return_side_outputs"):
            network.register_forward_hook(lambda *values: values[-1][0])
        size = (32, 48) if kind == "UNet2d" else (8, 16, 24)
        record(
            case, network, (given["in_channels"], *size), version=version("torch_em"),
            family=f"torch-em {kind}", options=given,
        )  # fmt: skip


if __name__ == "__main__":
    main()
