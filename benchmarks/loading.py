"""Opening a checkpoint of 120 MB: our checks against a bare ``torch.load``.

Ours verifies checksums and finite numbers, recognises the network, and builds it; the
bare one is ``load_state_dict(torch.load(path, weights_only=True))`` without mmap. Both
are timed in turns in one process, and the ratio of the medians is reported.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from _common import arguments, machine, report
from napari_unet.formats import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = 63  # width of the first level: 120 MB of milesial's layout


class Double(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.double_conv = torch.nn.Sequential(
            torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            torch.nn.BatchNorm2d(outputs), torch.nn.ReLU(),
            torch.nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            torch.nn.BatchNorm2d(outputs), torch.nn.ReLU(),
        )  # fmt: skip


def widely_used_layout(base: int) -> torch.nn.Module:
    """Return modules with the keys of milesial's layout, of a chosen width."""
    root = torch.nn.Module()
    root.inc = Double(1, base)
    widths = [base * 2**level for level in range(5)]
    for number, width in enumerate(widths[1:], start=1):
        down = torch.nn.Module()
        down.maxpool_conv = torch.nn.Sequential(
            torch.nn.MaxPool2d(2), Double(width // 2, width)
        )
        root.add_module(f"down{number}", down)
    for number, width in enumerate(reversed(widths[1:]), start=1):
        up = torch.nn.Module()
        up.up = torch.nn.ConvTranspose2d(width, width // 2, 2, stride=2)
        up.conv = Double(width, width // 2)
        root.add_module(f"up{number}", up)
    root.outc = torch.nn.Module()
    root.outc.conv = torch.nn.Conv2d(base, 1, 1)
    return root


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    began = machine()
    network = widely_used_layout(BASE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.pth"
        torch.save(network.state_dict(), path)

        def bare() -> None:
            network.load_state_dict(torch.load(path, weights_only=True))

        def ours() -> None:
            load_model(path, device="cpu")

        for action in (bare, ours):  # warm: imports, file cache
            action()
        pairs = [(seconds(bare), seconds(ours)) for _ in range(options.rounds)]
        megabytes = path.stat().st_size / 1e6
    plain, checked = (statistics.median(times) for times in zip(*pairs, strict=True))
    row = {
        "megabytes": round(megabytes, 1), "torch.load (s)": round(plain, 3),
        "ours (s)": round(checked, 3), "ratio": round(checked / plain, 2),
    }  # fmt: skip
    report("loading", [row], {}, options, began)


if __name__ == "__main__":
    main()
