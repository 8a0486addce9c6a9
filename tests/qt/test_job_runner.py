"""Whatever happens to a job, its end comes and the next can start."""

from __future__ import annotations

import gc
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from napari.utils import progress
from napari.utils.notifications import notification_manager
from qtpy.compat import isalive
from qtpy.QtCore import Qt

from napari_unet.engine.config import (
    BlockDone,
    EpochDone,
    PartDone,
    StepDone,
    TileDone,
)
from napari_unet.errors import Interrupted, UnetError
from napari_unet.jobs import Job
from napari_unet.qt.bars import JobBar
from napari_unet.qt.job_runner import SHORTEST_PAUSE, SOON_DONE, JobRunner, JobWorker

if TYPE_CHECKING:
    from collections.abc import Generator


class Watched:
    """A runner, and what it told."""

    def __init__(self, qtbot) -> None:
        self.runner, self.qtbot = JobRunner(), qtbot
        self.ends: list[tuple[str, str]] = []
        self.busy: list[bool] = []
        self.events: list[Any] = []
        self.runner.ended.connect(lambda job, why: self.ends.append((job.title, why)))
        self.runner.busy_changed.connect(self.busy.append)
        self.runner.progressed.connect(lambda _, event: self.events.append(event))

    def wait(self, ends: int = 1) -> None:
        self.qtbot.waitUntil(lambda: len(self.ends) >= ends, timeout=20_000)


@pytest.fixture
def watched(qtbot):
    watched = Watched(qtbot)
    with notification_manager:
        yield watched
    qtbot.waitUntil(lambda: not watched.runner._workers, timeout=20_000)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the titles of napari's progress bars, as they are made."""
    made: list[str] = []
    monkeypatch.setattr(
        "napari_unet.qt.bars.progress",
        lambda **given: made.append(given["desc"]) or progress(**given),
    )
    return made


def job(steps: Any, accept: Any = lambda _: None, lane: Any = "network", title="job"):
    return Job(title, steps, 0, accept, lane)


def waiting_for(gate: threading.Event, result: Any = None) -> Generator[int, None, Any]:
    """Step until the gate opens."""
    while not gate.wait(0.01):
        yield 1
    return result


def failing(error: Exception) -> Generator[int, None, None]:
    yield 1
    raise error


def test_a_step_is_told_before_what_came_of_the_job(
    watched: Watched, monkeypatch
) -> None:
    there, gate = threading.Event(), threading.Event()
    taken: list[Any] = []

    def steps() -> Generator[StepDone, None, str]:
        there.wait(20)
        yield StepDone(1, 2, 0.5)
        gate.wait(20)
        return "result"

    class Bar:
        """As napari's: events are worked off while it is drawn."""

        def __init__(self, _: Any) -> None:
            there.set()

        def show(self, *_: int) -> None:
            gate.set()
            watched.qtbot.waitUntil(lambda: bool(taken), timeout=20_000)

        def close(self) -> None:
            pass

    def accept(result: str) -> None:
        assert len(watched.events) == 1
        taken.append(result)

    monkeypatch.setattr("napari_unet.qt.job_runner.JobBar", Bar)
    watched.runner.run(job(steps(), accept, "short"))
    watched.wait()
    assert taken == ["result"]
    assert watched.events == [StepDone(1, 2, 0.5)]


def test_a_result_is_accepted_on_the_main_thread(watched: Watched) -> None:
    taken: list[Any] = []
    gate = threading.Event()
    gate.set()
    watched.runner.run(
        job(
            waiting_for(gate, "result"),
            lambda r: taken.append((r, threading.current_thread())),
        )
    )
    assert watched.runner.busy
    watched.wait()
    assert taken == [("result", threading.main_thread())]
    assert watched.ends == [("job", "")]
    assert watched.busy == [True, False]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("out of luck"), "job failed unexpectedly: out of luck"),
        (MemoryError(), "job failed unexpectedly: MemoryError"),
        (UnetError("The image has 3 channels."), "The image has 3 channels."),
        (StopAsyncIteration("odd"), "job failed unexpectedly: odd"),
    ],
)
def test_every_error_ends_the_job_and_unlocks(watched, error, words) -> None:
    accepted: list[Any] = []
    watched.runner.run(job(failing(error), accepted.append))
    watched.wait()
    assert watched.ends == [("job", words)]
    assert not watched.runner.busy
    assert watched.busy == [True, False]
    assert accepted == []
    assert words in [each.message for each in notification_manager.records]


