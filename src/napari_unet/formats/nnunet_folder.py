"""Folders of nnU-Net v2: plans.json, dataset.json, and a checkpoint in each fold.

A model's folder, one of its folds, or the dataset's folder around a single model.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_unet.errors import CheckpointError
from napari_unet.formats import torch_file
from napari_unet.formats.weights import understood

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model
    from napari_unet.formats.reading import Contents

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
FOLD = re.compile(r"fold_(all|\d{1,3})")
LARGEST_JSON = 2**24  # bytes; a dataset.json may list thousands of images
MOST_ENTRIES = 10_000  # of a folder that is looked at


def matches(path: Path, head: bytes = b"") -> bool:
    """Tell whether a folder is one of nnU-Net; only names are looked at."""
    del head
    if not path.is_dir():
        return False
    if _checkpoint(path) or (path / PLANS).is_file():
        return True
    return bool(_folds(path)) or bool(_models(path))


def load(path: Path, wanted: str = "") -> Model:
    """Open the network of a folder; nothing in it is executed.

    Parameters
    ----------
    path : a folder for which ``matches`` holds
    wanted : the reading that the user asks for, "" for the likeliest

    Raises
    ------
    CheckpointError
        If the folder holds no checkpoint, or a file in it is damaged.
    """
    return understood(contents(path), wanted)


def contents(path: Path) -> list[Contents]:
    """Return the networks of a folder's checkpoint, with plans and dataset beside.

    Raises
    ------
    CheckpointError
        If the folder holds no checkpoint, or a file in it is damaged.
    """
    model, fold, remarks = _chosen(path)
    checkpoint = _checkpoint(fold)
    if checkpoint is None:
        raise CheckpointError(
            f"{fold} holds no checkpoint, expected {CHECKPOINTS[0]} or "
            f"{CHECKPOINTS[1]}: copy it there, or choose another folder."
        )
    beside: dict[str, Any] = {"configuration": _configuration(model)}
    for name, key in ((PLANS, "plans"), (DATASET, "dataset_json")):
        if (model / name).is_file():
            beside[key] = read_json(model / name)
        else:
            remarks.append(f"the folder has no {name}")
    if checkpoint.name != CHECKPOINTS[0]:
        remarks.append(f"{checkpoint.name} was taken, there is no {CHECKPOINTS[0]}")
    return [
        replace(network, beside={**network.beside, **beside}).remarked(*remarks)
        for network in torch_file.contents(checkpoint)
    ]


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file of nnU-Net holds.

    Raises
    ------
    CheckpointError
        If the file is too large, is no JSON, or holds anything but names and values.
    """
    if path.stat().st_size > LARGEST_JSON:
        raise CheckpointError(
            f"{path.name} has {path.stat().st_size:,} bytes, expected at most "
            f"{LARGEST_JSON:,}: choose a folder of nnU-Net."
        )
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path.name} is no readable JSON ({type(error).__name__}): copy the "
            "folder again."
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{path.name} holds a {type(found).__name__}, expected names and values: "
            "copy the folder again."
        )
    return found


def _chosen(path: Path) -> tuple[Path, Path, list[str]]:
    """Return the folder of the model, that of the fold, and what to say of it."""
    if _checkpoint(path):
        return (path.parent if FOLD.fullmatch(path.name) else path), path, []
    models = _models(path)
    if models and not _folds(path):
        if len(models) > 1:
            names = ", ".join(one.name for one in models)
            raise CheckpointError(
                f"{path.name} holds {len(models)} models of nnU-Net ({names}), "
                "expected one: choose its folder."
            )
        path = models[0]
    folds = _folds(path)
    if not folds:
        raise CheckpointError(
            f"{path.name} is a folder of nnU-Net without a fold, expected "
            f"fold_0/{CHECKPOINTS[0]}: copy it there, or choose another folder."
        )
    if len(folds) == 1:
        return path, folds[0], [f"it is {folds[0].name}, the only one"]
    remark = (
        f"{folds[0].name} was taken of {len(folds)} folds, which nnU-Net would average"
    )
    return path, folds[0], [remark]


def _folds(path: Path) -> list[Path]:
    """Return the folds with a checkpoint, that of all images first."""
    found = [one for one in _folders(path) if FOLD.fullmatch(one.name)]
    ordered = sorted(found, key=lambda one: (one.name != "fold_all", _number(one)))
    return [one for one in ordered if _checkpoint(one)]


def _number(fold: Path) -> int:
    digits = fold.name.removeprefix("fold_")
    return int(digits) if digits.isdigit() else -1


def _models(path: Path) -> list[Path]:
    """Return the folders named Trainer__Plans__configuration that have a fold."""
    return [one for one in _folders(path) if _configuration(one) and _folds(one)]


def _folders(path: Path) -> list[Path]:
    found = [one for one, _ in zip(path.iterdir(), range(MOST_ENTRIES), strict=False)]
    return sorted(one for one in found if one.is_dir())


def _checkpoint(path: Path) -> Path | None:
    return next((path / n for n in CHECKPOINTS if (path / n).is_file()), None)


def _configuration(model: Path) -> str:
    """Return what the name of a model's folder says, such as "3d_fullres"."""
    parts = model.name.split("__")
    return parts[2] if len(parts) == 3 else ""
