"""BioImage.IO packages in: their weights with what they say around them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml

from formats.bioimageio_packages import (
    rdf4,
    rdf5,
    sha256,
    write_package,
    write_tensors,
    zipped,
)
from napari_unet.errors import CheckpointError
from napari_unet.formats.bioimageio import load, matches
from tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model

REPRODUCES = "reproduces its test output"


def said(model: Model) -> str:
    return "; ".join(model.spec.remarks)


def rewrite(folder: Path, **changes: Any) -> None:
    rdf = yaml.safe_load((folder / "rdf.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump({**rdf, **changes})
    (folder / "rdf.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("make", [rdf4, rdf5])
@pytest.mark.parametrize("kind", ["folder", "yaml", "zip", "zip with a folder"])
def test_a_package_of_any_kind_reproduces_its_test_output(
    tmp_path: Path, make: Any, kind: str
) -> None:
    model = tiny_model("foreground", in_channels=2)
    path = folder = write_package(tmp_path / "m", model, make(model))
    if kind == "yaml":
        path = folder / "rdf.yaml"
    elif kind.startswith("zip"):
        path = zipped(folder, "m/" if "folder" in kind else "")
    head = b"" if path.is_dir() else path.read_bytes()[:64]
    assert matches(path, head)
    opened = load(path)
    assert REPRODUCES in said(opened)
    assert opened.spec.normalization.kind == "zscore"
    assert opened.spec.activation == "sigmoid"
    assert opened.spec.output == "foreground"
    assert opened.spec.sources["normalization"] == "read"
    assert opened.spec.architecture.in_channels == 2
    x = torch.rand(1, 2, 32, 32)
    with torch.no_grad():
        assert torch.equal(opened.network(x), model.network(x))


def test_a_3d_package_is_opened(tmp_path: Path) -> None:
    model = tiny_model("classes", dims=3)
    folder = write_package(tmp_path / "m", model, rdf4(model))
    opened = load(folder)
    assert opened.spec.architecture.dims == 3
    assert opened.spec.output == "multilabel"
    assert REPRODUCES in said(opened)


def test_who_made_it_and_what_to_cite_is_kept(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    opened = load(write_package(tmp_path / "m", model, rdf5(model)))
    assert opened.spec.provenance == {
        "format": "BioImage.IO 0.5.3", "licence": "MIT", "authors": "Ada (Here)",
        "cite": "a paper 10.1000/1",
    }  # fmt: skip
    assert opened.spec.name == "a test model"
    assert [one.name for one in opened.spec.classes] == ["k0"]


def test_pixel_sizes_become_micrometres(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    rdf = rdf5(model)
    for tensor in ("inputs", "outputs"):
        for axis in rdf[tensor][0]["axes"][2:]:
            axis |= {"scale": 250, "unit": "nanometer"}
    opened = load(write_package(tmp_path / "m", model, rdf))
    assert opened.spec.pixel_size == (0.25, 0.25)
    assert opened.spec.sources["pixel_size"] == "read"


def test_names_of_channels_tell_order_and_classes(tmp_path: Path) -> None:
    model = tiny_model("classes", in_channels=3)
    rdf = rdf5(model)
    rdf["inputs"][0]["axes"][1]["channel_names"] = ["Blue", "Green", "Red"]
    rdf["outputs"][0]["axes"][1]["channel_names"] = ["ground", "cell", "border"]
    rdf["outputs"][0]["postprocessing"] = [{"id": "softmax"}]
    folder = write_package(tmp_path / "m", model, rdf)
    write_tensors(folder, model, "softmax")
    opened = load(folder)
    assert opened.spec.channel_order == "BGR"
    assert opened.spec.output == "classes"
    assert [one.name for one in opened.spec.classes] == ["ground", "cell", "border"]
    assert REPRODUCES in said(opened)


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
def test_the_test_output_shows_an_activation_that_is_not_described(
    tmp_path: Path, activation: str
) -> None:
    model = tiny_model("classes")
    rdf = rdf5(model)
    del rdf["outputs"][0]["postprocessing"]
    folder = write_package(tmp_path / "m", model, rdf)
    write_tensors(folder, model, activation)
    opened = load(folder)
    assert opened.spec.activation == activation
    assert opened.spec.sources["activation"] == "inferred"
    assert REPRODUCES in said(opened)


def test_an_argument_of_the_class_shows_the_activation(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    rdf = rdf5(model)
    del rdf["outputs"][0]["postprocessing"], rdf["inputs"][0]["test_tensor"]
    weights = rdf["weights"]["pytorch_state_dict"]
    weights["architecture"]["kwargs"] = {"final_activation": "Sigmoid", "depth": 2}
    opened = load(write_package(tmp_path / "m", model, rdf))
    assert opened.spec.activation == "sigmoid"
    assert "no test image" in said(opened)


def test_steps_after_the_activation_are_compared_and_said(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    rdf = rdf5(model)
    rdf["outputs"][0]["postprocessing"] += [
        {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}},
        {"id": "binarize", "kwargs": {"threshold": 0.5}},
    ]
    folder = write_package(tmp_path / "m", model, rdf)
    scores = np.load(folder / "out.npy")
    np.save(folder / "out.npy", (scores > 0.5).astype(np.uint8))
    opened = load(folder)
    assert "cut at a score of 0.5" in said(opened)
    assert REPRODUCES in said(opened)


def test_another_output_is_warned_of(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    folder = write_package(tmp_path / "m", model, rdf5(model))
    np.save(folder / "out.npy", np.load(folder / "out.npy") + 0.25)
    assert "does not reproduce its test output" in said(load(folder))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([{"a": 1}], object), "cannot be used"),
        (np.full((1, 1, 32, 32), np.nan, np.float32), "holds NaN"),
        (np.zeros((32, 32), np.float32), "2 axes"),
        (np.zeros((1, 1, 1024, 1024), np.uint8), "too large"),
    ],
)
def test_a_test_image_that_is_no_good_is_said(
    tmp_path: Path, array: Any, words: str
) -> None:
    model = tiny_model("foreground")
    folder = write_package(tmp_path / "m", model, rdf5(model))
    np.save(folder / "in.npy", array, allow_pickle=True)
    assert words in said(load(folder))


def test_a_test_image_that_claims_much_is_not_read(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    folder = write_package(tmp_path / "m", model, rdf5(model))
    content = (folder / "in.npy").read_bytes()
    claim = content.replace(b"(1, 1, 32, 32)", b"(1, 1, 99999999999999, 32)", 1)
    (folder / "in.npy").write_bytes(claim)
    assert "cannot be used" in said(load(folder))


def test_changed_weights_are_refused_by_their_hash(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    rdf = rdf5(model)
    folder = write_package(tmp_path / "m", model, rdf)
    weights = {"source": "weights.pt", "sha256": sha256(folder / "weights.pt")}
    rewrite(folder, weights={"pytorch_state_dict": weights})
    assert REPRODUCES in said(load(folder))
    torch.save(
        tiny_model("foreground", seed=3).network.state_dict(), folder / "weights.pt"
    )
    with pytest.raises(CheckpointError, match="its SHA-256 differs"):
        load(folder)


def test_programs_weights_are_read_without_running_them(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    rdf = rdf5(model)
    rdf["weights"] = {
        "pytorch_state_dict": {"source": "https://nowhere.example/w.pt"},
        "torchscript": {"source": "script.pt"},
    }
    folder = write_package(tmp_path / "m", model, rdf)
    write_torchscript(folder / "script.pt", model)
    opened = load(folder)
    assert "its program was not run" in said(opened)
    assert "nothing is downloaded on opening" in said(opened)
    assert REPRODUCES in said(opened)
    assert opened.spec.architecture.family == "napari-unet"


def write_torchscript(path: Path, model: Model) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own remarks on tracing
        traced = torch.jit.trace(model.network, (torch.rand(1, 1, 32, 32),))
        traced.save(str(path))


def test_a_program_alone_asks_for_trust(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    rdf = rdf5(model, weights={"torchscript": {"source": "script.pt"}})
    del rdf["inputs"][0]["test_tensor"]  # else the weights alone are tried
    folder = write_package(tmp_path / "m", model, rdf)
    write_torchscript(folder / "script.pt", model)
    with pytest.raises(CheckpointError, match="I trust this file"):
        load(folder)


def test_the_next_weights_are_taken_where_one_fails(tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    from napari_unet.formats import onnx_export

    model = tiny_model("foreground")
    rdf = rdf5(model)
    rdf["weights"]["onnx"] = {"source": "w.onnx", "opset_version": 20}
    folder = write_package(tmp_path / "m", model, rdf)
    (folder / "weights.pt").write_bytes(b"\x80\x02garbage")
    onnx_export.export(model, folder / "w.onnx", "none")
    opened = load(zipped(folder))
    assert "weights taken: onnx" in said(opened)
    assert "its pytorch_state_dict could not be opened" in said(opened)
    assert REPRODUCES in said(opened)


REFUSED = [
    ({"type": "dataset"}, "a BioImage.IO dataset, expected a model"),
    ({"format_version": "0.6.0"}, "version 0.6.0, expected 0.3 to 0.5"),
    ({"format_version": None}, "version unknown"),
    ({"weights": {}}, "holds no weights"),
    ({"weights": {"tensorflow_js": {"source": "a"}}}, "of the kind tensorflow_js"),
    ({"weights": {"pytorch_state_dict": {"source": "../a.pt"}}}, "outside of it"),
    ({"weights": {"pytorch_state_dict": {"source": "/etc/passwd"}}}, "outside of it"),
    ({"weights": {"pytorch_state_dict": {"source": "gone.pt"}}}, "does not hold gone"),
    ({"weights": [1]}, "weights is no mapping"),
    ({"inputs": []}, "has 0 inputs"),
    ({"inputs": [{"axes": [{"type": "what"}]}]}, "type 'what'"),
    ({"inputs": [{"axes": 7}]}, "an axis is no mapping"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_cannot_be_opened_is_said_in_a_sentence(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    model = tiny_model("foreground")
    folder = write_package(tmp_path / "m", model, rdf5(model))
    rewrite(folder, **changes)
    with pytest.raises(CheckpointError, match=words):
        load(folder)


def _step(where: str, step: dict[str, Any]) -> dict[str, Any]:
    model = tiny_model("foreground")
    rdf = rdf5(model)
    rdf["inputs" if where == "pre" else "outputs"][0][f"{where}processing"] = [step]
    return rdf


@pytest.mark.parametrize(
    ("where", "step", "words"),
    [
        ("pre", {"id": "binarize", "kwargs": {"threshold": 1}}, "the step 'binarize'"),
        ("pre", {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y"]}}, "over"),
        ("pre", {"id": "scale_linear", "kwargs": {"gain": "x"}}, "gain is no number"),
        ("pre", {"id": "ensure_dtype", "kwargs": {}}, "REPRODUCED"),
        ("post", {"id": "custom", "source": "a.py"}, "the step 'custom' after"),
        ("post", {"id": "scale_range"}, "the step 'scale_range' after"),
        ("post", {"id": "softmax", "kwargs": {"axis": "x"}}, "along the axis 'x'"),
    ],
)
def test_steps_that_cannot_be_repeated_are_named(
    tmp_path: Path, where: str, step: dict[str, Any], words: str
) -> None:
    model = tiny_model("foreground")
    folder = write_package(tmp_path / "m", model, _step(where, step))
    if words == "REPRODUCED":
        assert load(folder).spec.normalization.kind == "none"
        return
    with pytest.raises(CheckpointError, match=words):
        load(folder)


def test_other_axes_and_sizes_are_refused(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    rdf = rdf4(model)
    rdf["inputs"][0] |= {"axes": "byxc", "shape": [1, 32, 32, 1]}
    rdf["outputs"][0] |= {"axes": "byxc", "shape": [1, 32, 32, 1]}
    folder = write_package(tmp_path / "m", model, rdf)
    with pytest.raises(CheckpointError, match="with the axes 'byxc'"):
        load(folder)
    rdf = rdf4(model)
    rdf["outputs"][0]["shape"]["scale"][2:] = [2.0, 2.0]
    with pytest.raises(CheckpointError, match="an output of another size"):
        load(write_package(tmp_path / "n", model, rdf))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = tiny_model("foreground")
    folder = write_package(tmp_path / "m", model, rdf5(tiny_model("classes")))
    with pytest.raises(CheckpointError, match="2 axes, 1 channels in and 3 out"):
        load(folder)


def test_two_inputs_are_refused(data_folder: Path) -> None:
    folder = data_folder / "checkpoints" / "bioimageio_unet2d_multi_tensor"
    with pytest.raises(CheckpointError, match="has 2 inputs and 2 outputs"):
        load(next(folder.glob("*.zip")))


def test_an_enlarging_network_is_refused(data_folder: Path) -> None:
    folder = data_folder / "checkpoints" / "bioimageio_upsample_test_model"
    with pytest.raises(CheckpointError, match="an output of another size"):
        load(next(folder.glob("*.zip")))


def test_a_published_package_reproduces_its_test_output(data_folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = data_folder / "checkpoints" / "bioimageio_unet2d_nuclei_broad"
    model = load(next(folder.glob("*.zip")))
    assert REPRODUCES in said(model)
    assert model.spec.normalization.kind == "zscore"
    assert model.spec.likely_activation == "sigmoid"


def test_a_published_package_gives_the_recorded_output(data_folder: Path) -> None:
    folder = data_folder / "checkpoints" / "bioimageio_unet2d_nuclei_broad"
    model = load(next(folder.glob("*.zip")), trust=True)
    with np.load(folder / "reference_io.npz") as file:
        x, y = torch.from_numpy(file["input"]), file["output"]
    with torch.no_grad():
        found = [model.network(x).numpy(), model.scores(x).numpy()]
    assert min(float(np.abs(one - y).max()) for one in found) < 1e-4 * np.abs(y).max()


def test_hostile_packages_are_refused_at_once(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = data_folder / "checkpoints" / "hostile"
    for name in ("evil_bioimageio_package.zip", "zip_slip.zip", "evil_tags.yaml"):
        began = time.perf_counter()
        with pytest.raises(CheckpointError, match=name):
            load(hostile / name)
        assert time.perf_counter() - began < 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_unpacked_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    model = tiny_model("foreground")
    path = zipped(write_package(tmp_path / "m", model, rdf5(model)))
    opened = load(path)
    assert list(room.iterdir()) == []
    assert replace(opened).spec == opened.spec


def test_keras_weights_are_taken_whatever_the_order_of_axes(
    data_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("h5py")
    source = data_folder / "checkpoints" / "keras_nuclei_generated"
    with np.load(source / "reference_io.npz") as file:
        x, y = file["input_128_uint8"], file["output_128"]
    (tmp_path / "w.h5").write_bytes((source / "model_for_nuclei.h5").read_bytes())
    np.save(tmp_path / "in.npy", x[:1])
    np.save(tmp_path / "out.npy", y[:1])
    rdf = rdf4(tiny_model("foreground", in_channels=3))
    rdf["inputs"][0] |= {"axes": "byxc", "shape": list(x[:1].shape)}
    rdf["inputs"][0]["preprocessing"] = []
    rdf["outputs"][0] |= {"axes": "byxc", "shape": list(y[:1].shape)}
    rdf["outputs"][0]["postprocessing"] = []
    rdf["weights"] = {"keras_hdf5": {"source": "w.h5"}}
    (tmp_path / "rdf.yaml").write_text(yaml.safe_dump(rdf), encoding="utf-8")
    opened = load(tmp_path)
    assert REPRODUCES in said(opened)
    assert opened.spec.likely_activation == "sigmoid"
