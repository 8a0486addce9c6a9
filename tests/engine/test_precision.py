"""The number format is found by trying once, and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_unet.engine import precision
from napari_unet.engine.blocks import everything
from napari_unet.engine.normalize import statistics
from napari_unet.engine.precision import best_dtype, remember_in
from napari_unet.engine.predict import predict
from napari_unet.settings import MOST, Table, place_of
from tiny import noise, tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_unet.engine.model import Model

IMAGE = noise((1, 160, 200))


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    """A table in the settings of this test."""
    monkeypatch.setenv("NAPARI_UNET_SETTINGS", str(tmp_path))
    before = precision._Known.memory
    table = Table("precision.json")
    remember_in(table)
    yield table
    remember_in(before)


def best(model: Model, asked: Any = "auto", plane: np.ndarray = IMAGE) -> torch.dtype:
    stats = statistics(plane, model.spec.normalization)
    return best_dtype(model, asked, plane, stats, everything(plane.shape[1:]))


def trials(patch: pytest.MonkeyPatch, **formats: tuple[float, float]) -> list[str]:
    """Let formats take so many seconds and add so much to the scores."""
    tried: list[str] = []

    def timed(model: Any, sample: Any, name: str, limit: float) -> Any:
        tried.append(name)
        seconds, off = formats[name]
        return np.full((2, 4, 4), 0.5, np.float32) + np.float32(off), seconds

    patch.setattr(precision, "_timed", timed)
    return tried


def test_what_is_fastest_here_is_found_and_remembered(memory: Table) -> None:
    model = tiny_model(widths=(8, 16))
    found = best(model)
    assert found in {torch.float32, torch.bfloat16}
    key = precision._key(model)
    assert memory.get(key) == str(found).removeprefix("torch.")
    assert "network" in place_of("precision.json").read_text()


def test_it_is_tried_once_for_each_network(
    memory: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = trials(monkeypatch, float32=(1.0, 0.0), bfloat16=(0.5, 0.0))
    assert best(tiny_model()) is torch.bfloat16
    assert best(tiny_model(seed=1)) is torch.bfloat16  # fine-tuned: the same network
    assert tried == ["float32", "bfloat16"]
    best(tiny_model(widths=(4, 8, 8)))
    assert len(tried) == 4


@pytest.mark.parametrize("half", [(0.9, 0.0), (0.1, 0.2), (0.1, np.nan), (3.0, 0.0)])
def test_little_gain_or_other_scores_are_not_taken(
    memory: Table, monkeypatch: pytest.MonkeyPatch, half: tuple[float, float]
) -> None:
    trials(monkeypatch, float32=(1.0, 0.0), bfloat16=half)
    assert best(tiny_model()) is torch.float32


def test_nothing_is_tried_that_was_asked_for_or_is_too_small(
    memory: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = trials(monkeypatch)
    assert best(tiny_model(), "float32") is torch.float32
    assert best(tiny_model(), "bfloat16") is torch.bfloat16
    best(tiny_model(), plane=noise((1, 40, 40)))
    assert tried == []


def test_a_sample_without_scores_teaches_nothing(
    memory: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials(monkeypatch, float32=(1.0, np.nan), bfloat16=(0.1, np.nan))
    assert best(tiny_model()) in {torch.float32, torch.bfloat16}
    assert memory.get(precision._key(tiny_model())) is None


def test_no_memory_to_try_it_in_ends_in_what_the_processor_says(
    memory: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(precision, "_timed", timed)
    assert best(tiny_model()) in {torch.float32, torch.bfloat16}
    assert memory.get(precision._key(tiny_model())) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 3}', "null"])
def test_a_damaged_memory_is_none(memory: Table, text: str) -> None:
    place_of("precision.json").parent.mkdir(parents=True, exist_ok=True)
    place_of("precision.json").write_text(text)
    assert memory.get("a") is None
    memory.put("b", "float32")
    assert memory.get("b") == "float32"


def test_what_is_remembered_and_is_no_format_is_found_anew(memory: Table) -> None:
    memory.put(precision._key(tiny_model()), "import os")
    assert best(tiny_model()) in {torch.float32, torch.bfloat16}


def test_a_table_forgets_the_oldest(memory: Table) -> None:
    table = Table("many.json")
    for number in range(MOST + 3):
        table.put(str(number), "x")
    assert table.get("2") is None
    assert table.get(str(MOST + 2)) == "x"


def test_a_volume_and_a_stack_are_tried_in_their_middle(memory: Table) -> None:
    for model, shape in (
        (tiny_model(dims=3), (40, 70, 80)),
        (tiny_model(), (3, 160, 170)),
    ):
        assert predict(model, noise(shape)).labels.shape == shape
        assert memory.get(precision._key(model)) is not None
