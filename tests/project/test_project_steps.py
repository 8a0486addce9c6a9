"""Images that are found again, and projects saved in another place."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from keeping import (
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
from ledgers import assert_same, content
from napari_unet.errors import ImageError, OutputError
from napari_unet.jobs import run_now
from napari_unet.opened import ImageSource
from napari_unet.session_project import recent_projects, unfinished_projects

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("projects")


# -- images


def test_an_image_from_no_file_is_kept_too() -> None:
    session, _ = kept_session(source=None)
    again = opened_again(crash(session))
    (waiting,) = again.waiting
    assert (waiting.path, waiting.reason) == (None, "")
    np.testing.assert_array_equal(waiting.stored, picture())
    find(again, waiting.stored, ImageSource(None))


def test_a_moved_image_is_asked_for_and_remembered(tmp_path: Path) -> None:
    session, _ = kept_session()
    again = opened_again(crash(session))
    (tmp_path / "moved.tif").touch()
    find(again, picture(), ImageSource(str(tmp_path / "moved.tif")))
    keep(again)
    (waiting,) = opened_again(crash(again)).waiting
    assert (waiting.path, waiting.reason) == (tmp_path / "moved.tif", "")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (picture(seed=1), "pixels of this image differ"),
        (picture((64, 65)), r"\(64, 65\) YX uint16, and nuclei was \(64, 64\)"),
        (picture().astype(np.float32), "float32"),
    ],
)
def test_another_image_is_refused(image: np.ndarray, words: str) -> None:
    session, _ = kept_session()
    again = opened_again(crash(session))
    with pytest.raises(ImageError, match=words):
        find(again, image)
    assert again.images == []
    assert len(again.waiting) == 1


def test_a_skipped_image_stays_in_the_project() -> None:
    session, opened = kept_session()
    again = opened_again(crash(session))
    again.skip_image(again.waiting[0])
    assert again.waiting == []
    keep(again)
    again.close_project()
    (info,) = recent_projects()
    (waiting,) = opened_again(info.folder).waiting
    assert_same(waiting.corrections, opened.corrections)


# -- saving under a name


def test_saving_under_a_name_goes_on_there(tmp_path: Path, projects: Path) -> None:
    session, opened = kept_session(source=None)
    paint(opened, square(20, 20), 2)
    session.save_project_as_job(tmp_path / "mine")
    run_now(session.save_project_as_job(tmp_path / "mine"))
    assert session.project is not None
    assert session.project.folder == tmp_path / "mine"
    assert not session.project.automatic
    assert list(projects.iterdir()) == []
    paint(opened, square(40, 40), 3)
    keep(session)
    folder = crash(session)
    assert unfinished_projects()[0].folder == folder == tmp_path / "mine"
    assert_same(opened_again(folder).waiting[0].corrections, opened.corrections)


def test_a_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    session, _ = kept_session()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "something").touch()
    with pytest.raises(OutputError, match="is there already"):
        session.save_project_as_job(tmp_path / "mine")


def test_saving_that_fails_goes_on_where_it_was(tmp_path: Path) -> None:
    session, opened = kept_session()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        run_now(session.save_project_as_job(tmp_path / "file" / "mine"))
    job = session.save_project_as_job(tmp_path / "mine")
    for _ in range(4):
        next(job.steps)
    job.steps.close()
    assert not (tmp_path / "mine").exists()
    paint(opened, square(30, 30), 2)
    keep(session)
    assert_same(opened_again(crash(session)).waiting[0].corrections, opened.corrections)


@pytest.mark.parametrize("why", ["vanished", "read-only", "never recorded"])
def test_saving_makes_the_project_anew_where_it_cannot_be_copied(
    tmp_path: Path, why: str
) -> None:
    session, opened = kept_session(source=None)
    assert session.project is not None
    if why == "vanished":
        shutil.rmtree(session.project.folder)
        paint(opened, square(30, 30), 2)
        job = session.keep_job()
        assert job is not None
        with pytest.raises(OutputError):
            run_now(job)
    elif why == "read-only":
        session = opened_again(session.project.folder)
        (waiting,) = session.waiting
        opened = find(session, waiting.stored, ImageSource(None))
        paint(opened, square(30, 30), 2)
    else:
        session = Keeping()
        session.autosave = False
        opened = session.add("nuclei", picture(), source=None)
        paint(opened, square(30, 30), 2)
    job = session.save_project_as_job(tmp_path / "mine")
    for _ in job.steps:
        pass
    paint(opened, square(40, 40), 3)  # before the result is accepted
    assert session.keep_job() is None or why == "vanished"
    job.accept(tmp_path / "mine")
    keep(session)
    assert not session.unkept()
    assert session.project.folder == tmp_path / "mine"
    again = opened_again(crash(session)).waiting[0]
    np.testing.assert_array_equal(again.stored, picture())
    assert_same(again.corrections, opened.corrections)


def test_waiting_images_come_along_when_a_read_only_project_is_saved(
    tmp_path: Path,
) -> None:
    session, opened = kept_session()
    assert session.project is not None
    other = opened_again(session.project.folder)
    run_now(other.save_project_as_job(tmp_path / "mine"))
    found = find(other, picture())
    assert other.project is not None
    assert not other.project.read_only
    paint(found, square(40, 40), 9)
    paint(opened, square(40, 40), 9)
    keep(other)
    again = opened_again(crash(other)).waiting[0].corrections
    assert content(again)[:2] == content(opened.corrections)[:2]


def test_what_a_kill_leaves_of_the_old_place_is_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = kept_session()
    assert session.project is not None
    old = session.project.folder
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    run_now(session.save_project_as_job(tmp_path / "mine"))
    assert old.exists()
    assert [info.folder for info in recent_projects()] == [tmp_path / "mine"]
