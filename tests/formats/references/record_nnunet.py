"""Record what nnU-Net's networks give, for tests without their library.

usage: python record_nnunet.py, where dynamic_network_architectures is installed
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dynamic_network_architectures.architectures import unet
from dynamic_network_architectures.building_blocks.residual import BottleneckD
from dynamic_network_architectures.building_blocks.residual_encoders import (
    ResidualEncoder,
)
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from recorded import record

PLAIN, RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
USUAL_2D = {
    "n_stages": 3, "features_per_stage": [8, 12, 16], "conv_op": nn.Conv2d,
    "kernel_sizes": [[3, 3]] * 3, "strides": [[1, 1], [2, 2], [2, 2]],
    "n_conv_per_stage_decoder": [2, 2], "conv_bias": True,
    "norm_op": nn.InstanceNorm2d, "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": nn.LeakyReLU, "nonlin_kwargs": {"inplace": True},
}  # fmt: skip
USUAL_3D = {
    **USUAL_2D, "conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d,
    "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
}  # fmt: skip
CONVS, BLOCKS = {"n_conv_per_stage": [2, 2, 2]}, {"n_blocks_per_stage": [1, 3, 2]}
DROPOUT = {"dropout_op": nn.Dropout2d, "dropout_op_kwargs": {"p": 0.2}}
BATCH = {"norm_op": nn.BatchNorm2d, "norm_op_kwargs": {"eps": 1e-3, "momentum": 0.2}}
RELU = {"nonlin": nn.ReLU, "nonlin_kwargs": None}
CASES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "plain_2d": (PLAIN, {**USUAL_2D, **CONVS}, (1, 32, 24)),
    "plain_2d_batch_relu_dropout": (
        PLAIN,
        {
            **USUAL_2D, **BATCH, **RELU, **DROPOUT, "n_conv_per_stage": [1, 3, 2],
            "n_conv_per_stage_decoder": [1, 3], "conv_bias": False,
            "kernel_sizes": [[1, 3], [3, 3], [5, 3]],
        },
        (3, 24, 32),
    ),
    "plain_2d_strides": (
        PLAIN, {**USUAL_2D, **CONVS, "strides": [[1, 1], [3, 2], [1, 4]]}, (2, 12, 32),
    ),
    "plain_2d_activation_first": (
        PLAIN, {**USUAL_2D, **CONVS, "nonlin_first": True}, (1, 24, 24),
    ),
    "plain_2d_activation_first_dropout": (
        PLAIN, {**USUAL_2D, **CONVS, **DROPOUT, "nonlin_first": True}, (1, 24, 24),
    ),
    "plain_2d_slopes": (
        PLAIN, {**USUAL_2D, **CONVS, "nonlin": nn.PReLU, "nonlin_kwargs": None},
        (1, 24, 24),
    ),
    "plain_2d_no_norm_gelu": (
        PLAIN,
        {**USUAL_2D, **CONVS, "norm_op": None, "nonlin": nn.GELU, "nonlin_kwargs": {}},
        (1, 24, 24),
    ),
    "plain_2d_instance_without_weights": (
        PLAIN, {**USUAL_2D, **CONVS, "norm_op_kwargs": {"eps": 1e-2}}, (1, 24, 24),
    ),
    "plain_2d_slope_of_a_tenth": (
        PLAIN, {**USUAL_2D, **CONVS, "nonlin_kwargs": {"negative_slope": 0.1}},
        (1, 24, 24),
    ),
    "plain_3d": (PLAIN, {**USUAL_3D, **CONVS}, (2, 6, 16, 20)),
    "residual_2d": (
        RESIDUAL, {**USUAL_2D, **BLOCKS, "n_conv_per_stage_decoder": [1, 1]},
        (1, 24, 32),
    ),
    "residual_2d_slopes_batch": (
        RESIDUAL,
        {**USUAL_2D, **BLOCKS, **BATCH, "nonlin": nn.PReLU, "nonlin_kwargs": None},
        (1, 24, 32),
    ),
    "residual_2d_equal_widths": (
        RESIDUAL,
        {
            **USUAL_2D, **BLOCKS, **DROPOUT, "features_per_stage": [8, 8, 8],
            "stem_channels": 6, "conv_bias": False,
        },
        (3, 16, 24),
    ),
    "residual_2d_bottleneck": (
        RESIDUAL,
        {
            **USUAL_2D, **BLOCKS, **DROPOUT, "block": BottleneckD, "stem_channels": 8,
            "bottleneck_channels": [4, 4, 6],
        },
        (1, 24, 16),
    ),
    "residual_3d": (RESIDUAL, {**USUAL_3D, **BLOCKS}, (1, 6, 16, 12)),
    "residual_2d_throughout": (
        "ResidualUNet", {**USUAL_2D, **BLOCKS, "n_conv_per_stage_decoder": [2, 1]},
        (1, 24, 16),
    ),
}  # fmt: skip


def main() -> None:
    """Write all recordings."""
    for name, (kind, options, size) in CASES.items():
        network = getattr(unet, kind)(size[0], num_classes=3, **options)
        _record(name, network, size, kind, options)
    network = unet.ResidualEncoderUNet(1, num_classes=3, **USUAL_2D, **BLOCKS)
    network.encoder = ResidualEncoder(
        1, **{k: v for k, v in USUAL_2D.items() if k != "n_conv_per_stage_decoder"},
        **BLOCKS, return_skips=True, squeeze_excitation=True,
    )  # fmt: skip
    network.decoder = UNetDecoder(network.encoder, 3, [2, 2], deep_supervision=False)
    _record("residual_2d_excited", network, (1, 24, 16), RESIDUAL, USUAL_2D)


def _record(
    name: str, network: nn.Module, size: tuple[int, ...], kind: str,
    options: dict[str, Any],
) -> None:  # fmt: skip
    record(
        f"nnunet_{name}", network, size, same=_same(network),
        family=f"nnU-Net v2 {kind}",
        version=version("dynamic_network_architectures"),
        network_class_name=f"dynamic_network_architectures.architectures.unet.{kind}",
        arch_kwargs={key: _named(value) for key, value in options.items()},
    )  # fmt: skip


def _same(network: nn.Module) -> dict[str, str]:
    """Return for each key the last key of the same tensor, which loading leaves."""
    keys = {id(value): key for key, value in network.state_dict(keep_vars=True).items()}
    state = network.state_dict(keep_vars=True)
    return {key: keys[id(value)] for key, value in state.items()}


def _named(value: object) -> object:
    """Return a class by its name, as plans have it."""
    return f"{value.__module__}.{value.__name__}" if isinstance(value, type) else value


if __name__ == "__main__":
    main()
