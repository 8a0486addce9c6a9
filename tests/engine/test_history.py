"""A line of steps that goes both ways, within a limit of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet.engine import history
from napari_unet.engine.history import History, Step

if TYPE_CHECKING:
    import pytest


def step(title: str, pixels: int = 1) -> Step:
    return Step(
        title, (slice(0, pixels),), np.arange(pixels),
        np.zeros(pixels, np.int32), np.zeros(pixels, np.uint8),
    )  # fmt: skip


def titles(steps: History) -> tuple[str | None, str | None]:
    return steps.last, steps.next


def test_an_empty_history_goes_nowhere() -> None:
    steps = History()
    assert steps.back() is None
    assert steps.forth() is None
    assert titles(steps) == (None, None)


def test_back_and_forth_return_the_same_step() -> None:
    steps = History()
    steps.add(step("stroke"))
    steps.add(step("prediction"))
    assert titles(steps) == ("prediction", None)
    gone = steps.back()
    assert titles(steps) == ("stroke", "prediction")
    assert steps.forth() is gone
    assert titles(steps) == ("prediction", None)


def test_a_new_step_forgets_what_was_undone() -> None:
    steps = History()
    steps.add(step("one"))
    steps.add(step("two"))
    steps.back()
    steps.add(step("three"))
    assert titles(steps) == ("three", None)
    steps.back()
    assert titles(steps) == ("one", "three")


def test_the_oldest_steps_go_when_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "LIMIT", 2 * step("", 100).size)
    steps = History()
    for title in ("one", "two", "three"):
        steps.add(step(title, 100))
    steps.back()
    assert steps.last == "two"
    steps.back()
    assert steps.last is None


def test_the_last_step_stays_even_if_it_is_too_big(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "LIMIT", 10)
    steps = History()
    steps.add(step("small"))
    steps.add(step("big", 1000))
    assert steps.last == "big"
    steps.back()
    assert steps.last is None
