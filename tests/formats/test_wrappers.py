"""What training scripts put around weights is seen through."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_unet.errors import CheckpointError
from napari_unet.formats import load_model, save_model
from tiny import tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Weights = dict[str, torch.Tensor]


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + key: value for key, value in weights.items()}


def under(name: str) -> Callable[[Weights], Any]:
    return lambda weights: {name: weights, "epoch": 7}


def lightning(weights: Weights) -> dict[str, Any]:
    return {
        "epoch": 3, "global_step": 100, "pytorch-lightning_version": "2.5.0",
        "state_dict": {
            **prefixed("model.")(weights),
            "criterion.weight": torch.ones(2, 2), "train_dice.total": torch.ones(1),
        },
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3, 3)}}}],
        "hyper_parameters": {"lr": 0.1}, "callbacks": {"x": {"y": torch.ones(2, 2)}},
    }  # fmt: skip


def with_optimizer(weights: Weights) -> dict[str, Any]:
    network = tiny_model().network
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 1, 8, 8)).sum().backward()
    optimizer.step()
    return {"model_state_dict": weights, "optimizer_state_dict": optimizer.state_dict()}


WRAPPED: dict[str, Callable[[Weights], Any]] = {
    **{
        name: under(name)
        for name in (
            "state_dict", "model", "model_state", "model_state_dict", "net",
            "network_weights", "something_else",
        )
    },
    "module.": prefixed("module."),
    "module.model.": prefixed("module.model."),
    "_orig_mod.": prefixed("_orig_mod."),
    "someone's own": prefixed("segmentor.backbone."),
    "lightning": lightning,
    "optimizer": with_optimizer,
    "two deep": lambda weights: {"checkpoint": {"state_dict": weights}},
    "plain values beside": lambda weights: {**weights, "mask_values": [0, 1]},
}  # fmt: skip


@pytest.mark.parametrize("how", WRAPPED)
def test_wrappers_are_seen_through_and_written_again(tmp_path: Path, how: str) -> None:
    weights = tiny_model().network.state_dict()
    torch.save(WRAPPED[how](weights), tmp_path / "a.pt")
    model = load_model(tmp_path / "a.pt")
    for key, value in weights.items():
        assert torch.equal(model.network.state_dict()[key], value)
    again = torch.load(save_model(model, tmp_path / "b.pth"), weights_only=True)
    for name in model.spec.layout.wrapper:
        again = again[name]
    assert set(again) == {model.spec.layout.prefix + key for key in weights}


def test_small_tensors_beside_the_network_are_left_out_and_said(
    tmp_path: Path,
) -> None:
    weights = prefixed("net.")(tiny_model().network.state_dict())
    torch.save({**weights, "class_weights": torch.ones(2)}, tmp_path / "a.pt")
    model = load_model(tmp_path / "a.pt")
    assert "left out beside the network: class_weights" in model.spec.remarks


def test_half_precision_is_computed_in_single_and_said(tmp_path: Path) -> None:
    weights = tiny_model().network.half().state_dict()
    torch.save(weights, tmp_path / "a.pt")
    model = load_model(tmp_path / "a.pt")
    assert model.network.get_parameter("head.weight").dtype == torch.float32
    assert any("half precision" in remark for remark in model.spec.remarks)


def test_the_averaged_copy_is_taken_and_said(tmp_path: Path) -> None:
    plain, averaged = tiny_model(seed=1).network, tiny_model(seed=2).network
    content = {"model": plain.state_dict(), "model_ema": averaged.state_dict()}
    torch.save(content, tmp_path / "a.pt")
    model = load_model(tmp_path / "a.pt")
    assert torch.equal(model.network.get_parameter("head.weight"), averaged.head.weight)
    assert "averaged weights (EMA) under 'model_ema'" in model.spec.remarks[0]


def test_an_averaged_copy_in_the_same_dictionary_is_taken(tmp_path: Path) -> None:
    plain, averaged = tiny_model(seed=1).network, tiny_model(seed=2).network
    content = {
        **prefixed("model.")(plain.state_dict()),
        **prefixed("ema_model.")(averaged.state_dict()),
    }
    torch.save({"state_dict": content}, tmp_path / "a.pt")
    model = load_model(tmp_path / "a.pt")
    assert torch.equal(model.network.get_parameter("head.weight"), averaged.head.weight)


def test_of_two_networks_the_one_that_is_a_u_net_is_taken(tmp_path: Path) -> None:
    other = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    weights = tiny_model().network.state_dict()
    content = {"classifier": other.state_dict(), "segmenter": weights}
    torch.save(content, tmp_path / "a.pt")
    assert load_model(tmp_path / "a.pt").spec.layout.wrapper == ("segmenter",)


def test_two_u_nets_are_refused_by_their_names(tmp_path: Path) -> None:
    content = {
        "first": tiny_model().network.state_dict(),
        "second": tiny_model(widths=(2, 4)).network.state_dict(),
    }
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="2 different networks, under 'first'"):
        load_model(tmp_path / "a.pt")


def test_a_file_without_checksums_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(tiny_model().network.state_dict(), tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert "without checksums" in load_model(tmp_path / "a.pt").spec.remarks[0]


def test_an_old_file_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    torch.save(
        {"w": torch.ones(3, 3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False
    )
    content = (tmp_path / "a.pt").read_bytes()
    # the storage's size, 9, as a pickle's BININT1, becomes 2**31 - 1 as a BININT
    claimed = re.sub(
        rb"(?<=cpuq.)K\x09", lambda _: b"J\xff\xff\xff\x7f", content, count=1
    )
    assert claimed != content
    (tmp_path / "a.pt").write_bytes(claimed)
    with pytest.raises(CheckpointError, match="states 2,147,483,647 numbers"):
        load_model(tmp_path / "a.pt")
