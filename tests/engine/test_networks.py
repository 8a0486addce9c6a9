"""The U-Net: its size, any input, its receptive field."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from napari_unet.engine.builder import Builder
from napari_unet.engine.networks import build, pad_to_multiple
from napari_unet.engine.networks.unet import unet_graph
from napari_unet.engine.spec import UNetSpec, modern_unet, seed_unet
from tiny import tiny_model, tiny_spec

if TYPE_CHECKING:
    from napari_unet.engine.graph import GraphSpec, Node

VARIANTS = [
    {"norm": norm, "upsampling": upsampling, "residual": residual, "dims": dims}
    for norm, upsampling, residual, dims in itertools.product(
        ("none", "batch"), ("transposed", "interpolate"), (False, True), (2, 3)
    )
]


def test_seed_preset_has_the_parameters_of_the_published_recipe() -> None:
    network = build(seed_unet())
    assert sum(p.numel() for p in network.parameters()) == 1_941_105


def test_modern_preset_has_batch_norm_and_no_dropout() -> None:
    network = build(modern_unet())
    kinds = {type(module) for module in network.modules()}
    assert nn.BatchNorm2d in kinds
    assert nn.Dropout not in kinds


@pytest.mark.parametrize(
    "variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values()))
)
@pytest.mark.parametrize("side", [1, 7, 12])
def test_output_has_the_size_of_any_input(variant: dict, side: int) -> None:
    network = tiny_model(widths=(4, 8, 16), in_channels=3, **variant).network
    size = (side, side + 3, side)[: variant["dims"]]
    with torch.inference_mode():
        logits = network(torch.rand(2, 3, *size))
    assert logits.shape == (2, 2, *size)
    assert torch.isfinite(logits).all()


def test_dropout_rates_are_one_per_level_on_both_sides() -> None:
    network = build(UNetSpec(widths=(4, 8, 16), dropout=(0.1, 0.2, 0.3)))
    rates = {k: m.p for k, m in network.named_modules() if isinstance(m, nn.Dropout)}
    assert [rates[f"encoder.{n}.dropout"] for n in range(3)] == [0.1, 0.2, 0.3]
    assert [rates[f"decoder.{n}.dropout"] for n in range(2)] == [0.1, 0.2]


def test_spec_refuses_rates_that_do_not_fit_its_levels() -> None:
    with pytest.raises(ValueError, match="2 dropout rates for 3 levels"):
        UNetSpec(widths=(4, 8, 16), dropout=(0.1, 0.2))
    with pytest.raises(ValueError, match="2 to 9 levels"):
        UNetSpec(widths=(4,))


def test_padding_repeats_the_edge_at_the_end() -> None:
    padded = pad_to_multiple(torch.arange(6.0).reshape(1, 1, 2, 3), 4)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0, 3].tolist() == [3.0, 4.0, 5.0, 5.0]


def averaging(node: Node) -> Node:
    """Return a pooling that averages, and any other node as it is."""
    if node.op != "pool":
        return node
    return node.model_copy(update={"options": {**node.options, "kind": "average"}})


def true_reach(spec: UNetSpec) -> int:
    """Return how far around a cell of the network's grid its output depends on.

    All weights are positive and pooling averages, so that no path is hidden.
    """
    graph = unet_graph(spec)
    nodes = [averaging(node) for node in graph.nodes]
    network = build(graph.model_copy(update={"nodes": tuple(nodes)})).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand_like(parameter) + 0.1)
    around = 2 * network.halo
    size = 2 * around + spec.stride
    x = torch.rand(1, 1, *[size] * spec.dims, requires_grad=True)
    cell = slice(around, around + spec.stride)
    network(x)[(slice(None), slice(None), *[cell] * spec.dims)].sum().backward()
    used = x.grad[0, 0].nonzero()
    return max(around - int(used.min()), int(used.max()) + 1 - around - spec.stride)


@pytest.mark.parametrize("upsampling", ["transposed", "interpolate"])
@pytest.mark.parametrize("widths", [(2, 2), (2, 2, 2), (2, 2, 2, 2)])
@pytest.mark.parametrize("residual", [False, True])
def test_halo_is_the_receptive_field_rounded_up_to_the_stride(
    upsampling: str, widths: tuple[int, ...], *, residual: bool
) -> None:
    spec = UNetSpec(
        widths=widths, norm="none", upsampling=upsampling, residual=residual
    )
    halo, reach = build(spec).halo, true_reach(spec)
    assert reach <= halo < reach + spec.stride
    assert halo % spec.stride == 0


def test_halo_covers_the_receptive_field_in_3d() -> None:
    spec = tiny_spec(dims=3, widths=(2, 2), norm="none").architecture
    assert true_reach(spec) <= build(spec).halo


def test_weights_depend_on_the_seed_alone() -> None:
    first, second, other = (tiny_model(seed=seed).network for seed in (1, 1, 2))
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_each_axis_is_padded_to_its_own_stride() -> None:
    builder = Builder(3, 1, None)
    x = builder.conv(0, "down", 2, 3, stride=(1, 2, 4))
    builder.conv_transpose(x, "up", 1, (1, 2, 4), stride=(1, 2, 4))
    graph = builder.graph("test", (2,))
    assert (graph.strides, graph.stride) == ((1, 2, 4), 4)
    network = build(graph)
    seen: list[torch.Size] = []
    network.get_submodule("down").register_forward_hook(
        lambda _module, given, _made: seen.append(given[0].shape)
    )
    assert network(torch.zeros(1, 1, 5, 5, 5)).shape == (1, 1, 5, 5, 5)
    assert seen == [(1, 1, 5, 6, 8)]


def pooled_twice(fit: str, norm: str) -> GraphSpec:
    """Return a network with skips that takes sizes itself, as milesial's does."""
    b = Builder(2, 1, None)
    fine = b.conv(0, "a", 2, 3)
    half = b.conv(b.pool(fine, 2), "b", 2, 3)
    coarse = b.norm(b.conv(b.pool(half, 2), "c", 2, 3), "n", norm)
    up = b.pad_like(b.conv_transpose(coarse, "d", 2, 2, stride=2), half)
    up = b.pad_like(b.conv_transpose(up, "e", 2, 2, stride=2), fine)
    b.conv(b.concat(fine, up), "f", 1, 1)
    return b.graph("test", (2,), fit=fit, norm=norm)


@pytest.mark.parametrize(
    ("fit", "norm", "shape", "taken"),
    [
        ("itself", "batch", (1, 3), (4, 4)),
        ("itself", "batch", (2, 9), (4, 9)),
        ("itself", "batch", (5, 7), (5, 7)),
        ("itself", "instance", (5, 7), (5, 8)),
        ("itself", "instance", (2, 9), (4, 9)),
        ("pad", "batch", (1, 3), (4, 4)),
        ("pad", "instance", (1, 3), (4, 8)),
        ("pad", "instance", (1, 9), (4, 12)),
    ],
)
def test_images_smaller_than_its_coarsest_pixels_are_padded(
    fit: str, norm: str, shape: tuple[int, int], taken: tuple[int, int]
) -> None:
    graph = pooled_twice(fit, norm)
    assert graph.taken(shape) == taken
    with torch.inference_mode():
        network = build(graph).eval()
        x = torch.rand(1, 1, *shape)
        assert network(x).shape == x.shape
        assert network(x).isfinite().all()
