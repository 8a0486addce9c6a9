"""Only one window writes into a project."""

from __future__ import annotations

import json
import os
import socket
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_unet.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_INFO = 2000  # bytes


class ProjectLock:
    """The lock of a project folder; it goes with the process, however that ends.

    Parameters
    ----------
    folder : of the project
    """

    def __init__(self, folder: Path) -> None:
        self._info = folder / "lock-info"
        # taken by a worker, given back on the main thread
        self._lock = FileLock(folder / "lock", thread_local=False)

    def acquire(self) -> bool:
        """Take the lock; tell whether it was free.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of file systems without locks
                self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except NotImplementedError as error:
            raise OSError(str(error)) from error
        about = {"process": os.getpid(), "host": socket.gethostname()}
        with suppress(OSError, OutputError):  # only for the message
            self._info.write_text(json.dumps({**about, "since": time.time()}))
        return True

    def release(self) -> None:
        """Give the lock back."""
        with suppress(OSError):
            self._lock.release()

    def holder(self) -> str:
        """Say who has it, as far as is known."""
        try:
            if self._info.stat().st_size > LONGEST_INFO:
                return ""
            about = json.loads(self._info.read_text())
            since = time.strftime("%H:%M", time.localtime(float(about["since"])))
            process, host = int(about["process"]), str(about["host"])[:80]
        except (OSError, ValueError, LookupError, TypeError, OverflowError):
            return ""
        return f" (process {process} on {host}) since {since}"


def is_locked(folder: Path) -> bool:
    """Tell whether a window has a project open for writing."""
    if not (folder / "lock").is_file():
        return False
    lock = FileLock(folder / "lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False
