"""What is held out, from the first correction on, in a session and its project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from keeping import FILE, crash, keep, paint, picture, square
from napari_unet.engine.builder import Builder
from napari_unet.engine.holdout import (
    BETWEEN,
    HELD_OUT,
    LEARNS,
    Sites,
    role_masks,
)
from napari_unet.engine.model import new_model
from napari_unet.engine.spec import ModelSpec
from napari_unet.errors import UnetError
from napari_unet.jobs import run_now
from napari_unet.session import Session
from tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.opened import OpenImage

pytestmark = pytest.mark.usefixtures("projects")

SIDE = 400  # pixels; the tiny network reaches far less


def session_of(
    *sides: int, model: bool = True
) -> tuple[Session, list[OpenImage]]:  # fmt: skip
    """Return a session with a tiny network and some images."""
    session = Session()
    if model:
        session.set_model(tiny_model())
    found = []
    for number, side in enumerate(sides):
        image = picture((side, side), number)
        opened = session.add_image(f"image {number}", image, "YX")
        opened.source = FILE
        found.append(opened)
    return session, found


def role(opened: OpenImage, y: int, x: int) -> int:
    plane = opened.roles.planes.get(())
    return 0 if plane is None else int(plane[y // 32, x // 32])


def correct_three(session: Session, opened: OpenImage) -> None:
    """Correct three places far from each other, each kept at once."""
    for number, place in enumerate(((5, 5), (5, 200), (5, 380)), start=1):
        paint(opened, square(*place), number)
        keep(session)


# -- in a session


def test_a_place_gets_its_role_when_it_is_kept_first() -> None:
    session, (opened,) = session_of(SIDE)
    told: list[Sites] = []
    session.roles_changed.connect(lambda: told.append(session.sites()))
    correct_three(session, opened)
    assert [role(opened, 5, x) for x in (5, 200, 380)] == [LEARNS, LEARNS, HELD_OUT]
    assert told == [Sites(1), Sites(2), Sites(2, 1)]


def test_kinds_that_were_told_apart_take_turns_of_their_own() -> None:
    session, (known, other, new) = session_of(SIDE, SIDE, SIDE)
    correct_three(session, known)
    paint(other, square(5, 5), 1)
    paint(other, square(5, 200), 2)
    keep(session)
    assert other.roles.sites == Sites(2)
    session.kinds = ((known,), (other,))
    paint(other, square(5, 380), 3)
    paint(new, square(5, 5), 1)  # of this, the kind is not known
    keep(session)
    assert role(other, 5, 380) == HELD_OUT  # else the eighth of all would have been
    assert (other.roles.sites, new.roles.sites) == (Sites(2, 1), Sites(1))
    assert known.roles.sites == Sites(2, 1)


def test_a_place_that_changes_again_keeps_its_role() -> None:
    session, (opened,) = session_of(SIDE)
    correct_three(session, opened)
    before = opened.roles
    opened.corrections.undo()
    keep(session)
    opened.corrections.redo()
    paint(opened, square(6, 6, 4), 0)
    keep(session)
    assert opened.roles is before


def test_half_a_stroke_has_a_role_already() -> None:
    session, (opened,) = session_of(SIDE)
    opened.corrections.labels[square(5, 5)] = 1
    session.assign_roles()
    assert role(opened, 5, 5) == LEARNS


def test_without_a_model_roles_wait_for_one() -> None:
    session, (opened,) = session_of(SIDE, model=False)
    correct_three(session, opened)
    assert opened.roles.planes == {}
    with pytest.raises(UnetError, match="No model"):
        session.needed_to_score()
    session.set_model(tiny_model())
    keep(session)
    assert session.sites() == Sites(2, 1)
    assert [role(opened, 5, x) for x in (5, 200, 380)] == [LEARNS, LEARNS, HELD_OUT]


def test_a_model_that_cannot_learn_gives_no_roles() -> None:
    session, (opened,) = session_of(SIDE, model=False)
    b = Builder(2, 1, None)
    b.activation(0, "sigmoid")
    spec = ModelSpec(architecture=b.graph("test", (1,)), output="foreground")
    session.set_model(new_model(spec))
    correct_three(session, opened)
    assert opened.roles.planes == {}


def test_labels_of_another_kind_wait_for_their_model() -> None:
    session, (opened,) = session_of(SIDE)
    paint(opened, square(5, 5), 1)
    session.set_model(tiny_model("classes"))
    session.assign_roles()
    assert opened.roles.planes == {}
    session.set_model(tiny_model())
    session.assign_roles()
    assert role(opened, 5, 5) == LEARNS


def test_places_are_counted_over_all_images() -> None:
    session, opened = session_of(64, 64, 64)
    for each in opened:
        paint(each, square(5, 5), 1)
        session.assign_roles()
    assert [role(each, 5, 5) for each in opened] == [LEARNS, LEARNS, HELD_OUT]


def test_what_is_needed_to_score_is_said() -> None:
    session, (opened,) = session_of(64)
    paint(opened, square(5, 5), 1)
    session.assign_roles()
    assert "correct 2 more places, each in another image, so" in (
        session.needed_to_score()
    )
    session.held_out_share = 0.0
    assert "share" in session.needed_to_score()


def test_training_and_scoring_take_whole_objects_and_share_none() -> None:
    session, (opened,) = session_of(SIDE)
    correct_three(session, opened)
    snapshot = opened.corrections.snapshot()
    supervised = snapshot.supervised()
    learnt, held = role_masks(
        opened.roles, supervised, snapshot.window, 2, session.reach()
    )
    np.testing.assert_array_equal(learnt | held, supervised)
    assert np.unique(snapshot.labels[learnt]).tolist() == [0, 1, 2]
    assert np.unique(snapshot.labels[held]).tolist() == [0, 3]


# -- in a project


def reopened(folder: Path, *sides: int) -> tuple[Session, list[OpenImage]]:
    """Open a project and find its images again."""
    session = Session()
    run_now(session.open_project_job(folder))
    session.set_model(tiny_model())
    found = []
    for number, waiting in enumerate(list(session.waiting)[: len(sides)]):
        image = picture((sides[number],) * 2, number)
        found.append(run_now(session.find_image_job(waiting, image, "YX", FILE)))
    return session, found


def entries(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "project.json").read_text())[
        "images"
    ]
    return found


def test_roles_come_back_with_the_project_and_more_is_added() -> None:
    session, (opened,) = session_of(SIDE)
    correct_three(session, opened)
    folder = crash(session)
    again, (found,) = reopened(folder, SIDE)
    np.testing.assert_array_equal(found.roles.planes[()], opened.roles.planes[()])
    assert again.sites() == Sites(2, 1)
    paint(found, square(200, 5), 7)
    paint(found, square(5, 360), 8)
    keep(again)
    assert again.sites() == Sites(3, 1)
    assert (role(found, 200, 5), role(found, 5, 360)) == (LEARNS, HELD_OUT)
    third, (last,) = reopened(crash(again), SIDE)
    np.testing.assert_array_equal(last.roles.planes[()], found.roles.planes[()])
    assert third.sites() == Sites(3, 1)


def test_images_that_are_not_there_count_and_keep_their_roles() -> None:
    session, opened = session_of(64, 64, 64)
    for each in opened:
        paint(each, square(5, 5), 1)
        keep(session)
    again, (found,) = reopened(crash(session), 64)
    assert again.sites() == Sites(2, 1)
    paint(found, square(40, 40), 2)
    again.skip_image(again.waiting[0])
    keep(again)
    last, found_last = reopened(crash(again), 64, 64, 64)
    assert last.sites() == Sites(2, 1)
    assert [role(each, 5, 5) for each in found_last] == [LEARNS, LEARNS, HELD_OUT]


def test_what_was_kept_after_the_last_roles_gets_them_anew() -> None:
    session, (opened,) = session_of(SIDE)
    correct_three(session, opened)
    assert session.project is not None
    before = (session.project.folder / "project.json").read_bytes()
    paint(opened, square(370, 5), 9)
    keep(session)
    given = role(opened, 370, 5)
    folder = crash(session)
    (folder / "project.json").write_bytes(before)  # the kill came before this
    again, (found,) = reopened(folder, SIDE)
    assert role(found, 370, 5) == 0
    keep(again)
    assert role(found, 370, 5) == given == LEARNS
    assert [role(found, 5, x) for x in (5, 200, 380)] == [LEARNS, LEARNS, HELD_OUT]


def test_a_project_of_before_has_no_roles_and_gets_them() -> None:
    session, (opened,) = session_of(SIDE, model=False)
    correct_three(session, opened)
    folder = crash(session)
    text = json.loads((folder / "project.json").read_text())
    del text["images"][0]["roles"]
    (folder / "project.json").write_text(json.dumps(text))
    again, (found,) = reopened(folder, SIDE)
    keep(again)
    assert again.sites() == Sites(2, 1)
    assert role(found, 5, 380) == HELD_OUT


def test_roles_that_are_damaged_are_told_and_nothing_is_overwritten() -> None:
    session, (opened,) = session_of(SIDE)
    correct_three(session, opened)
    folder = crash(session)
    text = json.loads((folder / "project.json").read_text())
    text["images"][0]["roles"]["packed"] = "AAAA"
    (folder / "project.json").write_text(json.dumps(text))
    again, (found,) = reopened(folder, SIDE)
    assert again.project is not None
    assert again.project.read_only
    assert "held out of image 0" in again.notes[0]
    np.testing.assert_array_equal(
        np.array(found.corrections.labels), np.array(opened.corrections.labels)
    )


def test_saving_under_a_name_takes_roles_along(tmp_path: Path) -> None:
    session, (opened, _) = session_of(SIDE, 64)
    correct_three(session, opened)
    run_now(session.save_project_as_job(tmp_path / "named"))
    assert entries(tmp_path / "named")[0]["roles"] is not None
    again, (found,) = reopened(crash(session), SIDE)
    run_now(again.save_project_as_job(tmp_path / "again"))
    assert [e["roles"] for e in entries(tmp_path / "again")] == [
        e["roles"] for e in entries(tmp_path / "named")
    ]
    assert found.roles.sites == Sites(2, 1)


def test_saving_afresh_takes_roles_along_also_of_waiting_images(tmp_path: Path) -> None:
    session, opened = session_of(SIDE, 64)
    correct_three(session, opened[0])
    paint(opened[1], square(5, 5), 1)
    keep(session)
    folder = crash(session)
    again = Session()
    run_now(again.open_project_job(folder, read_only=True))
    again.set_model(tiny_model())
    first, second = again.waiting
    image = picture((SIDE, SIDE), 0)
    run_now(again.find_image_job(first, image, "YX", FILE))
    run_now(again.save_project_as_job(tmp_path / "afresh"))
    assert again.sites() == Sites(3, 1)
    assert all(entry["roles"] for entry in entries(tmp_path / "afresh"))
    run_now(again.find_image_job(second, picture((64, 64), 1), "YX", FILE))
    assert role(again.images[1], 5, 5) == LEARNS
    keep(again)
    assert all(entry["roles"] for entry in entries(tmp_path / "afresh"))


def test_an_image_taken_out_still_counts() -> None:
    session, (one, other) = session_of(SIDE, 64)
    correct_three(session, one)
    session.remove_image(one)
    keep(session)
    assert session.sites() == Sites(2, 1)
    paint(other, square(5, 5), 1)
    keep(session)
    assert session.sites() == Sites(3, 1)
    (entry, _) = entries(crash(session))
    assert entry["roles"] is not None


def test_an_accepted_image_is_cut_with_a_band_between() -> None:
    session, (opened,) = session_of(1024)
    opened.corrections.accept((slice(None), slice(None)))
    keep(session)
    found = opened.roles.planes[()]
    assert set(np.unique(found)) == {LEARNS, HELD_OUT, BETWEEN}
    assert 0.15 < (found == HELD_OUT).mean() < 0.25
