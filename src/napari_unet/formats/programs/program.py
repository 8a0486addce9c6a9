"""Program: a network that is computed by a process of its own."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.device import free_memory
from napari_unet.engine.networks import AnyNetwork
from napari_unet.errors import CheckpointError, Interrupted, ProgramError
from napari_unet.formats.programs.child import Child, ChildError
from napari_unet.formats.programs.pieces import pieces

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_unet.engine.spec import ProgramSpec

SPARED = 0.2  # of the free memory, left for others


class ProgramMemoryError(ProgramError, MemoryError):
    """A program that ran out of memory; a smaller tile may do."""


class Program(AnyNetwork):
    """A program's file, and the process that computes with it.

    The process starts when it is needed and ends with this object, or with
    ``interrupt``; the next call starts another. Copies have processes of their own.

    Parameters
    ----------
    path : the file; it must not change
    spec : what probing found out
    output : the number of the output that is taken
    device : where the process computes: "cpu", "cuda:0", "mps"
    child : a process that has opened the file already
    owner : kept as long as the program, such as the temporary folder of the file
    """

    def __init__(
        self, path: Path, spec: ProgramSpec, output: int, device: str = "cpu",
        child: Child | None = None, owner: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.path = path
        self.spec = spec
        self.output = output
        self.owner = owner
        self._device = torch.device(device)
        self._child = child
        self._starting, self._calling = Lock(), Lock()
        self._stamp = version_of(path)
        self.eval()

    @property
    def stride(self) -> int:
        """Pixels at full resolution that make one pixel of the coarsest level."""
        return self.spec.stride

    @property
    def halo(self) -> int:
        """Pixels around a stride-aligned core that its output depends on."""
        return self.spec.halo

    @property
    def local(self) -> bool:
        """Whether an output pixel depends on a bounded neighbourhood only."""
        return self.spec.local

    @property
    def device(self) -> torch.device:
        """Where the process computes."""
        return self._device

    def to(self, *args: Any, **kwargs: Any) -> Program:
        """Compute on another device from now on; stays where ONNX has no GPU."""
        device = kwargs.get("device", args[0] if args else None)
        wanted = torch.device(device) if isinstance(device, str) else device
        if not isinstance(wanted, torch.device) or not self._can(wanted):
            return self
        if wanted != self._device:
            self.close()
            self._device = wanted
        return self

    def _can(self, device: torch.device) -> bool:
        if self.spec.family != "ONNX" or device.type == "cpu":
            return True
        import onnxruntime

        present = onnxruntime.get_available_providers()
        return device.type == "cuda" and "CUDAExecutionProvider" in present

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        """Return a program of the same file, with a process of its own."""
        return Program(
            self.path, self.spec, self.output, str(self._device), owner=self.owner
        )

    def interrupt(self) -> None:
        """Kill the process; a call that waits for it raises Interrupted at once."""
        with self._starting:
            child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the process and wait until it is gone; a later call starts another."""
        with self._starting:
            child, self._child = self._child, None
        if child is not None:
            child.close()

    def forward(self, x: Tensor) -> Tensor:
        """Return what the program gives (N, K, [Z,] Y, X) for (N, C, [Z,] Y, X).

        Raises
        ------
        ProgramError
            If the program fails, ends, or gives something else.
        Interrupted
            If another thread called ``interrupt``.
        """
        images = x.detach().float().cpu().numpy()
        outputs = [self._whole(image) for image in images]
        return torch.from_numpy(np.stack(outputs)).to(x.device)

    def _whole(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output (K, [Z,] Y, X) of an image (C, [Z,] Y, X) of any size."""
        spec, size = self.spec, image.shape[1:]
        if spec.fit == "fixed":
            return self._composed(image)
        if spec.fit == "pad":
            image = _extended(image, [-n % spec.stride for n in size])
        return _cropped(self._run(image), size)

    def _composed(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put the output together from pieces of the only size that is taken."""
        spec, size = self.spec, image.shape[1:]
        covered, parts = pieces(size, spec.size, spec.halo, spec.stride)
        image = _extended(image, [c - n for c, n in zip(covered, size, strict=True)])
        result = np.empty((spec.out_channels, *covered), np.float32)
        for part in parts:
            scores = self._run(image[(slice(None), *part.read)])
            result[(slice(None), *part.place)] = scores[(slice(None), *part.keep)]
        return _cropped(result, size)

    def _run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Let the process compute one image; None of what it says is believed."""
        shape = (1, self.spec.out_channels, *image.shape[1:])
        try:
            with self._calling:
                child = self._opened()
                _, result = child.ask(self._request("run"), image[None], shape=shape)
        except ChildError as error:
            raise _as_sentence(self.path.name, image.shape[1:], error) from error
        if result is None:
            raise ValueError("an answer without numbers")
        return np.asarray(result[0])

    def _opened(self) -> Child:
        """Return a process that has opened the file."""
        with self._starting:
            if self._child is not None and self._child.alive:
                return self._child
            if version_of(self.path) != self._stamp:
                raise CheckpointError(
                    f"{self.path.name} has changed since it was opened, expected the "
                    "same program: load it again."
                )
            child = self._child = Child()
        child.ask({**self._request("open"), "output": self.output})
        return child

    def _request(self, do: str) -> dict[str, Any]:
        return request(do, self.path, self.spec.family, str(self._device))


def request(do: str, path: Path, family: str, device: str) -> dict[str, Any]:
    """Return what every request says: what to do, with which file, how much memory."""
    memory = int(free_memory(torch.device("cpu")) * (1 - SPARED))
    return {
        "do": do, "path": str(path.absolute()), "family": family, "device": device,
        "memory": memory,
    }  # fmt: skip


def version_of(path: Path) -> tuple[int, ...]:
    """Return numbers that differ when a file was replaced or written."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def _cropped(image: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    return np.asarray(image[(slice(None), *map(slice, size))])


def _extended(image: NDArray[np.float32], by: list[int]) -> NDArray[np.float32]:
    """Return an image (C, [Z,] Y, X) that goes on at its end with the edge value."""
    if not any(by):
        return image
    padding = [(0, 0), *((0, n) for n in by)]
    return np.asarray(np.pad(image, padding, mode="edge"), np.float32)


def _as_sentence(
    name: str, size: tuple[int, ...], error: ChildError
) -> ProgramError | Interrupted:
    shown = " x ".join(map(str, size))
    if error.problem == "interrupted":
        return Interrupted(f"{name} was interrupted.")
    if error.problem == "memory":
        return ProgramMemoryError(
            f"{name} ran out of memory for {shown} pixels, expected to compute them: "
            "choose a smaller tile, or close other programs."
        )
    what = {
        "refused": f"{error.words} for {shown} pixels",
        "failed": f"failed for {shown} pixels ({error.words})",
    }.get(error.problem, f"ended by itself ({error.words})")
    return ProgramError(
        f"{name} {what}, expected scores of the image's size: export it again, or "
        "choose another file."
    )
