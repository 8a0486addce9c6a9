"""Make the pictures of the user guide by driving the real program.

python docs/make_pictures.py [--steps 100]      correct, training and finetuned.png
make demo ARGS="--screenshot docs/images/demo.png --exit"        the README's first

Needs a display; scripts/with_display.sh gives one where there is none.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication, QCheckBox, QPushButton, QWidget
from skimage.measure import regionprops

from napari_unet.qt.app import open_workbench
from napari_unet.sample_data import Optics, synthesize

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "images"
BLURRED = Optics(photons=60.0, background=20.0, haze=0.4, defocus=2.5)
CORNER = 300  # pixels of the image that are zoomed on and corrected
PATIENCE = 900.0  # seconds that a job may take


class Guide:
    """A window whose buttons are pressed by their object names."""

    def __init__(self) -> None:
        self.viewer, self.bench = open_workbench()
        self.viewer.theme = "dark"

    @property
    def camera(self) -> Any:
        """The camera; it moved with napari 0.9."""
        scene = getattr(self.viewer, "scene", self.viewer)
        return scene.camera

    def wait(self, seconds: float = 0.5) -> None:
        """Let the window live for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()

    def until(self, ready: Callable[[], bool]) -> None:
        """Let the window live until something is so."""
        end = time.monotonic() + PATIENCE
        while not ready():
            QApplication.processEvents()
            if time.monotonic() > end:
                raise TimeoutError("the program did not get there")
        self.wait()

    def control(self, name: str, kind: type[Any] = QPushButton) -> Any:
        """Return a control by its object name."""
        return self.bench.findChild(kind, f"unet.{name}")

    def press(self, name: str) -> None:
        """Press a button once it can be pressed."""
        button = self.control(name)
        self.until(button.isEnabled)
        button.click()
        self.wait()

    def show_steps(self, *names: str) -> None:
        """Unfold these steps and fold the others."""
        for name, step in self.bench.steps.items():
            step.expand(name in names)
        self.wait()
        self.bench.verticalScrollBar().setValue(0)

    def shoot(self, name: str) -> None:
        """Save a picture of the window in 256 colours, which keeps it small."""
        self.wait(1.0)
        pixels = self.viewer.window.screenshot(canvas_only=False, flash=False)
        picture = Image.fromarray(pixels).convert("RGB")
        picture.quantize(256).save(FOLDER / f"{name}.png", optimize=True)


def mend(layer: Labels, truth: NDArray[np.int32], corner: int) -> int:
    """Redraw the nuclei in the corner that were found badly; return how many."""
    mended = 0
    for nucleus in regionprops(truth):
        if max(nucleus.bbox[2:]) > corner:
            continue
        where = tuple(nucleus.coords.T)
        values, counts = np.unique(layer.data[where], return_counts=True)
        found = int(values[counts.argmax()])
        whole = np.count_nonzero(layer.data == found)
        if found and counts.max() > 0.8 * max(nucleus.area, whole):
            continue
        if found and counts.max() > 0.5 * whole:
            layer.data_setitem(np.nonzero(layer.data == found), 0)
        layer.data_setitem(where, int(layer.data.max()) + 1)
        mended += 1
    return mended


def main(steps: int) -> None:
    FOLDER.mkdir(exist_ok=True)
    made = synthesize((512, 512), np.random.default_rng(1), optics=BLURRED)
    guide = Guide()
    guide.viewer.add_image(made.image, name="nuclei")
    guide.wait()
    guide.press("model.load")
    guide.press("predict.run")
    guide.until(lambda: "nuclei - U-Net" in guide.viewer.layers)

    guide.camera.center = (CORNER / 2, CORNER / 2)
    guide.camera.zoom = 700 / CORNER
    mended = mend(guide.viewer.layers["nuclei - U-Net"], made.labels, CORNER)
    guide.press("correct.accept_object")
    overlay = guide.control("correct.show_edited", QCheckBox)
    overlay.setChecked(True)
    guide.show_steps("predict", "correct")
    guide.shoot("correct")

    overlay.setChecked(False)
    guide.press("correct.accept_view")
    guide.show_steps("finetune")
    guide.bench.findChild(QWidget, "unet.finetune.steps").setValue(steps)
    guide.press("finetune.start")
    stop = guide.control("finetune.stop")
    guide.until(stop.isEnabled)
    guide.wait(min(steps, 40))
    guide.shoot("training")
    guide.until(guide.control("finetune.keep").isEnabled)
    guide.press("finetune.keep")
    guide.viewer.reset_view()
    guide.show_steps("finetune", "versions")
    guide.press("predict.run")
    guide.until(guide.control("predict.run").isEnabled)
    guide.shoot("finetuned")
    print(f"{mended} nuclei mended, {steps} steps, pictures in {FOLDER}")
    guide.viewer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="of the fine-tuning")
    main(parser.parse_args().steps)
