"""Keeping: new bases, what a crash or a failure leaves at every stage."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from keeping import (
    Keeping,
    crash,
    find,
    keep,
    opened_again,
    paint,
    picture,
    square,
)
from ledgers import assert_same, content
from napari_unet.engine.corrections import Corrections
from napari_unet.errors import ImageError, OutputError
from napari_unet.jobs import run_now
from napari_unet.opened import ImageSource
from napari_unet.project import kept_image

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from napari_unet.opened import OpenImage

FILE = ImageSource("/data/nuclei.tif")


def kept_session(**how: Any) -> tuple[Keeping, OpenImage]:
    """Return a session whose project holds two strokes, one of them undone."""
    session = Keeping()
    opened = session.add("nuclei", picture(), source=FILE, **how)
    paint(opened, square(5, 5), 1)
    paint(opened, square(20, 20), 2)
    opened.corrections.undo()
    keep(session)
    return session, opened


def copied(folder: Path, to: Path) -> Path:
    """Copy a project as a crash would leave it at this moment."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("lock*"))
    return to


def restored(folder: Path) -> Corrections:
    session = opened_again(folder)
    assert session.notes == []
    (waiting,) = session.waiting
    crash(session)
    return waiting.corrections


def replayed(opened: OpenImage) -> Corrections:
    """Return a copy of corrections whose history is whole."""
    its = opened.corrections
    copy = Corrections(np.array(its.labels), highest=its.next_label - 1)
    copy.state[...] = its.state[()]
    copy.history.recall(its.history.told())
    copy.work = its.work
    return copy


def files(folder: Path) -> set[str]:
    return {p.name for p in (folder / "images" / "1").iterdir()} - {"image.zarr"}


def test_what_was_kept_is_there_with_its_history() -> None:
    session, opened = kept_session()
    assert_same(restored(crash(session)), opened.corrections)


def test_labels_that_the_user_brought_are_kept() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[40:50, 3:9] = 77
    session, opened = kept_session(labels=labels)
    folder = crash(session)
    assert files(folder) == {"journal-1", "labels-1.zarr", "states-1.zarr"}
    assert_same(restored(folder), opened.corrections)


def test_an_unfinished_stroke_is_kept_and_its_rest_joins_it() -> None:
    session, opened = kept_session()
    opened.corrections.labels[square(30, 30)] = 3  # the mouse is still down
    keep(session)
    opened.corrections.labels[square(40, 40)] = 3
    opened.corrections.stroke_ends()
    keep(session)
    again = restored(crash(session))
    again.undo()
    opened.corrections.undo()
    assert not (np.array(again.labels) == 3).any()
    np.testing.assert_array_equal(again.labels, opened.corrections.labels)


@pytest.mark.parametrize("live", [False, True], ids=["copied", "read while painting"])
def test_a_crash_at_any_stage_of_a_new_base_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, live: bool
) -> None:
    session, opened = kept_session()
    monkeypatch.setattr(kept_image, "LONGEST_JOURNAL", 0)
    if live:
        monkeypatch.setattr(kept_image, "COPIED", 0)
    paint(opened, square(30, 30), 3)
    expected, stages = content(replayed(opened)), 0
    assert session.project is not None
    generations = set()
    while not generations >= {1, 2}:
        job = session.keep_job()
        assert job is not None
        next(job.steps)  # nothing is written yet
        for _ in job.steps:
            copy = copied(session.project.folder, tmp_path / str(stages))
            its = restored(copy)
            assert content(its) == expected
            (generation,) = [int(n[8:]) for n in files(copy) if "journal" in n]
            generations.add(generation)
            stages += 1
    assert stages > 3


def test_strokes_made_while_a_base_is_read_are_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session, opened = kept_session()
    monkeypatch.setattr(kept_image, "LONGEST_JOURNAL", 0)
    monkeypatch.setattr(kept_image, "COPIED", 0)
    paint(opened, square(30, 30), 3)
    for number in range(4, 12):
        before = content(replayed(opened))
        job = session.keep_job()
        assert job is not None
        next(job.steps)
        paint(opened, square(5 * number, 0), number)  # not in this job
        for _ in job.steps:
            pass
        assert session.project is not None
        copy = copied(session.project.folder, tmp_path / str(number))
        assert content(restored(copy))[0] == before[0]
    monkeypatch.undo()
    keep(session)
    assert_same(restored(crash(session)), opened.corrections)


