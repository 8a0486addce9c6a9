"""TorchScript and torch.export: code, run only when trusted, and where it can end."""

from __future__ import annotations

import threading
import time
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from program_files import Endless, Marking, Several, Small, exported, frozen, scripted
from tests.formats.recorded import relative_error

from napari_unet.errors import CheckpointError, Interrupted
from napari_unet.formats.interrupt import Interrupt
from napari_unet.formats.programs import onnx_file, pt2, torchscript

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model

# torch 2.13 deprecates what these files are made with; people have them all the same
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.* is deprecated:DeprecationWarning",
    "ignore:.*is not supported in Python 3.14:DeprecationWarning",
)


def numbers(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))


def opened(path: Path, format_=torchscript) -> Model:
    head = path.read_bytes()[:512]
    kinds = (torchscript, pt2, onnx_file)
    assert [kind for kind in kinds if kind.matches(path, head)] == [format_]
    return format_.load(path, trust=True)


@pytest.mark.parametrize("save", [scripted, frozen])
def test_a_scripted_network_gives_what_it_gave(tmp_path: Path, save) -> None:
    net = Small()
    model = opened(save(tmp_path / "small.pt", net))
    found = model.spec.architecture
    assert (found.family, found.in_channels, found.out_channels) == (
        "TorchScript",
        3,
        2,
    )
    assert (found.fit, found.stride, found.local) == ("pad", 2, True)
    assert 4 <= found.halo <= 8
    x = numbers(2, 3, 32, 50)
    with torch.no_grad():
        torch.testing.assert_close(model.network(x), net(x), rtol=1e-5, atol=1e-5)


