"""The correction tools in a shown viewer: buttons, keys, drawing with the mouse."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QCheckBox

from napari_unet.qt import tool_choice
from napari_unet.qt.actions import ACTIONS, keys_of
from napari_unet.qt.layers import camera_of, label_under_pointer

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_unet.opened import OpenImage

SHIFT = Qt.KeyboardModifier.ShiftModifier
LEFT, NO_BUTTON = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
CUT = ((3, 15), (22, 15))


def blocks() -> np.ndarray:
    """Return a plane with a wide object 1, a holed object 2 and two neighbours."""
    plane = np.zeros((40, 50), np.int32)
    plane[5:20, 5:25] = 1
    plane[22:36, 5:19] = 2
    plane[28:30, 11:13] = 0
    plane[22:32, 28:36] = 3
    plane[22:32, 38:46] = 4
    return plane


class Bench:
    """A viewer with labels under correction, and a mouse."""

    def __init__(self, hands: Any, labels: np.ndarray, dims: int = 2) -> None:
        self.hands = hands("Correct")
        bench = self.hands.bench
        self.viewer = bench.viewer
        image = self.viewer.add_image(np.zeros(labels.shape), name="cells")
        self.layer: Labels = self.viewer.add_labels(labels, name="cells - U-Net")
        self.opened: OpenImage = bench.open(image, "TZYX"[-labels.ndim :], self.layer)
        self.opened.corrections.dims = dims
        self.viewer.layers.selection.active = self.layer
        QApplication.processEvents()
        self.viewer.reset_view()  # the dock took some of the canvas
        QApplication.processEvents()

    def point_at(self, *place: float, kind: Any = QEvent.Type.MouseMove) -> None:
        """Move the pointer to a place, and press or release the button there."""
        self.hands.wait(lambda: self._arrives(place))
        if kind != QEvent.Type.MouseMove:
            self._send(place, kind)

    def _arrives(self, place: tuple[float, ...]) -> bool:
        """Move, and tell whether napari saw it there: a canvas may yet be resized."""
        self._send(place, QEvent.Type.MouseMove)
        seen = self.viewer.cursor.position[-2:]
        return bool(np.allclose(seen, place, atol=1.0))

    def _send(self, place: tuple[float, ...], kind: Any) -> None:
        canvas = self.viewer.window._qt_viewer.canvas.native
        centre = np.array([canvas.height(), canvas.width()]) / 2
        camera = camera_of(self.viewer)
        y, x = (np.array(place) - np.array(camera.center)[-2:]) * camera.zoom + centre
        where = QPoint(round(x), round(y))
        moves = kind == QEvent.Type.MouseMove
        event = QMouseEvent(
            kind, QPointF(where), QPointF(canvas.mapToGlobal(where)),
            NO_BUTTON if moves else LEFT, LEFT, Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        self.viewer.mouse_over_canvas = True
        QApplication.sendEvent(canvas, event)
        QApplication.processEvents()

    def draw(self, *places: tuple[float, float]) -> None:
        self.point_at(*places[0], kind=QEvent.Type.MouseButtonPress)
        for start, stop in pairwise(places):
            for share in np.linspace(0, 1, 6)[1:]:
                self.point_at(*(np.array(start) * (1 - share) + share * np.array(stop)))
        self.point_at(*places[-1], kind=QEvent.Type.MouseButtonRelease)
        for _ in range(3):
            QApplication.processEvents()

    def press(self, control: str) -> None:
        self.hands.press(f"correct.{control}")

    def is_on(self, control: str) -> bool:
        return bool(self.hands.find(f"correct.{control}").isChecked())

    def tip(self, control: str) -> str:
        return str(self.hands.find(f"correct.{control}").toolTip())

    @property
    def said(self) -> str:
        return str(self.hands.text("correct"))

    @property
    def ids(self) -> set[int]:
        return set(np.unique(np.asarray(self.layer.data)).tolist())

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.viewer.layers]


@pytest.fixture
def make(hands):
    return lambda *arguments: Bench(hands, *arguments)


@pytest.fixture
def one(make) -> Bench:
    return make(blocks())


def test_split_and_merge_are_drawn_one_after_the_other(one: Bench) -> None:
    one.layer.mode = "paint"
    one.press("split")
    assert "drag a line" in one.said
    one.draw(*CUT)
    assert one.ids == {0, 1, 2, 3, 4, 5}
    one.press("merge")
    assert not one.is_on("split")
    one.draw((27, 30), (27, 43))
    one.draw((10, 10), (10, 20))
    assert one.ids == {0, 1, 2, 3}
    assert "Undo: merge" in one.tip("undo")
    one.press("merge")
    assert one.names == ["cells", "cells - U-Net"]
    assert one.viewer.layers.selection.active is one.layer
    assert one.layer.mode == "paint"


def test_a_line_between_two_middles_splits(one: Bench) -> None:
    one.press("split")
    one.draw((12, 9), (12, 21))
    assert one.ids == {0, 1, 2, 3, 4, 5}


def test_a_wrong_line_says_what_is_expected_and_changes_nothing(one: Bench) -> None:
    one.press("merge")
    one.draw((1, 1), (1, 20))
    assert "expected at least two" in one.said
    assert one.opened.corrections.history.last == "accept"
    assert one.is_on("merge")
    one.draw((27, 30), (27, 43))
    assert "drag a line" in one.said


def test_a_lasso_ignores_and_unaccept_takes_that_back(one: Bench) -> None:
    one.press("ignore")
    one.draw((20, 26), (20, 48), (34, 48), (34, 26), (21, 26))
    assert one.opened.corrections.tally().ignored_pixels > 200
    one.hands.wait(lambda: "drag around" in one.said)
    one.press("ignore")
    one.hands.wait(lambda: "ignored" in one.said)
    one.press("unaccept")
    assert one.opened.corrections.tally().ignored_pixels == 0


def test_escape_ends_drawing_and_undo_works_in_it(one: Bench) -> None:
    one.press("split")
    one.draw(*CUT)
    one.hands.key(Qt.Key.Key_Z)
    assert one.ids == {0, 1, 2, 3, 4}
    assert one.is_on("split")
    one.hands.key(Qt.Key.Key_Escape, Qt.KeyboardModifier.NoModifier)
    assert not one.is_on("split")
    assert one.names == ["cells", "cells - U-Net"]


@pytest.mark.parametrize("turn", ["layer", "tool", "3D", "brush", "removed"])
def test_turning_to_something_else_ends_drawing(one: Bench, turn: str) -> None:
    one.press("split")
    shapes = one.viewer.layers[-1]
    if turn == "layer":
        one.viewer.layers.selection.active = one.viewer.layers["cells"]
    elif turn == "tool":
        one.layer.selected_label = 1
        one.press("delete")
    elif turn == "3D":
        one.viewer.dims.ndisplay = 3
    elif turn == "brush":
        one.hands.key(Qt.Key.Key_2, Qt.KeyboardModifier.NoModifier)
    else:
        one.viewer.layers.remove(shapes)
    one.hands.wait(lambda: not one.is_on("split"))
    assert shapes not in one.viewer.layers
    expected = "cells" if turn == "layer" else "cells - U-Net"
    assert one.viewer.layers.selection.active.name == expected


def test_the_overlay_does_not_end_drawing(one: Bench) -> None:
    one.press("split")
    one.hands.find("correct.show_edited", QCheckBox).setChecked(True)
    one.draw(*CUT)
    assert one.is_on("split")
    assert 5 in one.ids


def test_buttons_take_the_selected_label(one: Bench) -> None:
    one.opened.corrections.unaccept((slice(None), slice(None)))
    tools = {"delete": 1, "fill_holes": 2, "smooth": 2, "accept_object": 3}
    for control, label in tools.items():
        one.layer.selected_label = label
        one.press(control)
        assert one.opened.corrections.history.last == control.replace("_", " ")
        one.press("undo")
        np.testing.assert_array_equal(np.asarray(one.layer.data), blocks())


def test_without_an_object_it_says_how_to_pick_one(one: Bench) -> None:
    one.layer.selected_label = 99
    one.press("delete")
    assert "colour picker" in one.said
    assert one.ids == {0, 1, 2, 3, 4}


def test_keys_take_the_object_under_the_pointer(one: Bench) -> None:
    one.opened.corrections.unaccept((slice(None), slice(None)))
    for key, title in (
        ("G", "accept object"), ("H", "fill holes"), ("O", "smooth"), ("D", "delete"),
    ):  # fmt: skip
        one.point_at(33, 8)
        one.layer.selected_label = 1
        one.hands.key(getattr(Qt.Key, f"Key_{key}"), SHIFT)
        assert one.opened.corrections.history.last == title
        assert one.layer.selected_label == 2


def test_a_key_over_background_changes_nothing(one: Bench) -> None:
    one.layer.selected_label = 1
    one.point_at(1, 1)
    one.hands.key(Qt.Key.Key_D, SHIFT)
    assert "no object under the mouse pointer" in one.said
    assert 1 in one.ids


def test_keys_of_tools_that_draw_work_on_both_layers(one: Bench) -> None:
    for key, control in (("S", "split"), ("M", "merge"), ("I", "ignore")):
        one.hands.key(getattr(Qt.Key, f"Key_{key}"), SHIFT)
        assert one.is_on(control), control
    one.hands.key(Qt.Key.Key_I, SHIFT)
    assert one.names == ["cells", "cells - U-Net"]


def test_every_key_is_told_in_a_tip_and_is_no_other(one: Bench) -> None:
    keys = [keys for keys, _ in ACTIONS.values()]
    assert len(set(keys)) == len(keys)
    for control in ("split", "merge", "ignore", "delete", "snap", "copy", "new_label"):
        assert f"({keys_of(control)})" in one.tip(control)
    assert keys_of("delete") == "Shift+D"


def test_a_new_label_was_never_used(one: Bench) -> None:
    one.layer.selected_label = 4
    one.press("delete")
    one.hands.key(Qt.Key.Key_B, SHIFT)
    assert one.layer.selected_label == 5
    assert one.layer.mode == "paint"


def test_a_copy_goes_to_the_next_slice_until_the_last(make) -> None:
    one = make(np.stack([blocks(), np.zeros_like(blocks())]))
    one.viewer.dims.set_current_step(0, 0)
    one.layer.selected_label = 3
    one.press("copy")
    assert one.viewer.dims.current_step[0] == 1
    assert one.layer.selected_label == 5
    assert (np.asarray(one.layer.data)[1] == 5).sum() == 80
    one.press("copy")
    assert "last slice" in one.said


def test_a_single_plane_has_nowhere_to_copy_to(one: Bench) -> None:
    assert "no other slice" in one.tip("copy")
    one.point_at(25, 30)
    one.hands.key(Qt.Key.Key_C, SHIFT)
    assert "no other slice" in one.said


def test_tools_in_a_volume_work_in_slices_and_in_3d(make) -> None:
    one = make(np.stack([blocks()] * 4), 3)
    one.viewer.dims.set_current_step(0, 1)
    one.press("split")
    one.draw(*CUT)
    assert all(5 in plane for plane in np.asarray(one.layer.data))
    one.viewer.dims.ndisplay = 3
    assert "2D display" in one.tip("split")
    one.layer.selected_label = 2
    one.press("fill_holes")
    assert "no hole" in one.said  # it is a tunnel, open at both ends
    one.press("delete")
    assert 2 not in one.ids
    one.press("copy")
    assert "switch to the 2D display" in one.said


def test_a_copy_in_a_volume_goes_slice_by_slice(make) -> None:
    one = make(np.stack([blocks(), *[np.zeros_like(blocks())] * 2]), 3)
    one.viewer.dims.set_current_step(0, 0)
    one.layer.selected_label = 3
    one.press("copy")
    one.press("copy")
    found = np.asarray(one.layer.data) == 3
    assert found.sum(axis=(1, 2)).tolist() == [80, 80, 80]


def test_a_flat_object_is_found_in_the_3d_display(make) -> None:
    stack = np.stack([blocks(), np.where(blocks() > 0, blocks() + 10, 0)])
    one = make(stack.astype(np.int32))
    one.viewer.dims.ndisplay = 3
    one.layer.selected_label = 12
    one.press("fill_holes")
    assert (np.asarray(one.layer.data)[1] == 12).sum() == 14 * 14
    one.layer.selected_label = 77
    one.press("delete")
    assert "switch to the 2D display" in one.said


def test_the_pointer_is_in_the_slice_that_is_shown(make) -> None:
    one = make(np.stack([blocks(), blocks() * 2]))
    one.viewer.dims.set_current_step(0, 0)
    one.point_at(25, 30)
    assert label_under_pointer(one.viewer, one.layer) == 3
    one.viewer.dims.set_current_step(0, 1)  # the mouse does not move
    assert label_under_pointer(one.viewer, one.layer) == 6
    one.viewer.mouse_over_canvas = False
    assert label_under_pointer(one.viewer, one.layer) is None


def test_large_labels_are_searched_in_a_worker(one: Bench, monkeypatch) -> None:
    monkeypatch.setattr("napari_unet.qt.correct_panel.AT_ONCE", 10)
    assert tool_choice.AT_ONCE > 4096**2
    for label in (1, 3):
        one.layer.selected_label = label
        one.press("delete")
    one.hands.wait_idle()
    assert one.ids == {0, 2, 4}
    one.layer.selected_label = 99
    one.press("delete")
    one.hands.wait_idle()
    assert "colour picker" in one.said


def test_classes_are_no_objects(one: Bench) -> None:
    one.opened.corrections.instances = False
    one.hands.bench.corrections_changed.emit()
    for control in ("split", "merge", "new_label"):
        assert "classes, not objects" in one.tip(control)


def test_the_overlay_follows_edits_and_the_place_of_the_labels(one: Bench) -> None:
    box = one.hands.find("correct.show_edited", QCheckBox)
    box.setChecked(True)
    overlay = one.viewer.layers[-1]
    assert overlay.data is one.opened.corrections.state
    one.viewer.layers["cells"].scale = (2, 3)
    np.testing.assert_array_equal(overlay.scale, (2, 3))
    box.setChecked(False)
    assert overlay not in one.viewer.layers
    box.setChecked(True)
    one.viewer.layers.remove(one.layer)
    assert one.names == ["cells"]
    assert not box.isChecked()


def test_a_hidden_overlay_is_not_drawn(one: Bench, monkeypatch) -> None:
    one.hands.find("correct.show_edited", QCheckBox).setChecked(True)
    overlay = one.viewer.layers[-1]
    drawn: list[bool] = []
    monkeypatch.setattr(overlay, "refresh", lambda *_, **__: drawn.append(True))
    overlay._visible = False
    one.hands.bench.corrections_changed.emit()
    assert drawn == []
    overlay._visible = True
    one.hands.bench.corrections_changed.emit()
    assert drawn == [True]
