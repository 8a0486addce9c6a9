"""A program's process, as seen from ours."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any, cast

from napari_unet.formats.programs import wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, Literal

    import numpy as np
    from numpy.typing import NDArray

    Problem = Literal[
        "memory", "refused", "absent", "failed", "ended", "late", "interrupted"
    ]

WORKER = "napari_unet.formats.programs.worker"
KILLED = -9  # how Linux ends what takes too much memory


class ChildError(Exception):
    """What went wrong with a request: the kind, and what was said of it."""

    def __init__(self, problem: Problem, words: str = "") -> None:
        super().__init__(problem, words)
        self.problem = problem
        self.words = words


class Child:
    """A process that runs a program's code, and ends no later than this object."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MALLOC_ARENA_MAX": "2"},  # each reserves addresses
            start_new_session=True,  # Ctrl+C is for the program, not for its children
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._finalizer = weakref.finalize(self, _end, self._process)
        self._asking = Lock()
        self._why: Problem = "ended"

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._finalizer.alive and self._process.poll() is None

    def kill(self, why: Problem = "interrupted") -> None:
        """End the process now, without waiting; who waits for it hears why."""
        if self.alive:
            self._why = why
            self._process.kill()

    def close(self) -> None:
        """End the process and wait until it is gone."""
        self._finalizer()

    def ask(
        self, header: dict[str, Any], array: NDArray[np.float32] | None = None,
        *, seconds: float | None = None, shape: tuple[int, ...] | None = None,
    ) -> tuple[dict[str, Any], NDArray[np.float32] | None]:  # fmt: skip
        """Send a request and wait for its answer.

        Parameters
        ----------
        header, array : the request
        seconds : after which the process is killed; None: never
        shape : of the array that must come back

        Raises
        ------
        ChildError
            If something else comes back, or nothing.
        """
        with self._asking, self._patience(seconds):
            try:
                return self._exchange(header, array, shape)
            except (OSError, EOFError, ValueError) as error:
                raise self._ending(error) from error

    @contextmanager
    def _patience(self, seconds: float | None) -> Iterator[None]:
        """Kill the process when the block takes longer."""
        if seconds is None:
            yield
            return
        late = Timer(seconds, self.kill, ("late",))
        late.daemon = True
        late.start()
        try:
            yield
        finally:
            late.cancel()
            late.join()  # it holds on to the process

    def _exchange(
        self, header: dict[str, Any], array: NDArray[np.float32] | None,
        shape: tuple[int, ...] | None,
    ) -> tuple[dict[str, Any], NDArray[np.float32] | None]:  # fmt: skip
        source = cast("BinaryIO", self._process.stdout)
        wire.send(cast("BinaryIO", self._process.stdin), header, array)
        answer = wire.receive_header(source)
        if "problem" in answer:
            raise ChildError(answer["problem"], _plain(answer.get("words")))
        if shape is None:
            return answer, None
        if tuple(answer.get("shape", ())) != shape:
            self.close()  # its numbers are still to come
            raise ChildError("refused", f"gives {_plain(answer.get('shape'))}")
        return answer, wire.receive_array(source, shape)

    def _ending(self, error: Exception) -> ChildError:
        """Return why the process did not answer."""
        if isinstance(error, ValueError) and self.alive:
            self.kill("ended")
        code = self._process.wait()
        if self._why == "ended" and code == KILLED:
            return ChildError("memory", "the system ended it")
        self.close()
        return ChildError(self._why, f"exit code {code}")


def _plain(words: object) -> str:
    """Return a text of the other side without what could disturb a terminal."""
    return "".join(c for c in str(words)[:1000] if c.isprintable())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was not sent yet cannot be sent any more
                continue
