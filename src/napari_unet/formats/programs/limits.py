"""What the program's process may take, where the system lets that be limited."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")
SCORE = Path("/proc/self/oom_score_adj")


def contain() -> None:
    """Write no core dumps; be the first to go when the machine runs out of memory."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # not on every system
        SCORE.write_text("1000")


def limit_memory(extra: int) -> bool:
    """Allow this process ``extra`` bytes beyond what it holds; False if impossible.

    Only Linux counts address space against RLIMIT_AS reliably.
    """
    if sys.platform != "linux" or not STATUS.is_file():
        return False
    import resource

    found = re.search(r"VmSize:\s+(\d+) kB", STATUS.read_text())
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if not found or hard != resource.RLIM_INFINITY:
        return hard != resource.RLIM_INFINITY
    threads = 16 * 2**20 * (os.cpu_count() or 1)  # their stacks count as well
    wanted = int(found[1]) * 1024 + extra + threads
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    return True
