"""Step 4: teach the network what was corrected, while the user keeps working."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QProgressBar

from napari_unet.engine.config import EpochDone, FinetuneConfig, Preparing, StepDone
from napari_unet.jobs import Job
from napari_unet.learning import PreviewDone, ready_to_learn
from napari_unet.qt.finetune_live import LiveTraining
from napari_unet.qt.finetune_words import (
    plan_in_words,
    preparing_in_words,
    result_in_words,
    roughly,
    step_in_words,
)
from napari_unet.qt.flying import show_place
from napari_unet.qt.forms import ConfigForm
from napari_unet.qt.parts import Panel, enable, folded
from napari_unet.qt.plot import CurvePlot
from napari_unet.qt.progress_plot import ProgressView
from napari_unet.steps import DRAFT

if TYPE_CHECKING:
    from napari_unet.engine.blocks import Region
    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.engine.model import Model
    from napari_unet.engine.verdict import LostObject
    from napari_unet.opened import OpenImage
    from napari_unet.opened_model import Version
    from napari_unet.session_finetune import Plan
    from napari_unet.steps import Preview

MORE = (
    "start", "teacher", "remember", "allowed_loss", "held_out", "batch", "crop",
    "norm_learns", "augment", "loss", "seed",
)  # fmt: skip
AROUND = 48  # pixels shown around an object that got worse
TITLE = "Fine-tuning"  # of the session's job
PREDICTING = "Predicting"  # how the titles of jobs that predict begin
LOOKING = "Looking at the draft"  # how the title of such a job begins
STEADY = 3  # steps after which the rest can be foretold


class FinetunePanel(Panel):
    """Start, watch, stop, keep or revert a fine-tuning."""

    name = "finetune"
    title = "Fine-tune"

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self._first: tuple[int, float] | None = None  # step, and when it was done
        self._worse: list[tuple[OpenImage, LostObject]] = []
        self._shown = 0
        self._ready = False  # whether what learning needs is imported, or soon is
        self.plan = QLabel()
        self.plan.setObjectName("unet.finetune.plan")
        self.plan.setWordWrap(True)
        self.rows.addWidget(self.plan)
        self.settings: ConfigForm[FinetuneConfig] = ConfigForm(
            FinetuneConfig(), ("steps", "learning_rate"), "finetune"
        )
        self.more: ConfigForm[FinetuneConfig] = ConfigForm(
            FinetuneConfig(), MORE, "finetune", {"start": "start_from"}
        )
        self.rows.addWidget(self.settings)
        self.rows.addWidget(folded("More", self.more))
        self.live = LiveTraining(bench, self)
        self._make_buttons()
        self.bar = QProgressBar()
        self.bar.hide()
        self.rows.addWidget(self.bar)
        self.plot = CurvePlot()
        self.rows.addWidget(self.plot)
        self.rows.addWidget(self.live.box)
        self.rows.addWidget(self.summary)
        self.row(self.see_draft, self.keep, self.revert)
        self.row(self.show_worse)
        self.rows.addWidget(ProgressView(bench))
        self.summary.setText("Nothing to fine-tune yet: load a model, then correct.")
        self._connect()
        self._on_session_model_changed()

    def _make_buttons(self) -> None:
        session, runner = self.bench.session, self.bench.runner
        self.start = self.button(
            "start", "Fine-tune",
            "Train a copy of the model on all edits and accepted places (Shift+F); "
            "keep working meanwhile", self._on_start_clicked,
        )  # fmt: skip
        self.stop = self.button(
            "stop", "Stop and keep best",
            "End now with the best weights so far; while fewer than 10 objects are "
            "held out, with the last ones",
            self._on_stop_clicked,
        )  # fmt: skip
        self.cancel = self.button(
            "cancel", "Cancel", "End now and drop the result (Shift+Escape)",
            runner.cancel,
        )  # fmt: skip
        self.see_draft = self.button(
            "see_draft", "See draft",
            "Outline what the draft finds in view, beside your labels",
            self._on_see_draft_clicked,
        )  # fmt: skip
        self.keep = self.button(
            "keep", "Keep",
            "Use the draft as a new version, though it did not prove better",
            lambda: self.bench.try_now(self.name, session.keep),
        )  # fmt: skip
        self.revert = self.button(
            "revert", "Revert",
            "Drop the fine-tuned model; if it was kept, go back to the version before",
            lambda: self.bench.try_now(self.name, session.revert),
        )  # fmt: skip
        self.show_worse = self.button(
            "show_worse", "Show what got worse",
            "Go to the objects that were right before and are missed now, one after "
            "another", self._on_show_worse_clicked,
        )  # fmt: skip
        self.row(self.start)
        self.row(self.stop, self.cancel)

    def _connect(self) -> None:
        bench = self.bench
        bench.session.model_changed.connect(self._on_session_model_changed)
        bench.session.draft_changed.connect(self._on_session_draft_changed)
        bench.session.finetuned.connect(self._on_session_finetuned)
        bench.session.previewed.connect(self._on_session_previewed)
        bench.session.roles_changed.connect(self._update)
        for form in (self.settings, self.more):
            form.valueChanged.connect(self._update)
        bench.corrections_changed.connect(self._update)
        bench.runner.busy_changed.connect(self._update)
        bench.runner.progressed.connect(self._on_runner_progressed)
        bench.runner.ended.connect(self._on_runner_ended)

    # -- what the user does

    def config(self) -> FinetuneConfig:
        """Return the settings of both forms."""
        more = {name: getattr(self.more.value(), name) for name in MORE}
        return self.settings.value().model_copy(update=more)

    def _on_start_clicked(self) -> None:
        self.bench.settle()
        view, session = self.live.view(), self.bench.session
        if self.bench.run(self.name, session.finetune_job, self.config(), view):
            self._first = None
            self.live.hide_draft()
            self.live.begin()
            self.plot.clear_curve()
            self._forget_worse()
            self.summary.setText("Preparing ...")

    def _on_see_draft_clicked(self) -> None:
        self.bench.settle()
        job = self.bench.session.preview_draft_job
        if self.bench.run(self.name, job, self.live.look):
            self._say_draft("Predicting what is visible ...")

    def _on_stop_clicked(self) -> None:
        from napari_unet.engine.commands import Command

        self.bench.runner.send(Command.STOP)
        self.summary.setText("Stopping ...")

    # -- what changes

    def _on_session_model_changed(self) -> None:
        version = self.bench.session.version
        if version is not None and self.bench.session.draft is None:
            self._say_version(version)
        self._update()

    def _say_version(self, version: Version) -> None:
        self.summary.setText(f"Version {version.number} in use: {version.note}.")

    def _on_session_draft_changed(self) -> None:
        session = self.bench.session
        self.live.hide_draft()  # of the one before
        if session.draft is not None:
            self.summary.setText(result_in_words(session.draft, None))
        elif session.version is not None:
            self._say_version(session.version)
        self._update()

    def _on_session_previewed(self, found: Preview) -> None:
        if found.number == DRAFT and self.bench.session.draft is not None:
            self.live.show_draft(found)
            self._say_draft(
                f"It finds {found.found} here, outlined; your labels are as they were."
            )

    def _say_draft(self, more: str) -> None:
        """Say what became of the fine-tuning, and something about its draft."""
        draft = self.bench.session.draft
        if draft is not None:
            self.summary.setText(f"{result_in_words(draft, None)} {more}")

    def _on_session_finetuned(self, result: FinetuneResult) -> None:
        session = self.bench.session
        live = None
        if session.draft is None and session.version is not None:
            live = session.version.number
        self.summary.setText(result_in_words(result, live))
        self._worse, self._shown = session.lost_objects(result), 0
        self._update()

    def _forget_worse(self) -> None:
        self._worse, self._shown = [], 0
        self._update()

    def _on_show_worse_clicked(self) -> None:
        """Go to the next object that got worse."""
        opened, lost = self._worse[self._shown % len(self._worse)]
        number = self._shown % len(self._worse) + 1
        self._shown += 1
        said = f"{number} of {len(self._worse)} that got worse: object {lost.label} of "
        if self.bench.layer_of(opened) is None:
            self.summary.setText(f"{said}{opened.name}, whose labels are not shown.")
            return
        window = window_around(lost, opened.corrections.shape)
        show_place(self.bench, opened, window, self.bench.image)
        self.summary.setText(
            f"{said}{opened.name} was found before, and is missed now."
        )

    def _on_runner_progressed(self, job: Any, event: Any) -> None:
        if job.title != TITLE:
            return
        if isinstance(event, PreviewDone):
            self.live.show(event)
        elif isinstance(event, EpochDone):
            self.plot.add(event)
        elif isinstance(event, StepDone):
            self.plot.add(event)
            self._show_step(event)
        elif isinstance(event, Preparing):
            self._show_bar(event.done, event.total)
            self.summary.setText(preparing_in_words(event))

    def _show_bar(self, done: int, total: int) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.bar.show()

    def _show_step(self, event: StepDone) -> None:
        """Say how far it is, and how long the rest will take."""
        self._show_bar(event.step, event.total)
        now = time.monotonic()
        if self._first is None:
            self._first = event.step, now
        step, began = self._first
        text = step_in_words(event, joined=bool(self.live.joined))
        if event.step - step >= STEADY:
            left = (now - began) / (event.step - step) * (event.total - event.step)
            text = f"{text}, {roughly(left)} left"
        self.summary.setText(f"{text}; loss {event.loss:.3f}")

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        if problem and job.title.startswith(LOOKING):
            self._say_draft(problem[:1].upper() + problem[1:])
        if not problem and job.title.startswith(PREDICTING):
            self._make_ready()
        if job.title != TITLE:
            return
        self.live.end()
        if problem:
            dropped = "Cancelled; the model is as it was."
            self.summary.setText(dropped if problem == "cancelled" else problem)

    def _make_ready(self) -> None:
        """Import what learning needs while the user looks at a prediction."""
        model = self.bench.session.model
        if self._ready or model is None or not model.trainable:
            return
        self._ready = True
        title = "Getting ready to learn"
        job = Job(title, ready_to_learn(), 0, lambda _: None, lane="ahead")
        self.bench.runner.run(job)

    def _update(self, _: Any = None) -> None:
        bench = self.bench
        running = bench.runner.running()
        training = running is not None and running.title == TITLE
        plan = bench.session.plan(self.config())
        self.plan.setText(self._plan_in_words(plan))
        reason = ""
        if running is not None:
            reason = "another job is running"
        elif bench.session.model is None:
            reason = "no model is loaded"
        elif not plan.pixels:
            reason = "nothing is corrected yet"
        enable(self.start, reason)
        enable(self.stop, "" if training else "no fine-tuning is running")
        enable(self.cancel, "" if training else "no fine-tuning is running")
        draft, version = bench.session.draft, bench.session.version
        wait = "wait for the running job" if running is not None else ""
        first = version is None or version.number == 1
        nothing = "" if draft or not first else "this is the first version"
        no_draft = wait or ("" if draft else "there is no draft")
        enable(self.see_draft, no_draft)
        enable(self.keep, no_draft)
        enable(self.revert, wait or nothing)
        none = "" if self._worse else "nothing got worse"
        enable(self.show_worse, none)
        if not training:
            self.bar.hide()

    def _plan_in_words(self, plan: Plan) -> str:
        """Say what a fine-tuning would learn from, and how long it would take."""
        model = self.bench.session.model
        if model is None:
            return plan_in_words(plan, "", "")
        needed = "" if plan.sites.held_out else self.bench.session.needed_to_score()
        return plan_in_words(plan, device_word(model), needed)


def window_around(lost: LostObject, shape: tuple[int, ...]) -> Region:
    """Return what is to be seen of a lost object: its slice, and what lies around it.

    Parameters
    ----------
    shape : of the labels
    """
    margins = [0] * (len(shape) - 2) + [AROUND] * 2
    return tuple(
        slice(max(centre - margin, 0), min(centre + margin + 1, length))
        for centre, margin, length in zip(lost.centre, margins, shape, strict=True)
    )


def device_word(model: Model) -> str:
    """Return what a model runs on, as people say it."""
    return {"cpu": "CPU", "cuda": "GPU"}.get(model.device.type, model.device.type)
