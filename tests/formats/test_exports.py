"""ONNX and pt2 out: the same scores, at any size, read by other programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_unet.engine.model import Model
from napari_unet.engine.networks import Network
from napari_unet.engine.spec import ClassSpec, Normalization
from napari_unet.errors import OutputError
from napari_unet.formats import load_model, onnx_export, pt2_export
from napari_unet.formats.exportable import Exportable, check_same, graph_of
from napari_unet.formats.remembered import KEY, KNOWN, remembered
from tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

SHARED = (
    "milesial_layout_generated/state_dict.pth",
    "monai_unet_res2_batchnorm_generated/state_dict.pth",
    "monai_attentionunet_generated/state_dict.pth",
    "pytorch3dunet_unet3d_generated/best_checkpoint.pytorch",
    "keras_nuclei_generated/model_for_nuclei.h5",
    "nnunetv2_plain_3d_generated/fold_0/checkpoint_final.pth",
)


def tiny(**fields: Any) -> Model:
    """Return a tiny model whose output differs from place to place."""
    return tiny_model(fields.pop("output", "instances"), **fields)


def onnx_scores(path: Path, image: torch.Tensor) -> torch.Tensor:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"image": image.numpy()})
    return torch.from_numpy(scores)


def pt2_scores(path: Path, image: torch.Tensor) -> torch.Tensor:
    scores: torch.Tensor = torch.export.load(path).module()(image)
    return scores


WRITERS = [
    pytest.param(onnx_export, onnx_scores, id="onnx"),
    pytest.param(pt2_export, pt2_scores, id="pt2"),
]


@pytest.fixture(autouse=True)
def _needs_onnx(request: pytest.FixtureRequest) -> None:
    if "onnx" in request.node.name:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name)


@pytest.mark.parametrize(("writer", "scores"), WRITERS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"output": "classes", "upsampling": "interpolate", "in_channels": 3},
        {"dims": 3, "widths": (4, 4, 8), "residual": True},
    ],
    ids=["2d", "linear", "3d"],
)
def test_an_exported_program_gives_the_scores_at_any_size(
    tmp_path: Path, writer: ModuleType, scores: Any, fields: dict[str, Any]
) -> None:
    model = tiny(**fields)
    path = tmp_path / f"m{writer.SUFFIX}"
    writer.save(model, path)
    writer.verify(path, model)
    shape = model.spec.architecture
    for size in (8, 13, 31):
        sides = [size + axis for axis in range(shape.dims)]
        image = torch.rand(1, shape.in_channels, *sides)
        with torch.no_grad():
            expected = model.scores(image)
        assert float((scores(path, image) - expected).abs().max()) < 1e-5


@pytest.mark.parametrize(("writer", "scores"), WRITERS)
@pytest.mark.parametrize("name", ["nuclei-2d", *SHARED])
def test_real_networks_are_exported(
    tmp_path: Path, data_folder: Path, writer: ModuleType, scores: Any, name: str,
    full_counts: bool,
) -> None:  # fmt: skip
    if name in SHARED[1:] and not full_counts:
        pytest.skip("of the full counts")
    place = data_folder / "checkpoints" / name
    model = load_model(place if "/" in name else name, device="cpu")
    path = tmp_path / f"m{writer.SUFFIX}"
    writer.save(model, path)
    writer.verify(path, model)
    shape = model.spec.architecture
    sides = [model.network.stride * 2 + 3 + axis for axis in range(shape.dims)]
    image = torch.rand(1, shape.in_channels, *sides)
    with torch.no_grad():
        expected = model.scores(image)
    assert float((scores(path, image) - expected).abs().max()) < 1e-4


def test_onnx_metadata_tell_what_the_numbers_mean(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "m.onnx"
    onnx_export.save(tiny(), path)
    held = onnx.load(path)
    said = json.loads({p.key: p.value for p in held.metadata_props}[KEY])
    assert said["normalization"]["kind"] == "percentile"
    assert said["activation"] == "none"
    assert said["network"]["stride"] == 2
    axes = [d.dim_param for d in held.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", "", "y", "x"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx"]


def test_pt2_holds_what_the_numbers_mean(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    pt2_export.save(tiny(), path)
    held = {KNOWN: ""}
    torch.export.load(path, extra_files=held)
    assert json.loads(held[KNOWN])["output"] == "instances"


@pytest.mark.parametrize(("writer", "scores"), WRITERS)
def test_another_networks_program_is_not_taken_for_this_one(
    tmp_path: Path, writer: ModuleType, scores: Any
) -> None:
    del scores
    path = tmp_path / f"m{writer.SUFFIX}"
    writer.save(tiny(seed=1), path)
    with pytest.raises(OutputError, match="would give other values"):
        writer.verify(path, tiny(seed=2))


@pytest.mark.parametrize(("writer", "scores"), WRITERS)
def test_what_was_known_of_a_model_is_read_back(
    tmp_path: Path, writer: ModuleType, scores: Any
) -> None:
    del scores
    said = {
        "normalization": Normalization(kind="zscore"), "pixel_size": (0.5, 0.5),
        "classes": tuple(ClassSpec(name=name) for name in "abc"), "name": "known",
    }  # fmt: skip
    model = tiny(output="classes", in_channels=2)
    model = Model(model.network, model.spec.model_copy(update=said))
    path = tmp_path / f"m{writer.SUFFIX}"
    writer.save(model, path)
    guessed = tiny_model("classes", in_channels=2).spec
    found = remembered(path, guessed)
    assert {name: getattr(found, name) for name in said} == said
    assert found.activation == "none"
    assert found.sources["normalization"] == "read"
    assert found.architecture == guessed.architecture
    other = tiny_model("foreground").spec
    assert remembered(path, other) == other


@pytest.mark.parametrize("content", [b"", b"\x08", b"PK\x03\x04", b"\xff" * 50])
def test_a_file_that_says_nothing_changes_nothing(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    spec = tiny_model().spec
    assert remembered(tmp_path / "m.onnx", spec) == spec


def test_an_output_of_another_size_is_refused() -> None:
    with pytest.raises(OutputError, match="would give an output of"):
        check_same("m.onnx", torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 4, 4))


def test_what_is_not_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(OutputError, match=r'onnxscript.*extra "onnx"'):
        onnx_export.save(tiny(), tmp_path / "m.onnx")


def test_a_frozen_program_is_not_exported() -> None:
    model = tiny()
    frozen = Model(torch.nn.Identity(), model.spec)  # type: ignore[arg-type]  # as programs are
    with pytest.raises(OutputError, match="frozen program"):
        graph_of(frozen)


def test_the_exportable_network_shares_no_weights_that_change(tmp_path: Path) -> None:
    model = tiny()
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    pt2_export.save(model, tmp_path / "m.pt2")
    after = model.network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert isinstance(Exportable(model).network, Network)
