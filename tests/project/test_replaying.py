"""`napari-unet replay`: the fine-tunings of a project come to the same weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest

from keeping import keep
from napari_unet.cli import main
from napari_unet.formats import save_model
from napari_unet.io.project import version_path
from napari_unet.io.recipes import recipe_path
from napari_unet.jobs import run_now
from napari_unet.project.replaying import largest_difference
from napari_unet.session import Session
from recorded_sessions import (
    add,
    begin,
    correct,
    finetune,
    keep_all,
    two_rounds,
)
from tiny import nuclei, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("projects")


def content(folder: Path) -> dict[str, str]:
    """Return what a folder holds, with times of change."""
    return {
        str(p.relative_to(folder)): f"{p.stat().st_mtime_ns} "
        + (hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "")
        for p in folder.rglob("*")
    }


def replayed(
    capsys: pytest.CaptureFixture[str], folder: Path, *args: str, code: int = 0
) -> tuple[dict[str, Any], str]:
    """Return what the command prints as JSON, and on standard error."""
    capsys.readouterr()
    assert main(["replay", str(folder), *args, "--json"]) == code
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) == (1 if code else 0), said.err
    return json.loads(said.out), said.err


def refused(
    capsys: pytest.CaptureFixture[str], folder: Path, *args: str
) -> dict[int, str]:
    """Return for each version why it could not be repeated."""
    facts, said = replayed(capsys, folder, *args, code=2)
    found = {v["version"]: v["why"] for v in facts["versions"] if not v["same"]}
    assert all(why in said for why in found.values())
    assert not facts["same"]
    return found


# -- the same


def test_a_session_comes_to_the_same_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_rounds(tmp_path)
    before = content(folder)
    facts, _ = replayed(capsys, folder)
    assert facts["same"]
    assert [v["version"] for v in facts["versions"]] == [2, 3]
    for each in facts["versions"]:
        assert (each["same"], each["largest_difference"]) == (True, 0.0)
        assert (each["device"], each["steps"], each["why"]) == ("cpu", 6, "")
        assert each["threads"] >= 1
    assert content(folder) == before
    assert main(["replay", str(folder), "--version", "3"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("version 3: the same weights to the bit; 6 steps in")
    assert "step 2 of 6: loss" in said.err


def test_a_draft_is_repeated_and_a_dropped_one_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    finetune(session, live=False)
    keep(session)
    folder = session.project.folder  # type: ignore[union-attr]
    assert replayed(capsys, folder)[0]["versions"][0]["version"] == 2
    session.revert()
    keep_all(session)
    assert list((folder / "models").iterdir()) == []
    facts, _ = replayed(capsys, folder)
    assert facts == {"project": str(folder), "same": True, "versions": []}


def test_nothing_to_repeat_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, opened = begin(tmp_path)
    correct(opened, range(1, 3))
    folder = keep_all(session)
    assert main(["replay", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("There is nothing to repeat in")


def test_recipes_come_back_and_go_where_the_project_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_rounds(tmp_path)
    session = Session()
    run_now(session.open_project_job(folder))
    assert session.notes == []
    run_now(session.save_project_as_job(tmp_path / "copy"))
    assert replayed(capsys, tmp_path / "copy")[0]["same"]
    shutil.rmtree(folder, ignore_errors=True)
    session.revise_model({"name": "mine"})
    keep(session)
    again = Session()
    session.close_project()
    run_now(again.open_project_job(tmp_path / "copy", read_only=True))
    run_now(again.save_project_as_job(tmp_path / "afresh"))
    again.close_project()
    assert replayed(capsys, tmp_path / "afresh")[0]["same"]


def test_an_image_from_no_file_and_a_model_from_none_are_in_the_project(
    capsys: pytest.CaptureFixture[str],
) -> None:
    session = Session()
    session.set_model(tiny_model())
    opened = session.add_image("nuclei", nuclei()[0], "YX")
    correct(opened, range(1, 6))
    finetune(session)
    if session.draft is not None:
        session.keep()
    assert replayed(capsys, keep_all(session))[0]["same"]


# -- not the same, or not possible


def test_another_kept_version_is_told_from_what_was_learnt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_rounds(tmp_path)
    save_model(tiny_model(seed=5, norm="batch"), version_path(folder, 2))
    why = refused(capsys, folder)
    assert "are not those that its fine-tuning came to" in why[2]
    assert "version 2 holds other weights than when it was learnt from" in why[3]


def test_a_damaged_or_missing_recipe_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_rounds(tmp_path)
    path = recipe_path(folder, 3)
    path.write_bytes(path.read_bytes()[:-40])
    assert "version-3.recipe is damaged" in refused(capsys, folder)[3]
    path.unlink()
    assert "version-3.recipe is gone" in refused(capsys, folder, "--version", "3")[3]
    session = Session()
    run_now(session.open_project_job(folder))
    assert [v.number for v in session.versions] == [1, 2, 3]
    assert session.notes == [
        "How version 3 of the model was fine-tuned is lost: it can be used, but not "
        "be repeated."
    ]
    session.close_project()


def test_versions_from_before_recipes_open_and_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_rounds(tmp_path)
    manifest = json.loads((folder / "project.json").read_text())
    for each in manifest["versions"]:
        del each["recipe"]
    (folder / "project.json").write_text(json.dumps(manifest))
    session = Session()
    run_now(session.open_project_job(folder, read_only=True))
    assert session.notes == []
    assert "not written down" in refused(capsys, folder)[2]


def test_a_changed_image_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_rounds(tmp_path)
    image = iio.imread(tmp_path / "nuclei.png")
    image[0, 0] ^= 1
    iio.imwrite(tmp_path / "nuclei.png", image)
    assert "the pixels of the image nuclei.png differ" in refused(capsys, folder)[2]


def test_an_image_that_is_gone_or_unreadable_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_rounds(tmp_path)
    (tmp_path / "nuclei.png").write_bytes(b"no image")
    said = refused(capsys, folder, "--version", "2")[2]
    assert "the image nuclei.png cannot be read" in said
    (tmp_path / "nuclei.png").unlink()
    said = refused(capsys, folder, "--version", "2")[2]
    assert "nuclei.png is not there" in said


def test_a_deleted_start_is_named_and_the_others_are_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_rounds(tmp_path)
    session = Session()
    run_now(session.open_project_job(folder))
    session.delete_version(2)
    keep_all(session)
    assert not recipe_path(folder, 2).exists()
    assert "version 2, from which it learnt, was deleted" in refused(capsys, folder)[3]


def test_one_wrong_version_does_not_keep_the_others_from_being_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two_rounds(tmp_path)
    recipe_path(folder, 2).unlink()
    facts, _ = replayed(capsys, folder, code=2)
    assert [v["same"] for v in facts["versions"]] == [False, True]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--version", "1"], "was loaded, expected one that was fine-tuned"),
        (["--version", "9"], "is not there, expected one that was fine-tuned"),
    ],
)
def test_a_version_that_cannot_be_asked_for_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:
    folder = two_rounds(tmp_path)
    capsys.readouterr()
    assert main(["replay", str(folder), *args]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""


def test_a_device_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, opened = begin(tmp_path)
    correct(opened, range(1, 6))
    finetune(session, live=False)
    said = refused(capsys, keep_all(session), "--device", "cuda:99")
    assert 'The device "cuda:99" is not there' in said[2]


def test_a_folder_that_is_no_project_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path), "--json"]) == 2
    said = capsys.readouterr()
    assert "holds no project.json" in said.err
    assert said.out == ""


def test_two_images_of_one_name_are_told_apart_by_their_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, opened = begin(tmp_path)
    (tmp_path / "b").mkdir()
    iio.imwrite(tmp_path / "b" / "nuclei.png", nuclei(96, 1)[0])
    other = add(session, tmp_path / "b" / "nuclei.png")
    correct(opened, range(1, 4))
    correct(other, range(1, 4), 1)
    finetune(session, live=False)
    assert replayed(capsys, keep_all(session))[0]["same"]


def test_the_largest_difference_of_weights_is_measured() -> None:
    one, other = tiny_model(), tiny_model()
    assert largest_difference(one, other) == 0
    weight = next(iter(other.network.parameters()))
    weight.data.ravel()[3] += 0.25
    assert np.isclose(largest_difference(one, other), 0.25)
    weight.data.ravel()[3] = float("nan")
    assert largest_difference(one, other) == float("inf")
    assert largest_difference(one, tiny_model(widths=(4, 6))) == float("inf")
