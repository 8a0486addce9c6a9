"""The native file: bit-equal, checked, never half-written."""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_unet.engine.model import Model
from napari_unet.engine.spec import ClassSpec, Normalization
from napari_unet.errors import CheckpointError, OutputError
from napari_unet.formats import load_model, native, save_model
from tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURES = [
    {"norm": norm, "upsampling": upsampling, "residual": residual, "dims": dims}
    for norm, upsampling, residual, dims in itertools.product(
        ("none", "batch"), ("transposed", "interpolate"), (False, True), (2, 3)
    )
]


def described(model: Model) -> Model:
    """Return the model with every field of its spec away from the default."""
    changes = {
        "name": "Zellkerne é",
        "classes": tuple(ClassSpec(name=n, color="#ff0000") for n in "abc"),
        "normalization": Normalization(kind="zscore"),
        "pixel_size": (0.5, 0.25),
        "sources": {"output": "read"},
        "provenance": {"seed": "3"},
    }
    return Model(model.network, model.spec.model_copy(update=changes))


@pytest.mark.parametrize(
    "fields", ARCHITECTURES, ids=lambda v: "-".join(map(str, v.values()))
)
def test_a_saved_model_comes_back_bit_by_bit(tmp_path: Path, fields: dict) -> None:
    model = described(
        tiny_model("classes", in_channels=2, dropout=(0.1, 0.2), **fields)
    )
    loaded = load_model(save_model(model, tmp_path / "m.safetensors"), device="cpu")
    assert loaded.spec == model.spec
    before, after = model.network.state_dict(), loaded.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not loaded.network.training
    assert all(p.requires_grad for p in loaded.network.parameters())


@pytest.mark.parametrize("part", [0.0, 0.0005, 0.01, 0.3, 0.7, 0.999])
def test_a_file_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    path = save_model(tiny_model(), tmp_path / "m.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(CheckpointError, match=r"damaged or cut short|is empty"):
        load_model(path)


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    path = save_model(tiny_model(), tmp_path / "m.safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        load_model(path)


def test_a_safetensors_file_of_another_tool_is_read_by_its_weights(
    tmp_path: Path,
) -> None:
    weights = tiny_model().network.state_dict()
    save_file({f"model.{k}": v for k, v in weights.items()}, tmp_path / "a.safetensors")
    loaded = load_model(tmp_path / "a.safetensors")
    assert loaded.spec.architecture == tiny_model().spec.architecture
    assert loaded.spec.sources["architecture"] == "inferred"
    assert loaded.spec.layout.prefix == "model."
    save_file({"a": torch.ones(2)}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="'a' and no weights by name"):
        load_model(tmp_path / "b.safetensors")


def rewritten(path: Path, spec: str) -> Path:
    """Return a file with the same weights and checksum, but another description."""
    weights = load_file(path)
    metadata = {"format": native.FORMAT, "spec": spec, "sha256": native.digest(weights)}
    save_file(weights, path, metadata=metadata)
    return path


@pytest.mark.parametrize("spec", ["", "{}", '{"architecture": {"kind": "vnet"}}'])
def test_an_unknown_description_is_refused(tmp_path: Path, spec: str) -> None:
    path = save_model(tiny_model(), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="does not describe its network"):
        load_model(rewritten(path, spec))


def test_a_description_of_another_network_is_refused_at_once(tmp_path: Path) -> None:
    path = save_model(tiny_model(), tmp_path / "m.safetensors")
    huge = tiny_model().spec.model_dump_json().replace("[4,8]", str([8192] * 9))
    with pytest.raises(CheckpointError, match="lacks the weight"):
        load_model(rewritten(path, huge))


def test_a_model_with_nan_is_not_saved_over_a_good_one(tmp_path: Path) -> None:
    path = save_model(tiny_model(), tmp_path / "m.safetensors")
    before = path.read_bytes()
    broken = tiny_model()
    broken.network.head.bias.data[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"m\.safetensors.*head\.bias.*NaN"):
        save_model(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["m", "m.txt", "m.npz"])
def test_an_unknown_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"expected one of \.safetensors"):
        save_model(tiny_model(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_absent_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"No such file.*choose another place"):
        save_model(tiny_model(), tmp_path / "absent" / "m.safetensors")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_that_is_not_writable_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        save_model(tiny_model(), tmp_path / "m.safetensors")


def limit_file_size(size: int) -> tuple[int, int]:
    """Let writing beyond so many bytes fail as on a full disk; return the old limit."""
    resource = pytest.importorskip("resource", reason="no file size limits here")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    return old


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
) -> None:
    import resource

    path = save_model(tiny_model(), tmp_path / "m.safetensors")
    before = path.read_bytes()
    old = limit_file_size(1000)
    try:
        with pytest.raises(OutputError, match="choose another place"):
            save_model(tiny_model(seed=1), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_while_it_is_flushed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match="No space left on device"):
        save_model(tiny_model(), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []
