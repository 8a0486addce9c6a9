"""Where to correct next, without Qt: the search, staleness, visits, exhaustion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_unet import place_steps
from napari_unet.engine.blocks import everything, overlap, shape_of
from napari_unet.engine.choosing import LONGEST
from napari_unet.engine.config import LabelsConfig, PredictConfig
from napari_unet.engine.places import is_done
from napari_unet.errors import ImageError, UnetError
from napari_unet.jobs import run_now
from napari_unet.session import Session
from tiny import noise, nuclei, tiny_model

if TYPE_CHECKING:
    from napari_unet.engine.choosing import Place
    from napari_unet.engine.spec import Output
    from napari_unet.opened import OpenImage

SMALL = PredictConfig(smallest=0, tile=64)
AXES = {2: "YX", 3: "TYX", 4: "TZYX"}


def session_with(
    *shapes: tuple[int, ...], output: Output = "instances", dims: int = 2
) -> tuple[Session, list[OpenImage]]:
    """Return a session in which images of noise were predicted."""
    session = Session()
    session.set_model(tiny_model(output, dims=dims))
    images = []
    for number, shape in enumerate(shapes):
        axes = AXES[len(shape)] if dims == 2 else AXES[len(shape)].replace("T", "Z")
        images.append(session.add_image(f"noise {number}", noise(shape, number), axes))
        run_now(session.predict_job(images[-1], SMALL))
    return session, images


def look(session: Session) -> None:
    run_now(session.places_job())


def next_of(session: Session) -> tuple[OpenImage, Place]:
    found = session.next_place()
    assert found is not None
    return found


def all_places(session: Session) -> list[tuple[OpenImage, Place]]:
    return list(iter(session.next_place, None))


def test_without_a_model_or_a_prediction_it_says_what_to_do() -> None:
    session = Session()
    with pytest.raises(UnetError, match="No model"):
        session.places_job()
    session.set_model(tiny_model())
    session.add_image("noise", noise((60, 70)), "YX")
    assert session.can_look == "predict first"
    with pytest.raises(ImageError, match="predict first"):
        session.places_job()
    assert session.next_place() is None


@pytest.mark.parametrize(
    ("shape", "dims", "output"),
    [
        ((150, 200), 2, "instances"),
        ((150, 200), 2, "foreground"),
        ((150, 200), 2, "classes"),
        ((3, 60, 130), 2, "instances"),
        ((20, 64, 110), 3, "instances"),
    ],
)
def test_places_lie_in_the_image_one_slice_or_a_few_deep(
    shape: tuple[int, ...], dims: int, output: Output
) -> None:
    session, (opened,) = session_with(shape, output=output, dims=dims)
    before, revision = np.array(opened.corrections.labels), opened.corrections.revision
    look(session)
    places = all_places(session)
    assert len(places) > 1
    for image, place in places:
        assert image is opened
        assert all(
            0 <= s.start < s.stop <= n for s, n in zip(place.window, shape, strict=True)
        )
        depth = shape_of(place.window)[:-2]
        assert depth == () or (depth == (1,) if dims == 2 else 2 <= depth[0] <= 12)
        assert 0 <= place.doubt <= 1
        assert place.why
    np.testing.assert_array_equal(opened.corrections.labels, before)
    assert opened.corrections.revision == revision


def test_each_place_is_shown_once_until_none_is_left() -> None:
    session, _ = session_with((200, 300))
    told: list[tuple[OpenImage, Place]] = []
    session.place_reached.connect(lambda *reached: told.append(reached))
    look(session)
    places = all_places(session)
    assert told == places
    assert session.place_count == (len(places), len(places))
    covered = np.zeros((200, 300), int)
    for _, place in places:
        covered[place.window] += 1
    assert (covered > 0).mean() > 0.6
    look(session)  # the same prediction: still visited
    assert session.next_place() is None


def test_what_was_accepted_does_not_come_back_after_another_prediction() -> None:
    session, (opened,) = session_with((200, 300))
    look(session)
    _, place = next_of(session)
    session.accept(opened, place.window)
    run_now(session.predict_job(opened, SMALL))
    look(session)
    again = [p.window for _, p in all_places(session)]
    assert again
    assert place.window not in again


def test_what_is_accepted_meanwhile_is_skipped_and_comes_back_when_taken_back() -> None:
    session, (opened,) = session_with((200, 300))
    look(session)
    session.accept(opened, everything((200, 300)))
    assert session.next_place() is None
    session.unaccept(opened, everything((200, 300)))
    assert not is_done(opened.corrections, next_of(session)[1].window)


def test_a_new_prediction_or_model_or_image_makes_the_places_stale() -> None:
    session, (opened,) = session_with((100, 120))
    assert not session.places_fresh
    look(session)
    assert session.places_fresh
    run_now(session.predict_job(opened, SMALL))
    assert not session.places_fresh
    look(session)
    session.set_model(tiny_model(seed=1))
    assert not session.places_fresh
    look(session)  # predicts with the new model, and leaves the labels
    assert session.places_fresh
    another = session.add_image("another", noise((100, 120), 5), "YX")
    assert session.places_fresh  # not predicted yet
    run_now(session.predict_job(another, SMALL))
    assert not session.places_fresh


def test_correcting_keeps_the_places_and_teaches_which_are_like_mistakes() -> None:
    session, (opened,) = session_with((200, 300))
    look(session)
    _, place = next_of(session)
    opened.corrections.labels[place.window] = 900
    opened.corrections.stroke_ends()
    assert session.places_fresh
    next_of(session)
    assert session._ranking is not None
    candidates = session._ranking.ranked.candidates
    number = candidates.windows.index(place.window)
    assert candidates.known[number] > 0.9
    assert candidates.wrong[number] > 0


def test_several_images_take_turns_and_one_that_is_gone_is_left_out() -> None:
    session, (first, second) = session_with((150, 200), (150, 200))
    look(session)
    assert {next_of(session)[0], next_of(session)[0]} == {first, second}
    session.remove_image(second)
    assert {opened for opened, _ in all_places(session)} == {first}


def test_planes_and_stacks_take_turns_and_are_remembered() -> None:
    session, (plane, stack) = session_with((200, 300), (3, 100, 130))
    look(session)
    first = [next_of(session) for _ in range(4)]
    assert {opened.name for opened, _ in first} == {"noise 0", "noise 1"}
    for opened, place in first:
        opened.corrections.labels[place.window] = opened.corrections.next_label
        assert opened.corrections.commit()
    for opened in (plane, stack):
        run_now(session.predict_job(opened, SMALL))
    look(session)
    places = all_places(session)
    assert {id(opened) for opened, _ in places} == {id(plane), id(stack)}
    assert not any(pair in first for pair in places)


def test_after_a_view_was_predicted_places_lie_in_it() -> None:
    session, (opened,) = session_with((300, 300))
    view = (slice(150, 300), slice(0, 150))
    run_now(session.predict_job(opened, SMALL, view))
    look(session)
    assert all(overlap(p.window, view) for _, p in all_places(session))


def test_of_a_very_large_image_pieces_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, _ = session_with((12, 40, 50))
    monkeypatch.setattr(place_steps, "MOST_PIXELS", 4 * 40 * 50)
    look(session)
    assert session.places_share == pytest.approx(1 / 3)
    planes = {place.window[0].start for _, place in all_places(session)}
    assert planes == {0, 4, 7, 11}


def test_without_kept_scores_it_predicts_first() -> None:
    places = []
    for keep in (True, False):
        session, (opened,) = session_with((200, 300))
        if not keep:
            opened.kept = None
        look(session)
        places.append(next_of(session)[1])
    assert places[0].window == places[1].window
    assert places[0].doubt == pytest.approx(places[1].doubt, abs=0.1)


def test_the_count_of_places_stays_the_same_while_they_are_visited() -> None:
    session, _ = session_with((700, 700))
    look(session)
    counts = []
    for _ in range(3):
        next_of(session)
        counts.append(session.place_count)
    assert counts == [(1, LONGEST), (2, LONGEST), (3, LONGEST)]


def test_places_stay_while_sliders_move() -> None:
    session, (opened,) = session_with((700, 700))
    look(session)
    _, first = next_of(session)
    job = session.relabel_job(opened, LabelsConfig(threshold=0.4, smallest=0))
    assert job is not None
    before = opened.summary
    run_now(job)
    assert opened.summary != before
    look(session)
    assert first not in [place for _, place in all_places(session)]


def test_another_channel_is_looked_at_with_its_own_scores() -> None:
    image = np.stack([nuclei(144)[0], noise((144, 144)).astype(np.uint8)])
    session = Session()
    session.set_model(tiny_model())
    opened = session.add_image("two", image, "CYX", channel=0)
    run_now(session.predict_job(opened, SMALL))
    look(session)
    assert session.places_fresh
    opened.channel = 1
    assert not session.places_fresh

    found = run_now(session.places_job(config=SMALL))
    run_now(session.predict_job(opened, SMALL))
    assert not session.places_fresh
    expected = run_now(session.places_job(config=SMALL))
    one, other = found.candidates, expected.candidates
    np.testing.assert_allclose(one.unsure, other.unsure, atol=1e-4)  # kept as float16
    np.testing.assert_array_equal(one.windows, other.windows)
