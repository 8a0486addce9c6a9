"""The program's process: opens one file, then answers requests until it is killed.

Started as ``python -m napari_unet.formats.programs.worker``; requests come through
standard input, answers go to standard output, see ``wire``. What the program prints
goes nowhere. When the other side is gone, even while the program computes, it ends.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

from napari_unet.formats.programs import limits, wire
from napari_unet.formats.programs.probe import probe
from napari_unet.formats.programs.problems import Refusal, is_memory, told
from napari_unet.formats.programs.runners import runner_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_unet.formats.programs.runners import Runner

    Request = tuple[dict[str, Any], NDArray[np.float32] | None]


def main() -> None:
    """Answer requests; the first one opens a file."""
    source, to = _private_pipes()
    limits.contain()
    requests: queue.Queue[Request] = queue.Queue()
    threading.Thread(target=_read, args=(source, requests), daemon=True).start()
    worker = _Worker()
    while True:
        header, array = requests.get()
        answer, result = _answered(worker, header, array)
        wire.send(to, answer, result)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take the pipes for ourselves, so that nothing that is printed gets into them."""
    source, to = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    return os.fdopen(source, "rb"), os.fdopen(to, "wb")


def _read(source: BinaryIO, requests: queue.Queue[Request]) -> None:
    """Take requests; end the process, whatever it does, when no more can come."""
    try:
        while True:
            header = wire.receive_header(source)
            shape = header.get("shape")
            array = None if shape is None else wire.receive_array(source, tuple(shape))
            requests.put((header, array))
    finally:
        os._exit(0)


def _answered(
    worker: _Worker, header: dict[str, Any], array: NDArray[np.float32] | None
) -> Request:
    """Return the answer to a request; an error of the program is an answer too."""
    try:
        return worker.answer(header, array)
    except Refusal as refusal:
        return {"problem": "refused", "words": str(refusal)}, None
    except ImportError as error:
        return {"problem": "absent", "words": str(error.name)}, None
    except Exception as error:  # noqa: BLE001 - whatever a foreign program raises
        kind = "memory" if is_memory(error) else "failed"
        return {"problem": kind, "words": told(error)}, None


class _Worker:
    """One opened file."""

    def __init__(self) -> None:
        self.runner: Runner | None = None
        self.output = 0
        self.limited = True

    def answer(
        self, header: dict[str, Any], array: NDArray[np.float32] | None
    ) -> Request:
        """Do what a request asks: probe, open or run."""
        self._limit(header)
        if header["do"] == "run" and self.runner is not None and array is not None:
            return {}, self.runner.run(array)[self.output]
        self.runner = runner_for(header["family"], header["path"], header["device"])
        if header["do"] == "open":
            self.output = int(header["output"])
            return {}, None
        facts = probe(self.runner, header["seconds"])
        self.output = facts.output
        facts = facts.model_copy(update={"limited": self.limited})
        return {"facts": facts.model_dump(mode="json")}, None

    def _limit(self, header: dict[str, Any]) -> None:
        """Set the limit of memory; not where a GPU's driver reserves addresses."""
        if header.get("family") in ("TorchScript", "torch.export"):
            import torch  # noqa: F401 - its libraries shall not count as the program's
        if header["device"] in ("cpu", "mps") and self.limited:
            self.limited = limits.limit_memory(int(header["memory"]))


if __name__ == "__main__":
    main()
