"""Ranking windows: what is in doubt comes first, spread out, and done is done."""

from __future__ import annotations

import numpy as np
import pytest

from napari_unet.engine.blocks import everything
from napari_unet.engine.choosing import choose
from napari_unet.engine.corrections import Corrections
from napari_unet.engine.grid import DEPTH, PLACE, grid_over
from napari_unet.engine.places import (
    Candidates,
    doubts,
    expected,
    is_done,
    joined,
    marked,
    most_shared,
    ranks,
    recall,
)
from napari_unet.engine.progress import Visit


def candidates(shape: tuple[int, ...] = (480, 480), **known: object) -> Candidates:
    """Return windows of a plane of which nothing is known but what is given."""
    windows = tuple(grid_over(shape).windows)
    count = len(windows)
    fields = {
        "image": np.zeros(count, int), "plane": np.zeros(count, int),
        "unsure": np.zeros(count), "trust": np.ones(count),
        "looks": np.zeros((count, 2)), "structure": np.zeros(count),
        "known": np.zeros(count), "wrong": np.zeros(count),
        "flips": np.full(count, np.nan), **known,
    }  # fmt: skip
    return Candidates(windows, **fields)


def none_closed(found: Candidates) -> np.ndarray:
    return np.zeros(len(found.windows), bool)


def numbers(found: Candidates, *rest: object, **how: object) -> list[int]:
    return [n for n, _ in choose(found, *rest, **how)]


@pytest.mark.parametrize("shape", [(7, 5), (96, 96), (250, 333), (20, 100, 400)])
def test_windows_cover_everything_in_even_sizes(shape: tuple[int, ...]) -> None:
    covered = np.zeros(shape, int)
    for window in grid_over(shape).windows:
        covered[window] += 1
        assert all(
            s.stop - s.start <= 1.5 * side
            for s, side in zip(window[-2:], (PLACE, PLACE), strict=True)
        )
        assert len(shape) == 2 or window[0].stop - window[0].start <= 1.5 * DEPTH
    assert covered.min() >= 1


@pytest.mark.parametrize("shape", [(40, 30), (250, 333), (20, 100, 210)])
def test_means_are_those_of_the_windows(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).random(shape)
    grid = grid_over(shape)
    expected = [pixels[window].mean() for window in grid.windows]
    np.testing.assert_allclose(grid.means(pixels), expected, rtol=1e-5)


def test_equal_values_share_a_rank() -> None:
    assert ranks(np.array([3.0, 1.0, 1.0])).tolist() == pytest.approx(
        [5 / 6, 1 / 3, 1 / 3]
    )
    assert ranks(np.zeros(0)).size == 0


def test_the_most_unsure_window_comes_first() -> None:
    unsure = np.random.default_rng(0).random(len(candidates().windows)) * 0.5
    unsure[30] = 1.0
    found = candidates(unsure=unsure)
    (number, place), *_ = choose(found, [], none_closed(found))
    assert number == 30
    assert place.window == found.windows[30]
    assert "unsure" in place.why


def test_where_doubt_means_nothing_what_is_typical_leads() -> None:
    count = len(candidates().windows)
    looks = np.random.default_rng(0).normal(0, 0.1, (count, 2))
    odd = np.arange(0, count, 7)
    looks[odd] += 5.0 * np.arange(1, len(odd) + 1)[:, np.newaxis]
    unsure = np.isin(np.arange(count), odd).astype(float)
    found = candidates(trust=np.zeros(count), unsure=unsure, looks=looks)
    ((_, why),) = [choose(found, [], none_closed(found), most=1)[0]]
    assert not set(numbers(found, [], none_closed(found), most=3)) & set(odd.tolist())
    assert why.why == "like many others, of a kind that the model seems not to know"


