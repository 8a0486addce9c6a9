"""How long a user waits for the workbench, and for the first prediction.

Each figure is the median of several fresh processes: opening the dock in a napari that
already runs (torch must not be imported by that), and, with the checkpoint loaded, from
pressing Predict to the labels of a 512 x 512 image.

    python benchmarks/startup.py --repeats 3
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from _common import add_model, arguments, machine, report, say, stop
from _window import Window, ensure_display

if TYPE_CHECKING:
    import argparse

AIMS = {"open the workbench": 1.0, "first prediction": 8.0}  # seconds
SIZE = 512  # pixels


def main() -> None:
    options = _options()
    ensure_display()
    if options.child:
        print(json.dumps(measure(options.model)))
        return
    began = machine()
    runs = []
    for _ in range(options.repeats):
        runs.append(in_fresh_process(options.model))
        say(str(runs[-1]))
    rows = [row(name, [run[name] for run in runs]) for name in runs[0]]
    reached = all(r["median_s"] < r["aim_s"] for r in rows if r["aim_s"] != "")
    report("startup", rows, {"image": [SIZE, SIZE], "reached": reached}, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes")
    parser.add_argument("--child", action="store_true", help="measure in this process")
    return parser.parse_args()


def in_fresh_process(model: str) -> dict[str, float]:
    """Return the seconds that a new process measured."""
    command = [sys.executable, __file__, "--child", "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - itself
    if done.returncode:
        stop(done.stderr.strip() or "The measuring process failed.")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(name: str, seconds: list[float]) -> dict[str, Any]:
    return {
        "what": name, "median_s": statistics.median(seconds), "min_s": min(seconds),
        "max_s": max(seconds), "aim_s": AIMS.get(name, ""),
    }  # fmt: skip


def measure(model: str) -> dict[str, float]:
    """Return what one process takes for each step, in seconds."""
    from napari_unet.sample_data import synthesize

    found: dict[str, float] = {}
    clock = time.perf_counter()
    window = Window()
    image = synthesize((SIZE, SIZE), np.random.default_rng(7)).image
    window.viewer.add_image(image, name="nuclei")
    window.rest(1)
    found["open napari"] = time.perf_counter() - clock - 1

    clock = time.perf_counter()
    window.open_workbench()
    window.viewer.window._qt_viewer.repaint()  # noqa: SLF001 - draws now
    window.rest(0)
    found["open the workbench"] = time.perf_counter() - clock
    if "torch" in sys.modules:
        stop("Opening the workbench imported torch.")

    clock = time.perf_counter()
    window.load(model)
    found["load the checkpoint"] = time.perf_counter() - clock
    clock = time.perf_counter()
    window.press("unet.predict.run")
    window.wait(lambda: any(x.name.endswith("U-Net") for x in window.viewer.layers))
    found["first prediction"] = time.perf_counter() - clock
    window.wait(window.find("unet.predict.run").isEnabled)
    clock = time.perf_counter()
    window.press_and_wait("unet.predict.run", "unet.predict.run")
    found["second prediction"] = time.perf_counter() - clock
    window.close()
    return found


if __name__ == "__main__":
    main()
