"""Visits of a session: what begins and ends them, and that a project keeps them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from keeping import FILE, crash, keep, paint, picture, square
from napari_unet.engine.blocks import everything
from napari_unet.engine.config import FinetuneConfig, LabelsConfig, PredictConfig
from napari_unet.errors import ProjectError
from napari_unet.io.project import read_manifest
from napari_unet.jobs import run_now
from napari_unet.project import kept_visits
from napari_unet.session import Session
from tiny import discs, nuclei, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.opened import OpenImage

pytestmark = pytest.mark.usefixtures("projects")

SHAPE = (96, 192)
FIRST = (slice(0, 96), slice(0, 96))
SECOND = (slice(0, 96), slice(96, 192))
LABELS = discs(SHAPE, 12, [(y, x) for y in (24, 72) for x in range(24, 192, 48)])
CONFIG = PredictConfig(smallest=0, tile=64)


def session_with(labels: np.ndarray = LABELS) -> tuple[Session, OpenImage]:
    """Return a session with an image on which some labels were predicted."""
    session = Session()
    session.set_model(tiny_model())
    opened = session.add_image("nuclei", picture(labels.shape), "YX")
    opened.source = FILE
    predict(session, opened, labels, 1)
    return session, opened


def predict(
    session: Session, opened: OpenImage, labels: np.ndarray, version: int
) -> None:
    opened.corrections.merge(labels, everything(labels.shape))
    session._note_prediction(opened, everything(labels.shape), version)


def opened_again(folder: Path) -> Session:
    session = Session()
    run_now(session.open_project_job(folder))
    return session


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "project.json").read_text())
    return found


# -- what begins and ends them


def test_strokes_tools_and_acceptances_begin_visits() -> None:
    session, opened = session_with()
    paint(opened, square(20, 20), 0)
    session.accept(opened, SECOND)
    assert [(v.window, v.by, v.version) for v in session.visits] == [
        (FIRST, "user", 1), (SECOND, "user", 1),
    ]  # fmt: skip
    assert session.visits[1].score == 1.0
    session.undo(opened)
    assert len(session.visits) == 1


def test_a_place_that_next_chose_is_taken_as_it_is() -> None:
    session, opened = session_with()
    told: list[int] = []
    session.progress_changed.connect(lambda: told.append(len(session.visits)))
    opened.corrections.labels[20:30, 120:130] = 0  # not settled yet
    assert session.begin_visit(opened, FIRST)
    assert told == [1]
    session.accept(opened, FIRST)
    assert [visit.by for visit in session.visits] == ["user", "next"]
    assert session.progress.next.means.tolist() == [1.0]


def test_a_prediction_of_a_network_tells_its_version() -> None:
    session = Session()
    session.set_model(tiny_model())
    image, truth = nuclei()
    opened = session.add_image("nuclei", image, "YX")
    run_now(session.predict_job(opened, CONFIG))
    found = np.array(opened.corrections.labels)
    opened.corrections.labels[...] = truth
    session.accept(opened, FIRST)
    (visit,) = session.visits
    assert (visit.version, visit.known) == (1, 1.0)
    np.testing.assert_array_equal(opened.corrections.visits._open[0].predicted, found)


def test_labels_read_in_another_way_end_visits_and_keep_their_version() -> None:
    session = Session()
    session.set_model(tiny_model())
    opened = session.add_image("nuclei", nuclei()[0], "YX")
    run_now(session.predict_job(opened, CONFIG))
    session.begin_visit(opened, FIRST)
    job = session.relabel_job(opened, LabelsConfig(threshold=0.3, smallest=0))
    assert job is not None
    run_now(job)
    now = np.array(opened.corrections.labels)
    np.testing.assert_array_equal(opened.corrections.visits._open[0].predicted, now)
    assert [each.version for each in opened.corrections.visits.predicted] == [1]


def test_fine_tuning_makes_scores_final() -> None:
    session, opened = session_with()
    session.accept(opened, FIRST)
    before = session.visits
    session.finetune_job(FinetuneConfig(steps=1))
    assert opened.corrections.visits.closed == tuple(before)
    paint(opened, square(20, 20), 0)
    assert session.visits == before


# -- the project


def test_visits_come_back_with_their_project() -> None:
    session, opened = session_with()
    paint(opened, square(20, 20), 0)
    session.begin_visit(opened, SECOND)
    session.accept(opened, everything(SHAPE))
    was = session.progress
    keep(session)
    folder = session.project.folder if session.project else None
    session.close_project()
    assert folder is not None
    again = opened_again(folder)
    assert [visit.by for visit in again.visits] == ["user", "next"]
    np.testing.assert_allclose(again.progress.user.means, was.user.means, atol=1e-4)
    (waiting,) = again.waiting
    image = run_now(again.find_image_job(waiting, picture(SHAPE), "YX", FILE))
    assert [visit.by for visit in again.visits] == ["user", "next"]
    assert not again.begin_visit(image, SECOND)
    again.close_project()
    assert len(opened_again(folder).visits) == 2


def test_after_opening_it_is_known_what_was_predicted() -> None:
    session, opened = session_with()
    paint(opened, square(20, 20), 0)
    keep(session)
    again = opened_again(crash(session))
    (waiting,) = again.waiting
    image = run_now(again.find_image_job(waiting, picture(SHAPE), "YX", FILE))
    again.accept(image, SECOND)
    assert [visit.version for visit in again.visits] == [1, 1]


def test_scores_are_written_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    session, opened = session_with()
    paint(opened, square(20, 20), 0)
    session.accept(opened, FIRST)
    keep(session)
    assert session.project is not None
    folder = session.project.folder
    (first,) = manifest_of(folder)["images"][0]["visits"]
    paint(opened, square(50, 50), 3)
    keep(session)
    assert manifest_of(folder)["images"][0]["visits"] == [first]
    now = kept_visits.time.monotonic()
    monkeypatch.setattr(
        kept_visits.time, "monotonic", lambda: now + kept_visits.PAUSE + 1
    )
    keep(session)
    (later,) = manifest_of(folder)["images"][0]["visits"]
    assert first["score"] != later["score"]


def test_closing_writes_the_last_scores() -> None:
    session, opened = session_with()
    paint(opened, square(20, 20), 0)
    keep(session)
    session.accept(opened, FIRST)
    keep(session)
    assert session.project is not None
    folder = session.project.folder
    session.close_project()
    assert manifest_of(folder)["images"][0]["visits"][0]["known"] == 1.0


def test_a_project_without_visits_opens() -> None:
    session, opened = session_with()
    paint(opened, square(20, 20), 0)
    keep(session)
    folder = crash(session)
    found = manifest_of(folder)
    for name in ("visits", "predicted"):
        del found["images"][0][name]
    (folder / "project.json").write_text(json.dumps(found))
    again = opened_again(folder)
    assert again.visits == []
    assert again.notes == []


@pytest.mark.parametrize(
    "hostile",
    [
        {"score": 1.5}, {"known": float("nan")}, {"by": "me"}, {"version": -1},
        {"window": [[0, 96]]}, {"window": [[0, 96], [0, 10**12]]},
        {"window": [[5, 5], [0, 9]]}, {"window": [[0, 9]] * 2000}, {"made": 1e300},
    ],
)  # fmt: skip
def test_visits_that_cannot_be_are_refused(hostile: dict[str, Any]) -> None:
    session, opened = session_with()
    paint(opened, square(20, 20), 0)
    keep(session)
    folder = crash(session)
    found = manifest_of(folder)
    found["images"][0]["visits"][0].update(hostile)
    (folder / "project.json").write_text(json.dumps(found))
    with pytest.raises(ProjectError, match="damaged"):
        read_manifest(folder)


def test_more_visits_than_a_project_keeps_are_refused() -> None:
    session, opened = session_with()
    paint(opened, square(20, 20), 0)
    keep(session)
    folder = crash(session)
    found = manifest_of(folder)
    found["images"][0]["visits"] *= 1001
    (folder / "project.json").write_text(json.dumps(found))
    with pytest.raises(ProjectError, match="visits"):
        read_manifest(folder)
