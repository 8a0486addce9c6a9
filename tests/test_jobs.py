"""A job is stepped, accepted once, or left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_unet.errors import UnetError
from napari_unet.jobs import Job, run_now

if TYPE_CHECKING:
    from collections.abc import Generator


def counting(to: int, seen: list[str]) -> Generator[int, None, str]:
    try:
        yield from range(to)
        return "done"
    finally:
        seen.append("closed")


def test_run_now_reports_events_then_accepts_the_result() -> None:
    seen: list[object] = []
    job = Job("counting", counting(3, []), 3, seen.append)
    assert run_now(job, seen.append) == "done"
    assert seen == [0, 1, 2, "done"]


def test_a_failing_job_is_not_accepted_and_is_closed() -> None:
    def failing(seen: list[str]) -> Generator[int, None, str]:
        yield from counting(1, seen)
        raise UnetError("no space left")

    closed: list[str] = []
    accepted: list[str] = []
    with pytest.raises(UnetError, match="no space left"):
        run_now(Job("failing", failing(closed), 0, accepted.append))
    assert closed == ["closed"]
    assert accepted == []


def test_a_closed_job_cleans_up_without_a_result() -> None:
    closed: list[str] = []
    job = Job("counting", counting(3, closed), 3, lambda _: closed.append("accepted"))
    next(job.steps)
    job.steps.close()
    assert closed == ["closed"]


def test_jobs_run_in_the_network_lane_unless_told() -> None:
    assert Job("counting", counting(1, []), 1, print).lane == "network"
