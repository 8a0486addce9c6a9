"""Files of Keras are opened without Keras, and nothing in them is run."""

from __future__ import annotations

import importlib
import json
import sys
import time
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch
from tests.formats.recorded import FOLDER

from napari_unet.errors import CheckpointError, UnetError
from napari_unet.formats import keras_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NUCLEI = "checkpoints/keras_nuclei_generated"
HOSTILE = {
    "evil_keras_lambda.h5": "never run",
    "claims_4TB_dataset.h5": "4,398,046,511,104 bytes",
    "truncated_keras.h5": "cut short",
}


def written(case: str, folder: Path) -> Path:
    with np.load(FOLDER / f"keras_{case}.npz") as record:
        place = folder / f"{case}{record['suffix']}"
        place.write_bytes(record["content"].tobytes())
    return place


def changed(place: Path, change: Callable[[h5py.File], object]) -> Path:
    with h5py.File(place, "r+") as file:
        change(file)
    return place


def zipped(source: Path, place: Path, **members: bytes) -> Path:
    """Write a .keras file again; members by their names without endings."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(place, "w") as new:
        for member in old.infolist():
            content = members.get(member.filename.split(".")[0], old.read(member))
            if content:
                new.writestr(member.filename, content)
    return place


@pytest.mark.parametrize("size", ["128", "native"])
@pytest.mark.parametrize(
    "file",
    ["model_for_nuclei.h5", "model_for_nuclei_keras2_weights_only.h5",
     "model_for_nuclei_rescaling.keras"],
)  # fmt: skip
def test_real_files_give_what_keras_gave(
    file: str, size: str, data_folder: Path
) -> None:
    model = keras_file.load(data_folder / NUCLEI / file)
    with np.load(data_folder / NUCLEI / "reference_io.npz") as record:
        x = torch.from_numpy(record[f"input_{size}_uint8"]).movedim(-1, 1).float()
        expected = torch.from_numpy(record[f"output_{size}"]).movedim(-1, 1)
    with torch.no_grad():
        found = model.scores(x)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-4
    assert model.spec.architecture.widths == (16, 32, 64, 128, 256)
    assert model.spec.normalization.kind == "none"


@pytest.mark.parametrize("file", HOSTILE)
def test_hostile_files_are_refused_at_once(
    file: str, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    began = time.perf_counter()
    with pytest.raises(CheckpointError, match=HOSTILE[file]):
        keras_file.load(data_folder / "checkpoints/hostile" / file)
    assert time.perf_counter() - began < 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("case", "known"), [("recipe", True), ("rescaled", True), ("recipe_weights", True)]
)
def test_files_are_known_by_their_first_bytes(
    case: str, known: bool, tmp_path: Path
) -> None:
    place = written(case, tmp_path)
    other = place.rename(tmp_path / "without_an_ending")
    assert keras_file.matches(other, other.read_bytes()[:512]) is known


def test_other_archives_are_left_to_others(tmp_path: Path) -> None:
    place = tmp_path / "a.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("rdf.yaml", "name: a")
    assert not keras_file.matches(place, place.read_bytes()[:512])
    assert not keras_file.matches(place, b"PK\x03\x04 cut short")
    assert not keras_file.matches(place, b"\x80\x02")


def test_nothing_of_keras_is_imported(tmp_path: Path) -> None:
    keras_file.load(written("rescaled", tmp_path))
    assert not {"keras", "tensorflow"} & set(sys.modules)


def test_absent_h5py_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(CheckpointError, match=r"h5py.*\[keras\]"):
        keras_file.load(written("recipe", tmp_path))


def test_optimizer_weights_are_not_surplus(tmp_path: Path) -> None:
    def add(file: h5py.File) -> None:
        file["optimizer_weights/adam/iteration"] = np.int64(3)
        file["optimizer_weights/adam/momentum"] = np.ones(5, np.float32)

    keras_file.load(changed(written("recipe", tmp_path), add))


def _first_kernel(file: h5py.File) -> h5py.Dataset:
    return file["model_weights/conv2d/conv2d/kernel"]


CHANGES: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "NaN": (lambda f: _first_kernel(f).write_direct(
        np.full((3, 3, 3, 2), np.nan, np.float32)), "conv2d.weight holds NaN"),
    "missing": (lambda f: f.pop("model_weights/conv2d/conv2d/bias"), "is not there"),
    "other width": (lambda f: f.attrs.update({"model_config": f.attrs[
        "model_config"].replace('"filters": 8', '"filters": 9', 1)}), "is described"),
    "no layers": (lambda f: [f.pop("model_weights"), f.attrs.pop("model_config")],
                  "without layers of Keras"),
    "own class": (lambda f: f.attrs.update(
        {"model_config": json.dumps({"class_name": "Mine", "config": {}})}), "'Mine'"),
    "no JSON": (lambda f: f.attrs.update({"model_config": '{"a"'}), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_damage_is_named(change: str, tmp_path: Path) -> None:
    action, sentence = CHANGES[change]
    with pytest.raises(CheckpointError, match=sentence):
        keras_file.load(changed(written("recipe", tmp_path), action))


def test_negative_variances_are_refused(tmp_path: Path) -> None:
    place = written("nested_legacy", tmp_path)
    paths: list[str] = []
    changed(place, lambda f: f.visit(paths.append))
    variance = next(path for path in paths if path.endswith("moving_variance"))
    below = np.full(4, -1, np.float32)
    changed(place, lambda f: f[variance].write_direct(below))
    with pytest.raises(CheckpointError, match=r"variance .* is negative"):
        keras_file.load(place)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"config": b""}, "holds no config.json"),
        ({"model": b""}, r"holds no model\.weights\.h5"),
        ({"model": b"not HDF5"}, "cut short"),
        ({"config": b"[" * 9999}, "without end"),
        ({"config": b"7"}, "not one that Keras writes"),
        ({"metadata": b"7"}, "not one that Keras writes"),
    ],
)
def test_archives_without_what_keras_writes_are_refused(
    members: dict[str, bytes], sentence: str, tmp_path: Path
) -> None:
    place = zipped(written("rescaled", tmp_path), tmp_path / "b.keras", **members)
    with pytest.raises(CheckpointError, match=sentence):
        keras_file.load(place)


def test_archives_larger_than_they_hold_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "bomb.keras"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(200 << 20))
    with pytest.raises(CheckpointError, match="made to harm"):
        keras_file.load(place)


def test_flipped_weights_fail_the_archives_checksum(tmp_path: Path) -> None:
    place = written("rescaled", tmp_path)
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    with pytest.raises(CheckpointError, match="CRC"):
        keras_file.load(place)


@pytest.mark.parametrize("case", ["recipe", "rescaled", "recipe_keras2_weights"])
def test_cut_and_flipped_files_are_refused_or_understood(
    case: str, tmp_path: Path, full_counts: bool
) -> None:
    place = written(case, tmp_path)
    content = place.read_bytes()
    widths = keras_file.load(place).spec.architecture.widths
    rng = np.random.default_rng(1)
    for number in range(300 if full_counts else 15):
        spoilt = bytearray(content[: rng.integers(1, len(content))])
        if number % 3:
            spoilt = bytearray(content)
            spoilt[rng.integers(len(content))] ^= 1 << rng.integers(8)
        place.write_bytes(spoilt)
        with suppress(UnetError):
            assert keras_file.load(place).spec.architecture.widths == widths
