"""What all benchmarks share: the data folder, the machine, tables and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_unet.engine.model import Model
    from napari_unet.io.pairs import Pair

ROOT = Path(__file__).resolve().parents[1]
FLUORESCENCE = ("fluorescence_small", "fluorescence_large")


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE",
        help="write the figures there instead of to standard output",
    )  # fmt: skip
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """Let the user name a checkpoint."""
    parser.add_argument(
        "--model", default="nuclei-2d", help="a checkpoint or the name of a bundled one"
    )


def data_folder() -> Path:
    """Return the folder of real images; end the program where there is none."""
    named = os.environ.get("NAPARI_UNET_DATA")
    folder = (Path(named) if named else ROOT.parent / "shared") / "data"
    if not folder.is_dir():
        stop(
            f"There are no real images: {folder} is no folder. Set NAPARI_UNET_DATA to "
            "the folder that holds data/dsb2018."
        )
    return folder


def dsb_pairs(split: str, modalities: Sequence[str]) -> list[Pair]:
    """Return image and mask pairs of the 2018 Data Science Bowl, as the CLI does."""
    from napari_unet.errors import UnetError
    from napari_unet.io.pairs import find_pairs

    where = {"split": (split,), "modality": tuple(modalities)}
    try:
        return find_pairs(data_folder() / "dsb2018", where)
    except UnetError as error:
        stop(str(error))


def open_model(name: str) -> Model:
    """Open a checkpoint; end the program when that fails."""
    from napari_unet import UnetError, load_model

    try:
        return load_model(name)
    except UnetError as error:
        stop(str(error))


def stop(sentence: str) -> NoReturn:
    """End the program with a sentence for the user."""
    sys.stderr.write(f"{sentence}\n")
    raise SystemExit(2)


def machine() -> dict[str, Any]:
    """Say on what, and how busy, a benchmark ran. Imports torch."""
    import torch

    from napari_unet.engine.device import choose_device, choose_dtype

    device = choose_device("auto")
    return {
        "load_average": [round(load, 2) for load in load_average()],
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "bfloat16": choose_dtype("auto", device) == torch.bfloat16,
        "processor_features": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def load_average() -> tuple[float, ...]:
    """Return the load of the last 1, 5 and 15 minutes; nothing where unknown."""
    return os.getloadavg() if hasattr(os, "getloadavg") else ()


def say(line: str) -> None:
    """Tell a person how it goes, on standard error."""
    print(line, file=sys.stderr, flush=True)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of equal keys as a plain table."""
    if not rows:
        return ""
    heads = list(rows[0])
    cells = [[_cell(row[head]) for head in heads] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    lines = []
    for line in (heads, ["-" * width for width in widths], *cells):
        padded = (text.rjust(w) for text, w in zip(line, widths, strict=True))
        lines.append("  ".join(padded))
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def report(
    name: str, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any],
    options: argparse.Namespace, began: Mapping[str, Any],
) -> None:  # fmt: skip
    """Show a table to people, and one JSON object to programs.

    ``began`` is ``machine()`` as it was before the work.
    """
    say(table(rows))
    say(
        f"load average {began['load_average']} at the start, {began['threads']} "
        f"threads, bfloat16 {'yes' if began['bfloat16'] else 'no'}, torch "
        f"{began['torch']}"
    )
    given = {k: str(v) for k, v in vars(options).items() if k != "json"}
    result = {
        "benchmark": name, "options": given, **facts, "rows": list(rows),
        "machine": began, "load_average_after": load_average(),
    }  # fmt: skip
    text = json.dumps(result, indent=1, default=_plain)
    if options.json is None:
        print(text)
    else:
        options.json.write_text(text + "\n")


def _plain(value: Any) -> Any:
    """Return a numpy value as Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