def test_after_a_new_base_only_its_generation_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, opened = kept_session()
    monkeypatch.setattr(kept_image, "LONGEST_JOURNAL", 0)
    paint(opened, square(30, 30), 3)
    job = session.keep_job()
    assert job is not None
    run_now(job)
    monkeypatch.undo()
    keep(session)
    folder = crash(session)
    assert files(folder) == {"journal-2", "labels-2.zarr", "states-2.zarr"}
    (folder / "images" / "1" / "journal-1").write_bytes(b"of a crash")
    (folder / "images" / "1" / ".labels-3-abcdefgh").mkdir()
    assert_same(restored(folder), opened.corrections)
    assert files(folder) == {"journal-2", "labels-2.zarr", "states-2.zarr"}


@pytest.mark.parametrize("seed", range(2))
def test_painting_and_keeping_in_two_threads_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, full_counts: bool, seed: int
) -> None:
    session, opened = kept_session()
    monkeypatch.setattr(kept_image, "LONGEST_JOURNAL", 3000)
    monkeypatch.setattr(kept_image, "COPIED", seed * 2**20)
    rng = np.random.default_rng(seed)
    with ThreadPoolExecutor(1) as lane:
        running = lane.submit(list, ())
        for number in range(3, 3000 if full_counts else 150):
            y, x = rng.integers(0, 50, 2).tolist()
            paint(opened, square(y, x, 4), number)
            if rng.random() < 0.3:
                opened.corrections.undo()
            if running.done() and (job := session.keep_job()) is not None:
                running.result()
                some = None if rng.random() < 0.8 else int(rng.integers(0, 5))
                running = lane.submit(step, job.steps, some)
    monkeypatch.undo()
    keep(session)
    assert_same(restored(crash(session)), opened.corrections)


def step(steps: Generator[Any, None, Any], count: int | None) -> None:
    """Take some steps, or all, and close them as a cancelled job does."""
    for _ in islice(steps, count):
        pass
    steps.close()


# -- failures


def break_folder(folder: Path, how: str) -> Any:
    """Make a project unwritable; return what mends it."""
    aside = folder.with_name("aside")
    if how == "vanished":
        folder.rename(aside)
        return lambda: aside.rename(folder)
    journal = folder / "images" / "1" / "journal-1"
    journal.rename(aside)
    journal.mkdir()
    return lambda: (journal.rmdir(), aside.rename(journal))


@pytest.mark.parametrize("how", ["vanished", "no file"])
def test_what_could_not_be_written_is_written_later(how: str) -> None:
    session, opened = kept_session()
    assert session.project is not None
    mend = break_folder(session.project.folder, how)
    for number in (5, 6):
        paint(opened, square(30, 5 * number), number)
        job = session.keep_job()
        assert job is not None
        with pytest.raises(OutputError, match="could not be"):
            run_now(job)
        assert session.unkept()
        assert "could not be" in session.project.trouble
    mend()
    keep(session)
    assert not session.unkept()
    assert not session.project.trouble
    assert_same(restored(crash(session)), opened.corrections)


def test_a_new_base_that_cannot_be_named_is_named_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, opened = kept_session()
    assert session.project is not None
    manifest = session.project.folder / "project.json"
    aside = manifest.rename(manifest.with_name("aside"))
    manifest.mkdir()
    monkeypatch.setattr(kept_image, "LONGEST_JOURNAL", 0)
    for number in (5, 6):
        paint(opened, square(30, 5 * number), number)
        job = session.keep_job()
        assert job is not None
        with pytest.raises(OutputError):
            run_now(job)
    manifest.rmdir()
    aside.rename(manifest)
    monkeypatch.undo()
    assert_same(restored(copied(manifest.parent, aside)), replayed(opened))
    keep(session)
    assert_same(restored(crash(session)), opened.corrections)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_job_that_is_cancelled_loses_nothing(steps: int) -> None:
    session, opened = kept_session()
    paint(opened, square(30, 30), 3)
    job = session.keep_job()
    assert job is not None
    for _ in range(steps):
        next(job.steps, None)
    job.steps.close()
    paint(opened, square(40, 40), 4)
    keep(session)
    assert_same(restored(crash(session)), opened.corrections)


