"""Sessions with a project, that tests share: paint, keep, open again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.jobs import run_now
from napari_unet.opened import ImageSource, open_image
from napari_unet.session_project import ProjectSession

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.opened import OpenImage

FILE = ImageSource("/data/nuclei.tif", "napari", (0.5, 0.25), (1, 2), "nuclei - U-Net")


class Keeping(ProjectSession):
    """A session with no more than images and a project."""

    def add(
        self, name: str, image: Any, axes: str = "YX", *, labels: Any = None,
        source: ImageSource | None = None,
    ) -> OpenImage:  # fmt: skip
        opened = open_image(name, image, axes, labels, (2, True))
        opened.source = source
        self.images.append(opened)
        self.images_changed.emit()
        return opened


def picture(shape: tuple[int, ...] = (64, 64), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def paint(opened: OpenImage, place: Any, value: int) -> None:
    opened.corrections.labels[place] = value
    opened.corrections.stroke_ends()


def square(y: int, x: int, side: int = 10) -> tuple[slice, slice]:
    return slice(y, y + side), slice(x, x + side)


def keep(session: ProjectSession) -> int:
    """Keep until nothing is left to do; return how many jobs that took."""
    count = 0
    while (job := session.keep_job()) is not None:
        run_now(job)
        count += 1
        assert count < 20, "keeping finds no end"
    return count


def crash(session: ProjectSession) -> Path:
    """End as a killed process does: nothing is written, the lock goes."""
    assert session.project is not None
    session.project.let_go()
    folder = session.project.folder
    session._project = None
    return folder


def opened_again(folder: Path, **how: Any) -> Keeping:
    session = Keeping()
    run_now(session.open_project_job(folder, **how))
    return session


def kept_session(source: ImageSource | None = FILE) -> tuple[Keeping, OpenImage]:
    """Return a session whose project holds an image with one stroke."""
    session = Keeping()
    opened = session.add("nuclei", picture(), source=source)
    paint(opened, square(5, 5), 1)
    keep(session)
    return session, opened


def find(session: Keeping, image: Any, source: ImageSource = FILE) -> OpenImage:
    """Go on with the only image that waits."""
    (waiting,) = session.waiting
    return run_now(session.find_image_job(waiting, image, waiting.axes, source))
