"""The weights of TorchScript files, read without running a program."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from napari_unet.errors import CheckpointError
from napari_unet.formats.scripted import scripted_weights
from tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def script(path: Path, network: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own remarks on TorchScript
        torch.jit.trace(network, (torch.rand(1, 1, 16, 16),)).save(str(path))
    return path


def test_the_state_dict_of_a_traced_network_is_found(tmp_path: Path) -> None:
    network = tiny_model().network
    found = scripted_weights(script(tmp_path / "a.pt", network))
    expected = network.state_dict()
    floats = {k: v for k, v in expected.items() if v.is_floating_point()}
    assert all(torch.equal(found[key], floats[key]) for key in floats)


def test_half_precision_and_shared_numbers_are_found(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))
    network[1].bias = network[0].bias
    found = scripted_weights(script(tmp_path / "a.pt", network.eval().float()))
    assert torch.equal(found["1.bias"], found["0.bias"])
    assert found["2.num_batches_tracked"].dtype == torch.int64


def test_a_published_program_holds_its_state_dict(
    data_folder: Path, tmp_path: Path
) -> None:
    folder = data_folder / "checkpoints" / "bioimageio_unet2d_nuclei_broad"
    with zipfile.ZipFile(next(folder.glob("*.zip"))) as package:
        package.extract("weights.pt", tmp_path)
    found = scripted_weights(tmp_path / "weights.pt")
    expected = torch.load(folder / "state_dict_from_torchscript.pt", weights_only=True)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("run",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(_Evil(), 2),
        pickle.dumps({"a": {1, 2}}, 4),
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x02}",
        b"",
        b"garbage",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x02K\x03tR.",
    ],
)
def test_other_pickles_are_refused(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
    with pytest.raises(CheckpointError, match=r"a\.pt holds more than modules"):
        scripted_weights(path)
    assert capsys.readouterr().out == ""


def test_numbers_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = script(tmp_path / "a.pt", nn.Conv2d(1, 2, 3))
    cut = tmp_path / "b.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(cut, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:8] if "/data/" in name else content)
    with pytest.raises(CheckpointError, match="the storage"):
        scripted_weights(cut)
    empty = tmp_path / "c.zip"
    zipfile.ZipFile(empty, "w").close()
    with pytest.raises(CheckpointError, match="no TorchScript file"):
        scripted_weights(empty)