def test_an_error_while_accepting_is_told(watched: Watched) -> None:
    def refuse(_: Any) -> None:
        raise UnetError("The disk is full.")

    gate = threading.Event()
    gate.set()
    watched.runner.run(job(waiting_for(gate), refuse))
    watched.wait()
    assert watched.ends == [("job", "The disk is full.")]
    assert not watched.runner.busy


def test_what_has_to_be_done_before_accepting_runs_before_the_end(
    watched: Watched,
) -> None:
    gate, taken = threading.Event(), list[Any]()
    gate.set()
    more = job(waiting_for(gate, "second"), taken.append, title="job")
    watched.runner.run(job(waiting_for(gate, "first"), lambda _: more))
    watched.wait()
    assert taken == ["second"]
    assert watched.ends == [("job", "")]
    assert watched.busy[-1] is False
    assert False not in watched.busy[:-1]


def test_cancel_between_two_jobs_drops_the_second(watched: Watched) -> None:
    gate, taken = threading.Event(), list[Any]()
    gate.set()

    def accept(_: Any) -> Job[Any]:
        watched.runner.cancel()
        return job(waiting_for(gate, "second"), taken.append, title="job")

    watched.runner.run(job(waiting_for(gate, "first"), accept))
    watched.wait()
    assert taken == []
    assert watched.ends == [("job", "cancelled")]
    assert watched.busy == [True, False]


def test_cancel_after_all_was_accepted_comes_too_late(watched: Watched) -> None:
    gate, taken = threading.Event(), list[Any]()
    gate.set()

    def accept(result: Any) -> None:
        taken.append(result)
        watched.runner.cancel()

    watched.runner.run(job(waiting_for(gate, "result"), accept))
    watched.wait()
    assert taken == ["result"]
    assert watched.ends == [("job", "")]


def test_cancel_closes_the_steps_in_their_thread(watched: Watched) -> None:
    closed_in: list[threading.Thread] = []
    accepted: list[Any] = []
    started = threading.Event()

    def endless() -> Generator[int, None, None]:
        try:
            while True:
                started.set()
                yield 1
        finally:
            closed_in.append(threading.current_thread())

    watched.runner.run(job(endless(), accepted.append))
    watched.qtbot.waitUntil(started.is_set)
    watched.runner.cancel()
    watched.wait()
    assert watched.ends == [("job", "cancelled")]
    assert closed_in[0] is not threading.main_thread()
    assert accepted == []


def test_cancel_ends_a_step_that_waits(watched: Watched) -> None:
    waits, ended = threading.Event(), threading.Event()

    def waiting() -> Generator[int, None, None]:
        yield 1
        waits.set()
        ended.wait(20)
        raise Interrupted("The wait was interrupted.")

    told = len(notification_manager.records)
    watched.runner.run(Job("job", waiting(), 0, print, interrupt=ended.set))
    watched.qtbot.waitUntil(waits.is_set)
    watched.runner.cancel()
    watched.wait()
    assert watched.ends == [("job", "cancelled")]
    assert len(notification_manager.records) == told


def test_a_result_on_its_way_is_dropped_by_cancel(watched: Watched) -> None:
    accepted: list[Any] = []
    gate, returned = threading.Event(), threading.Event()
    watched.runner.run(job(waiting_for(gate, "result"), accepted.append))
    worker = watched.runner._workers["network"]
    worker.returned.connect(
        lambda _: returned.set(), Qt.ConnectionType.DirectConnection
    )
    gate.set()
    assert returned.wait(20)  # the main thread has not heard of it yet
    watched.runner.cancel()
    watched.wait()
    assert accepted == []
    assert watched.ends == [("job", "cancelled")]


