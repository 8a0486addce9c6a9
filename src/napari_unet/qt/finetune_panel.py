"""Step 4: teach the network what was corrected, while the user keeps working."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QProgressBar

from napari_unet.engine.config import EpochDone, FinetuneConfig, StepDone
from napari_unet.qt.forms import ConfigForm
from napari_unet.qt.parts import Panel, enable, folded
from napari_unet.qt.plot import CurvePlot

if TYPE_CHECKING:
    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.opened_model import Version

NOTICEABLE = 0.005  # smaller changes of a score are none
MORE = ("batch", "crop", "held_out", "norm_learns", "augment", "loss", "seed")


class FinetunePanel(Panel):
    """Start, watch, stop, keep or revert a fine-tuning."""

    name = "finetune"
    title = "Fine-tune"

    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self._began = 0.0
        self.plan = QLabel()
        self.plan.setWordWrap(True)
        self.rows.addWidget(self.plan)
        self.settings: ConfigForm[FinetuneConfig] = ConfigForm(
            FinetuneConfig(), ("steps", "learning_rate"), "finetune"
        )
        self.more: ConfigForm[FinetuneConfig] = ConfigForm(
            FinetuneConfig(), MORE, "finetune"
        )
        self.rows.addWidget(self.settings)
        self.rows.addWidget(folded("More", self.more))
        self._make_buttons()
        self.bar = QProgressBar()
        self.bar.hide()
        self.rows.addWidget(self.bar)
        self.plot = CurvePlot()
        self.rows.addWidget(self.plot)
        self.rows.addWidget(self.summary)
        self.row(self.keep, self.revert)
        self._connect()
        self._update()

    def _make_buttons(self) -> None:
        session, runner = self.bench.session, self.bench.runner
        self.start = self.button(
            "start", "Fine-tune",
            "Train a copy of the model on all edits and accepted places (Shift+F); "
            "keep working meanwhile", self._on_start_clicked,
        )  # fmt: skip
        self.stop = self.button(
            "stop", "Stop and keep best", "End now with the best weights so far",
            self._on_stop_clicked,
        )  # fmt: skip
        self.cancel = self.button(
            "cancel", "Cancel", "End now and drop the result (Shift+Escape)",
            runner.cancel,
        )  # fmt: skip
        self.keep = self.button(
            "keep", "Keep", "Use the fine-tuned model from now on, as a new version",
            lambda: self.bench.try_now(self.name, session.keep),
        )  # fmt: skip
        self.revert = self.button(
            "revert", "Revert",
            "Drop the fine-tuned model; if it was kept, go back to the version before",
            lambda: self.bench.try_now(self.name, session.revert),
        )  # fmt: skip
        self.row(self.start)
        self.row(self.stop, self.cancel)

    def _connect(self) -> None:
        bench = self.bench
        bench.session.model_changed.connect(self._on_session_model_changed)
        bench.session.draft_changed.connect(self._on_session_draft_changed)
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
        if self.bench.run(self.name, self.bench.session.finetune_job, self.config()):
            self._began = time.monotonic()
            self.plot.clear_curve()
            self.summary.setText("Preparing ...")

    def _on_stop_clicked(self) -> None:
        from napari_unet.engine.training import Command

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
        draft = self.bench.session.draft
        if draft is not None:
            self.summary.setText(f"{verdict(draft)} {draft.summary}.")
        elif self.bench.session.version is not None:
            self._say_version(self.bench.session.version)
        self._update()

    def _on_runner_progressed(self, _: Any, event: Any) -> None:
        if not isinstance(event, (StepDone, EpochDone)):
            return
        self.plot.add(event)
        if isinstance(event, StepDone):
            self.bar.setRange(0, event.total)
            self.bar.setValue(event.step)
            self.bar.show()
            spent = time.monotonic() - self._began
            left = spent / event.step * (event.total - event.step)
            self.summary.setText(
                f"Step {event.step} of {event.total}, about {left:.0f} s left; "
                f"loss {event.loss:.3f}"
            )

    def _on_runner_ended(self, job: Any, problem: str) -> None:
        if job.title == "Fine-tuning" and problem:
            dropped = "Cancelled; the model is as it was."
            self.summary.setText(dropped if problem == "cancelled" else problem)

    def _update(self, _: Any = None) -> None:
        bench = self.bench
        running = bench.runner.running()
        training = running is not None and running.title == "Fine-tuning"
        tallies = [opened.corrections.tally() for opened in bench.session.images]
        pixels = sum(t.edited_pixels + t.accepted_pixels for t in tallies)
        self.plan.setText(self._plan(tallies, pixels))
        reason = ""
        if running is not None:
            reason = "another job is running"
        elif bench.session.model is None:
            reason = "no model is loaded"
        elif not pixels:
            reason = "nothing is corrected yet"
        enable(self.start, reason)
        enable(self.stop, "" if training else "no fine-tuning is running")
        enable(self.cancel, "" if training else "no fine-tuning is running")
        draft, version = bench.session.draft, bench.session.version
        wait = "wait for the running job" if running is not None else ""
        first = version is None or version.number == 1
        nothing = "" if draft or not first else "this is the first version"
        enable(self.keep, wait or ("" if draft else "no fine-tuning has finished"))
        enable(self.revert, wait or nothing)
        if not training:
            self.bar.hide()

    def _plan(self, tallies: list[Any], pixels: int) -> str:
        """Say what a fine-tuning would learn from."""
        if not pixels:
            return (
                "Learns from what you edit and accept. Correct about five objects, or "
                "accept a view that is right, then press Fine-tune."
            )
        objects = sum(t.edited_objects + t.accepted_objects for t in tallies)
        share = self.more.value().held_out
        held = round(share * objects) if objects >= 3 else 0
        text = f"Will train on {objects - held} corrected objects"
        if held:
            return f"{text}, {held} held out to score the result."
        return f"{text}; correct at least 3 to hold some out for scoring."


def verdict(draft: FinetuneResult) -> str:
    """Say in a word whether it got better: by objects found, else by overlap."""
    gains = [draft.after[key] - draft.before[key] for key in ("ap50", "dice")]
    gain = next((g for g in gains if abs(g) >= NOTICEABLE), 0.0)
    return (
        "Better:" if gain > 0 else "Not better:" if gain < 0 else "As good as before:"
    )
