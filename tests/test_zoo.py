"""Where models are found, and what is remembered of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from napari_unet import zoo
from napari_unet.jobs import run_now
from napari_unet.settings import place_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _empty_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UNET_SETTINGS", str(tmp_path / "settings"))
    monkeypatch.setenv("NAPARI_UNET_CACHE", str(tmp_path / "cache"))


def checkpoint(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"a": torch.zeros(1)}, path)
    return path


def test_recent_files_are_the_latest_first_each_once(tmp_path: Path) -> None:
    one, two = (checkpoint(tmp_path / name) for name in ("one.pth", "two.pth"))
    for path in (one, two, one):
        zoo.remember(path)
    assert zoo.recent_files() == [one, two]


def test_at_most_fifteen_are_remembered(tmp_path: Path) -> None:
    paths = [checkpoint(tmp_path / f"{number}.pth") for number in range(20)]
    for path in paths:
        zoo.remember(path)
    assert zoo.recent_files() == paths[:4:-1]


def test_files_that_are_gone_are_hidden_and_come_back(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "one.pth")
    zoo.remember(path)
    away = path.rename(tmp_path / "away.pth")
    assert zoo.recent_files() == []
    away.rename(path)
    assert zoo.recent_files() == [path]


def test_bundled_names_and_what_is_no_file_are_not_remembered(tmp_path: Path) -> None:
    zoo.remember("nuclei-2d")
    zoo.remember(tmp_path / "absent.pth")
    assert not place_of(zoo.SETTINGS).exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"recent": 3, "folder": []}', "[" * 100_000, "\0"]
)
def test_damaged_settings_are_none_and_are_written_anew(
    tmp_path: Path, text: str
) -> None:
    place_of(zoo.SETTINGS).parent.mkdir(parents=True)
    place_of(zoo.SETTINGS).write_text(text)
    assert (zoo.recent_files(), zoo.chosen_folder()) == ([], None)
    path = checkpoint(tmp_path / "one.pth")
    zoo.remember(path)
    assert zoo.recent_files() == [path]


def test_a_home_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAPARI_UNET_SETTINGS", str(tmp_path / "file"))
    zoo.remember(checkpoint(tmp_path / "one.pth"))
    assert "not remembered" in caplog.text


def test_a_folder_lists_checkpoints_and_model_folders(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    plain = checkpoint(folder / "b" / "net.pth")
    inside = checkpoint(folder / "a" / "fold_0" / "checkpoint_final.pth")
    for name in ("plans.json", "dataset.json"):
        (folder / "a" / name).write_text("{}")
    (folder / "b" / "images.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (folder / "b" / "image.tif").touch()
    checkpoint(folder / ".hidden" / "net.pth")
    assert inside.exists()
    assert zoo.models_in(folder) == [folder / "a", plain]


def test_a_deep_and_wide_folder_is_listed_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path.joinpath(*"abcdefgh")
    checkpoint(deep / "net.pth")
    for number in range(5):
        checkpoint(tmp_path / f"{number}.pth")
    assert len(zoo.models_in(tmp_path)) == 5
    monkeypatch.setattr(zoo, "MOST_LISTED", 3)
    assert len(zoo.models_in(tmp_path)) == 3


def test_entries_are_searched_by_words(tmp_path: Path) -> None:
    place = checkpoint(tmp_path / "models" / "Cells" / "unet.pth")
    zoo.remember(checkpoint(tmp_path / "old.pth"))
    found: list[list[zoo.Entry]] = []
    run_now(zoo.entries_job(tmp_path / "models", found.append))
    (entries,) = found
    assert {entry.kind for entry in entries} == {"bundled", "recent", "folder"}
    assert [e.source for e in zoo.search(entries, "cells UNET")] == [str(place)]
    assert zoo.search(entries, "no such model") == []
    assert zoo.chosen_folder() == tmp_path / "models"


def test_ids_of_a_downloaded_record_are_entries(tmp_path: Path) -> None:
    record = tmp_path / "cache" / "bioimageio" / "id_map.json"
    record.parent.mkdir(parents=True)
    entry = {"source": "https://a.org/rdf.yaml", "sha256": "0" * 64}
    record.write_text(json.dumps({"affable-shark": entry, "bad-one": {}}))
    names = [e.name for e in zoo.entries() if e.kind == "BioImage.IO"]
    assert names == ["affable-shark"]