def test_one_network_job_at_a_time(watched: Watched) -> None:
    gate = threading.Event()
    watched.runner.run(job(waiting_for(gate), title="first"))
    with pytest.raises(UnetError, match="first is still running"):
        watched.runner.run(job(waiting_for(gate), title="second"))
    gate.set()
    watched.wait()
    assert watched.ends == [("first", "")]


def test_short_jobs_run_beside_the_network(watched: Watched) -> None:
    gate, open_gate = threading.Event(), threading.Event()
    open_gate.set()
    watched.runner.run(job(waiting_for(gate), title="long"))
    watched.runner.run(job(waiting_for(open_gate), lane="short", title="short"))
    watched.wait()
    assert watched.ends == [("short", "")]
    gate.set()
    watched.wait(2)
    assert watched.busy == [True, False]


def test_of_waiting_short_jobs_of_a_title_only_the_latest_runs(watched) -> None:
    gate = threading.Event()
    done: list[Any] = []
    for number in range(4):
        watched.runner.run(
            job(waiting_for(gate, number), done.append, "short", "slider")
        )
    gate.set()
    watched.wait(2)
    assert done == [0, 3]


def test_a_waiting_save_is_not_lost_to_a_slider(watched: Watched) -> None:
    gate = threading.Event()
    done: list[Any] = []
    for title in ("slider", "save", "slider"):
        watched.runner.run(job(waiting_for(gate, title), done.append, "short", title))
    gate.set()
    watched.wait(3)
    assert done == ["slider", "save", "slider"]


def test_commands_reach_the_steps(watched: Watched) -> None:
    def until_told() -> Generator[int, Any, Any]:
        command = None
        while command is None:
            command = yield 1
        return command

    taken: list[Any] = []
    watched.runner.run(job(until_told(), taken.append))
    watched.qtbot.waitUntil(lambda: watched.events != [])
    watched.runner.send("stop")
    watched.wait()
    assert taken == ["stop"]


def test_a_command_sent_at_once_is_not_an_error(watched: Watched) -> None:
    def until_told() -> Generator[int, Any, Any]:
        command = None
        while command is None:
            command = yield 1
        return command

    taken: list[Any] = []
    runner = watched.runner
    runner.busy_changed.connect(lambda busy: busy and runner.send("stop"))
    watched.runner.run(job(until_told(), taken.append))
    watched.wait()
    assert taken == ["stop"]
    assert watched.ends == [("job", "")]


def test_events_come_at_most_ten_times_a_second(watched: Watched) -> None:
    def many() -> Generator[StepDone, None, None]:
        for step in range(1, 20_001):
            yield StepDone(step, 20_000, 0.1)

    began = time.monotonic()
    watched.runner.run(job(many()))
    watched.wait()
    assert 1 <= len(watched.events) <= 1 + 10 * (time.monotonic() - began)
    assert watched.events[0] == StepDone(1, 20_000, 0.1)


def test_every_check_is_told(watched: Watched) -> None:
    def checks() -> Generator[Any, None, None]:
        for step in range(1, 6):
            yield TileDone(step, 5)
            yield EpochDone(step, 5, 0.5, True)

    watched.runner.run(job(checks()))
    watched.wait()
    assert sum(isinstance(event, EpochDone) for event in watched.events) == 5


def test_many_checks_do_not_silence_the_steps_between_them(watched: Watched) -> None:
    def often() -> Generator[Any, None, None]:
        until, step = time.monotonic() + 8 * SHORTEST_PAUSE, 0
        while time.monotonic() < until:
            step += 1
            yield StepDone(step, 10_000, 0.5)
            yield EpochDone(step, 10_000, 0.5, True)
            time.sleep(SHORTEST_PAUSE / 8)

    watched.runner.run(job(often()))
    watched.wait()
    told = [event for event in watched.events if isinstance(event, StepDone)]
    assert 3 <= len(told) <= 9