def test_a_network_in_3d_that_sees_everything(tmp_path: Path) -> None:
    net = Small(dims=3, channels=1, norm=True)
    model = opened(scripted(tmp_path / "small.pt", net))
    found = model.spec.architecture
    assert (found.dims, found.in_channels, found.local) == (3, 1, False)
    x = numbers(1, 1, 8, 16, 20)
    with torch.no_grad():
        torch.testing.assert_close(model.network(x), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("multiple", [0, 2])
def test_an_exported_network_gives_what_it_gave(tmp_path: Path, multiple) -> None:
    net = Small()
    x = numbers(1, 3, 64, 64)
    model = opened(exported(tmp_path / "small.pt2", net, x, multiple), pt2)
    found = model.spec.architecture
    assert (found.family, found.in_channels, found.out_channels) == (
        "torch.export",
        3,
        2,
    )
    assert (found.fit, found.stride) == ("pad" if multiple else "fixed", 2)
    with torch.no_grad():
        torch.testing.assert_close(model.network(x), net(x), rtol=1e-5, atol=1e-5)
    assert model.network(numbers(1, 3, 70, 101)).shape == (1, 2, 70, 101)


def test_of_several_outputs_the_first_image_is_taken(tmp_path: Path) -> None:
    model = opened(scripted(tmp_path / "several.pt", Several()))
    assert "the program has 4 outputs, number 3 is taken" in model.spec.remarks
    assert (model.spec.output, model.spec.activation) == ("classes", "none")
    x = numbers(1, 1, 10, 10)
    expected = torch.cat([x, -x], 1).softmax(1)
    torch.testing.assert_close(model.scores(x), expected)


@pytest.mark.parametrize(
    ("name", "format_", "kind"),
    [("a.pt", torchscript, "TorchScript"), ("a.pt2", pt2, "torch.export")],
)
def test_without_trust_nothing_is_run(tmp_path: Path, name, format_, kind) -> None:
    path = tmp_path / name
    if format_ is pt2:
        exported(path, Small(), numbers(1, 3, 8, 8))
    else:
        scripted(path, Marking(str(tmp_path / "marker")))
    with pytest.raises(CheckpointError) as caught:
        format_.load(path)
    assert str(caught.value) == (
        f"{name} is a program ({kind}): opening it runs its code. Tick "
        '"I trust this file" (--trust) if you know where it comes from.'
    )
    assert not (tmp_path / "marker").exists()


def test_with_trust_its_code_is_run(tmp_path: Path) -> None:
    opened(scripted(tmp_path / "a.pt", Marking(str(tmp_path / "marker"))))
    assert (tmp_path / "marker").exists()


def test_a_program_that_never_ends_does_not_keep_the_caller(tmp_path: Path) -> None:
    path = scripted(tmp_path / "endless.pt", Endless(0.0))
    interrupt, called = Interrupt(), []

    def call() -> None:
        called.append(time.monotonic())
        interrupt.call()

    threading.Timer(2, call).start()
    with pytest.raises(Interrupted, match=r"Opening endless\.pt was interrupted"):
        torchscript.load(path, True, interrupt)
    assert time.monotonic() - called[0] < 1


def test_a_program_that_gives_no_answer_is_given_up(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("napari_unet.formats.programs.opening.PATIENCE", 1.0)
    path = scripted(tmp_path / "endless.pt", Endless(0.0))
    with pytest.raises(CheckpointError, match=r"gave no answer .* within 1 s"):
        torchscript.load(path, trust=True)


def test_nan_damage_and_packing_are_told(tmp_path: Path) -> None:
    net = Small()
    net.first.weight.data[0] = torch.nan
    path = scripted(tmp_path / "nan.pt", net)
    with pytest.raises(CheckpointError, match=r"in the weight first\.w"):
        torchscript.load(path, trust=True)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        packed = zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED)
        with packed:
            for info in infos:
                packed.writestr(info.filename, archive.read(info))
    weight = next(info for info in infos if info.filename.endswith("data/2"))
    data[weight.header_offset + 200] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="the checksum of nan/data/"):
        torchscript.load(path, trust=True)
    with pytest.raises(CheckpointError, match="has the packed member nan/data"):
        torchscript.load(tmp_path / "packed.pt", trust=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchscript_not_an_image.pt", "expected scores of the image's size"),
        ("torchscript_allocates_14GB.pt", "takes more memory than it may"),
    ],
)
def test_trusted_programs_that_are_no_networks_are_refused(
    data_folder: Path, name: str, words: str
) -> None:
    path = data_folder / "checkpoints" / "hostile" / name
    with pytest.raises(CheckpointError, match=words) as caught:
        torchscript.load(path, trust=True)
    assert str(caught.value).startswith(name)


def test_milesials_scripted_network(data_folder: Path) -> None:
    folder = data_folder / "checkpoints" / "milesial_layout_generated"
    model = opened(folder / "scripted.torchscript.pt")
    found = model.spec.architecture
    assert (found.fit, found.stride, found.local) == ("itself", 16, True)
    for name in ("reference_io", "reference_io_odd_size"):
        with np.load(folder / f"{name}.npz") as file:
            output = model.network(torch.from_numpy(file["input"]))
            assert relative_error(output, file["output"]) < 1e-4


@pytest.mark.parametrize(
    ("member", "format_"), [("weights.pt", torchscript), ("weights.onnx", onnx_file)]
)
def test_the_broad_nuclei_package(data_folder, tmp_path, member, format_) -> None:
    folder = data_folder / "checkpoints" / "bioimageio_unet2d_nuclei_broad"
    with zipfile.ZipFile(folder / "unet2d_nuclei_broad.nocode.zip") as package:
        for name in (member, "test_input.npy", "test_output.npy"):
            package.extract(name, tmp_path)
    model = opened(tmp_path / member, format_)
    raw = np.load(tmp_path / "test_input.npy").astype(np.float32)
    x = torch.from_numpy((raw - raw.mean()) / (raw.std() + 1e-6))
    expected = np.load(tmp_path / "test_output.npy")
    assert relative_error(model.scores(x), expected) < 1e-4
