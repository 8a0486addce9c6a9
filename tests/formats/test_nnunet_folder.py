"""Folders of nnU-Net: which checkpoint is taken, and what lies beside it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.formats.recorded import drawn_weights, recording, relative_error

from napari_unet.errors import CheckpointError
from napari_unet.formats import nnunet_folder

if TYPE_CHECKING:
    from pathlib import Path

FINAL = "checkpoint_final.pth"
DATASET = {"labels": {"background": 0, "nucleus": 1, "border": 2}}


def checkpoint(path: Path) -> Path:
    """Write the smallest network, as nnU-Net's trainer does, without its plans."""
    facts, _ = recording("nnunet_plain_2d")
    drawn = drawn_weights(facts["shapes"])
    content = {
        "network_weights": {key: drawn[facts["same"][key]] for key in drawn},
        "_best_ema": np.float64(0.5),
        "trainer_name": "nnUNetTrainer",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def folder(path: Path, *folds: str, name: str = FINAL) -> Path:
    """Write a model's folder."""
    plans = {"configurations": {"2d": {"patch_size": [8, 8], "spacing": [0.5, 0.5]}}}
    for fold in folds:
        checkpoint(path / fold / name)
    (path / "plans.json").write_text(json.dumps(plans))
    (path / "dataset.json").write_text(json.dumps(DATASET))
    return path


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return folder(tmp_path / "nnUNetTrainer__nnUNetPlans__2d", "fold_0")


@pytest.mark.parametrize("inside", ["", "fold_0"])
def test_a_model_and_its_fold_are_opened(model_folder: Path, inside: str) -> None:
    path = model_folder / inside
    assert nnunet_folder.matches(path)
    spec = nnunet_folder.load(path).spec
    assert [one.name for one in spec.classes] == ["background", "nucleus", "border"]
    assert spec.pixel_size == (0.5, 0.5)
    assert spec.provenance["configuration"] == "2d"


def test_the_folder_around_a_single_model_is_opened(model_folder: Path) -> None:
    assert nnunet_folder.matches(model_folder.parent)
    assert nnunet_folder.load(model_folder.parent).spec.classes


def test_among_several_models_the_user_chooses(model_folder: Path) -> None:
    folder(model_folder.parent / "nnUNetTrainer__nnUNetPlans__3d_fullres", "fold_0")
    with pytest.raises(CheckpointError, match=r"2 models .*nnUNetPlans__2d, .*3d_full"):
        nnunet_folder.load(model_folder.parent)


@pytest.mark.parametrize(
    ("folds", "taken"),
    [
        (("fold_10", "fold_2"), "fold_2"),
        (("fold_0", "fold_all"), "fold_all"),
        (("fold_3", "fold_crossval_results"), None),
    ],
)
def test_the_fold_is_said(folds: tuple[str, ...], taken: str, tmp_path: Path) -> None:
    remarks = nnunet_folder.load(folder(tmp_path / "model", *folds)).spec.remarks
    expected = (
        f"{taken} was taken of 2 folds, which nnU-Net would average"
        if taken
        else "it is fold_3, the only one"
    )
    assert expected in remarks


def test_an_empty_fold_does_not_count(model_folder: Path) -> None:
    (model_folder / "fold_all").mkdir()
    remarks = nnunet_folder.load(model_folder).spec.remarks
    assert "it is fold_0, the only one" in remarks


def test_the_best_checkpoint_stands_in_for_the_final(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", "fold_0", name="checkpoint_best.pth")
    remarks = nnunet_folder.load(path).spec.remarks
    assert any(remark.startswith("checkpoint_best.pth was") for remark in remarks)


def test_missing_files_are_said(model_folder: Path) -> None:
    (model_folder / "dataset.json").unlink()
    spec = nnunet_folder.load(model_folder).spec
    assert "the folder has no dataset.json" in spec.remarks
    assert spec.sources["output"] == "guessed"


def test_a_model_without_a_fold_is_refused(model_folder: Path) -> None:
    shutil.rmtree(model_folder / "fold_0")
    assert nnunet_folder.matches(model_folder)
    with pytest.raises(CheckpointError, match="without a fold, expected fold_0"):
        nnunet_folder.load(model_folder)


def test_other_folders_are_not_nnunet(tmp_path: Path) -> None:
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "a__b__c").mkdir()
    assert not nnunet_folder.matches(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no readable JSON"), ("[1]", "holds a list"), ("\ud800", "no readable"),
        ("[" * 200_000, "no readable JSON"), ("{}" + " " * 2**24, "16,777,218 bytes"),
        (f'{{"a": {"9" * 5000}}}', "no readable JSON"),
    ],
)  # fmt: skip
def test_damaged_json_is_refused(text: str, reason: str, model_folder: Path) -> None:
    (model_folder / "plans.json").write_bytes(text.encode("utf8", "surrogatepass"))
    with pytest.raises(CheckpointError, match=reason):
        nnunet_folder.load(model_folder)


@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_real_folders_are_reproduced(kind: str, data_folder: Path) -> None:
    path = data_folder / "checkpoints" / f"nnunetv2_plain_{kind}_generated"
    assert nnunet_folder.matches(path)
    model = nnunet_folder.load(path)
    with np.load(path / "reference_io.npz") as reference, torch.no_grad():
        found = model.network(torch.from_numpy(reference["input"]))
        assert relative_error(found, reference["output"]) < 1e-5
    assert len(model.spec.classes) == model.spec.architecture.out_channels == 3
    assert "it is fold_0, the only one" in model.spec.remarks
