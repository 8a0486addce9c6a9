"""The four verbs without Qt: load, predict, correct, finetune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch

import napari_unet
from napari_unet import session as session_module
from napari_unet.engine import learner
from napari_unet.engine import parts as parts_module
from napari_unet.engine.config import (
    FinetuneConfig,
    LabelsConfig,
    PartDone,
    PredictConfig,
)
from napari_unet.errors import ImageError, LabelsError, TrainingError, UnetError
from napari_unet.formats import save_model
from napari_unet.jobs import run_now
from napari_unet.opened import with_context
from napari_unet.session import Session
from tiny import discs, noise, nuclei, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.jobs import Job
    from napari_unet.opened import OpenImage

QUICK = FinetuneConfig(steps=2, batch=1, crop=32, augment="off")
SMALL = PredictConfig(smallest=0, tile=64)


def session_with(output: str = "instances", seed: int = 0) -> tuple[Session, OpenImage]:
    session = Session()
    session.set_model(tiny_model(output, seed))  # type: ignore[arg-type]
    return session, session.add_image("noise", noise((60, 70)), "YX")


def labels_of(opened: OpenImage) -> np.ndarray:
    return np.array(opened.corrections.labels)


def paint(opened: OpenImage, place: tuple[slice, ...], value: int) -> None:
    opened.corrections.labels[place] = value
    opened.corrections.stroke_ends()


def finish(job: Job) -> object:
    """Run a job's steps to the end without accepting."""
    while True:
        try:
            next(job.steps)
        except StopIteration as end:
            return end.value


def predict(session: Session, opened: OpenImage, **how: object) -> None:
    run_now(session.predict_job(opened, SMALL, **how))  # type: ignore[arg-type]


SQUARE = (slice(5, 15), slice(5, 15))
VIEW = (slice(10, 30), slice(20, 50))


def test_loading_makes_version_one(tmp_path: Path) -> None:
    path = save_model(tiny_model(), tmp_path / "tiny.safetensors")
    session, told = Session(), []
    session.model_changed.connect(lambda: told.append(session.version))
    run_now(session.load_job(path))
    assert session.version is not None
    assert (session.version.number, session.version.note) == (1, "as loaded")
    assert told == [session.version]


def test_what_is_in_view_is_predicted_first_and_then_everything() -> None:
    session, opened = session_with()
    predict(session, opened)
    whole = labels_of(opened)
    session, opened = session_with()
    seen: list[np.ndarray] = []
    session.labels_changed.connect(lambda *_: seen.append(labels_of(opened) > 0))
    predict(session, opened, first=VIEW)
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[1], whole > 0)
    np.testing.assert_array_equal(seen[0][VIEW], seen[1][VIEW])
    assert seen[0].sum() < seen[1].sum()


def test_the_summary_counts_what_was_asked_for() -> None:
    session, opened = session_with()
    within = np.zeros((20, 30), bool)
    within[:, :10] = True
    predict(session, opened, region=VIEW, within=within)
    found = len(np.unique(labels_of(opened)[VIEW][within])) - 1
    assert opened.summary.startswith(f"{found} object")


def test_what_was_in_view_stays_when_the_rest_is_not_accepted() -> None:
    session, opened = session_with()
    job = session.predict_job(opened, SMALL, first=VIEW)
    rest = job.accept(finish(job))
    assert rest is not None
    early = labels_of(opened)
    assert early[VIEW].any()
    next(rest.steps)
    rest.steps.close()
    np.testing.assert_array_equal(labels_of(opened), early)
    session.undo(opened)
    assert not labels_of(opened).any()


def test_a_failed_load_keeps_the_model_and_its_versions(tmp_path: Path) -> None:
    session, _ = session_with()
    before = session.model
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"<html>not found</html>")
    with pytest.raises(UnetError):
        run_now(session.load_job(bad))
    assert session.model is before


@pytest.mark.parametrize("verb", ["predict_job", "finetune_job", "save_model_job"])
def test_without_a_model_every_verb_says_so(verb: str, tmp_path: Path) -> None:
    session = Session()
    opened = session.add_image("noise", noise((60, 70)), "YX")
    given = {
        "predict_job": opened, "finetune_job": QUICK,
        "save_model_job": tmp_path / "model.safetensors",
    }[verb]  # fmt: skip
    with pytest.raises(UnetError, match="No model is loaded"):
        getattr(session, verb)(given)


