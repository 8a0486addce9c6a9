"""A program that ends while a job runs ends well."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import time
import napari
from qtpy.QtWidgets import QApplication
from napari_unet.jobs import Job
from napari_unet.qt.bench import bench_for

def steps():
    while True:
        time.sleep(0.1)
        yield 1

viewer = napari.Viewer(show=False)
runner = bench_for(viewer).runner
runner.run(Job("endless", steps(), 0, print, "short"))
until = time.monotonic() + 1
while time.monotonic() < until:
    QApplication.processEvents()
print("running", runner.running("short") is not None)
"""


def test_python_can_exit_while_a_job_runs() -> None:
    done = subprocess.run(  # noqa: S603  our own code, no shell
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False,
        timeout=100,
    )  # fmt: skip
    assert done.stdout.strip() == "running True"
    assert done.returncode == 0, done.stderr
    assert "deleted" not in done.stderr
