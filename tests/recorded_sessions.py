"""Sessions in which something is fine-tuned and taken down, that tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np

from keeping import keep
from napari_unet.engine.config import FinetuneConfig
from napari_unet.formats import save_model
from napari_unet.jobs import run_now
from napari_unet.opened import ImageSource
from napari_unet.session import Session
from tiny import nuclei, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.engine.model import Model
    from napari_unet.opened import OpenImage

SHORT = FinetuneConfig(
    steps=6, batch=2, crop=32, evaluate_every=2, learning_rate=1e-2, start="current"
)


def write_image(path: Path, seed: int = 0, size: int = 96) -> NDArray[np.int32]:
    """Write an image of nuclei and return its labels."""
    image, labels = nuclei(size, seed)
    iio.imwrite(path, image)
    return labels


def begin(folder: Path, model: Model | None = None) -> tuple[Session, OpenImage]:
    """Return a session with a model and an image that are files of a folder."""
    write_image(folder / "nuclei.png")
    save_model(model or tiny_model(norm="batch"), folder / "tiny.safetensors")
    session = Session()
    run_now(session.load_job(folder / "tiny.safetensors", device="cpu"))
    return session, add(session, folder / "nuclei.png")


def add(session: Session, path: Path) -> OpenImage:
    """Open an image of a file."""
    opened = session.add_image(path.name, iio.imread(path), "YX")
    opened.source = ImageSource(str(path))
    return opened


def correct(opened: OpenImage, numbers: range, seed: int = 0) -> None:
    """Paint some of an image's true nuclei, a stroke each."""
    truth = nuclei(opened.image.shape[0], seed)[1]
    for number in numbers:
        opened.corrections.labels[np.nonzero(truth == number)] = number
        opened.corrections.stroke_ends()


def finetune(
    session: Session, config: FinetuneConfig = SHORT,
    sent: dict[int, Any] | None = None, *, live: bool = True,
) -> FinetuneResult:  # fmt: skip
    """Fine-tune to the end.

    Parameters
    ----------
    session : with corrections
    config : see FinetuneConfig
    sent : for the number of an event, what returns what answers it
    live : whether a better one goes live; else it is a draft however good it is
    """
    job = session.finetune_job(config)
    next(job.steps)
    answer, number = None, 0
    while True:
        try:
            job.steps.send(answer)
        except StopIteration as end:
            result: FinetuneResult = end.value
            break
        answer = sent[number]() if sent and number in sent else None
        number += 1
    if live:
        job.accept(result)
    else:
        session._state.draft = result
    return result


def keep_all(session: Session) -> Path:
    """Write the project to the end, close it and return its folder."""
    keep(session)
    assert session.project is not None
    folder = session.project.folder
    session.close_project()
    return folder


def two_rounds(folder: Path) -> Path:
    """Return a project with two fine-tunings, the second joined by corrections."""
    session, opened = begin(folder)
    correct(opened, range(1, 6))
    finetune(session)
    session.keep()

    def more() -> Any:
        correct(opened, range(6, 9))
        return session.more_corrections()

    finetune(session, sent={3: more})
    session.keep()
    return keep_all(session)
