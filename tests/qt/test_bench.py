"""One state per viewer, which survives what people do to layers and windows."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_unet.qt.bench import bench_for
from tiny import nuclei

IMAGE = nuclei()[0][:60, :70]


def ready(hands, tiny_files, image: np.ndarray = IMAGE):
    one = hands()
    one.viewer.add_image(image, name="nuclei")
    one.load(tiny_files["instances"])
    return one


def test_proxies_of_one_viewer_share_a_bench(make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    first, second = PublicOnlyProxy(viewer), PublicOnlyProxy(viewer)
    assert first is not second
    assert bench_for(first) is bench_for(second) is bench_for(viewer)


def test_viewers_do_not_share(make_napari_viewer) -> None:
    assert bench_for(make_napari_viewer()) is not bench_for(make_napari_viewer())


def test_a_bench_goes_with_its_viewer(make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    bench = weakref.ref(bench_for(viewer))
    viewer.close()
    del viewer
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    assert bench() is None


def test_an_image_deleted_while_it_is_predicted_harms_nothing(
    hands, tiny_files
) -> None:
    one = ready(hands, tiny_files)
    one.press("predict.run")
    one.viewer.layers.remove("nuclei")
    one.wait_idle()
    assert len(one.bench.session.images) == len(one.bench._labels)


def test_labels_deleted_while_predicting_stay_deleted(hands, tiny_files) -> None:
    one = ready(hands, tiny_files)
    one.predict()
    one.press("predict.run")
    one.viewer.layers.remove(one.labels)
    one.wait_idle()
    assert [layer.name for layer in one.viewer.layers] == ["nuclei"]
    assert [opened.shown for opened in one.bench.session.images] == [False]
    one.predict()
    assert one.labels.name == "nuclei - U-Net"
    assert [opened.shown for opened in one.bench.session.images] == [False, True]


def test_layers_renamed_while_predicting_are_followed(hands, tiny_files) -> None:
    one = ready(hands, tiny_files)
    one.predict()
    layer = one.labels
    one.press("predict.run")
    layer.name = "mine"
    one.viewer.layers["nuclei"].name = "cells"
    one.wait_idle()
    assert one.find("predict.image", object).currentText() == "cells"
    assert one.find("predict.labels", object).currentText() == "mine"
    one.predict()
    assert len(one.viewer.layers) == 2


def test_a_failed_first_prediction_leaves_nothing_behind(hands, tiny_files) -> None:
    one = ready(hands, tiny_files, np.full((20, 20), np.nan, np.float32))
    for _ in range(2):
        one.predict()
        assert "NaN" in one.text("predict")
    assert one.bench.session.images == []
    assert len(one.viewer.layers) == 1


@pytest.mark.parametrize("verb", ["predict", "finetune"])
def test_a_viewer_closes_while_a_job_runs(hands, tiny_files, verb: str) -> None:
    one = ready(hands, tiny_files, nuclei(300)[0])
    if verb == "finetune":
        one.predict()
        one.press("correct.accept_view")
        one.wait(lambda: one.find("finetune.start").isEnabled())
        one.press("finetune.start")
    else:
        one.press("predict.run")
    bench = one.bench
    bench.viewer.close()
    one.wait(lambda: not bench.runner.busy)
    assert bench.session.draft is None


def close_event(one, monkeypatch, answer: QMessageBox.StandardButton):
    """Let the window manager close the window; return whether it may, and questions."""
    asked: list[str] = []

    def question(parent, title, text, *_):
        asked.append(text)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)

    class Spontaneous(QEvent):
        def spontaneous(self) -> bool:
            return True

    window = one.bench.viewer.window._qt_window
    stopped = one.bench.eventFilter(window, Spontaneous(QEvent.Type.Close))
    return not stopped, asked


def painted(hands, tiny_files, *, autosave: bool = False):
    """Return hands that corrected something, kept or not."""
    one = ready(hands, tiny_files)
    one.bench.session.autosave = autosave
    one.predict()
    one.labels.paint((20, 20), 88)
    return one


def test_closing_asks_nothing_when_all_is_kept(hands, tiny_files, monkeypatch) -> None:
    one = painted(hands, tiny_files, autosave=True)
    closes, asked = close_event(one, monkeypatch, QMessageBox.StandardButton.Cancel)
    assert (closes, asked) == (True, [])
    assert not one.bench.session.unkept()


def test_closing_asks_when_the_disk_takes_nothing(
    hands, tiny_files, monkeypatch, tmp_path
) -> None:
    (tmp_path / "full").write_text("no folder")
    monkeypatch.setenv("NAPARI_UNET_PROJECTS", str(tmp_path / "full"))
    one = painted(hands, tiny_files, autosave=True)
    closes, asked = close_event(one, monkeypatch, QMessageBox.StandardButton.Cancel)
    assert not closes
    assert "nuclei" in asked[0]
    assert str(tmp_path / "full") in asked[0]


def test_closing_without_unsaved_work_asks_nothing(
    hands, tiny_files, monkeypatch
) -> None:
    one = ready(hands, tiny_files)
    one.bench.session.autosave = False
    one.predict()
    closes, asked = close_event(one, monkeypatch, QMessageBox.StandardButton.Cancel)
    assert (closes, asked) == (True, [])


@pytest.mark.parametrize("answer", ["Cancel", "Discard"])
def test_closing_with_unsaved_work_asks_first(
    hands, tiny_files, monkeypatch, answer: str
) -> None:
    one = painted(hands, tiny_files)
    button = getattr(QMessageBox.StandardButton, answer)
    closes, asked = close_event(one, monkeypatch, button)
    assert closes == (answer == "Discard")
    assert len(asked) == 1
    assert "nuclei" in asked[0]


def test_the_file_menu_asks_too_but_a_script_does_not(
    hands, tiny_files, monkeypatch
) -> None:
    one = painted(hands, tiny_files)
    asked: list[str] = []
    monkeypatch.setattr(
        QMessageBox, "question",
        lambda *given: asked.append(given[2]) or QMessageBox.StandardButton.Cancel,
    )  # fmt: skip
    window = one.bench.viewer.window._qt_window
    window.close(quit_app=True, confirm_need=True)
    assert len(asked) == 1
    assert window.isVisible()
    one.bench.viewer.close()
    assert len(asked) == 1


def test_a_floating_dock_does_not_replace_the_window(
    hands, tiny_files, monkeypatch
) -> None:
    one = painted(hands, tiny_files)
    dock = next(iter(one.bench.viewer.window.dock_widgets.values())).parentWidget()
    while not hasattr(dock, "setFloating"):
        dock = dock.parentWidget()
    dock.setFloating(True)
    QApplication.processEvents()
    closes, asked = close_event(one, monkeypatch, QMessageBox.StandardButton.Cancel)
    assert not closes
    assert len(asked) == 1


def test_a_stroke_before_closing_is_harmless(hands, tiny_files) -> None:
    one = painted(hands, tiny_files, autosave=True)
    bench = one.bench
    bench.viewer.close()
    one.qtbot.waitUntil(lambda: not bench._tally_timer.isActive(), timeout=5000)
