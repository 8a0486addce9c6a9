"""The project as a user meets it: recording, two windows, closing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

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
from ledgers import assert_same, content
from napari_unet.errors import UnetError
from napari_unet.jobs import run_now
from napari_unet.session_project import recent_projects, unfinished_projects

pytestmark = pytest.mark.usefixtures("projects")


# -- a project comes by itself


def test_nothing_is_made_before_labels_change(projects: Path) -> None:
    session = Keeping()
    opened = session.add("nuclei", picture(), source=FILE)
    assert session.keep_job() is None
    assert not session.unkept()
    paint(opened, square(5, 5), 1)
    assert session.unkept()
    assert not projects.exists()
    keep(session)
    assert session.project is not None
    assert session.project.automatic
    assert session.project.folder.parent == projects
    assert session.project.name.endswith(" nuclei")
    assert session.project.written > 0


def test_the_project_is_told_of(projects: Path) -> None:
    session, told = Keeping(), []
    session.project_changed.connect(lambda: told.append(session.project))
    opened = session.add("nuclei", picture(), source=FILE)
    paint(opened, square(5, 5), 1)
    keep(session)
    assert told == [session.project]
    paint(opened, square(30, 5), 2)
    keep(session)
    assert len(told) == 1
    session.close_project()
    assert told[1:] == [None]


def test_a_stroke_costs_one_append_and_no_more(projects: Path) -> None:
    session, opened = kept_session()
    assert session.project is not None
    manifest = (session.project.folder / "project.json").read_bytes()
    paint(opened, square(30, 5), 2)
    assert keep(session) == 1
    assert (session.project.folder / "project.json").read_bytes() == manifest


def test_after_a_crash_it_is_offered_and_exactly_what_was_there() -> None:
    session, opened = kept_session()
    session.settings = {"predict": {"threshold": 0.25}}
    opened.pixel_size, opened.channel = (0.5, 0.25), 2
    opened.corrections.dims = 3
    keep(session)
    folder = crash(session)
    (info,) = unfinished_projects()
    assert (info.folder, info.images) == (folder, ("nuclei",))
    again = opened_again(folder)
    (waiting,) = again.waiting
    assert waiting.path == Path("/data/nuclei.tif")
    assert "/data/nuclei.tif is not there" in waiting.reason
    assert (waiting.axes, waiting.shape) == ("YX", (64, 64))
    assert (waiting.scale, waiting.translate) == ((0.5, 0.25), (1, 2))
    assert (waiting.reader, waiting.labels_name) == ("napari", "nuclei - U-Net")
    assert again.settings == session.settings
    assert again.hand_seconds() == session.hand_seconds()
    found = find(again, picture())
    assert (found.pixel_size, found.channel) == ((0.5, 0.25), 2)
    assert (again.images, again.waiting) == ([found], [])
    paint(found, square(40, 40), 9)
    paint(opened, square(40, 40), 9)
    keep(again)
    found.corrections.work = opened.corrections.work
    assert_same(found.corrections, opened.corrections)


def test_several_images_are_kept_side_by_side() -> None:
    session, one = kept_session()
    other = session.add("cells", picture((2, 40, 50)), "ZYX", source=FILE)
    keep(session)
    paint(other, (1, *square(5, 5)), 4)
    paint(one, square(30, 30), 2)
    keep(session)
    waiting = opened_again(crash(session)).waiting
    assert [each.name for each in waiting] == ["nuclei", "cells"]
    for each, opened in zip(waiting, (one, other), strict=True):
        assert_same(each.corrections, opened.corrections)


def test_an_image_taken_out_stays_if_it_was_corrected() -> None:
    session, one = kept_session()
    session.add("empty", picture(), source=FILE)
    keep(session)
    paint(one, square(30, 30), 2)
    session.images = []
    keep(session)
    (waiting,) = opened_again(crash(session)).waiting
    assert_same(waiting.corrections, one.corrections)


def test_a_clock_that_goes_backwards_or_stops_in_1960_loses_nothing() -> None:
    session, opened = kept_session()
    now = [0.0]
    opened.corrections.clock = lambda: now[0]
    for number, now[0] in enumerate((1000.0, 1005.0, -7200.0, -7195.0), start=2):
        paint(opened, square(10 * number, 0, 5), number)
    keep(session)
    again = opened_again(crash(session))
    assert (again.notes, again.hand_seconds()) == ([], 10.0)
    found = again.waiting[0].corrections
    np.testing.assert_array_equal(found.labels, opened.corrections.labels)


# -- two windows


def test_a_second_window_is_read_only_and_says_so() -> None:
    session, opened = kept_session()
    assert session.project is not None
    other = opened_again(session.project.folder)
    assert other.project is not None
    assert other.project.read_only
    assert "open in another window (process" in other.project.reason
    assert "not kept" in other.project.reason
    found = find(other, picture())
    before = content(opened.corrections)
    paint(found, square(40, 40), 9)
    assert other.keep_job() is None
    assert not other.unkept()
    other.close_project()
    paint(opened, square(30, 30), 2)
    keep(session)
    assert content(opened.corrections) != before
    assert_same(opened_again(crash(session)).waiting[0].corrections, opened.corrections)


def test_a_project_is_not_opened_twice_in_one_window() -> None:
    session, _ = kept_session()
    assert session.project is not None
    with pytest.raises(UnetError, match="open in this window already"):
        session.open_project_job(session.project.folder)


def test_another_project_waits_until_all_is_kept() -> None:
    session, opened = kept_session()
    other, _ = kept_session()
    folder = crash(other)
    paint(opened, square(30, 30), 2)
    with pytest.raises(UnetError, match="not on disk yet"):
        session.open_project_job(folder)
    keep(session)
    job = session.open_project_job(folder)
    paint(opened, square(40, 40), 3)  # while it is being opened
    with pytest.raises(UnetError, match="not on disk yet"):
        run_now(job)
    keep(session)
    before = session.project
    run_now(session.open_project_job(folder))
    assert session.project is not before
    assert session.images == []
    closed = {info.folder: info.closed for info in recent_projects()}
    assert before is not None
    assert closed == {before.folder: True, folder: False}


# -- recording off and on


def test_without_autosave_nothing_is_recorded_until_it_is_on_again(
    projects: Path,
) -> None:
    session = Keeping()
    session.autosave = False
    opened = session.add("nuclei", picture(), source=FILE)
    paint(opened, square(5, 5), 1)
    assert session.keep_job() is None
    assert session.unkept()
    assert not projects.exists()
    session.autosave = True
    paint(opened, square(20, 20), 2)
    keep(session)
    session.autosave = False
    paint(opened, square(40, 40), 3)
    assert session.keep_job() is None
    assert session.unkept()
    session.autosave = True
    keep(session)
    assert not session.unkept()
    assert_same(opened_again(crash(session)).waiting[0].corrections, opened.corrections)


# -- closing


def test_closing_with_recording_off_keeps_what_was_recorded() -> None:
    session, opened = kept_session()
    before = content(opened.corrections)
    session.autosave = False
    paint(opened, square(30, 30), 2)
    session.close_project()
    (info,) = recent_projects()
    assert info.closed
    (waiting,) = opened_again(info.folder).waiting
    assert content(waiting.corrections) == before


def test_a_closed_project_is_not_offered_and_opens_again() -> None:
    session, opened = kept_session()
    session.close_project()
    assert session.project is None
    assert session.keep_job() is None
    assert unfinished_projects() == []
    (info,) = recent_projects()
    assert (info.closed, info.locked) == (True, False)
    assert_same(opened_again(info.folder).waiting[0].corrections, opened.corrections)


def test_closing_ends_a_job_that_is_still_at_work() -> None:
    session, opened = kept_session()
    session.add("large", picture((600, 3000)), source=None)
    job = session.keep_job()
    assert job is not None
    for _ in range(3):
        next(job.steps)
    session.close_project()
    assert list(job.steps) == []
    (info,) = recent_projects()
    assert not info.locked
    waiting = opened_again(info.folder).waiting[0]
    assert_same(waiting.corrections, opened.corrections)


def test_painting_after_closing_begins_another_project() -> None:
    session, opened = kept_session()
    session.close_project()
    paint(opened, square(30, 30), 2)
    keep(session)
    assert len(recent_projects()) == 2
    assert_same(opened_again(crash(session)).waiting[0].corrections, opened.corrections)


def test_an_automatic_project_without_corrections_is_removed(projects: Path) -> None:
    session = Keeping()
    opened = session.add("nuclei", picture(), source=FILE)
    opened.corrections.merge(np.ones((64, 64), np.int32), (slice(None), slice(None)))
    keep(session)
    assert len(list(projects.iterdir())) == 1
    session.close_project()
    assert list(projects.iterdir()) == []


def test_a_project_that_could_not_be_written_counts_as_unfinished() -> None:
    session, opened = kept_session()
    paint(opened, square(30, 30), 2)
    session.close_project()
    assert len(unfinished_projects()) == 1


# -- killed


PAINTS = textwrap.dedent("""
    import sys
    from keeping import *
    from napari_unet.project import kept_image
    kept_image.LONGEST_JOURNAL, kept_image.COPIED = 3000, int(sys.argv[1])
    session = Keeping()
    opened = session.add("nuclei", picture((64, 999)), labels=np.ones((64, 999), int))
    for number in range(2, 900):
        paint(opened, (slice(0, 64), slice(number, number + 1)), number)
        keep(session)
        print(number, flush=True)
""")


def test_a_killed_window_loses_nothing_that_was_kept(
    projects: Path, full_counts: bool
) -> None:
    for run in range(50 if full_counts else 2):
        here = str(Path(__file__).parent)
        process = subprocess.Popen(  # noqa: S603 - our own code, no shell
            [sys.executable, "-c", PAINTS, str(run % 2 * 2**20)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": here},
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(int(np.random.default_rng(run).integers(1, 40))):
            process.stdout.readline()
        process.kill()
        rest = process.communicate()[0].split("\n")
        told = max([2, *(int(word) for word in rest[:-1] if word.isdecimal())])
        again = opened_again(unfinished_projects()[0].folder)
        labels = np.array(again.waiting[0].corrections.labels)
        expected = np.ones((64, 999), np.int32)
        expected[:, 2 : labels.max() + 1] = np.arange(2, labels.max() + 1)
        assert labels.max() >= told
        np.testing.assert_array_equal(labels, expected)
        again.close_project()
