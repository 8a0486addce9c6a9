"""Every stroke is on the disk soon, whatever becomes of the window."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QLabel

from napari_unet.io.recent_projects import recent_projects
from napari_unet.jobs import run_now
from napari_unet.qt.bench import bench_for
from napari_unet.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.corrections import Corrections

SHAPE = (60, 70)
PROGRAM = """
import napari, numpy as np
from napari_unet.qt.bench import bench_for

viewer = napari.Viewer(show=False)
image = viewer.add_image(np.random.default_rng(0).random((60, 70)), name="cells")
labels = viewer.add_labels(np.zeros((60, 70), np.int32))
opened = bench_for(viewer).open(image, "YX", labels)
labels.paint((20, 20), 7)
"""


def painting(hands, *docks: str):
    """Return hands, an open image and its labels layer, without any model."""
    one = hands(*(docks or ("Correct",)))
    one.wait(lambda: one.bench._window() is not None)  # docked a turn later
    viewer = one.bench.viewer
    image = viewer.add_image(np.random.default_rng(0).random(SHAPE), name="cells")
    layer = viewer.add_labels(np.zeros(SHAPE, np.int32), name="mine")
    return one, one.bench.open(image, "YX", layer), layer


def reopened(folder: Path) -> Corrections:
    """Return what a project on the disk holds of its first image."""
    session = Session()
    run_now(session.open_project_job(folder, read_only=True))
    return session.waiting[0].corrections


def test_a_stroke_is_on_the_disk_soon(hands, projects) -> None:
    one, opened, layer = painting(hands)
    began = time.monotonic()
    layer.paint((20, 20), 7)
    session = one.bench.session
    one.wait(lambda: session.project is not None and not session.unkept())
    assert time.monotonic() - began < 10  # 2 s on a machine with nothing else to do
    np.testing.assert_array_equal(
        reopened(session.project.folder).labels, opened.corrections.labels
    )
    assert session.project.folder.parent == projects
    assert one.bench.kept_text(opened) == "kept in the project"


def test_labels_that_another_plugin_replaced_are_kept_without_being_asked(
    hands, projects
) -> None:
    one, opened, layer = painting(hands)
    layer.data = np.array(layer.data)  # from now on the ledger hears of no stroke
    layer.paint((20, 20), 7)
    session = one.bench.session
    one.wait(lambda: session.project is not None and not session.unkept())
    labels = reopened(session.project.folder).labels
    assert labels[20, 20] == 7
    assert layer.data is opened.corrections.labels


def test_a_stroke_that_goes_on_is_kept_and_stays_one_step(
    hands, projects, monkeypatch
) -> None:
    one, opened, layer = painting(hands)
    monkeypatch.setattr(
        QApplication, "mouseButtons", staticmethod(lambda: Qt.MouseButton.LeftButton)
    )
    for column in (10, 20, 30):
        opened.corrections.labels[10:14, column : column + 5] = 4
        one.bench.autosave.tick()
    session = one.bench.session
    one.wait(lambda: session.project is not None and not session.unkept())
    kept = reopened(session.project.folder)
    assert (kept.labels[10:14, 30:35] == 4).all()
    opened.corrections.labels[10:14, 40:45] = 4
    monkeypatch.undo()
    layer.events.paint(value=[])
    layer.undo()
    assert not opened.corrections.labels.any()


def test_what_cannot_be_written_is_told_once_and_written_later(hands, projects) -> None:
    one, opened, layer = painting(hands)
    projects.write_text("a file where a folder should be")
    told: list[str] = []
    notification_manager.notification_ready.connect(lambda n: told.append(n.message))
    autosave, session = one.bench.autosave, one.bench.session
    runner = one.bench.runner
    layer.paint((20, 20), 7)
    for _ in range(2):
        autosave._due = 0.0
        autosave.tick()
        one.wait(lambda: bool(autosave.problem) and not runner.running("journal"))
    assert len(told) == 1
    assert str(projects) in told[0]
    assert one.bench.kept_text(opened).startswith("not kept: ")
    one.wait(lambda: "not kept: " in one.text("correct"))
    projects.unlink()
    autosave._due = 0.0
    one.wait(lambda: not autosave.problem and not session.unkept())
    one.wait(lambda: "kept in the project" in one.text("correct"))
    assert "kept again" in told[1]
    assert (reopened(session.project.folder).labels == opened.corrections.labels).all()


def test_pauses_between_tries_grow(hands, projects) -> None:
    one, _, _ = painting(hands)
    autosave = one.bench.autosave
    pauses = []
    for _ in range(6):
        autosave._failed("no")
        pauses.append(autosave._retry)
    assert pauses == [2, 4, 8, 16, 30, 30]


def test_a_script_that_closes_the_viewer_keeps_all(hands, projects) -> None:
    one, _, layer = painting(hands)
    layer.paint((20, 20), 7)
    painted = np.array(layer.data)
    one.bench.viewer.close()
    (project,) = recent_projects()
    assert (project.closed, project.locked) == (True, False)
    np.testing.assert_array_equal(reopened(project.folder).labels, painted)


def test_python_that_exits_keeps_all(projects) -> None:
    env = {**os.environ, "NAPARI_UNET_PROJECTS": str(projects)}
    done = subprocess.run(  # noqa: S603  our own code, no shell
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False,
        timeout=100, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (project,) = recent_projects()
    assert project.closed
    assert (reopened(project.folder).labels == 7).any()


def test_a_viewer_that_is_forgotten_keeps_all(make_napari_viewer, projects) -> None:
    viewer = make_napari_viewer()
    image = viewer.add_image(np.zeros(SHAPE), name="cells")
    layer = viewer.add_labels(np.zeros(SHAPE, np.int32))
    bench = bench_for(viewer)
    bench.open(image, "YX", layer)
    layer.paint((20, 20), 7)
    bench.autosave.close()  # as when the viewer goes, or Python exits
    bench.autosave.close()
    (project,) = recent_projects()
    assert project.closed


def test_without_autosave_nothing_is_written(hands, projects) -> None:
    one, opened, layer = painting(hands, "U-Net workbench")
    box: Any = one.find("project.autosave", object)
    box.setChecked(False)
    layer.paint((20, 20), 7)
    one.bench.autosave.tick()
    assert not one.bench.autosave.keep_now()
    assert not projects.exists()
    assert "switched off" in one.bench.kept_text(opened)
    box.setChecked(True)
    one.wait(lambda: not one.bench.session.unkept())
    assert one.bench.kept_text(opened) == "kept in the project"


def test_the_line_follows_what_is_kept(hands, projects) -> None:
    one, _, layer = painting(hands, "U-Net workbench")
    line = one.find("project.summary", QLabel)
    assert line.text().startswith("Nothing to keep yet")
    layer.paint((20, 20), 7)
    one.wait(lambda: line.text().startswith("Kept in "))
    one.bench.autosave._failed("The disk is full.")
    assert "in memory. The disk is full." in line.text()
