"""ONNX: data that onnxruntime computes, in a process that can be ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from program_files import Small, blur, endless_onnx, onnx_exported, onnx_model

from napari_unet import PredictConfig, predict
from napari_unet.engine.finetune import finetune
from napari_unet.engine.sampling import Example
from napari_unet.errors import (
    CheckpointError,
    Interrupted,
    ProgramError,
    TrainingError,
)
from napari_unet.formats.interrupt import Interrupt
from napari_unet.formats.programs import onnx_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_unet.engine.model import Model

# torch 2.13's own exporter does what it deprecates
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning")
BRIGHT = torch.full((1, 1, 8, 8), 1e6)


def numbers(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))


def opened(path: Path) -> Model:
    assert onnx_file.matches(path, path.read_bytes()[:512])
    return onnx_file.load(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """Return the small network as exported by torch, opened."""
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    model = opened(onnx_exported(path, Small(), numbers(1, 3, 32, 32)))
    yield model
    model.network.close()


def test_an_exported_network_gives_what_torch_gives(small: Model) -> None:
    found = small.spec.architecture
    assert (found.family, found.dims) == ("ONNX", 2)
    assert (found.in_channels, found.out_channels) == (3, 2)
    assert (found.stride, found.fit, found.local) == (2, "pad", True)
    x = numbers(2, 3, 40, 54)
    with torch.no_grad():
        expected = Small()(x)
    torch.testing.assert_close(small.network(x), expected, rtol=1e-5, atol=1e-5)


def test_odd_sizes_are_padded_and_cropped(small: Model) -> None:
    x = numbers(1, 3, 33, 31)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1), mode="replicate")
    with torch.no_grad():
        expected = Small()(padded)[..., :33, :31]
    torch.testing.assert_close(small.network(x), expected, rtol=1e-5, atol=1e-5)


def test_tiles_equal_the_whole(small: Model) -> None:
    image = numbers(90, 101, 3).numpy()
    whole, tiled = (
        predict(small, image, config=PredictConfig(tile=tile, keep_scores=True))
        for tile in (128, 32)
    )
    np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (70, 150), (20, 31)])
def test_a_network_of_one_size_takes_every_image(tmp_path: Path, size) -> None:
    model = opened(blur(tmp_path / "blur.onnx", shape=(1, 1, 64, 64)))
    assert model.spec.architecture.size == (64, 64)
    assert "pieces of 64 x 64 pixels" in model.spec.remarks[0]
    x = numbers(1, 1, *size)
    expected = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    found = model.network(x)[:, :1]
    inside = (..., slice(1, size[0] - 1), slice(1, size[1] - 1))
    torch.testing.assert_close(found[inside], expected[inside])


def test_several_images_at_once_and_channels_last(tmp_path: Path) -> None:
    node = helper.make_node("Abs", ["x"], ["y"])
    path = onnx_model(tmp_path / "abs.onnx", [node], shape=(4, 48, 64, 3))
    model = opened(path)
    assert model.spec.architecture.in_channels == 3
    x = numbers(2, 3, 48, 64) - 0.5
    torch.testing.assert_close(model.network(x), x.abs())


def test_a_network_in_3d(tmp_path: Path) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    path = onnx_model(tmp_path / "s.onnx", [node], shape=(1, 2, "z", "y", "x"))
    model = opened(path)
    found = model.spec.architecture
    assert (found.dims, found.fit, found.stride, found.halo) == (3, "itself", 1, 0)
    assert (model.spec.output, model.spec.activation) == ("classes", "none")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/etc/passwd", "outside of its own folder"),
        ("../weights.bin", "outside of its own folder"),
        ("sub/../../weights.bin", "outside of its own folder"),
        ("C:\\weights.bin", "outside of its own folder"),
        ("link.bin", "outside of its own folder"),
        ("absent.bin", "which is not there"),
        ("short.bin", "states more weights than"),
    ],
)
def test_weights_are_read_from_the_own_folder_only(
    tmp_path: Path, location: str, words: str
) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(72))
    (folder / "short.bin").write_bytes(bytes(71))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    path = outside(folder / "net.onnx", location)
    with pytest.raises(CheckpointError, match=words):
        onnx_file.load(path)


def outside(path: Path, location: str) -> Path:
    """Write a network whose kernel is in another file."""
    kernel = TensorProto(name="kernel", data_type=TensorProto.FLOAT, dims=[2, 1, 3, 3])
    kernel.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "72"}.items():
        kernel.external_data.add(key=key, value=value)
    node = helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[1, 1, 1, 1])
    return onnx_model(path, [node], weights=[kernel])


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.full(18, 1 / 9, np.float32).tobytes())
    model = opened(outside(tmp_path / "net.onnx", "weights.bin"))
    x = numbers(1, 1, 8, 8)
    expected = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    torch.testing.assert_close(model.network(x)[:, :1], expected)


@pytest.mark.parametrize(
    ("node", "fields", "words"),
    [
        (("Secret", {"domain": "evil.ops"}), {"domains": ["evil.ops"]}, "evil.ops"),
        (("Abs", {}), {"inputs": ["x", "z"]}, "takes 2 inputs"),
        (("ReduceMean", {"keepdims": 0}), {}, "expected scores of the image's size"),
        (("GlobalAveragePool", {}), {}, "expected scores of the image's size"),
        (("Abs", {}), {"shape": (1, 10)}, "an input of 2 axes"),
        (("Sqrt", {}), {"shape": (1, 1, 8, 8)}, None),
    ],
)
def test_what_is_no_network_of_images_is_told(
    tmp_path: Path, node, fields, words: str | None
) -> None:
    kind, options = node
    made = helper.make_node(kind, ["x"], ["y"], **options)
    path = onnx_model(tmp_path / "net.onnx", [made], **fields)
    if words is None:
        assert opened(path).spec.architecture.size == (8, 8)
        return
    with pytest.raises(CheckpointError, match=words) as caught:
        onnx_file.load(path)
    assert str(caught.value).startswith("net.onnx ")


def test_nan_is_named_and_damage_is_told(tmp_path: Path) -> None:
    kernel = numpy_helper.from_array(np.full((1, 1, 1, 1), np.nan, np.float32), "bad")
    node = helper.make_node("Conv", ["x", "bad"], ["y"])
    path = onnx_model(tmp_path / "nan.onnx", [node], weights=[kernel])
    with pytest.raises(CheckpointError, match="NaN or infinity in the weight bad"):
        onnx_file.load(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="cannot be used by ONNX"):
        onnx_file.load(path)


def test_an_enormous_result_is_refused(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([1, 1, 60000, 60000]), "shape")
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    nodes = [
        helper.make_node("Identity", ["shape"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["big"], value=zero),
        helper.make_node("ReduceMax", ["big"], ["top"]),
        helper.make_node("Add", ["x", "top"], ["y"]),
    ]
    path = onnx_model(tmp_path / "big.onnx", nodes, weights=[shape])
    if sys.platform != "linux":
        pytest.skip("memory can be limited on Linux only")
    with pytest.raises(CheckpointError, match="more memory than it may"):
        onnx_file.load(path)


def test_an_absent_package_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(onnx_file, "find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r"install napari-unet-workbench\[onnx\]"):
        onnx_file.load(blur(tmp_path / "blur.onnx"))


def test_a_call_that_never_ends_is_interrupted_and_the_next_works(tmp_path) -> None:
    model = opened(endless_onnx(tmp_path / "endless.onnx"))
    called: list[float] = []

    def interrupt() -> None:
        called.append(time.monotonic())
        model.network.interrupt()

    threading.Timer(0.3, interrupt).start()
    with pytest.raises(Interrupted, match="was interrupted"):
        model.network(BRIGHT)
    assert time.monotonic() - called[0] < 1
    torch.testing.assert_close(model.network(BRIGHT * 1e-6), BRIGHT * 1e-6)


def test_opening_can_be_interrupted(tmp_path: Path) -> None:
    interrupt = Interrupt()
    interrupt.call()
    with pytest.raises(Interrupted, match=r"Opening blur\.onnx was interrupted"):
        onnx_file.load(blur(tmp_path / "blur.onnx"), interrupt=interrupt)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("by", "words"),
    [(signal.SIGSEGV, "ended by itself"), (signal.SIGKILL, "ran out of memory")],
)
def test_a_process_that_dies_is_told_and_started_again(tmp_path, by, words) -> None:
    model = opened(endless_onnx(tmp_path / "endless.onnx"))
    pid = model.network._child.pid
    threading.Timer(0.3, os.kill, (pid, by)).start()
    with pytest.raises(ProgramError, match=words):
        model.network(BRIGHT)
    assert model.network(BRIGHT * 0).max() == 0


def test_a_clone_has_a_process_of_its_own(tmp_path: Path) -> None:
    model = opened(blur(tmp_path / "blur.onnx"))
    clone = model.clone()
    x = numbers(1, 1, 8, 8)
    torch.testing.assert_close(clone.network(x), model.network(x))
    assert clone.network._child.pid != model.network._child.pid
    assert model.to(torch.device("cpu")) is model
    model.network.close()
    torch.testing.assert_close(clone.network(x), model.network(x))


def test_a_file_that_changed_is_not_run(tmp_path: Path) -> None:
    path = blur(tmp_path / "blur.onnx")
    model = opened(path)
    model.network.close()
    endless_onnx(path)
    with pytest.raises(CheckpointError, match="has changed since it was opened"):
        model.network(BRIGHT)


def test_programs_cannot_be_trained(tmp_path: Path) -> None:
    model = opened(blur(tmp_path / "blur.onnx"))
    assert not model.trainable
    assert list(model.network.parameters()) == []
    assert model.network.state_dict() == {}
    example = Example(np.zeros((32, 32)), np.ones((32, 32), int))
    with pytest.raises(TrainingError, match="frozen programs cannot be trained: "):
        finetune(model, [example])
