"""Predicting several images, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet.engine.config import PredictConfig
from napari_unet.errors import ImageError, UnetError
from napari_unet.jobs import run_now
from napari_unet.session import Session, Several
from tiny import noise, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet.opened import OpenImage

CONFIG = PredictConfig(smallest=0, tile=64)
SQUARE = (slice(5, 15), slice(5, 15))
NOT_A_NUMBER = np.full((60, 70), np.nan, np.float32)


def session_with(*images: np.ndarray) -> Session:
    session = Session()
    session.set_model(tiny_model("instances"))
    for number, image in enumerate(images):
        session.add_image(f"image {number}", image, "YX")
    return session


def opening(session: Session) -> list[tuple[str, Callable[[], OpenImage]]]:
    return [(each.name, lambda one=each: one) for each in session.images]


def labels_of(opened: OpenImage) -> np.ndarray:
    return np.array(opened.corrections.labels)


def test_each_is_predicted_under_what_was_corrected_and_is_one_step_to_undo() -> None:
    session = session_with(noise((60, 70)), noise((50, 40), seed=1))
    first, last = session.images
    last.corrections.labels[SQUARE] = 7
    last.corrections.stroke_ends()
    several = Several(2)
    run_now(session.predict_several_job(opening(session), CONFIG, several))
    assert (several.predicted, several.left_out) == (2, [])
    assert labels_of(first).any()
    assert (labels_of(last)[SQUARE] == 7).all()
    assert set(np.unique(labels_of(last))) > {0, 7}
    last.corrections.undo()
    assert set(np.unique(labels_of(last))) == {0, 7}
    assert labels_of(first).any()


def test_what_cannot_be_opened_or_predicted_is_left_out_and_the_rest_goes_on() -> None:
    session = session_with(NOT_A_NUMBER, noise((60, 70)), noise((9, 9)), noise((8, 8)))
    broken, good, _, last = session.images

    def closed() -> OpenImage:
        raise ImageError("it was closed meanwhile")

    images = opening(session)
    images[2] = ("closed", closed)
    several = Several(4)
    run_now(session.predict_several_job(images, CONFIG, several))
    assert several.predicted == 2
    assert [name for name, _ in several.left_out] == ["image 0", "closed"]
    assert "NaN" in several.left_out[0][1]
    assert not labels_of(broken).any()
    assert good.summary
    assert last.summary


def test_each_keeps_its_own_channel() -> None:
    session = session_with()
    for channel in (0, 1):
        session.add_image("two", noise((2, 40, 40)), "CYX", channel=channel)
    config = CONFIG.model_copy(update={"channel": 0})
    run_now(session.predict_several_job(opening(session), config, Several(2)))
    assert [each.channel for each in session.images] == [0, 1]
    one, other = map(labels_of, session.images)
    assert not np.array_equal(one, other)


def test_nothing_is_to_be_done_where_all_are_left_out() -> None:
    def closed() -> OpenImage:
        raise ImageError("gone")

    session, several = session_with(), Several(1)
    assert session.predict_several_job([("one", closed)], CONFIG, several) is None
    assert several.left_out == [("one", "gone")]
    with pytest.raises(UnetError, match="No model is loaded"):
        Session().predict_several_job([("one", closed)], CONFIG, several)


def test_a_cancelled_one_keeps_what_was_predicted_by_then() -> None:
    session = session_with(noise((60, 70)), noise((60, 70), seed=1))
    several = Several(2)
    job: Any = session.predict_several_job(opening(session), CONFIG, several)
    result = None
    while result is None:
        try:
            next(job.steps)
        except StopIteration as end:
            result = end.value
    following = job.accept(result)
    next(following.steps)
    following.steps.close()
    assert several.predicted == 1
    assert [labels_of(each).any() for each in session.images] == [True, False]
