"""Every test of programs leaves no process behind."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from napari_unet.formats.programs import child

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    started = []
    real = child.subprocess.Popen

    def watched(*args: object, **kwargs: object) -> object:
        started.append(real(*args, **kwargs))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(child.subprocess, "Popen", watched)
    yield
    gc.collect()
    assert [process.pid for process in started if process.poll() is None] == []
