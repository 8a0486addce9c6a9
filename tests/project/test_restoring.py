"""What a project gives back: versions, and as much as is left of a damaged one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from keeping import (
    FILE,
    Keeping,
    crash,
    find,
    keep,
    kept_session,
    opened_again,
    paint,
    picture,
    square,
)
from ledgers import assert_same
from napari_unet.errors import ProjectError
from napari_unet.formats import save_model
from napari_unet.jobs import run_now
from napari_unet.opened_model import OpenModel, Version
from tiny import tiny_model

OLD = Path(__file__).parents[1] / "io" / "projects" / "format-1"

pytestmark = pytest.mark.usefixtures("projects")


# -- versions


def weights(version: Version) -> dict[str, torch.Tensor]:
    return version.model.network.state_dict()


def with_versions(session: Keeping, path: Path) -> None:
    """Give a session a loaded version and one that was fine-tuned from it."""
    save_model(tiny_model(seed=1), path)
    run_now(session.load_job(path))
    tuned = Version(
        3, tiny_model(seed=2), "better", 1234.5, metric=0.75, strokes=17, base=1
    )  # fmt: skip
    versions = [*session.versions, tuned]
    session._state = OpenModel(versions, current=3, highest=5)


def test_versions_are_restored_bit_for_bit(tmp_path: Path) -> None:
    session, _ = kept_session()
    with_versions(session, tmp_path / "tiny.safetensors")
    keep(session)
    before = session.versions
    folder = crash(session)
    assert [p.name for p in (folder / "models").iterdir()] == ["version-3.safetensors"]
    again = opened_again(folder)
    assert again.notes == []
    assert again._state.highest == 5
    assert again.version is not None
    assert again.version.number == 3
    for one, other in zip(before, again.versions, strict=True):
        assert (one.note, one.made, one.metric, one.strokes, one.base) == (
            other.note, other.made, other.metric, other.strokes, other.base
        )  # fmt: skip
        assert one.model.spec == other.model.spec
        for key, value in weights(one).items():
            assert torch.equal(value, weights(other)[key])


def test_a_version_whose_file_changed_is_named_and_stays_listed(
    tmp_path: Path,
) -> None:
    session, _ = kept_session()
    path = tmp_path / "tiny.safetensors"
    with_versions(session, path)
    keep(session)
    folder = crash(session)
    content = path.read_bytes()
    save_model(tiny_model(seed=9), path)
    again = opened_again(folder)
    assert [each.number for each in again.versions] == [3]
    assert "Version 1" in again.notes[0]
    assert "holds another model" in again.notes[0]
    assert again.project is not None
    assert not again.project.read_only
    again.settings = {"a": 1}
    keep(again)
    path.write_bytes(content)
    assert [e.number for e in opened_again(crash(again)).versions] == [1, 3]


def test_deleted_versions_leave_no_file(tmp_path: Path) -> None:
    session, _ = kept_session()
    with_versions(session, tmp_path / "tiny.safetensors")
    keep(session)
    session.restore(1)
    session.delete_version(3)
    keep(session)
    folder = crash(session)
    assert list((folder / "models").iterdir()) == []
    assert [each.number for each in opened_again(folder).versions] == [1]


def test_that_a_program_was_trusted_is_not_written(tmp_path: Path) -> None:
    session, _ = kept_session()
    save_model(tiny_model(), tmp_path / "tiny.safetensors")
    run_now(session.load_job(tmp_path / "tiny.safetensors", trust=True))
    keep(session)
    folder = crash(session)
    assert '"trust"' not in (folder / "project.json").read_text()
    (version,) = opened_again(folder).versions
    assert version.opening is not None
    assert not version.opening.trust


# -- what is lost is said


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("images/1/journal-1", "corrections of nuclei are lost"),
        ("images/1", "corrections of nuclei are lost"),
        ("images/1/labels-1.zarr", "labels that nuclei began with are lost"),
        ("images/1/states-1.zarr", "labels that nuclei began with are lost"),
    ],
)
def test_a_half_deleted_project_opens_read_only_and_says_what_is_lost(
    lost: str, words: str
) -> None:
    session = Keeping()
    labels = np.full((64, 64), 5, np.int32)
    opened = session.add("nuclei", picture(), labels=labels, source=FILE)
    paint(opened, square(5, 5), 1)
    keep(session)
    place = crash(session) / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    again = opened_again(place.parents[lost.count("/")])
    assert any(words in note for note in again.notes)
    assert again.project is not None
    assert again.project.read_only
    assert "is damaged" in again.project.reason
    assert len(again.waiting) == 1


def test_a_lost_version_leaves_the_project_writable(tmp_path: Path) -> None:
    session, _ = kept_session()
    with_versions(session, tmp_path / "tiny.safetensors")
    keep(session)
    folder = crash(session)
    (folder / "models" / "version-3.safetensors").unlink()
    again = opened_again(folder)
    assert "Version 3" in again.notes[0]
    assert again.version is not None
    assert again.version.number == 1
    assert again.project is not None
    assert not again.project.read_only


def test_a_torn_journal_is_said_and_goes_on() -> None:
    session, _ = kept_session()
    journal = crash(session) / "images" / "1" / "journal-1"
    with journal.open("ab") as file:
        file.write(b"torn")
    again = opened_again(journal.parents[2])
    assert "not whole" in again.notes[0]
    found = find(again, picture())
    paint(found, square(30, 30), 2)
    keep(again)
    assert_same(opened_again(crash(again)).waiting[0].corrections, found.corrections)


def test_a_project_from_the_future_is_left_alone() -> None:
    session, _ = kept_session()
    folder = crash(session)
    found = json.loads((folder / "project.json").read_text())
    found["format"] = 99
    (folder / "project.json").write_text(json.dumps(found))
    with pytest.raises(ProjectError, match="newer version"):
        opened_again(folder)
    assert json.loads((folder / "project.json").read_text()) == found


def test_labels_too_large_for_this_machine_are_said_and_left() -> None:
    session, _ = kept_session()
    folder = crash(session)
    found = json.loads((folder / "project.json").read_text())
    found["images"][0] |= {"shape": [2**20, 2**20, 2**20], "axes": "ZYX"}
    (folder / "project.json").write_text(json.dumps(found))
    again = opened_again(folder)
    assert "need" in again.notes[0]
    assert again.waiting == []


def test_a_project_of_format_1_opens_as_it_was(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD, tmp_path / "old")
    again = opened_again(folder)
    drawn, read = again.waiting
    labels = np.zeros((64, 64), np.int32)
    labels[square(5, 5)] = 1
    np.testing.assert_array_equal(drawn.corrections.labels, labels)
    assert drawn.corrections.history.next == "edit"
    drawn.corrections.redo()
    labels[square(20, 20)] = 2
    np.testing.assert_array_equal(drawn.corrections.labels, labels)
    assert (read.name, read.labels_name) == ("nuclei.tif", "nuclei.tif - U-Net")
    assert np.array(read.corrections.labels)[4, 5] == 7
    assert read.corrections.history.last == "accept"
    image = np.indices((48, 32)).sum(0).astype(np.uint16)
    run_now(again.find_image_job(read, image, "YX", FILE))
    assert again.settings == {"predict": {"threshold": 0.4}}
    assert again.hand_seconds() == pytest.approx(10, abs=30)
    keep(again)
    assert json.loads((folder / "project.json").read_text())["format"] == 2


# -- what does not come from this program


def test_files_of_others_in_a_project_stay() -> None:
    session, _ = kept_session()
    folder = crash(session)
    for name in (".git", ".project-abcdefgh.json", "images/1/.notes"):
        (folder / name).mkdir()
    opened_again(folder)
    assert (folder / ".git").is_dir()
    assert (folder / "images/1/.notes").is_dir()
    assert not (folder / ".project-abcdefgh.json").exists()


@pytest.mark.parametrize("name", ["images", "images/1", "models", "lock-info"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    session, opened = kept_session()
    folder = crash(session)
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    again = opened_again(folder)
    assert again.project is not None
    assert again.project.read_only
    assert "holds a link to another place" in again.project.reason
    assert_same(again.waiting[0].corrections, opened.corrections)


def test_a_huge_stored_image_is_not_believed() -> None:
    session, _ = kept_session(None)
    folder = crash(session)
    found = json.loads((folder / "project.json").read_text())
    shape = [64, 64, 2**31]
    found["images"][0].update(shape=shape, axes="YXC", stored=True)
    (folder / "project.json").write_text(json.dumps(found))
    shutil.rmtree(folder / "images" / "1" / "image.zarr", ignore_errors=True)
    place = folder / "images" / "1" / "image.zarr"
    zarr.create_array(str(place), shape=shape, chunks=(16, 16, 4096), dtype="uint16")
    (waiting,) = opened_again(folder).waiting
    assert waiting.stored is None
    assert "came from no file" in waiting.reason


@pytest.mark.parametrize("source", ["/dev/zero", "x" * 9999, "a\0b"])
def test_a_version_from_an_odd_place_is_named(source: str) -> None:
    session, _ = kept_session()
    folder = crash(session)
    found = json.loads((folder / "project.json").read_text())
    found["versions"] = [{"number": 1, "source": source, "sha256": "0"}]
    (folder / "project.json").write_text(json.dumps(found))
    assert "Version 1" in opened_again(folder).notes[0]