def test_predicting_fills_the_labels_and_tells() -> None:
    session, opened = session_with()
    told: list[tuple[object, object]] = []
    session.labels_changed.connect(lambda *what: told.append(what))
    predict(session, opened)
    assert labels_of(opened).any()
    assert opened.summary
    assert len(told) == 1
    assert told[0][0] is opened
    assert told[0][1] is not None


def test_a_region_changes_only_objects_that_touch_it() -> None:
    session, opened = session_with()
    predict(session, opened)
    before = labels_of(opened)
    session.set_model(tiny_model(seed=5))
    rows, columns = np.nonzero(before == before.max())
    region = tuple(slice(p.min(), p.max() + 1) for p in (rows, columns))
    predict(session, opened, region=region)
    after = labels_of(opened)
    asked = set(np.unique(before[region])) | set(np.unique(after[region]))
    outside = ~np.isin(before, list(asked)) & ~np.isin(after, list(asked))
    np.testing.assert_array_equal(after[outside], before[outside])
    assert (after[region] != before[region]).any()


def test_an_edit_made_while_predicting_is_kept() -> None:
    session, opened = session_with()
    job = session.predict_job(opened, SMALL)
    next(job.steps)
    paint(opened, SQUARE, 999)
    more = job.accept(finish(job))
    assert more is not None
    assert labels_of(opened).max() == 999
    run_now(more)
    assert (labels_of(opened)[SQUARE] == 999).all()
    assert len(np.unique(labels_of(opened))) > 2
    others = np.unique(labels_of(opened))
    assert ((others == 0) | (others >= 999)).all()


def test_an_edit_made_after_the_last_step_is_kept_too() -> None:
    session, opened = session_with()
    job = session.predict_job(opened, SMALL)
    result = finish(job)
    opened.corrections.labels[SQUARE] = 999  # a stroke that has not ended
    job.accept(result)
    assert (labels_of(opened)[SQUARE] == 999).all()


def test_undo_returns_to_before_the_prediction() -> None:
    session, opened = session_with()
    paint(opened, SQUARE, 3)
    before = labels_of(opened)
    predict(session, opened)
    after = labels_of(opened)
    session.undo(opened)
    np.testing.assert_array_equal(labels_of(opened), before)
    session.redo(opened)
    np.testing.assert_array_equal(labels_of(opened), after)


def test_a_cancelled_prediction_leaves_everything_as_it_was() -> None:
    session, opened = session_with()
    paint(opened, SQUARE, 3)
    before, revision = labels_of(opened), opened.corrections.revision
    job = session.predict_job(opened, SMALL)
    next(job.steps)
    job.steps.close()
    np.testing.assert_array_equal(labels_of(opened), before)
    assert (opened.corrections.revision, opened.kept) == (revision, None)


@pytest.mark.parametrize(
    ("image", "axes", "words"),
    [
        (np.zeros((20, 20), bool), "YX", "mask of true and false"),
        (np.zeros((20, 20), complex), "YX", "complex"),
        (np.full((20, 20), np.nan, np.float32), "YX", "NaN"),
        (np.zeros((5, 20, 20), np.uint8), "CYX", "5 channels"),
    ],
)
def test_images_that_cannot_be_used_are_refused(image, axes, words) -> None:
    session, _ = session_with()
    opened = session.add_image("bad", image, axes)
    with pytest.raises(ImageError, match=words):
        predict(session, opened)
    assert not labels_of(opened).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (33, 1)])
def test_tiny_and_constant_images_are_predicted(shape: tuple[int, int]) -> None:
    session, _ = session_with()
    opened = session.add_image("tiny", np.full(shape, 7, np.uint8), "YX")
    predict(session, opened)
    assert opened.summary


def test_labels_that_do_not_fit_are_refused() -> None:
    session, opened = session_with()
    for labels in (np.zeros((5, 5), int), np.zeros((60, 70)), -np.ones((60, 70), int)):
        with pytest.raises(LabelsError):
            session.add_image("noise", opened.image, "YX", labels)
    assert session.images == [opened]


def test_corrected_objects_and_a_model_of_classes_do_not_mix() -> None:
    session, opened = session_with()
    paint(opened, SQUARE, 3)
    session.set_model(tiny_model("classes"))
    with pytest.raises(LabelsError, match="predict into a new layer"):
        session.predict_job(opened, SMALL)
    with pytest.raises(TrainingError, match="Nothing is corrected"):
        session.finetune_job(QUICK)


