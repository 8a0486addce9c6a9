"""The correction tools without Qt: one step each, on planes, volumes and frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_unet.engine.blocks import bounded, everything
from napari_unet.engine.report import Report
from napari_unet.errors import LabelsError
from napari_unet.jobs import run_now
from napari_unet.opened import KeptScores
from napari_unet.session import Session
from napari_unet.tool_steps import ToolUse, corrected_objects, foreground
from tiny import tiny_spec

if TYPE_CHECKING:
    from napari_unet.engine.blocks import Region
    from napari_unet.opened import OpenImage

CUT = np.array([[2.0, 15.5], [22.0, 15.5]])


def blocks() -> np.ndarray:
    """Return a plane with a wide object 1, a holed object 2 and two neighbours."""
    plane = np.zeros((40, 50), np.int32)
    plane[5:15, 5:25] = 1
    plane[22:36, 5:19] = 2
    plane[28:30, 11:13] = 0
    plane[22:32, 28:36] = 3
    plane[22:32, 38:46] = 4
    return plane


def opened_with(labels: np.ndarray, dims: int = 2) -> tuple[Session, OpenImage]:
    session = Session()
    axes = "TZYX"[-labels.ndim :]
    opened = session.add_image("cells", np.zeros(labels.shape), axes, labels)
    opened.corrections.dims = dims
    return session, opened


def at(opened: OpenImage, *places: int) -> Region:
    """Return the plane or volume at a place along the leading axes."""
    flat = tuple(slice(place, place + 1) for place in places)
    shape = opened.corrections.shape
    return bounded((*flat, *everything(shape)[len(flat) :]), shape)


def use(opened: OpenImage, tool: Any, *places: int, **how: Any) -> ToolUse:
    axes = tuple(range(len(places), len(opened.corrections.shape)))
    return ToolUse(tool, at(opened, *places), axes, **how)


def pixels(opened: OpenImage) -> np.ndarray:
    return np.array(opened.corrections.labels)


def test_a_cut_gives_a_new_id_and_is_one_step() -> None:
    session, opened = opened_with(blocks())
    told: list[Any] = []
    session.tool_used.connect(lambda *what: told.append(what))

    run_now(session.tool_job(opened, use(opened, "split", line=CUT)))

    assert set(np.unique(pixels(opened)[5:15])) == {0, 1, 5}
    assert opened.corrections.history.last == "split"
    assert told[0][2] == (1, 5)
    session.undo(opened)
    np.testing.assert_array_equal(pixels(opened), blocks())
    session.redo(opened)
    assert 5 in pixels(opened)


def test_a_line_merges_what_it_touches() -> None:
    session, opened = opened_with(blocks())
    line = np.array([[26.0, 30.0], [26.0, 44.0]])

    run_now(session.tool_job(opened, use(opened, "merge", line=line)))

    assert set(np.unique(pixels(opened))) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("tool", "label", "left"),
    [("delete", 1, 0), ("fill holes", 2, 14 * 14), ("smooth", 2, None)],
)
def test_tools_on_one_object_change_that_one_only(
    tool: str, label: int, left: int | None
) -> None:
    session, opened = opened_with(blocks())

    run_now(session.tool_job(opened, use(opened, tool, label=label)))

    after = pixels(opened)
    others = ~np.isin(blocks(), (0, label))
    np.testing.assert_array_equal(after[others], blocks()[others])
    assert left is None or (after == label).sum() == left
    assert opened.corrections.history.last == tool
    assert opened.corrections.state[()][blocks() == label].any()


@pytest.mark.parametrize("label", [0, 77])
@pytest.mark.parametrize("tool", ["delete", "copy", "snap", "accept object"])
def test_without_an_object_it_says_how_to_pick_one(tool: str, label: int) -> None:
    session, opened = opened_with(np.stack([blocks(), blocks()]))
    target = at(opened, 1)
    asked = use(opened, tool, 0, label=label, target=target)

    with pytest.raises(LabelsError, match="colour picker"):
        run_now(session.tool_job(opened, asked))

    assert opened.corrections.history.last is None


def test_a_tool_that_changes_nothing_says_so() -> None:
    session, opened = opened_with(blocks())

    with pytest.raises(LabelsError, match="no hole"):
        run_now(session.tool_job(opened, use(opened, "fill holes", label=1)))


def test_tools_in_a_stack_touch_their_slice_only() -> None:
    stack = np.stack([blocks()] * 3)
    session, opened = opened_with(stack)

    run_now(session.tool_job(opened, use(opened, "delete", 1, label=1)))
    run_now(session.tool_job(opened, use(opened, "accept object", 2, label=2)))

    assert [(plane == 1).any() for plane in pixels(opened)] == [True, False, True]
    assert [plane.any() for plane in opened.corrections.state[:, 22:, :20]] == [
        False, False, True,
    ]  # fmt: skip


def test_a_line_cuts_a_volume_through_all_slices() -> None:
    session, opened = opened_with(np.stack([blocks()] * 3), dims=3)
    line = np.insert(CUT, 0, 1.0, axis=1)

    run_now(session.tool_job(opened, use(opened, "split", line=line)))

    assert all(set(np.unique(plane[5:15])) == {0, 1, 5} for plane in pixels(opened))


def test_a_copy_in_a_stack_is_an_object_of_its_own() -> None:
    stack = np.stack([blocks(), np.zeros_like(blocks())])
    session, opened = opened_with(stack)
    asked = use(opened, "copy", 0, label=3, target=at(opened, 1))

    run_now(session.tool_job(opened, asked))

    np.testing.assert_array_equal(pixels(opened)[1] == 5, blocks() == 3)


def test_a_copy_keeps_what_is_corrected_there() -> None:
    stack = np.stack([blocks(), np.where(blocks() == 3, 9, 0)]).astype(np.int32)
    session, opened = opened_with(stack)
    opened.corrections.accept_object(9, at(opened, 1))
    asked = use(opened, "copy", 0, label=3, target=at(opened, 1))

    np.testing.assert_array_equal(corrected_objects(opened, at(opened, 1)), [9])
    assert not corrected_objects(opened, at(opened, 0)).any()
    with pytest.raises(LabelsError, match="no room"):
        run_now(session.tool_job(opened, asked))


def test_a_copy_in_a_volume_keeps_the_id() -> None:
    volume = np.stack([blocks(), np.zeros_like(blocks())])
    session, opened = opened_with(volume, dims=3)
    asked = ToolUse(
        "copy", at(opened, 0), (1, 2), 3, target=at(opened, 1), renumber=False
    )

    run_now(session.tool_job(opened, asked))

    np.testing.assert_array_equal(pixels(opened)[1] == 3, blocks() == 3)


def test_a_copy_in_time_takes_the_whole_volume() -> None:
    movie = np.stack([np.stack([blocks()] * 2), np.zeros((2, 40, 50), np.int32)])
    session, opened = opened_with(movie, dims=3)
    asked = use(opened, "copy", 0, label=4, target=at(opened, 1))

    run_now(session.tool_job(opened, asked))

    np.testing.assert_array_equal(pixels(opened)[1] == 5, movie[0] == 4)


def kept_scores(labels: np.ndarray, window: Region) -> KeptScores:
    """Return sure scores of objects one pixel larger than the labels."""
    truth = np.zeros(labels.shape, np.float16)
    truth[21:37, 4:20] = 1
    scores = np.stack([truth, truth])[(slice(None), *window)]
    return KeptScores(scores, tiny_spec(), Report(0), window, window)


def test_snapping_moves_an_outline_to_the_edge_of_the_scores() -> None:
    labels = blocks()
    labels[22:36, 5:19] = 2
    session, opened = opened_with(labels)
    opened.kept = kept_scores(labels, (slice(10, 40), slice(0, 30)))

    run_now(session.tool_job(opened, use(opened, "snap", label=2)))

    assert 250 <= (pixels(opened) == 2).sum() <= 256  # but for the corners


@pytest.mark.parametrize("window", [None, (slice(0, 5), slice(0, 50))])
def test_snapping_without_scores_asks_for_a_prediction(window: Region | None) -> None:
    session, opened = opened_with(blocks())
    opened.kept = None if window is None else kept_scores(blocks(), window)

    with pytest.raises(LabelsError, match="press Predict first"):
        run_now(session.tool_job(opened, use(opened, "snap", label=2)))


@pytest.mark.parametrize(
    ("output", "label", "channel"),
    [
        ("instances", 9, 0),
        ("foreground", 9, 2),
        ("classes", 1, 1),
        ("multilabel", 1, 0),
    ],
)
def test_each_output_says_what_an_object_is(
    output: Any, label: int, channel: int
) -> None:
    scores = np.arange(3, dtype=np.float16).reshape(3, 1, 1) * np.ones((3, 2, 2))
    window = (slice(0, 2), slice(0, 2))
    kept = KeptScores(
        scores,
        tiny_spec().model_copy(update={"output": output}),
        Report(0),
        window,
        window,
    )

    assert (foreground(scores, kept, label) == channel).all()


def test_a_class_that_the_model_does_not_give_is_refused() -> None:
    window = (slice(0, 2), slice(0, 2))
    kept = KeptScores(
        np.zeros((2, 2, 2)), tiny_spec("classes"), Report(0), window, window
    )

    with pytest.raises(LabelsError, match="does not know"):
        foreground(kept.scores, kept, 2)


def test_a_tool_is_used_anew_if_the_user_went_on() -> None:
    session, opened = opened_with(blocks())
    job = session.tool_job(opened, use(opened, "fill holes", label=2))
    opened.corrections.labels[28, 11] = 7
    opened.corrections.stroke_ends()

    run_now(job)

    assert pixels(opened)[28, 11] == 7
    assert (pixels(opened) == 2).sum() == 14 * 14 - 1


def test_an_outline_is_ignored_in_its_slice_and_can_be_taken_back() -> None:
    session, opened = opened_with(np.stack([blocks()] * 2))
    outline = np.array([[1, 2, 2], [1, 2, 12], [1, 12, 12], [1, 12, 2]], float)

    session.ignore(opened, outline, (1, 2))

    assert opened.corrections.tally().ignored_pixels == 11 * 11
    assert not opened.corrections.state[0].any()
    session.unaccept(opened, at(opened, 1))
    assert opened.corrections.tally().ignored_pixels == 0


@pytest.mark.parametrize("plane", [0, 5])
def test_an_outline_off_the_image_is_refused(plane: int) -> None:
    session, opened = opened_with(np.stack([blocks()] * 2))
    far = 3 if plane else -50
    outline = np.array(
        [[plane, far, far], [plane, far, far + 9], [plane, far + 9, far]]
    )

    with pytest.raises(LabelsError, match="encloses no pixel"):
        session.ignore(opened, outline.astype(float), (1, 2))
