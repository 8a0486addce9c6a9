"""Versions of the model: kept, set aside, restored bit by bit, tried out, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_unet.engine.config import FinetuneConfig, PredictConfig
from napari_unet.engine.predict import predict
from napari_unet.errors import ImageError, UnetError
from napari_unet.formats import load_model, save_model
from napari_unet.jobs import run_now
from napari_unet.opened_model import Opening
from napari_unet.session import Session
from napari_unet.steps import View
from tiny import noise, nuclei, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model
    from napari_unet.opened import OpenImage
    from napari_unet.steps import Compared, Preview

QUICK = FinetuneConfig(
    steps=2, batch=1, crop=32, learning_rate=1e-2, evaluate_every=1, augment="off"
)
SMALL = PredictConfig(tile=32, smallest=0)
IMAGE, LABELS = nuclei()
PART = (slice(10, 70), slice(20, 96))


def session_with(*, objects: int = 16) -> tuple[Session, OpenImage]:
    """A session with a tiny model and an image of which objects are accepted."""
    session = Session()
    session.set_model(tiny_model(), opening=Opening("tiny.safetensors"))
    return session, accepted(session, IMAGE, LABELS, objects)


def accepted(
    session: Session, image: np.ndarray, labels: np.ndarray, objects: int = 16
) -> OpenImage:
    opened = session.add_image("nuclei", image, "YX", labels)
    for label in range(1, objects + 1):
        session.accept_object(opened, label, (slice(0, 96), slice(0, 96)))
    return opened


def tune(session: Session, strokes: int = 3) -> None:
    run_now(session.finetune_job(QUICK))
    session._state.begins(strokes)


def view_of(axes: str = "YX", image: np.ndarray = IMAGE, region=PART) -> View:
    return View("nuclei", image, axes, region, SMALL)


def numbers(session: Session) -> list[int]:
    return [version.number for version in session.versions]


def found_by(model: Model) -> tuple[np.ndarray, np.ndarray]:
    config = SMALL.model_copy(update={"keep_scores": True})
    prediction = predict(model, IMAGE, config=config)
    assert prediction.scores is not None
    return prediction.labels, prediction.scores


def assert_same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_restored_versions_give_bit_equal_labels_and_scores(tmp_path: Path) -> None:
    session, _ = session_with()
    first = found_by(session.model)
    tune(session)
    session.keep()
    second = found_by(session.model)
    assert (first[1] != second[1]).any()
    for number, expected in ((1, first), (2, second), (1, first), (2, second)):
        session.restore(number)
        assert_same(found_by(session.model), expected)
    for number, expected in ((1, first), (2, second)):
        path = tmp_path / f"{number}.safetensors"
        run_now(session.save_model_job(path, number))
        assert_same(found_by(load_model(path, device="cpu")), expected)


def test_a_kept_version_says_when_how_well_and_from_what() -> None:
    session, _ = session_with()
    for seed in (1, 2):  # of three places the third is held out
        accepted(session, *nuclei(seed=seed))
    tune(session, strokes=7)
    assert session.draft is not None
    assert session.draft.honest
    expected = session.draft.after["ap50"]
    session.keep()
    first, second = session.versions
    assert (second.metric, second.strokes, second.base) == (expected, 7, 1)
    assert second.made >= first.made > 1e9
    assert (first.metric, first.strokes, first.base) == (None, 0, None)
    assert (first.opening, second.opening) == (Opening("tiny.safetensors"), None)


def test_without_held_out_objects_there_is_no_held_out_score() -> None:
    session, _ = session_with(objects=2)
    tune(session)
    session.keep()
    assert session.version.metric is None


def test_a_version_is_based_on_the_one_that_its_fine_tuning_started_from() -> None:
    session, _ = session_with()
    tune(session)
    session.keep()
    tune(session)  # of version 2
    session._state.current = 1  # restored meanwhile
    session.keep()
    assert session.version.base == 2
    assert "from version 2" in session.model.spec.provenance["version 3"]
    session.revert()
    assert session.version.number == 2


def test_loading_another_model_starts_anew_only_if_nothing_was_fine_tuned() -> None:
    session, _ = session_with()
    session.set_model(tiny_model(seed=5))
    assert numbers(session) == [1]
    tune(session)
    session.keep()
    session.set_model(tiny_model(seed=6), opening=Opening("models/cells.pth"))
    assert numbers(session) == [1, 2, 3]
    assert session.version.number == 3
    assert session.version.note == "cells.pth as loaded"
    assert session.version.base is None


@pytest.mark.parametrize("how", ["load", "restore"])
def test_a_result_that_was_neither_kept_nor_dropped_is_set_aside(how: str) -> None:
    session, _ = session_with()
    tune(session)
    assert session.draft is not None
    draft, summary = session.draft.model, session.draft.summary
    if how == "load":
        session.set_model(tiny_model(seed=5))
    else:
        session.restore(1)
    aside = session.versions[1]
    assert (aside.number, aside.note) == (2, f"not chosen: {summary}")
    assert aside.model.network is draft.network
    assert (session.draft, session.version is aside) == (None, False)


def test_a_result_that_was_neither_kept_nor_dropped_outlives_a_crash() -> None:
    session, _ = session_with()
    tune(session)
    assert session.draft is not None
    (first, spare), again = session._state.to_keep, session._state.to_keep
    assert first is session.version
    assert (spare.number, spare is again[1], numbers(session)) == (2, True, [1])
    assert spare.note.startswith("not chosen: ")
    session.keep()
    assert session._state.to_keep == session.versions
    assert session.version.note == spare.note.removeprefix("not chosen: ")


def test_a_dropped_result_is_not_set_aside() -> None:
    session, _ = session_with()
    tune(session)
    session.revert()
    session.set_model(tiny_model(seed=5))
    assert numbers(session) == [1]


def test_a_deleted_number_is_not_given_again() -> None:
    session, _ = session_with()
    for _ in range(2):
        tune(session)
        session.keep()
    session.restore(1)
    told: list[int] = []
    session.model_changed.connect(lambda: told.append(1))
    session.delete_version(3)
    assert (numbers(session), told) == ([1, 2], [1])
    tune(session)
    session.keep()
    assert numbers(session) == [1, 2, 4]


def test_the_version_in_use_cannot_be_deleted() -> None:
    session, _ = session_with()
    with pytest.raises(UnetError, match="restore another version first"):
        session.delete_version(1)
    with pytest.raises(UnetError, match="no version 9, expected one of 1"):
        session.delete_version(9)
    assert numbers(session) == [1]


def test_a_loaded_version_can_be_read_in_another_way_after_others(
    tmp_path: Path,
) -> None:
    session, _ = session_with()
    tune(session)
    session.keep()
    path = save_model(tiny_model(seed=5), tmp_path / "cells.safetensors")
    run_now(session.load_job(path))
    session.revise_model({"normalization": {"kind": "zscore"}})
    assert session.version.opening == Opening(
        str(path), changes={"normalization": {"kind": "zscore"}}
    )
    session.restore(2)
    with pytest.raises(UnetError, match="restore version 1"):
        session.revise_model({"reading": "other"})
    session.restore(1)
    session.delete_version(3)
    session.restore(2)
    session.delete_version(1)
    with pytest.raises(UnetError, match="load the file first"):
        session.revise_model({"reading": "other"})


# -- tried out


def previewed(session: Session, number: int, view: View) -> Preview:
    told: list[Preview] = []
    session.previewed.connect(told.append)
    result = run_now(session.preview_job(number, view))
    session.previewed.disconnect()
    assert told == [result]
    return result


def test_a_preview_is_that_part_of_the_whole_and_changes_no_label() -> None:
    session, opened = session_with()
    before, revision = np.array(opened.corrections.labels), opened.corrections.revision
    preview = previewed(session, 1, view_of())
    whole, _ = found_by(session.model)
    np.testing.assert_array_equal(preview.labels > 0, whole[PART] > 0)
    assert (preview.number, preview.view.region) == (1, PART)
    count = len(np.unique(preview.labels)) - 1
    assert preview.found == f"{count} objects"
    assert preview.outline.shape == preview.labels.shape
    np.testing.assert_array_equal(opened.corrections.labels, before)
    assert (opened.corrections.revision, opened.kept) == (revision, None)


def test_a_preview_of_a_slice_of_a_colour_stack() -> None:
    session, _ = session_with()
    image = np.stack([np.stack([IMAGE, IMAGE // 2])] * 3)
    region = (slice(1, 2), *PART)
    config = SMALL.model_copy(update={"channel": 1})
    view = View("stack", image, "ZCYX", region, config)
    preview = previewed(session, 1, view)
    assert preview.labels.shape == (1, 60, 76)
    with pytest.raises(ImageError, match="2 channels"):
        run_now(session.preview_job(1, view_of("ZCYX", image, region)))


def test_a_preview_uses_the_version_asked_for_and_not_the_one_in_use() -> None:
    session, _ = session_with()
    tune(session)
    session.keep()
    expected, _ = found_by(session.versions[0].model)
    preview = previewed(session, 1, view_of())
    np.testing.assert_array_equal(preview.labels > 0, expected[PART] > 0)
    assert session.version.number == 2


def test_comparing_counts_both_and_scores_the_corrections() -> None:
    session, opened = session_with()
    tune(session)
    session.keep()
    told: list[Compared] = []
    session.compared.connect(told.append)
    events = []
    job = session.compare_job(1, 2, view_of(), opened.corrections.snapshot(PART))
    found = run_now(job, events.append)
    assert told == [found]
    assert [preview.number for preview in found.previews] == [1, 2]
    edges = [preview.outline > 0 for preview in found.previews]
    np.testing.assert_array_equal(found.outline, edges[0] + 2 * edges[1])
    comparison = found.comparison
    assert comparison.numbers == (1, 2)
    assert comparison.counts[0] == len(np.unique(found.previews[0].labels)) - 1
    assert comparison.scored is not None
    assert 4 <= comparison.scored.objects <= 16
    done = [event.done for event in events]
    assert done == sorted(done)
    assert done[-1] == events[-1].total


def test_what_is_corrected_in_another_kind_is_no_truth() -> None:
    session, opened = session_with()
    session._state.add_loaded(tiny_model("classes"), "as loaded", None)
    session._state.add_loaded(tiny_model("classes", seed=3), "as loaded", None)
    snapshot = opened.corrections.snapshot(PART)
    found = run_now(session.compare_job(2, 3, view_of(), snapshot))
    assert found.comparison.scored is None
    assert "Dice" in found.comparison.summary
    with pytest.raises(UnetError, match="Version 1 gives objects and version 3"):
        session.compare_job(3, 1, view_of())


def test_only_versions_that_are_there_can_be_tried_out() -> None:
    session, _ = session_with()
    with pytest.raises(UnetError, match="no version 4"):
        session.preview_job(4, view_of())
    with pytest.raises(UnetError, match="No model is loaded"):
        Session().compare_job(1, 2, view_of(image=noise((60, 70))))