def test_an_uncorrected_layer_follows_the_model() -> None:
    session, opened = session_with()
    session.set_model(tiny_model("classes"))
    predict(session, opened)
    assert not opened.corrections.instances
    assert set(np.unique(labels_of(opened))) <= {0, 1, 2}


def test_a_slider_makes_the_labels_again_as_one_step() -> None:
    session, opened = session_with()
    assert session.relabel_job(opened, LabelsConfig()) is None
    predict(session, opened)
    for threshold in (0.2, 0.4, 0.3):
        run_now(session.relabel_job(opened, LabelsConfig(threshold=threshold)))
    assert labels_of(opened).any()
    session.undo(opened)
    assert not labels_of(opened).any()
    assert opened.corrections.history.last is None


def test_a_slider_that_leaves_no_object_is_shown() -> None:
    session, opened = session_with()
    predict(session, opened)
    told: list[object] = []
    session.labels_changed.connect(lambda _, window: told.append(window))
    run_now(session.relabel_job(opened, LabelsConfig(threshold=1.0)))
    assert not labels_of(opened).any()
    assert told[-1] is not None


def test_accepting_protects_and_can_be_taken_back() -> None:
    session, opened = session_with()
    predict(session, opened)
    whole = tuple(slice(0, n) for n in labels_of(opened).shape)
    session.accept(opened, whole)
    before = labels_of(opened)
    session.set_model(tiny_model(seed=5))
    predict(session, opened)
    np.testing.assert_array_equal(labels_of(opened), before)
    session.unaccept(opened, whole)
    predict(session, opened)
    assert (labels_of(opened) != before).any()


def corrected(session: Session, seed: int = 0, objects: int = 16) -> OpenImage:
    """An image of which some objects are accepted."""
    image, labels = nuclei(seed=seed)
    opened = session.add_image("nuclei", image, "YX", labels)
    for label in range(1, objects + 1):
        session.accept_object(opened, label, (slice(0, 96), slice(0, 96)))
    return opened


def test_finetune_keep_and_revert_change_the_version_in_use() -> None:
    session, _ = session_with()
    first = session.model
    corrected(session)
    run_now(session.finetune_job(QUICK))
    assert session.model is first
    assert session.draft is not None
    summary = session.draft.summary
    session.keep()
    assert session.draft is None
    assert session.version is not None
    assert (session.version.number, session.version.note) == (2, summary)
    assert "fine-tuned from version 1" in session.model.spec.provenance["version 2"]
    session.revert()
    assert session.model is first
    with pytest.raises(UnetError, match="first version"):
        session.revert()
    session.restore(2)
    assert session.version.number == 2


def test_revert_drops_a_result_that_was_not_kept() -> None:
    session, _ = session_with()
    corrected(session)
    run_now(session.finetune_job(QUICK))
    session.revert()
    assert session.draft is None
    assert len(session.versions) == 1
    with pytest.raises(UnetError, match="no finished fine-tuning"):
        session.keep()


def test_numbers_of_versions_are_never_used_twice() -> None:
    session, _ = session_with()
    corrected(session)
    for _ in range(2):
        run_now(session.finetune_job(QUICK))
        session.keep()
        session.restore(1)
    assert [version.number for version in session.versions] == [1, 2, 3]
    with pytest.raises(UnetError):
        session.restore(9)


def test_several_images_teach_one_model() -> None:
    session, _ = session_with()
    alone = corrected(session, 0, objects=3)
    run_now(session.finetune_job(QUICK))
    assert session.draft is not None
    held_out = session.draft.held_out
    corrected(session, 1, objects=9)
    run_now(session.finetune_job(QUICK))
    assert session.draft.held_out > held_out
    session.remove_image(alone)
    assert len(session.images) == 2


def test_a_foreground_model_learns_from_objects() -> None:
    session, _ = session_with("foreground")
    for seed in range(3):  # of three places the third is held out
        corrected(session, seed)
    results: list[FinetuneResult] = []
    session.finetuned.connect(results.append)
    run_now(session.finetune_job(QUICK))
    (result,) = results  # live or not
    assert set(result.after) == set(result.before)
    assert "held-out objects" in result.summary


