"""Jobs of the session that wait for a program can be cancelled."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from program_files import endless_onnx

from napari_unet.errors import Interrupted
from napari_unet.jobs import run_now
from napari_unet.session import Session

if TYPE_CHECKING:
    from pathlib import Path


def test_loading_and_predicting_are_cancelled(tmp_path: Path) -> None:
    path = endless_onnx(tmp_path / "endless.onnx")
    session = Session()
    job = session.load_job(path, device="cpu")
    job.interrupt()
    with pytest.raises(Interrupted):
        run_now(job)
    assert session.model is None

    run_now(session.load_job(path, device="cpu"))
    changes = {"normalization": {"kind": "none"}, "activation": "none"}
    assert session.revise_model(changes) is None
    opened = session.add_image("bright", np.full((16, 16), 1e6), "YX")
    job = session.predict_job(opened)
    called: list[float] = []

    def cancel() -> None:
        called.append(time.monotonic())
        job.interrupt()

    threading.Timer(1, cancel).start()
    with pytest.raises(Interrupted):
        run_now(job)
    assert time.monotonic() - called[0] < 1
    assert not opened.corrections.labels.any()
    assert session.model.network(torch.zeros(1, 1, 8, 8)).max() == 0
