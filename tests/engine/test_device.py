"""Devices: what is there, and how running out of memory looks."""

from __future__ import annotations

import time

import pytest
import torch

from napari_unet.engine import device
from napari_unet.engine.device import (
    choose_device,
    choose_dtype,
    free_memory,
    is_out_of_memory,
)
from napari_unet.errors import DeviceError

CPU = torch.device("cpu")


def test_the_processor_is_always_there() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "cuda:x", "", "cpu:7"])
def test_an_absent_device_is_named_with_those_that_are_there(name: str) -> None:
    with pytest.raises(DeviceError, match=r"is not there; this machine has: .*cpu"):
        choose_device(name)


def test_asking_the_processor_for_too_much_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46)
    assert is_out_of_memory(caught.value)


def test_other_errors_are_not_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("could not create a primitive"))


def test_free_memory_is_plausible() -> None:
    assert 2**24 < free_memory(CPU) < 2**50


def test_precision_is_taken_at_its_word() -> None:
    assert choose_dtype("float32", CPU) is torch.float32
    assert choose_dtype("bfloat16", CPU) is torch.bfloat16
    assert choose_dtype("auto", CPU) in {torch.float32, torch.bfloat16}


def test_a_processor_that_emulates_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulates = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: emulates)
    assert choose_dtype("auto", CPU) is torch.float32


@pytest.mark.parametrize("slower", [torch.float32, torch.bfloat16])
def test_a_processor_with_bfloat16_takes_what_it_computes_faster(
    monkeypatch: pytest.MonkeyPatch, slower: torch.dtype
) -> None:
    computes = {"architecture": "x86_64", "avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: computes)
    state = torch.random.get_rng_state()

    def slow(x: torch.Tensor, *_: object, padding: int) -> None:
        time.sleep(0.02 * padding if x.dtype is slower else 0.0)

    monkeypatch.setattr("torch.nn.functional.conv2d", slow)
    device._bfloat16_gains.cache_clear()
    faster = {torch.float32, torch.bfloat16} - {slower}
    assert {choose_dtype("auto", CPU)} == faster
    assert torch.equal(state, torch.random.get_rng_state())
    device._bfloat16_gains.cache_clear()