def test_fine_tuning_without_corrections_is_refused() -> None:
    session, opened = session_with()
    predict(session, opened)
    with pytest.raises(TrainingError, match="Nothing is corrected yet"):
        session.finetune_job(QUICK)


def test_a_cancelled_fine_tuning_leaves_the_model_as_it_was() -> None:
    session, _ = session_with()
    corrected(session)
    before = [p.clone() for p in session.model.network.parameters()]
    job = session.finetune_job(QUICK)
    next(job.steps)
    job.steps.close()
    after = session.model.network.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert (session.draft, len(session.versions)) == (None, 1)


def test_a_loss_of_nan_ends_with_the_last_good_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, _ = session_with()
    corrected(session)
    losses = iter([1.0, 1.0, float("nan")])
    real = learner.objective
    monkeypatch.setattr(
        learner, "objective", lambda *given: real(*given) * next(losses)
    )
    config = QUICK.model_copy(update={"steps": 50, "evaluate_every": 1})
    run_now(session.finetune_job(config))
    assert session.draft is not None
    assert "loss became nan at step 3" in session.draft.summary
    weights = session.draft.model.network.parameters()
    assert all(torch.isfinite(w).all() for w in weights)


def test_corrections_are_unsaved_until_they_are_saved(tmp_path: Path) -> None:
    session, opened = session_with()
    predict(session, opened)
    assert session.unsaved == []
    paint(opened, SQUARE, 3)
    assert session.unsaved == [opened]
    run_now(session.save_labels_job(opened, tmp_path / "masks.tif"))
    assert session.unsaved == []
    np.testing.assert_array_equal(iio.imread(tmp_path / "masks.tif"), labels_of(opened))
    paint(opened, SQUARE, 4)
    assert session.unsaved == [opened]


def test_an_edit_made_while_saving_stays_unsaved(tmp_path: Path) -> None:
    session, opened = session_with()
    paint(opened, SQUARE, 3)
    job = session.save_labels_job(opened, tmp_path / "masks.tif")
    next(job.steps)
    paint(opened, (slice(30, 40), slice(30, 40)), 4)
    job.accept(finish(job))  # type: ignore[arg-type]
    assert session.unsaved == [opened]


def test_a_folder_that_cannot_be_written_keeps_the_work_unsaved(tmp_path: Path) -> None:
    session, opened = session_with()
    paint(opened, SQUARE, 3)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnetError):
        run_now(session.save_labels_job(opened, tmp_path / "file" / "masks.tif"))
    assert session.unsaved == [opened]
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_saved_version_predicts_the_same(tmp_path: Path) -> None:
    session, opened = session_with()
    corrected(session)
    run_now(session.finetune_job(QUICK))
    session.keep()
    path = tmp_path / "mine.safetensors"
    run_now(session.save_model_job(path))
    predict(session, opened)
    expected = labels_of(opened)
    other = Session()
    run_now(other.load_job(path))
    again = other.add_image("noise", opened.image, "YX")
    predict(other, again)
    np.testing.assert_array_equal(labels_of(again) > 0, expected > 0)


def test_a_stack_is_predicted_slice_by_slice() -> None:
    session, _ = session_with()
    opened = session.add_image("stack", noise((3, 40, 50)), "ZYX")
    predict(session, opened, region=(slice(1, 2), slice(0, 40), slice(0, 50)))
    found = labels_of(opened).any(axis=(1, 2))
    np.testing.assert_array_equal(found, [False, True, False])
    predict(session, opened)
    assert labels_of(opened).any(axis=(1, 2)).all()


def test_labels_that_were_there_are_kept_when_they_are_right() -> None:
    session, _ = session_with()
    mine = discs((60, 70), 6, [(20, 20), (40, 50)])
    opened = session.add_image("noise", noise((60, 70)), "YX", mine)
    opened.corrections.accept_existing()
    predict(session, opened)
    np.testing.assert_array_equal(labels_of(opened)[mine > 0], mine[mine > 0])


def test_painting_on_and_on_does_not_keep_a_prediction_away() -> None:
    session, opened = session_with()
    job, merges = session.predict_job(opened, SMALL), 0
    while job is not None:
        result = finish(job)
        paint(opened, (slice(merges, merges + 1), slice(2, 5)), 77)
        job, merges = job.accept(result), merges + 1
    assert merges == 3
    assert (labels_of(opened)[:3, 2:5] == 77).all()
    assert opened.corrections.history.last == "prediction"