def test_cancel_all_ends_both_lanes_and_forgets_what_waits(watched: Watched) -> None:
    never = threading.Event()
    watched.runner.run(job(waiting_for(never), title="long"))
    watched.runner.run(job(waiting_for(never), lane="short", title="short"))
    watched.runner.run(job(waiting_for(never), lane="short", title="waiting"))
    watched.runner.cancel_all()
    watched.wait(2)
    assert sorted(watched.ends) == [("long", "cancelled"), ("short", "cancelled")]


def test_what_comes_after_the_window_was_closed_is_dropped(qtbot) -> None:
    runner = JobRunner()
    worker = JobWorker(Job("late", iter(()), 2, pytest.fail))
    worker.bar = bar = JobBar(worker.job)
    runner.deleteLater()
    qtbot.waitUntil(lambda: not isalive(runner))
    runner._on_yielded(worker, TileDone(1, 2))
    assert "0/2" in str(bar)
    bar.close()


def test_a_bar_starts_anew_where_something_else_is_counted(qtbot) -> None:
    runner, worker = JobRunner(), JobWorker(Job("large", iter(()), 3, lambda _: None))
    worker.bar = bar = JobBar(worker.job)
    for event in (TileDone(1, 3), TileDone(3, 3), BlockDone(1, 4)):
        runner._on_yielded(worker, event)
    assert "1/4" in str(bar)
    runner._on_yielded(worker, BlockDone(4, 4))
    assert "4/4" in str(bar)
    bar.close()


def test_parts_that_come_at_once_are_not_taken_inside_each_other(
    make_napari_viewer, qtbot
) -> None:
    make_napari_viewer()  # its bar works off events while it is drawn
    runner, depths = JobRunner(), []

    def take(part: PartDone) -> None:
        depths.append(len(inspect.stack(0)))

    parts = (PartDone(number, 500, None, (), ()) for number in range(1, 501))
    worker = JobWorker(Job("parts", parts, 500, lambda _: None, take=take))
    worker.bar = bar = JobBar(worker.job)
    worker.yielded.connect(lambda event: runner._on_yielded(worker, event))
    worker.begin()  # all of them wait before the first is taken
    assert worker.over.wait(20)
    qtbot.waitUntil(lambda: len(depths) == 500, timeout=20_000)
    assert max(depths) < min(depths) + 30
    assert "500/500" in str(bar)
    bar.close()


def test_a_short_job_has_a_bar_only_if_it_takes_a_while(
    watched: Watched, bars: list[str]
) -> None:
    over, gate = threading.Event(), threading.Event()
    over.set()
    watched.runner.run(job(waiting_for(over), lane="short", title="quick"))
    watched.wait()
    watched.runner.run(job(waiting_for(gate), lane="short", title="slow"))
    watched.qtbot.waitUntil(lambda: bars != [], timeout=20_000)
    gate.set()
    watched.wait(2)
    watched.qtbot.wait(2 * SOON_DONE)
    assert bars == ["slow"]


def test_the_journal_lane_is_quiet_and_never_waits_for_others(
    watched: Watched, bars: list[str]
) -> None:
    gate = threading.Event()
    watched.runner.run(job(waiting_for(gate), title="network"))
    watched.runner.run(job(waiting_for(gate), lane="short", title="short"))
    watched.busy.clear()
    watched.qtbot.waitUntil(lambda: len(bars) == 2, timeout=20_000)
    done = threading.Event()
    done.set()
    watched.runner.run(job(waiting_for(done), lane="journal", title="first"))
    watched.runner.run(job(failing(UnetError("full")), lane="journal", title="second"))
    before = len(notification_manager.records)
    watched.wait(2)
    told = len(notification_manager.records) - before
    assert watched.ends == [("first", ""), ("second", "full")]
    assert (bars, watched.busy, told) == (["network", "short"], [], 0)
    gate.set()
    watched.wait(4)


