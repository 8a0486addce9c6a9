"""A line of steps that goes both ways, within a limit of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet.engine import history
from napari_unet.engine.history import History, Step
from napari_unet.engine.patches import Patch, Side

if TYPE_CHECKING:
    import pytest


def step(title: str, pixels: int = 1, *, joins: bool = False) -> Step:
    window = (slice(0, 1), slice(0, pixels))
    side = Side(np.arange(pixels, dtype=np.int32), None)
    return Step(title, (Patch(window, None, side, side),), joins)


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
    monkeypatch.setattr(history, "LIMIT", 2 * step("", 100).nbytes)
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


def test_a_history_is_told_and_recalled() -> None:
    steps, again = History(), History()
    for title in ("one", "two", "three"):
        steps.add(step(title))
    steps.back()
    again.recall(steps.told())
    assert titles(again) == ("two", "three")
    assert again.told() == steps.told()


def test_steps_that_join_are_gone_through_together() -> None:
    steps = History()
    assert steps.to_undo() == steps.to_redo() == []
    parts = [step("one"), step("two"), step("more", joins=True)]
    for each in parts:
        steps.add(each)
    assert steps.to_undo() == [parts[2], parts[1]]
    for _ in parts:
        steps.back()
    assert steps.to_redo() == [parts[0]]
    steps.forth()
    assert steps.to_redo() == parts[1:]


def test_steps_that_join_are_forgotten_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = History()
    for title, joins in (("one", False), ("more", True), ("two", False)):
        steps.add(step(title, 100, joins=joins))
    monkeypatch.setattr(history, "LIMIT", 3 * step("", 100).nbytes)
    steps.add(step("three", 100))
    assert [each.step.title for each in steps.told() if each.step] == ["two", "three"]


def test_steps_that_join_become_one_before_others_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "LIMIT", 4 * step("", 100).nbytes)
    steps = History()
    steps.add(step("one", 100))
    for joins in (False, True, True, True, True):
        steps.add(step("slider", 100, joins=joins))
    assert [len(steps.to_undo()), steps.last] == [2, "slider"]
    while steps.last == "slider":
        steps.back()
    assert steps.last == "one"


def test_what_is_recalled_counts_for_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LIMIT", 2 * step("", 100).nbytes)
    steps, again = History(), History()
    for title in ("one", "two"):
        steps.add(step(title, 100))
    again.recall(steps.told())
    again.add(step("three", 100))
    again.back()
    again.back()
    assert again.last is None