# -- parts of a large prediction


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small images count as large ones."""
    monkeypatch.setattr(session_module, "SOON", 1000)
    monkeypatch.setattr(parts_module, "ROWS", {2: 32})


def large(session: Session) -> OpenImage:
    session.set_model(tiny_model())
    return session.add_image("large", noise((200, 150)), "YX")


SMALL_TILES = PredictConfig(precision="float32", tile=32, smallest=1)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("first", [None, (slice(50, 90), slice(100, 140))])
def test_a_large_prediction_grows_and_is_one_step_to_undo(first: Any) -> None:
    session = Session()
    opened = large(session)
    filled: list[int] = []
    session.labels_changed.connect(
        lambda *_: filled.append(int((np.asarray(opened.corrections.labels) > 0).sum()))
    )
    run_now(session.predict_job(opened, SMALL_TILES, first=first))
    assert len(filled) > 5
    assert 0 < filled[0] < filled[-1] / 2
    whole = napari_unet.predict(tiny_model(), opened.image, config=SMALL_TILES).labels
    labels = np.asarray(opened.corrections.labels)
    np.testing.assert_array_equal(labels > 0, whole > 0)
    pairs = {(a, b) for a, b in zip(whole.flat, labels.flat, strict=True) if a}
    assert len(pairs) == whole.max() == len({b for _, b in pairs})  # the same objects
    assert session.images[0].summary.startswith(f"{whole.max():,} object")
    session.undo(opened)
    assert not np.asarray(opened.corrections.labels).any()
    session.redo(opened)
    np.testing.assert_array_equal(np.asarray(opened.corrections.labels), labels)


@pytest.mark.usefixtures("parts")
def test_a_stack_appears_slice_by_slice_that_in_view_first() -> None:
    session = Session()
    session.set_model(tiny_model())
    opened = session.add_image("stack", noise((6, 40, 50)), "ZYX")
    filled: list[list[int]] = []

    def note(*_: object) -> None:
        each = (np.asarray(opened.corrections.labels) > 0).any(axis=(1, 2))
        filled.append(np.flatnonzero(each).tolist())

    session.labels_changed.connect(note)
    view = (slice(4, 5), slice(10, 30), slice(10, 30))
    run_now(session.predict_job(opened, SMALL_TILES, first=view))
    assert filled[0] == [4]
    assert [len(each) for each in filled[-7:]] == [1, 2, 3, 4, 5, 6, 6]
    whole = napari_unet.predict(tiny_model(), opened.image, config=SMALL_TILES).labels
    labels = np.asarray(opened.corrections.labels)
    np.testing.assert_array_equal(labels > 0, whole > 0)
    assert len(np.unique(labels)) == len(np.unique(whole))
    session.undo(opened)
    assert not np.asarray(opened.corrections.labels).any()


@pytest.mark.usefixtures("parts")
def test_what_is_painted_while_parts_come_in_stays() -> None:
    session = Session()
    opened = large(session)
    job = session.predict_job(opened, SMALL_TILES)
    painted = []

    def paint(event: Any) -> None:
        if isinstance(event, PartDone) and len(painted) < 3:
            rows = slice(40 * len(painted) + 5, 40 * len(painted) + 25)
            opened.corrections.labels[rows, 10:40] = 900 + len(painted)
            opened.corrections.stroke_ends()
            painted.append(rows)

    run_now(job, paint)
    for number, rows in enumerate(painted):
        assert (opened.corrections.labels[rows, 10:40] == 900 + number).all()


def parts_of(job: Job[Any]) -> list[PartDone]:
    return [event for event in job.steps if isinstance(event, PartDone)]


@pytest.mark.usefixtures("parts")
def test_parts_wait_while_the_user_draws() -> None:
    session = Session()
    opened = large(session)
    job = session.predict_job(opened, SMALL_TILES)
    [part, other, *_] = parts_of(job)
    opened.corrections.labels[5:20, 5:20] = 77  # the mouse is still down
    job.take(part)  # type: ignore[misc]
    assert not (labels_of(opened) > 0)[30:].any()
    opened.corrections.checkpoint()
    job.take(other)  # type: ignore[misc]
    assert set(np.unique(labels_of(opened))) == {0, 77}
    opened.corrections.stroke_ends()
    job.take(other)  # type: ignore[misc]
    assert len(np.unique(labels_of(opened))) > 2
    session.undo(opened)
    assert set(np.unique(labels_of(opened))) == {0, 77}
    session.undo(opened)
    assert not labels_of(opened).any()


@pytest.mark.usefixtures("parts")
def test_a_part_under_an_object_that_reaches_far_waits_for_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "AT_ONCE", 5000)
    session = Session()
    session.set_model(tiny_model())
    there = np.zeros((200, 150), np.int32)
    there[:, 3] = 9  # from top to bottom
    opened = session.add_image("large", noise((200, 150)), "YX", there)
    job = session.predict_job(opened, SMALL_TILES)
    for part in parts_of(job):
        job.take(part)  # type: ignore[misc]
    assert (labels_of(opened)[:, 3] == 9).all()
    assert (labels_of(opened)[:, 100:] > 0).any()
    run_now(session.predict_job(opened, SMALL_TILES))
    assert not (labels_of(opened)[:, 3] == 9).any()


@pytest.mark.usefixtures("parts")
def test_undo_takes_back_one_prediction_where_the_view_was_right_already() -> None:
    session = Session()
    opened = large(session)
    run_now(session.predict_job(opened, SMALL_TILES))
    first = labels_of(opened)
    session.set_model(tiny_model(seed=5))
    view = (slice(0, 1), slice(0, 1))  # nothing to see, so no step of the history
    run_now(session.predict_job(opened, SMALL_TILES, first=view))
    assert (labels_of(opened) != first).any()
    session.undo(opened)
    np.testing.assert_array_equal(labels_of(opened), first)


@pytest.mark.usefixtures("parts")
def test_a_prediction_that_is_undone_while_it_grows_joins_no_earlier_one() -> None:
    session = Session()
    opened = large(session)
    run_now(session.predict_job(opened, SMALL_TILES))
    first = labels_of(opened)
    session.set_model(tiny_model(seed=5))
    job, undone = session.predict_job(opened, SMALL_TILES), []

    def undo(event: Any) -> None:
        if isinstance(event, PartDone) and not undone:
            session.undo(opened)
            undone.append(labels_of(opened))

    run_now(job, undo)
    np.testing.assert_array_equal(undone[0], first)
    session.undo(opened)
    np.testing.assert_array_equal(labels_of(opened), first)


@pytest.mark.usefixtures("parts")
def test_a_cancelled_large_prediction_leaves_what_was_there_by_then() -> None:
    session = Session()
    opened = large(session)
    job = session.predict_job(opened, SMALL_TILES)
    for event in job.steps:
        if isinstance(event, PartDone):
            job.take(event)
            break
    job.steps.close()
    assert np.asarray(opened.corrections.labels).any()
    session.undo(opened)
    assert not np.asarray(opened.corrections.labels).any()


@pytest.mark.usefixtures("parts")
def test_parts_stay_inside_of_what_was_drawn() -> None:
    session = Session()
    opened = large(session)
    region = (slice(30, 170), slice(20, 130))
    within = np.zeros((140, 110), bool)
    within[20:120, 30:60] = True
    seen = []
    session.labels_changed.connect(lambda *_: seen.append(1))
    run_now(session.predict_job(opened, SMALL_TILES, region, within))
    assert len(seen) > 1
    labels = np.asarray(opened.corrections.labels)
    inside = np.zeros(labels.shape, bool)
    inside[region] = within
    assert set(np.unique(labels)) - {0} == set(np.unique(labels[inside])) - {0}


@pytest.mark.parametrize(("size", "margin"), [(None, 64), ((0.25,) * 2, 128)])
def test_as_much_is_read_around_a_region_as_its_objects_are_large(
    size: tuple[float, ...] | None, margin: int
) -> None:
    spec = tiny_model().spec.model_copy(update={"pixel_size": (0.5, 0.5)})
    region = (slice(3, 4), slice(300, 400), slice(0, 90))
    found = with_context(region, (5, 1000, 1000), spec, size)
    assert found == (
        slice(3, 4),
        slice(300 - margin, 400 + margin),
        slice(0, 90 + margin),
    )
    tiny = with_context(region, (5, 1000, 2000), spec, (1 / 31, 1 / 31))
    assert tiny[2] == slice(0, 90 + 512)