def test_places_do_not_overlap_and_are_not_all_of_one_kind() -> None:
    count = len(candidates().windows)
    doubt = np.linspace(1, 0, count)
    looks = np.zeros((count, 2))
    looks[count // 2 :] = 3  # the lower half looks otherwise, and is in less doubt
    found = candidates(unsure=doubt, looks=looks)
    chosen = numbers(found, [], none_closed(found), most=6)
    covered = np.zeros((480, 480), int)
    for number in chosen:
        covered[found.windows[number]] += 1
    assert covered.max() == 1
    assert any(number >= count // 2 for number in chosen[:3])


def test_images_and_slices_take_turns() -> None:
    one = candidates(unsure=np.full(len(candidates().windows), 0.9))
    count = len(one.windows)
    other = candidates(
        unsure=np.full(count, 0.1), image=np.full(count, 1), plane=np.full(count, 1)
    )
    both = joined([one, other])
    images = both.image[numbers(both, [], none_closed(both), most=8)]
    assert 2 <= (images == 1).sum() <= 6


def test_visited_and_closed_places_are_left_out() -> None:
    found = candidates(unsure=np.linspace(1, 0, len(candidates().windows)))
    closed = none_closed(found)
    closed[:20] = True
    chosen = numbers(found, [40], closed)
    assert min(chosen) >= 20
    assert all(found.shared(0, found.windows[40])[n] <= 0.25 for n in chosen)
    assert numbers(found, [], np.ones(len(closed), bool)) == []


def test_a_place_of_an_earlier_prediction_may_come_again_but_later() -> None:
    unsure = np.linspace(1, 0.9, len(candidates().windows))
    looks = np.random.default_rng(0).normal(size=(len(unsure), 4))
    found = candidates(unsure=unsure, looks=looks)
    again = numbers(found, [], none_closed(found), [0], most=200)
    assert numbers(found, [], none_closed(found))[0] == 0
    assert again[0] != 0
    assert len(again) == len(numbers(found, [], none_closed(found), most=200))


def test_it_leads_to_where_it_looks_like_mistakes() -> None:
    rng = np.random.default_rng(0)
    count = len(candidates().windows)
    bad = rng.random(count) < 0.3
    looks = np.where(bad[:, np.newaxis], 2.0, -1.0) + rng.normal(0, 0.3, (count, 3))
    told = np.concatenate([np.flatnonzero(bad)[:3], np.flatnonzero(~bad)[:3]])
    known, wrong = np.zeros(count), np.zeros(count)
    known[told], wrong[np.flatnonzero(bad)[:3]] = 0.6, 0.8
    found = candidates(looks=looks, known=known, wrong=wrong)
    mistakes, _ = expected(found)
    assert mistakes[bad].min() > mistakes[~bad].max()
    best = numbers(found, told, none_closed(found), most=5)
    assert bad[best[0]]
    assert bad[best].sum() >= 4  # spread: one may be of another kind
    assert "corrected" in choose(found, told, none_closed(found))[0][1].why


def test_without_corrections_a_kind_that_the_model_knows_is_taken_as_right() -> None:
    trust = np.linspace(0, 1, len(candidates().windows))
    mistakes, told = expected(candidates(trust=trust))
    assert (np.diff(mistakes) < 0).all()
    assert mistakes[0] == 1.0
    assert mistakes[-1] < 0.5
    assert not told.any()


def two_kinds() -> Candidates:
    """Return seven images of which the model knows all but the last."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(7):
        count = len(candidates((200, 200)).windows)
        images.append(
            candidates(
                (200, 200), image=np.full(count, number), plane=np.full(count, number),
                trust=np.full(count, float(number < 6)), unsure=rng.random(count),
                structure=rng.random(count),
                looks=rng.normal(5.0 * (number < 6), 1.0, (count, 4)),
            )
        )  # fmt: skip
    return joined(images)


def test_the_image_of_an_unknown_kind_among_known_ones_comes_first() -> None:
    found = two_kinds()
    images = found.image[numbers(found, [], none_closed(found), most=3)]
    assert images.tolist() == [6, 6, 6]


def test_where_much_was_wrong_it_goes_oftener_though_the_model_has_learnt() -> None:
    found = two_kinds()
    learnt = joined([found])
    learnt.trust[:] = 1.0
    visited = [np.flatnonzero(found.image == image)[0] for image in (0, 1, 6, 6)]
    visited[3] += 2
    visits = [
        (int(found.image[n]), Visit(found.windows[n], "next", 0.0, 1, score, 0.5))
        for n, score in zip(visited, (0.9, 0.9, 0.1, 0.2), strict=True)
    ]
    recall(learnt, visits, {})
    order = numbers(learnt, [], none_closed(found), visited, most=4)
    assert np.count_nonzero(learnt.image[order] == 6) >= 2


def test_what_was_wrong_in_an_image_says_a_little_of_all_of_it() -> None:
    found = two_kinds()
    found.trust[:] = 1.0
    of_last = np.flatnonzero(found.image == 6)
    visits = [(6, Visit(found.windows[n], "next", 0.0, 1, 0.0, 0.8)) for n in of_last]
    before, _ = expected(found)
    recall(found, visits[:3], {})
    after, _ = expected(found)
    unseen = of_last[3:]
    assert (after[unseen] > before[unseen] + 0.1).all()
    assert after[found.image < 6] == pytest.approx(before[found.image < 6], abs=0.1)


def test_a_visit_says_less_with_each_version_after_it() -> None:
    found = candidates()
    one, other = found.windows[0], found.windows[40]
    visits = [
        (0, Visit(one, "next", 1.0, 1, 0.2, 0.8)),
        (0, Visit(other, "user", 2.0, 4, 0.7, 0.8)),
        (1, Visit(other, "user", 3.0, 4, 0.0, 0.8)),  # of no image that is looked at
    ]
    nearest: dict = {}
    recall(found, visits, nearest)
    assert found.wrong[[0, 40]].tolist() == pytest.approx([0.8, 0.3])
    assert 0 < found.known[0] < found.known[40] == pytest.approx(0.8)
    assert np.count_nonzero(found.known) == 2
    recall(found, visits[1:2], nearest)
    assert np.flatnonzero(found.known).tolist() == [40]


def test_doubt_lies_between_0_and_1() -> None:
    rng = np.random.default_rng(0)
    count = len(candidates().windows)
    drawn = {name: rng.random(count) for name in ("unsure", "structure", "trust")}
    flips = np.where(rng.random(count) < 0.5, rng.random(count), np.nan)
    found = candidates(**drawn, flips=flips)
    doubt, _ = doubts(found, expected(found)[0])
    assert 0 <= doubt.min() <= doubt.max() <= 1


def test_accepted_ignored_and_edited_places_are_done() -> None:
    corrections = Corrections(np.zeros((3, 200, 200), np.int32))
    place = (slice(1, 2), slice(0, 100), slice(0, 100))
    elsewhere = (slice(2, 3), slice(0, 100), slice(0, 100))
    assert not is_done(corrections, place)
    corrections.accept(place)
    assert is_done(corrections, place)
    assert not is_done(corrections, elsewhere)
    corrections.ignore(elsewhere)
    assert is_done(corrections, elsewhere)
    corrections.unaccept(everything((3, 200, 200)))
    assert not is_done(corrections, place)
    corrections.labels[place] = 7  # a stroke that nobody committed yet
    assert is_done(corrections, place)


def test_an_object_with_one_mark_counts_as_a_whole() -> None:
    labels = np.zeros((96, 96), np.int32)
    labels[10:80, 10:80] = 1
    corrections = Corrections(labels)
    corrections.accept((slice(40, 41), slice(40, 41)))
    assert is_done(corrections, everything((96, 96)))


def test_marks_are_seen_in_all_places_of_a_slice_at_once() -> None:
    corrections = Corrections(np.zeros((3, 200, 200), np.int32))
    corrections.accept((slice(1, 2), slice(0, 200), slice(0, 110)))
    grid = grid_over((200, 200))
    plane = (slice(1, 2), slice(0, 200), slice(0, 200))
    done = marked(corrections.state[plane], grid)
    left = np.array([window[1].start == 0 for window in grid.windows])
    assert done[left].all()
    assert not done[[w[1].stop == 200 for w in grid.windows]].any()


def test_windows_of_planes_and_stacks_stand_side_by_side() -> None:
    plane = candidates()
    stack = candidates((3, 480, 480))
    stack.image[:] = 1
    both = joined([plane, stack])
    for number in (17, len(plane.windows) + 40):
        image = int(both.image[number])
        shares = both.shared(image, both.windows[number])
        assert shares[number] == 1
        assert not shares[both.image != image].any()
        assert most_shared(both, image, both.windows[number]) == number
    assert len({both.image[n] for n in numbers(both, [], none_closed(both))}) == 2


def test_a_window_is_found_again_among_others() -> None:
    found = candidates()
    near = tuple(slice(s.start + 3, s.stop + 3) for s in found.windows[17])
    assert most_shared(found, 0, near) == 17
    assert most_shared(found, 1, near) is None
