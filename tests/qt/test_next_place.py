"""The button that leads to doubtful places, pressed in a shown viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_unet.formats import save_model
from napari_unet.qt.actions import ACTIONS, keys_of
from napari_unet.qt.layers import camera_of
from napari_unet.session_places import NOTHING_LEFT
from tiny import noise, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.layers import Labels

    from napari_unet.engine.choosing import Place
    from napari_unet.opened import OpenImage

SHIFT = Qt.KeyboardModifier.ShiftModifier


class Desk:
    """A viewer with images that were predicted, and the button."""

    def __init__(self, hands: Any, model: Path) -> None:
        self.hands = hands()
        self.bench = self.hands.bench
        self.viewer = self.bench.viewer
        self.reached: list[tuple[OpenImage, Place]] = []
        self.hands.load(model)
        self.bench.session.place_reached.connect(self._on_place_reached)

    def _on_place_reached(self, opened: OpenImage, place: Place) -> None:
        self.reached.append((opened, place))

    def add(self, pixels: np.ndarray, name: str = "noise", **how: Any) -> Any:
        image = self.viewer.add_image(pixels, name=name, **how)
        self.hands.choose("predict.image", name)
        self.hands.choose("predict.scope", "everything")
        self.hands.predict()
        self.hands.wait(lambda: f"{name} - U-Net" in self.viewer.layers)
        return image

    def next(self) -> tuple[OpenImage, Place]:
        before = len(self.reached)
        self.hands.press("correct.next")
        self.hands.wait(lambda: len(self.reached) > before)
        self.hands.wait_idle()
        self.hands.draw()
        return self.reached[-1]

    @property
    def said(self) -> str:
        return str(self.hands.text("correct"))

    def assert_there(self, layer: Labels, place: Place) -> None:
        """The place is in the middle and fills about a third to half of the canvas."""
        dims, camera = self.viewer.dims, camera_of(self.viewer)
        ends = [
            [s.start - 0.5 for s in place.window],
            [s.stop - 0.5 for s in place.window],
        ]
        first, last = (np.array(layer.data_to_world(end)) for end in ends)
        shown = list(dims.displayed)
        centre = np.array(camera.center)[-len(shown) :]
        np.testing.assert_allclose(centre, ((first + last) / 2)[shown], atol=1e-3)
        for axis in set(range(layer.ndim)) - set(shown):
            inside = layer.world_to_data(dims.point)[axis]
            assert place.window[axis].start <= round(inside) < place.window[axis].stop
        canvas = self.viewer.window._qt_viewer.canvas.native
        sides = (last - first)[shown]
        size = [canvas.height(), canvas.width()]
        if len(shown) == 3:
            size, sides = [min(size)], [max(sides)]
        filled = max(
            side * camera.zoom / n for side, n in zip(sides, size, strict=True)
        )
        assert 0.3 < filled < 0.5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        dims: save_model(tiny_model(dims=dims), folder / f"{dims}.safetensors")
        for dims in (2, 3)
    }


@pytest.fixture
def desk(hands: Any, models: dict[int, Path]) -> Callable[[int], Desk]:
    return lambda dims=2: Desk(hands, models[dims])


def test_the_button_flies_to_a_place_and_says_why(desk: Callable[..., Desk]) -> None:
    one = desk()
    button = one.hands.find("correct.next")
    assert not button.isEnabled()
    assert "predict first" in button.toolTip()
    one.add(noise((300, 400)), scale=(0.5, 0.25), translate=(100, -20))
    layer = one.hands.labels
    layer.visible = False
    _, place = one.next()
    one.assert_there(layer, place)
    assert one.said.startswith("Place 1 of ")
    assert place.why in one.said
    assert not layer.visible
    assert one.viewer.layers.selection.active is layer
    assert one.next()[1].window != place.window
    assert one.said.startswith("Place 2 of ")


def test_accepted_places_do_not_come_back(desk: Callable[..., Desk]) -> None:
    one = desk()
    one.add(noise((400, 600)))
    _, place = one.next()
    one.hands.press("correct.accept_view")
    one.hands.predict()
    later = [one.next()[1].window for _ in range(2)]
    assert place.window not in later


def test_labels_of_an_image_that_was_removed_are_shown_without_it(
    desk: Callable[..., Desk],
) -> None:
    one = desk()
    one.add(noise((200, 300), 1), "first")
    image = one.add(noise((200, 300), 2), "second")
    layer = one.viewer.layers["second - U-Net"]
    one.hands.choose("predict.image", "first")
    one.viewer.layers.remove(image)
    for _ in range(3):
        opened, place = one.next()
        if opened.name == "second":
            break
    assert one.viewer.layers.selection.active is layer
    one.assert_there(layer, place)


def test_in_a_stack_the_slider_goes_to_the_slice(desk: Callable[..., Desk]) -> None:
    one = desk()
    one.add(noise((4, 100, 130)), scale=(2, 1, 1))
    for _ in range(2):
        _, place = one.next()
        one.assert_there(one.hands.labels, place)
        assert f"slice {place.window[0].start})" in one.said
    one.viewer.dims.ndisplay = 3
    _, place = one.next()
    one.assert_there(one.hands.labels, place)


def test_in_a_volume_it_goes_to_the_middle_of_the_place(
    desk: Callable[..., Desk],
) -> None:
    one = desk(3)
    one.add(noise((24, 80, 100)), scale=(3, 1, 1))
    _, place = one.next()
    one.assert_there(one.hands.labels, place)
    assert "slices " in one.said
    one.viewer.dims.ndisplay = 3
    _, place = one.next()
    one.assert_there(one.hands.labels, place)


def test_a_place_in_another_image_brings_that_image_up(
    desk: Callable[..., Desk],
) -> None:
    one = desk()
    first = one.add(noise((100, 120)), "first")
    second = one.add(noise((100, 120), 1), "second")
    for layer in one.viewer.layers:
        layer.visible = layer in (second, one.viewer.layers["second - U-Net"])
    opened = {one.next()[0].name: None for _ in range(2)}
    assert set(opened) == {"first", "second"}
    shown = one.reached[-1][0].name
    assert one.bench.image.name == shown
    assert f"{shown})" in one.said
    assert all(layer.visible for layer in one.viewer.layers)
    assert [layer.name for layer in one.viewer.layers][-2:] == [
        shown,
        f"{shown} - U-Net",
    ]
    assert one.hands.find("correct.labels", object).currentText() == f"{shown} - U-Net"
    assert first in one.viewer.layers


def test_the_key_does_the_same_and_says_when_nothing_is_left(
    desk: Callable[..., Desk],
) -> None:
    assert keys_of("next") == "Shift+N"
    assert ACTIONS["next"][0] == "Shift-N"
    one = desk()
    one.hands.key(Qt.Key.Key_N, SHIFT)
    assert "predict first" in one.said or "Next doubtful place" in one.said
    one.add(noise((90, 90)))
    one.hands.key(Qt.Key.Key_N, SHIFT)
    one.hands.wait(lambda: len(one.reached) == 1)
    one.hands.wait_idle()
    one.hands.key(Qt.Key.Key_N, SHIFT)
    one.hands.wait(lambda: one.said == NOTHING_LEFT)