def test_what_is_made_ready_ahead_is_neither_shown_nor_waited_for(
    watched: Watched, bars: list[str]
) -> None:
    gate, never = threading.Event(), threading.Event()
    gate.set()
    before = len(notification_manager.records)
    watched.runner.run(job(failing(ImportError("gone")), lane="ahead", title="broken"))
    watched.wait()
    watched.runner.run(job(waiting_for(never), lane="ahead", title="ahead"))
    watched.runner.run(job(waiting_for(gate), lane="short", title="short"))
    watched.wait(2)
    watched.qtbot.wait(2 * SOON_DONE)
    assert [title for title, _ in watched.ends] == ["broken", "short"]
    assert "gone" in watched.ends[0][1]
    assert (bars, len(notification_manager.records) - before) == ([], 0)
    watched.runner.cancel_all()
    watched.wait(3)
    assert watched.ends[-1] == ("ahead", "cancelled")


def test_the_garbage_collector_rests_until_all_first_steps_are_over(
    watched: Watched,
) -> None:
    gates = [threading.Event(), threading.Event()]
    inside = [threading.Event(), threading.Event()]

    def importing(number: int) -> Generator[int, None, None]:
        inside[number].set()
        gates[number].wait(20)
        yield 1

    for number, lane in enumerate(("ahead", "network")):
        watched.runner.run(job(importing(number), lane=lane, title=lane))
        watched.qtbot.waitUntil(inside[number].is_set, timeout=20_000)
    assert not gc.isenabled()
    gates[1].set()
    watched.wait()
    assert not gc.isenabled()
    gates[0].set()
    watched.wait(2)
    assert gc.isenabled()


def test_a_job_that_was_just_started_is_finished_without_the_event_loop(
    watched: Watched,
) -> None:
    gate = threading.Event()
    gate.set()
    taken: list[Any] = []
    began = time.monotonic()
    watched.runner.run(job(waiting_for(gate, "written"), taken.append, "journal"))
    assert watched.runner.finish("journal", 20)
    assert taken == ["written"]
    assert time.monotonic() - began < 10
    watched.wait()
    assert taken == ["written"]


def test_closing_waits_for_what_is_being_written(watched: Watched) -> None:
    gate = threading.Event()
    taken: list[Any] = []
    watched.runner.run(job(waiting_for(gate, "written"), taken.append, "journal"))
    watched.runner.cancel_all()
    watched.runner._workers["journal"].quit()  # as napari does when it closes
    assert not watched.runner.finish("journal", 0.05)
    gate.set()
    assert watched.runner.finish("journal", 20)
    assert taken == ["written"]
    assert watched.runner.running("journal") is None
    watched.wait()
    assert taken == ["written"]


def growing(gate: threading.Event) -> Generator[PartDone, None, str]:
    """Yield parts until the gate opens."""
    while not gate.wait(0.01):
        yield PartDone(1, 2, None, (), ())
    return "all"


def test_parts_are_taken_on_the_main_thread_before_the_result(watched: Watched) -> None:
    gate, taken = threading.Event(), []
    one = Job("job", growing(gate), 0, taken.append, take=lambda _: taken.append(
        threading.current_thread() is threading.main_thread()
    ))  # fmt: skip
    watched.runner.run(one)
    watched.qtbot.waitUntil(lambda: len(taken) > 3, timeout=20_000)
    gate.set()
    watched.wait()
    assert set(taken[:-1]) == {True}
    assert taken[-1] == "all"


def test_a_part_that_cannot_be_taken_ends_the_job_with_its_sentence(
    watched: Watched,
) -> None:
    gate, taken = threading.Event(), []

    def take(part: PartDone) -> None:
        taken.append(part)
        raise UnetError("no room for it: make some.")

    watched.runner.run(Job("job", growing(gate), 0, taken.append, take=take))
    watched.wait()
    assert watched.ends == [("job", "no room for it: make some.")]
    assert len(taken) == 1
