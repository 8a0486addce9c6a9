"""Fine-tune: what is said before, shown meanwhile, and comes of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QCheckBox, QLabel

import napari_unet.learning as learning_module
from napari_unet.engine.config import (
    EpochDone,
    FinetuneConfig,
    KindDone,
    RecallDone,
    StepDone,
)
from napari_unet.engine.holdout import Sites
from napari_unet.engine.verdict import LostObject, Verdict
from napari_unet.formats import save_model
from napari_unet.learning import PreviewDone
from napari_unet.qt import finetune_live, finetune_panel, previews
from napari_unet.qt.finetune_panel import FinetunePanel, window_around
from napari_unet.qt.finetune_words import (
    pixels_in_words,
    plan_in_words,
    preparing_in_words,
    roughly,
    step_in_words,
)
from napari_unet.qt.layers import camera_of
from napari_unet.session_finetune import Plan
from napari_unet.steps import DRAFT
from tiny import nuclei, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels

LONG = 100_000
QUICK = FinetuneConfig(
    steps=2, batch=1, crop=32, augment="off", evaluate_every=2, learning_rate=1e-6,
    start="current", teacher=0.0,
)  # fmt: skip
LEARNS = QUICK.model_copy(
    update={"steps": 60, "batch": 4, "crop": 64, "learning_rate": 1e-2}
)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let previews come as fast as a window can show them."""
    monkeypatch.setattr(learning_module, "PREVIEW_EVERY", 0.2)
    monkeypatch.setattr(learning_module, "PREVIEW_SHARE", 0.0)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let corrections join without a pause."""
    monkeypatch.setattr(finetune_live, "JOIN_PAUSE", 0)


@pytest.fixture
def ready(hands, tiny_files) -> Callable[..., Any]:
    """Return a workbench with images of which all nuclei are accepted."""

    def prepare(images: int = 3, *, source: Any = None) -> Any:
        one = hands()
        for number in range(images):
            pixels, labels = nuclei(seed=number)
            image = one.viewer.add_image(pixels, name=f"image {number}")
            mine = one.viewer.add_labels(labels, name=f"labels {number}")
            one.bench.open(image, "YX", mine)
        one.load(source or tiny_files["instances"])
        one.bench.session.assign_roles()
        one.wait(lambda: one.find("finetune.start").isEnabled())
        return one

    return prepare


def panel_of(one: Any) -> FinetunePanel:
    return one.docks[0].findChild(FinetunePanel)


def configure(one: Any, config: FinetuneConfig) -> None:
    panel_of(one).settings.setValue(config)
    panel_of(one).more.setValue(config)


def begin(one: Any, config: FinetuneConfig = QUICK, **changes: Any) -> list[Any]:
    """Press Fine-tune; return the events that come, as they come."""
    configure(one, config.model_copy(update=changes))
    events: list[Any] = []
    one.bench.runner.progressed.connect(lambda _, event: events.append(event))
    one.press("finetune.start")
    return events


def finish(one: Any, config: FinetuneConfig = QUICK, **changes: Any) -> Any:
    """Fine-tune to the end; return the result."""
    results: list[Any] = []
    one.bench.session.finetuned.connect(results.append)
    begin(one, config, **changes)
    one.wait_idle()
    one.bench.session.finetuned.disconnect(results.append)
    return results[0]


def plan(one: Any) -> str:
    return one.find("finetune.plan", QLabel).text()


def trained(one: Any) -> Labels | None:
    return previews.shown_in_training(one.viewer)


def number(one: Any) -> int:
    return one.bench.session.version.number


# -- before


def test_what_learning_needs_is_imported_after_the_first_prediction(ready) -> None:
    one = ready()
    ended: list[str] = []
    one.bench.runner.ended.connect(
        lambda job, problem: ended.append(job.lane + problem)
    )
    for predictions in (1, 2):
        one.press("predict.run")
        one.wait(lambda: ended.count("network") == predictions)  # noqa: B023 - at once
        one.wait(lambda: ended.count("ahead") == 1)
    assert set(learning_module.LIBRARIES) <= set(sys.modules)


def test_the_plan_says_what_is_missing_until_something_is_held_out(
    hands, tiny_files
) -> None:
    one = hands()
    assert plan(one).startswith("Learns from what you edit and accept.")
    pixels, labels = nuclei()
    image = one.viewer.add_image(pixels, name="nuclei")
    one.bench.open(image, "YX", one.viewer.add_labels(labels, name="mine"))
    one.load(tiny_files["instances"])
    one.bench.session.assign_roles()
    one.wait(lambda: "16 corrected objects in 1 place" in plan(one))
    assert "Nothing is held out yet: correct 2 more places, each" in plan(one)
    assert "in another image" in plan(one)


def test_the_plan_counts_what_is_held_out(ready) -> None:
    one = ready()
    assert "48 corrected objects in 2 places" in plan(one)
    assert "1 place held out to score it" in plan(one)
    assert "Nothing is held out" not in plan(one)


def test_the_plan_foretells_how_long_it_takes(ready) -> None:
    one = ready()
    assert " on this CPU" not in plan(one)
    one.choose("predict.labels", "labels 2")
    one.predict()
    one.wait(lambda: "s on this CPU" in plan(one) or "min on this CPU" in plan(one))
    finish(one, steps=8)
    assert one.bench.session._pace is not None
    assert "about 10 s on this CPU" in plan(one) or "about 5 s on this CPU" in plan(one)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 5 s"), (42, "about 40 s"), (89, "about 90 s"), (100, "about 2 min"),
     (3725, "about 1 h 2 min")],
)  # fmt: skip
def test_times_are_told_as_roughly_as_they_are_known(seconds, words) -> None:
    assert roughly(seconds) == words


@pytest.mark.parametrize(
    ("pixels", "words"),
    [(7, "7 pixels"), (6312, "6,300 pixels"), (61_499, "61,000 pixels"),
     (1_230_000, "1.2 million pixels")],
)  # fmt: skip
def test_pixels_are_told_as_people_say_them(pixels, words) -> None:
    assert pixels_in_words(pixels) == words


# -- better or nothing


def test_a_better_one_goes_live_by_itself(ready, tmp_path) -> None:
    untaught = save_model(tiny_model(seed=3), tmp_path / "untaught.safetensors")
    one = ready(source=untaught)
    result = finish(one, LEARNS)
    assert result.verdict.better, result.summary
    assert one.bench.session.draft is None
    assert one.text("finetune").startswith("Version 2 is live: finds ")
    assert "held-out objects, before" in one.text("finetune")
    assert "version 2" in one.text("model")
    assert "there is no draft" in one.find("finetune.keep").toolTip()
    one.press("finetune.revert")
    assert number(one) == 1
    assert [each.number for each in one.bench.session.versions] == [1, 2]


def test_one_that_is_not_better_stays_a_draft_and_says_why(ready) -> None:
    one = ready()
    finish(one)
    said = one.text("finetune")
    assert said.startswith(
        "A draft, not in use, because it gains nothing on held-out corrections: finds "
    )
    assert said.endswith("Keep uses it all the same, Revert drops it.")
    assert number(one) == 1
    one.press("finetune.keep")
    assert number(one) == 2
    assert one.text("finetune").startswith("Version 2 in use: finds ")
    one.press("finetune.revert")
    assert number(one) == 1


def test_a_draft_can_be_looked_at_before_it_is_kept(ready) -> None:
    one = ready()
    finish(one)
    labels = one.bench.session.images[0].corrections.labels
    before = np.array(labels)
    one.press("finetune.see_draft")
    one.wait_idle()
    assert previews.shown_as(one.bench.viewer, DRAFT) is not None
    assert "A draft, not in use, because it gains nothing" in one.text("finetune")
    assert one.text("finetune").endswith("outlined; your labels are as they were.")
    np.testing.assert_array_equal(np.array(labels), before)
    one.press("finetune.revert")
    assert previews.shown(one.bench.viewer) is None


def test_the_preview_of_a_draft_goes_when_another_comes(ready) -> None:
    one = ready()
    finish(one)
    one.press("finetune.see_draft")
    one.wait_idle()
    panel_of(one).live.box.setChecked(False)
    finish(one)
    assert one.bench.session.draft is not None
    assert previews.shown(one.bench.viewer) is None


def test_a_draft_is_not_looked_at_without_an_image(ready) -> None:
    one = ready()
    finish(one)
    one.viewer.layers.clear()
    one.press("finetune.see_draft")
    assert "No image layer is open" in one.text("finetune")
    assert one.bench.session.draft is not None


def test_a_draft_can_be_dropped(ready) -> None:
    one = ready()
    finish(one)
    one.press("finetune.revert")
    assert one.bench.session.draft is None
    assert one.text("finetune").startswith("Version 1 in use")
    assert "first version" in one.find("finetune.revert").toolTip()
    assert not one.find("finetune.keep").isEnabled()


def test_where_nothing_is_held_out_nothing_is_proved(ready) -> None:
    one = ready(1)
    finish(one)
    assert "because nothing is held out, so nothing is proved" in one.text("finetune")
    assert "objects that it learnt from" in one.text("finetune")
    assert one.bench.session.draft is not None


def test_a_second_start_is_refused_with_a_sentence(ready) -> None:
    one = ready()
    begin(one, steps=LONG)
    assert "another job is running" in one.find("finetune.start").toolTip()
    session = one.bench.session
    assert not one.bench.run("finetune", session.finetune_job, QUICK)
    assert "Fine-tuning is still running" in one.text("finetune")
    one.press("finetune.cancel")
    one.wait_idle()
    assert one.text("finetune") == "Cancelled; the model is as it was."
    assert session.draft is None


def test_a_version_restored_halfway_leaves_the_result_a_draft(ready, tmp_path) -> None:
    untaught = save_model(tiny_model(seed=3), tmp_path / "untaught.safetensors")
    one = ready(source=untaught)
    finish(one)
    one.press("finetune.keep")
    results: list[Any] = []
    one.bench.session.finetuned.connect(results.append)
    begin(one, LEARNS)
    one.bench.session.restore(1)
    one.wait_idle()
    assert results[0].verdict.better, results[0].summary
    assert number(one) == 1
    assert "because another version was chosen meanwhile" in one.text("finetune")
    one.press("finetune.keep")
    assert (number(one), one.bench.session.version.base) == (3, 2)


def test_another_model_loaded_halfway_loses_neither(ready) -> None:
    one = ready()
    begin(one, steps=20)
    one.bench.session.set_model(tiny_model(seed=9))
    one.wait_idle()
    session = one.bench.session
    assert [each.number for each in session.versions] == [1, 2]
    assert session.draft is not None
    one.press("finetune.keep")
    assert (number(one), session.version.base) == (3, 1)


# -- what got worse


def lose(one: Any, *lost: LostObject) -> None:
    """Let the session tell of a result that lost objects."""
    from dataclasses import replace

    result = finish(one)
    worse = replace(result, verdict=Verdict(False, "it loses some", lost))
    one.bench.session.finetuned.emit(worse)


def test_what_got_worse_is_shown_one_after_another(ready) -> None:
    one = ready()
    lose(one, LostObject(0, 3, (40, 12)), LostObject(2, 7, (60, 70)))
    for turn, (name, y, x) in enumerate((("image 0", 40, 12), ("image 2", 60, 70))):
        one.press("finetune.show_worse")
        layer = one.viewer.layers.selection.active
        assert one.bench.image.name == name
        assert layer.name == name.replace("image", "labels")
        np.testing.assert_allclose(camera_of(one.viewer).center[-2:], (y, x), atol=20)
        assert f"{turn + 1} of 2 that got worse" in one.text("finetune")
    one.press("finetune.show_worse")
    assert "1 of 2 that got worse: object 3 of image 0" in one.text("finetune")


def test_without_a_labels_layer_it_says_so(ready) -> None:
    one = ready()
    lose(one, LostObject(0, 3, (40, 12)))
    one.viewer.layers.remove("labels 0")
    one.press("finetune.show_worse")
    assert "image 0, whose labels are not shown" in one.text("finetune")


def test_nothing_that_got_worse_is_left_of_an_earlier_run(ready) -> None:
    one = ready()
    assert "nothing got worse" in one.find("finetune.show_worse").toolTip()
    lose(one, LostObject(0, 3, (40, 12)))
    begin(one, steps=LONG)
    assert not one.find("finetune.show_worse").isEnabled()
    one.press("finetune.cancel")
    one.wait_idle()


def test_the_slice_of_a_lost_object_is_shown_not_the_middle_of_the_volume() -> None:
    window = window_around(LostObject(0, 1, (2, 10, 100)), (30, 64, 200))
    assert window == (slice(2, 3), slice(0, 59), slice(52, 149))


# -- previews while it trains


@pytest.mark.usefixtures("always")
def test_a_preview_appears_follows_the_view_and_goes_when_switched_off(ready) -> None:
    one = ready()
    active, before = one.viewer.layers.selection.active.name, len(one.viewer.layers)
    opened = one.bench.session.images[0]
    revision = opened.corrections.revision
    begin(one, steps=LONG)
    one.wait(lambda: trained(one) is not None)
    layer = trained(one)
    assert layer.name == "image 0 - model in training preview"
    assert layer.data.shape == (96, 96)
    assert not layer.editable
    assert one.viewer.layers.selection.active.name == active
    assert len(one.viewer.layers) == before + 1
    camera_of(one.viewer).zoom *= 6
    one.wait(lambda: trained(one).data.shape < (60, 60))
    assert opened.corrections.revision == revision
    one.find("finetune.preview", QCheckBox).setChecked(False)
    assert trained(one) is None
    assert one.viewer.layers.selection.active.name == active
    one.find("finetune.preview", QCheckBox).setChecked(True)
    one.wait(lambda: trained(one) is not None)
    one.press("finetune.cancel")
    one.wait_idle()
    assert trained(one) is None
    assert len(one.bench.session.images) == 3


@pytest.mark.usefixtures("always")
def test_a_preview_on_its_way_is_not_shown_on_another_image(ready) -> None:
    one = ready()
    one.viewer.add_image(np.stack([nuclei()[0]] * 3), name="stack")
    one.choose("predict.image", "image 0")
    events = begin(one, steps=LONG)
    one.wait(lambda: trained(one) is not None)
    late = next(event for event in events if isinstance(event, PreviewDone))
    one.choose("predict.image", "stack")
    one.viewer.dims.set_current_step(0, 1)
    live = panel_of(one).live
    one.wait(lambda: live._layer.name == "stack")
    live.show(late)
    one.wait(lambda: trained(one).ndim == 3)
    live.show(late)
    assert trained(one).name == "stack - model in training preview"
    assert trained(one).data.shape == (1, 96, 96)
    one.press("finetune.cancel")
    one.wait_idle()


@pytest.mark.usefixtures("always")
def test_the_preview_goes_with_the_training(ready) -> None:
    one = ready()
    finish(one, steps=5)
    assert trained(one) is None


@pytest.mark.usefixtures("always")
def test_a_preview_that_was_hidden_stays_hidden(ready) -> None:
    one = ready()
    begin(one, steps=LONG)
    one.wait(lambda: trained(one) is not None)
    trained(one).visible = False
    outline = trained(one).data
    one.wait(lambda: trained(one).data is not outline)
    assert not trained(one).visible
    one.press("finetune.cancel")
    one.wait_idle()


@pytest.mark.usefixtures("always")
def test_an_image_that_cannot_be_previewed_does_not_end_the_training(ready) -> None:
    one = ready()
    events = begin(one, steps=LONG)
    one.wait(lambda: trained(one) is not None)
    one.viewer.add_image(np.full((40, 40), np.nan, np.float32), name="bad")
    one.choose("predict.image", "bad")
    camera_of(one.viewer).zoom *= 1.1
    one.wait(lambda: not panel_of(one).live._look.isActive())
    steps = len(events)
    one.wait(lambda: len(events) > steps + 20)
    assert one.bench.runner.busy
    one.press("finetune.cancel")
    one.wait_idle()
    assert one.text("finetune") == "Cancelled; the model is as it was."


# -- corrections made meanwhile


@pytest.mark.usefixtures("at_once")
def test_corrections_made_meanwhile_join_and_training_goes_on(ready) -> None:
    one = ready()
    results: list[Any] = []
    one.bench.session.finetuned.connect(results.append)
    begin(one, steps=LONG)
    layer = one.viewer.layers["labels 0"]
    layer.paint((3, 3), 99)
    one.wait(lambda: panel_of(one).live.joined == 1)
    one.wait(lambda: "with your new corrections" in one.text("finetune"))
    sent = len(one.bench.runner._workers["network"].commands)
    one.wait(lambda: sent == 0 or not one.bench.runner._workers["network"].commands)
    steps: list[Any] = []
    one.bench.runner.progressed.connect(lambda _, event: steps.append(event))
    one.wait(lambda: len(steps) > 5)
    one.press("finetune.stop")
    one.wait_idle()
    ((_, learn),) = results[0].learnt
    assert (learn.examples[0].labels == 99).any()
    assert results[0].stopped


@pytest.mark.usefixtures("at_once")
def test_what_was_corrected_before_is_not_sent_again(ready) -> None:
    one = ready()
    result = finish(one, steps=6)
    assert result.learnt == ()
    assert panel_of(one).live.joined == 0


# -- closing


@pytest.mark.usefixtures("always")
def test_closing_in_the_middle_keeps_every_edit(ready, projects) -> None:
    one = ready()
    begin(one, steps=LONG)
    one.wait(lambda: trained(one) is not None)
    one.viewer.layers["labels 0"].paint((3, 3), 99)
    opened = one.bench.session.images[0]
    autosave = one.bench.autosave
    one.viewer.close()
    assert (np.asarray(opened.corrections.labels) == 99).any()
    assert not autosave.problem


# -- how it looks


def test_the_network_that_stays_has_a_curve_of_its_own(ready) -> None:
    one = ready()
    plot = panel_of(one).plot
    plot.clear_curve()
    for step in (1, 2, 3):
        plot.add(StepDone(step, 3, 1.0 / step, "nuclei-2d" if step > 2 else ""))
    plot.add(EpochDone(2, 3, 0.5, True))
    plot.add(EpochDone(3, 3, 0.7, True, "nuclei-2d"))
    drawn = [
        [item.getData()[0].tolist() for item in (curve._line, curve._points)]
        for curve in (plot._learning, plot._staying)
    ]
    assert drawn == [[[1, 2], [2]], [[3], [3]]]
    plot.clear_curve()
    assert plot._staying._line.getData()[0] is None


def test_what_goes_on_is_said_of_the_network_that_learns() -> None:
    its = step_in_words(StepDone(7, 9, 0.5, "nuclei-2d"), joined=True)
    assert its == (
        "Step 7 of 9, on images of the kind that nuclei-2d knows; what you correct now "
        "is learnt in the next run"
    )
    own = step_in_words(StepDone(7, 9, 0.5), joined=True)
    assert own == "Step 7 of 9, with your new corrections"
    assert "of the kind that the model knows, image 2 of 5" in preparing_in_words(
        KindDone(2, 5)
    )
    assert "recalling" in preparing_in_words(RecallDone(2, 5))


def test_the_plot_is_drawn_in_the_colours_of_the_theme(ready) -> None:
    one = ready()
    plot = panel_of(one).plot
    panel_of(one).bench.viewer.theme = "light"
    for theme in ("dark", "light"):
        one.viewer.theme = theme
        panel_of(one).parentWidget().setMaximumHeight(5000)
        plot.show()
        text = plot.palette().color(QPalette.ColorRole.WindowText)
        assert plot.getAxis("left").pen().color() == text
        assert plot.getAxis("bottom").textPen().color() == text
        assert (text.lightness() > 128) is (theme == "dark")
        behind = plot.grab().toImage().pixelColor(2, 2)
        assert (behind.lightness() < 128) is (theme == "dark")


def test_the_title_of_the_job_is_that_which_the_panel_waits_for(ready) -> None:
    one = ready()
    assert one.bench.session.finetune_job(QUICK).title == finetune_panel.TITLE
    finish(one)
    look = panel_of(one).live.look
    title = one.bench.session.preview_draft_job(look).title
    assert title.startswith(finetune_panel.LOOKING)
    assert one.find("finetune.plan", QLabel).textFormat() != Qt.TextFormat.RichText


def test_background_alone_is_said_before_a_run() -> None:
    plan = Plan(0, 1234, Sites(3, 0), None)
    said = plan_in_words(plan, "CPU", "")
    assert said.startswith("Will train on background alone in 3 places")
    assert said.endswith("accept some objects, too, or it may learn to find none.")
    assert "background" not in plan_in_words(
        Plan(2, 1234, Sites(3, 0), None), "CPU", ""
    )
