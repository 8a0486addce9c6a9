"""The Project line: going on after a crash, images that moved, a second window."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QListWidget

from napari_unet.errors import ProjectError
from napari_unet.jobs import run_now
from napari_unet.opened import ImageSource
from napari_unet.qt.parts import duration
from napari_unet.qt.project_panel import short
from napari_unet.session import Session
from tiny import nuclei, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from hands import Hands

IMAGE = nuclei()[0][:60, :70]


def worked(tmp_path: Path, names: tuple[str, ...] = (), **source: Any) -> Session:
    """Return a session with corrected images that lie in files, all of it kept."""
    session = Session()
    session.set_model(tiny_model())
    for value, name in enumerate(names or ("cells",), start=5):
        path = tmp_path / f"{name}.tif"
        iio.imwrite(path, IMAGE + value)
        opened = session.add_image(name, IMAGE + value, "YX")
        given = {"reader": "napari", "labels_name": "mine", **source}
        opened.source = ImageSource(str(path), **given)
        opened.corrections.labels[10:20, 10:20] = value
        opened.corrections.commit()
        opened.corrections.labels[30:40, 10:20] = value
        opened.corrections.commit()
        opened.corrections.undo()
    while (job := session.keep_job(whole=True)) is not None:
        run_now(job)
    return session


def kept_whole(session: Session) -> Path:
    """Write all of a project, images from no file too; return its folder."""
    while (job := session.keep_job(whole=True)) is not None:
        run_now(job)
    assert session.project is not None
    folder = session.project.folder
    session.close_project()
    return folder


def crashed(tmp_path: Path, *names: str, **source: Any) -> list[Any]:
    """Leave a project as a crash does; return what it held."""
    session = worked(tmp_path, names, **source)
    assert session.project is not None
    folder = session.project.folder
    shutil.copytree(folder, tmp_path / "copy")
    images = session.images
    session.close_project()
    shutil.rmtree(folder)
    shutil.move(tmp_path / "copy", folder)
    return images


def back(one: Hands, count: int = 1) -> None:
    """Press Go on, and wait for some images."""
    one.wait(lambda: one.find("project.go_on").isVisible())
    one.press("project.go_on")
    until_shown(one, count)


def until_shown(one: Hands, count: int = 1) -> None:
    """Wait until so many images are there and nothing more is looked for."""
    bench = one.bench
    one.wait(lambda: len(bench.session.images) == count and bench.desk.idle)


def rows(one: Hands) -> list[str]:
    listed = one.find("project.images", QListWidget)
    return [listed.item(i).text() for i in range(listed.count())]


def test_without_a_project_the_line_tells_where_work_will_be_kept(
    hands, projects
) -> None:
    one = hands()
    assert one.text("project").startswith("Nothing to keep yet")
    assert str(projects) in one.find("project.summary", QLabel).toolTip()
    assert not one.find("project.go_on").isVisible()


def test_going_on_after_a_crash_shows_what_was_there(hands, projects, tmp_path) -> None:
    was = crashed(tmp_path, "cells", "others", scale=(0.5, 2.0), translate=(3.0, 4.0))
    one = hands()
    back(one, 2)
    assert [layer.name for layer in one.viewer.layers] == [
        "cells", "mine", "others", "mine [1]",
    ]  # fmt: skip
    for old, new in zip(was, one.bench.session.images, strict=True):
        layer = one.bench.layer_of(new)
        np.testing.assert_array_equal(layer.data, old.corrections.labels)
        np.testing.assert_allclose([layer.scale, layer.translate], [[0.5, 2], [3, 4]])
        layer.redo()
        assert (layer.data[30:40, 10:20] == old.corrections.labels.max()).all()
        layer.undo()
        np.testing.assert_array_equal(layer.data, old.corrections.labels)
    assert "tiny" in one.text("model")
    assert one.find("predict.labels", QComboBox).currentText() == "mine"
    assert not one.find("project.go_on").isVisible()


def test_the_line_unfolds_for_an_offer_and_folds_when_it_is_answered(
    hands, projects, tmp_path
) -> None:
    crashed(tmp_path)
    one = hands()
    section = one.docks[0].steps["project"].section
    one.wait(section.isExpanded)
    assert "Work on cells of" in one.find("project.offer", QLabel).text()
    one.press("project.not_now")
    assert not section.isExpanded()
    recent = one.find("project.recent", QComboBox)
    assert "not closed properly" in recent.itemText(1)
    recent.activated.emit(1)
    until_shown(one)


def test_an_image_that_is_open_already_is_taken(hands, projects, tmp_path) -> None:
    crashed(tmp_path)
    one = hands()
    one.viewer.open(str(tmp_path / "cells.tif"), plugin="napari")
    back(one)
    assert [layer.name for layer in one.viewer.layers] == ["cells", "mine"]


def test_an_image_that_moved_is_asked_for(
    hands, projects, tmp_path, monkeypatch
) -> None:
    (was,) = crashed(tmp_path)
    moved = (tmp_path / "cells.tif").rename(tmp_path / "moved.tif")
    one = hands()
    back(one, 0)
    assert "cells.tif was not found" in one.text("project")
    assert rows(one) == ["cells  (image not found)"]
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(moved), ""))
    one.press("project.show")
    until_shown(one)
    np.testing.assert_array_equal(
        one.bench.session.images[0].corrections.labels, was.corrections.labels
    )
    one.wait(lambda: not one.bench.session.unkept())
    assert one.bench.session.images[0].source.path == str(moved)


def test_an_image_that_changed_is_refused_and_the_others_come_back(
    hands, projects, tmp_path
) -> None:
    crashed(tmp_path, "cells", "others")
    iio.imwrite(tmp_path / "cells.tif", IMAGE)
    one = hands()
    back(one)
    assert "differ from those of cells" in one.text("project")
    assert [layer.name for layer in one.viewer.layers] == ["others", "mine"]
    assert rows(one)[1] == "cells  (image not found)"


def test_an_image_of_another_shape_under_the_same_name_is_refused(
    hands, projects, tmp_path
) -> None:
    crashed(tmp_path)
    iio.imwrite(tmp_path / "cells.tif", IMAGE[:50])
    one = hands()
    back(one, 0)
    assert "holds no image of the shape (60, 70)" in one.text("project")
    assert len(one.viewer.layers) == 0


def test_a_reader_that_is_gone_is_replaced(hands, projects, tmp_path) -> None:
    crashed(tmp_path, reader="no-such-plugin")
    one = hands()
    back(one)
    assert [layer.name for layer in one.viewer.layers] == ["cells", "mine"]


def test_a_file_that_cannot_be_read_is_told(hands, projects, tmp_path) -> None:
    crashed(tmp_path)
    (tmp_path / "cells.tif").unlink()
    (tmp_path / "cells.tif").mkdir()
    one = hands()
    back(one, 0)
    assert "could not be opened" in one.text("project")


def test_an_image_from_no_file_comes_back_from_its_copy(hands, projects) -> None:
    session = Session()
    opened = session.add_image("array", IMAGE, "YX")
    opened.corrections.labels[10:20, 10:20] = 3
    folder = kept_whole(session)
    one = hands()
    one.bench.desk.open(folder)
    until_shown(one)
    np.testing.assert_array_equal(one.viewer.layers["array"].data, IMAGE)
    assert "a copy is kept" in rows(one)[0]


def test_the_channel_that_was_worked_on_is_chosen_again(
    hands, projects, tmp_path
) -> None:
    session = worked(tmp_path)
    pair = session.add_image("pair", np.stack([IMAGE] * 2), "CYX", channel=1)
    pair.corrections.labels[10:20, 10:20] = 1
    pair.corrections.commit()
    folder = kept_whole(session)
    one = hands()
    one.bench.desk.open(folder)
    until_shown(one, 2)
    opened = one.bench.session.images[-1]
    one.choose("predict.image", "pair")
    assert one.find("predict.channels", QComboBox).currentText() == "1"
    assert opened.channel == 1


def test_a_second_window_is_read_only_and_says_so(hands, projects, tmp_path) -> None:
    first = worked(tmp_path)
    assert first.project is not None
    one = hands()
    one.bench.desk.open(first.project.folder)
    until_shown(one)
    assert one.text("project").startswith("Read-only: ")
    assert "open in another window" in one.text("project")
    (opened,) = one.bench.session.images
    layer = one.bench.layer_of(opened)
    assert not layer.editable
    layer.data = np.array(layer.data)  # napari makes it editable with new data
    assert not layer.editable
    kept = np.array(layer.data)
    layer.undo()
    np.testing.assert_array_equal(layer.data, kept)
    with pytest.raises(ProjectError, match="open in another window"):
        one.bench.open(one.bench.viewer.layers["cells"], "YX", layer)
    assert one.bench.kept_text(opened) == "read-only"
    one.bench.desk.save_as(tmp_path / "mine")
    one.wait(lambda: layer.editable)
    assert not one.bench.session.project.read_only
    first.close_project()


def test_save_as_goes_on_in_the_new_folder(
    hands, projects, tmp_path, monkeypatch
) -> None:
    crashed(tmp_path)
    one = hands()
    back(one)
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "named"), "")
    )
    one.press("project.save_as")
    session = one.bench.session
    one.wait(lambda: session.project.folder == tmp_path / "named")
    one.bench.layer_of(session.images[0]).paint((50, 50), 9)
    one.wait(lambda: not session.unkept())
    recent = one.find("project.recent", QComboBox)
    one.wait(lambda: recent.itemText(1).startswith("named"))
    assert list(projects.iterdir()) == []


def test_opening_another_project_leaves_none_of_the_first(
    hands, projects, tmp_path, monkeypatch
) -> None:
    session = worked(tmp_path, ("others",))
    assert session.project is not None
    other = session.project.folder.rename(tmp_path / "elsewhere")
    session._project.let_go()
    crashed(tmp_path)
    one = hands()
    back(one)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(other))
    one.press("project.open")
    one.wait(lambda: [o.name for o in one.bench.session.images] == ["others"])
    until_shown(one)
    assert [layer.name for layer in one.viewer.layers] == ["cells", "others", "mine"]


def test_a_folder_that_is_no_project_is_told(hands, projects, tmp_path) -> None:
    one = hands()
    one.bench.desk.open(tmp_path)
    one.wait(lambda: "holds no project.json" in one.text("project"))
    assert one.bench.session.project is None


def test_times_and_places_are_short(monkeypatch, tmp_path) -> None:
    assert [duration(s) for s in (4.4, 250, 3700)] == ["4 s", "4 min 10 s", "1 h 1 min"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert short(tmp_path / "a" / "b" / "c") == "~/.../c"
    assert short(tmp_path / "a" / "b") == "~/a/b"


def test_a_project_runs_no_program_in_the_place_of_an_image(
    hands, projects, tmp_path
) -> None:
    (opened,) = crashed(tmp_path)
    (manifest,) = projects.glob("*/project.json")
    program = tmp_path / "cells.py"
    program.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    text = manifest.read_text().replace(opened.source.path, str(program))
    manifest.write_text(text)
    one = hands()
    one.wait(lambda: one.find("project.go_on").isVisible())
    one.press("project.go_on")
    one.wait(lambda: "is a program" in one.text("project"))
    assert not (tmp_path / "ran").exists()
