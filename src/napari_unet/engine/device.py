"""Choosing a device and the number format that it computes fastest in."""

from __future__ import annotations

import re
import sys
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_unet.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_unet.engine.config import Precision

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
TRIALS = 5  # of a convolution in each format; the first also prepares
OUT_OF_MEMORY = (
    "can't allocate memory",  # torch on a Linux or macOS processor
    "not enough memory",  # torch on a Windows processor
    "out of memory",  # MPS
    "ALLOC_FAILED",  # cuDNN, cuBLAS
    "could not create a primitive",  # oneDNN, which has no room for its code
)


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of this name; "auto" takes CUDA, then MPS, then the CPU.

    Parameters
    ----------
    name : "auto", "cpu", "cuda", "cuda:1" and so on, or "mps"

    Raises
    ------
    DeviceError
        If the device is not there.
    """
    kind = name.split(":")[0]
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    usable = ", ".join(k for k in present if present[k])
    if name == "auto":
        kind = name = next(k for k in ("cuda", "mps", "cpu") if present[k])
    index = name[len(kind) + 1 :]
    counted = kind == "cuda" and index.isdecimal()
    wrong_index = index and not (counted and int(index) < torch.cuda.device_count())
    if not present.get(kind, False) or wrong_index:
        raise DeviceError(
            f'The device "{name}" is not there; this machine has: {usable}. '
            'Choose one of those, or "auto".'
        )
    return torch.device(name)


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the number format; "auto" takes bfloat16 where it computes faster.

    Of processors that have instructions for bfloat16 some are slower with them: one
    convolution is tried, once for each number of threads.
    """
    if precision != "auto":
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
        }[precision]
    if not _has_bfloat16(device):
        return torch.float32
    if device.type == "cpu" and not _bfloat16_gains(torch.get_num_threads()):
        return torch.float32
    return torch.bfloat16


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch
        has = torch.cpu.get_capabilities()
        if (
            has.get("architecture") == "x86_64"
        ):  # others emulate it, slower than float32
            return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - the only way to ask
    return False


@lru_cache
def _bfloat16_gains(threads: int) -> bool:
    """Tell whether the processor is faster in bfloat16; takes 50 ms."""
    del threads  # what was found for another number of them tells nothing
    seconds = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    with torch.inference_mode():
        for _ in range(TRIALS):
            for dtype, shortest in seconds.items():
                x = torch.zeros(1, 32, 128, 128, dtype=dtype)
                x = x.to(memory_format=torch.channels_last)
                weight = torch.zeros(32, 32, 3, 3, dtype=dtype)
                began = time.perf_counter()
                functional.conv2d(x, weight, padding=1)
                seconds[dtype] = min(shortest, time.perf_counter() - began)
    return seconds[torch.bfloat16] < seconds[torch.float32]


@contextmanager
def told_of_no_memory() -> Iterator[None]:
    """Say what to do where an image takes more memory than there is.

    Raises
    ------
    DeviceError
        In the place of MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        raise DeviceError(
            "There is not enough memory for an image of this size: close other "
            "programs, or predict a smaller part of it."
        ) from error


def free_memory(device: torch.device) -> int:
    """Return the bytes that can be taken now without harm; a guess where unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = 2**32
    if MEMINFO.is_file():  # Linux: counts what the file cache would give back
        found = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text())
        free = int(found[1]) * 1024 if found else free
    return max(min(free, _allowed()), 0)


def _allowed() -> int:
    """Return the bytes that limits of this process (``ulimit -v``) leave."""
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or not STATM.is_file():
        return sys.maxsize
    return limit - int(STATM.read_text().split()[0]) * resource.getpagesize()


def empty_cache(device: torch.device) -> None:
    """Give memory back that torch keeps for later; after running out of it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether torch or numpy could not get the memory that it asked for."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in OUT_OF_MEMORY)
    )