def test_a_new_project_that_cannot_be_made_is_made_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "projects"
    place.write_text("a file, not a folder")
    monkeypatch.setenv("NAPARI_UNET_PROJECTS", str(place))
    session = Keeping()
    opened = session.add("nuclei", picture())
    paint(opened, square(5, 5), 1)
    job = session.keep_job()
    assert job is not None
    with pytest.raises(OutputError, match="could not be made"):
        run_now(job)
    assert session.unkept()
    place.unlink()
    keep(session)
    assert_same(restored(crash(session)), opened.corrections)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of half a megabyte, where one may be mounted."""
    place, mount, umount = tmp_path / "disk", *map(shutil.which, ("mount", "umount"))
    place.mkdir()
    if mount is None or umount is None:
        pytest.skip("no mount here")
    command = [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603 - our own command
        pytest.skip("no small disk may be mounted here")
    yield place
    subprocess.run([umount, "-l", str(place)], check=True)  # noqa: S603 - our own command


def test_on_a_full_disk_nothing_is_torn_and_freeing_room_mends_it(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAPARI_UNET_PROJECTS", str(small_disk))
    session, opened = kept_session()
    assert session.project is not None
    while (free := shutil.disk_usage(small_disk).free) > 0:
        (small_disk / f"filler-{free}").write_bytes(b"x" * min(free, 4096))
    noise = np.random.default_rng(0).integers(1, 2**30, (64, 64)).astype(np.int32)
    paint(opened, (slice(None), slice(None)), noise)  # type: ignore[arg-type]  # labels
    job = session.keep_job()
    assert job is not None
    with pytest.raises(OutputError, match="No space left"):
        run_now(job)
    copy = copied(session.project.folder, tmp_path / "copy")
    assert np.array(restored(copy).labels).max() == 1
    for each in small_disk.glob("filler-*"):
        each.unlink()
    keep(session)
    assert_same(restored(crash(session)), opened.corrections)


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_made_read_only_is_said_and_opens_read_only() -> None:
    session, opened = kept_session()
    assert session.project is not None
    folder = session.project.folder
    places = [*folder.rglob("*"), folder]
    before = {place: place.stat().st_mode for place in places}
    for place in places:
        place.chmod(0o500 if place.is_dir() else 0o400)
    paint(opened, square(30, 30), 3)
    job = session.keep_job()
    assert job is not None
    with pytest.raises(OutputError, match="Permission denied"):
        run_now(job)
    crash(session)
    again = opened_again(folder)
    assert again.project is not None
    assert again.project.read_only
    assert "cannot be written" in again.project.reason
    for place, mode in before.items():
        place.chmod(mode)


def test_an_image_that_cannot_be_read_does_not_keep_labels_from_being_kept() -> None:
    class Gone:
        shape, dtype, ndim = (64, 64), np.dtype(np.uint8), 2

        def __getitem__(self, window: Any) -> np.ndarray:
            raise OSError("the drive is gone")

    session = Keeping()
    opened = session.add("nuclei", Gone(), source=FILE)
    paint(opened, square(5, 5), 1)
    keep(session)
    assert not session.unkept()
    assert_same(restored(crash(session)), opened.corrections)


def test_another_image_under_the_same_labels_is_the_one_asked_for() -> None:
    session, opened = kept_session()
    opened.image = picture(seed=1)
    opened.source = ImageSource("/data/other.tif", "napari")
    keep(session)
    again = opened_again(crash(session))
    assert again.waiting[0].path == Path("/data/other.tif")
    with pytest.raises(ImageError, match="differ"):
        find(again, picture())
    assert find(again, picture(seed=1)).image is not None


def test_an_image_whose_path_no_text_holds_is_kept_itself() -> None:
    session, opened = kept_session()
    opened.source = ImageSource("/data/\udce4.tif")
    keep(session)
    (waiting,) = opened_again(crash(session)).waiting
    assert waiting.path is None
    np.testing.assert_array_equal(waiting.stored, opened.image)


def test_a_history_longer_than_a_journal_may_be_is_written_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, opened = kept_session()
    monkeypatch.setattr(kept_image, "LONGEST_JOURNAL", 50)
    for number in range(2, 9):
        paint(opened, square(5 * number, 0), number)
    assert keep(session) < 5
    assert_same(restored(crash(session)), opened.corrections)
