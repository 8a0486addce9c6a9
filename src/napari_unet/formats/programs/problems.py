"""How errors of a foreign program are told; inside its process."""

from __future__ import annotations

OUT_OF_MEMORY = (
    "can't allocate memory", "cannot allocate memory", "not enough memory",
    "out of memory", "failed to allocate", "alloc_failed", "bad_alloc",
    "bad allocation",
)  # fmt: skip
LONGEST = 200  # letters


class Refusal(Exception):
    """Why a program cannot be used; the words follow the file's name."""


def is_memory(error: BaseException) -> bool:
    """Tell whether a library could not get the memory that it asked for."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(w in said for w in OUT_OF_MEMORY)


def told(error: BaseException) -> str:
    """Return an error's kind and its most telling line: TorchScript's is the last."""
    said = str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()] or [
        "no details"
    ]
    line = lines[-1] if "most recent call last" in said else lines[0]
    line = line.removeprefix(f"{type(error).__name__}: ")
    return f"{type(error).__name__}: {line}"[:LONGEST]
