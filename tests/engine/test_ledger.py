"""Whatever is done, in whatever order: nothing protected changes, and undo is exact."""

from __future__ import annotations

import pytest
from ledger_lots import Setting
from ledger_work import Work

from napari_unet.engine import history

SETTINGS = {
    "plane": Setting((48, 64)),
    "plane of several blocks": Setting((300, 520)),
    "stack": Setting((3, 40, 48)),
    "stack of several blocks": Setting((3, 270, 290)),
    "volume": Setting((7, 32, 40), dims=3),
    "volume of several blocks": Setting((3, 270, 290), dims=3),
    "time series of volumes": Setting((2, 5, 30, 36), dims=3),
    "time series of stacks": Setting((2, 3, 30, 36)),
    "classes": Setting((48, 64), instances=False),
    "classes in a stack of several blocks": Setting((3, 270, 290), instances=False),
    "classes in a volume": Setting((5, 32, 40), dims=3, instances=False),
    "stored stack of several blocks": Setting((3, 270, 290), stored=True),
    "stored volume": Setting((7, 32, 40), dims=3, stored=True),
    "stored classes": Setting((2, 270, 40), instances=False, stored=True),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_random_work_loses_nothing_and_undo_is_exact(
    name: str, *, full_counts: bool
) -> None:
    for seed in range(25 if full_counts else 1):
        work = Work(SETTINGS[name], seed)
        work.run(40 if full_counts else 25)
        work.replay(packed=seed % 2 == 0)


def test_long_random_work_loses_nothing_and_undo_is_exact(*, full_counts: bool) -> None:
    work = Work(SETTINGS["plane"], seed=10)
    work.run(10_000 if full_counts else 150)
    work.replay(packed=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stack", "volume", "classes", "stored classes"])
def test_thousands_of_random_actions_lose_nothing(name: str) -> None:
    work = Work(SETTINGS[name], seed=11)
    work.run(2000)
    work.replay(packed=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_history_short_of_memory_still_returns_to_exact_states(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LIMIT", 8000)  # bytes: a few steps
    work = Work(SETTINGS["plane"], seed)
    work.run(60, without=("undo", "redo"))
    depth = work.undo_all(work.ledger)
    assert 0 < depth < len(work.model.past) - 1
    for _ in range(depth):
        work.ledger.redo()
    work.replay(packed=True)
