"""The three kinds of program, inside their process: open, hint at the input, run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_unet.formats.programs.problems import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sized

    import torch
    from numpy.typing import NDArray

    from napari_unet.formats.programs.facts import Family

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Hint:
    """What a program may take: channels, and per spatial axis a fixed length or None.

    ``most`` is the largest length that it takes, where it says so.
    """

    dims: int
    channels: int
    lengths: tuple[int | None, ...]
    most: int | None = None


class Runner(Protocol):
    """An opened program."""

    def hints(self) -> list[Hint]:
        """Return what it may take, the likeliest first."""

    def run(self, x: NDArray[np.float32]) -> list[Array]:
        """Return all outputs (N, K, [Z,] Y, X) for an image (1, C, [Z,] Y, X)."""


def runner_for(family: Family, path: str, device: str) -> Runner:
    """Open a program; this runs code of the file, unless it is ONNX."""
    if family == "ONNX":
        from napari_unet.formats.programs.onnx_runner import OnnxRunner

        return OnnxRunner(Path(path), device)
    kind = TorchScriptRunner if family == "TorchScript" else ExportedRunner
    return kind(path, device)


class TorchScriptRunner:
    """A program of ``torch.jit``."""

    def __init__(self, path: str, device: str) -> None:
        import torch

        self.device = torch.device(device)
        self.module = torch.jit.load(path, map_location=self.device)  # type: ignore[no-untyped-call]  # torch
        self.module.eval()
        asked = self.module.forward.schema.arguments[1:]
        check_one([one for one in asked if not one.has_default_value()])
        self.weights = {key: value.detach() for key, value in _state(self.module)}
        check_finite(self.weights.items())
        self.dtype = _dtype(self.weights.values())
        if self.dtype in (torch.float16, torch.bfloat16):  # slow or absent on CPUs
            self.module, self.dtype = self.module.float(), torch.float32

    def hints(self) -> list[Hint]:
        """Return what the kernels of its convolutions may take, in their order."""
        shapes = [tuple(value.shape) for value in self.weights.values()]
        return _guesses([*shapes, *self._sealed_shapes()])

    def _sealed_shapes(self) -> Iterator[Shape]:
        """Yield the shapes of constants, where frozen programs keep their weights."""
        import torch

        graph = self.module.inlined_graph  # its nodes live as long as it is held
        for node in graph.findAllNodes("prim::Constant"):
            value = node.output().toIValue()
            if isinstance(value, torch.Tensor):
                yield tuple(value.shape)

    def run(self, x: NDArray[np.float32]) -> list[Array]:
        """Return all outputs; no optimiser, which is slow for each new size."""
        import torch

        with torch.no_grad(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # torch
            given = torch.from_numpy(x).to(self.device, self.dtype)
            return _as_arrays(self.module(given))


def _state(module: Any) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


class ExportedRunner:
    """A program of ``torch.export``."""

    def __init__(self, path: str, device: str) -> None:
        import torch

        program = torch.export.load(path)
        check_finite(program.state_dict.items())
        if device != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        self.program = program
        self.device = torch.device(device)
        self.module = program.module()
        self.dtype = self._input().meta["val"].dtype

    def _input(self) -> Any:
        """Return the graph's only input."""
        names = self.program.graph_signature.user_inputs
        inputs = [node for node in self.program.graph.nodes if node.name in names]
        check_one(inputs)
        return inputs[0]

    def hints(self) -> list[Hint]:
        """Return what its signature says."""
        shape = list(self._input().meta["val"].shape)
        known = [each if isinstance(each, int) else None for each in shape]
        limits = [self._most(each) for each in shape[2:] if not isinstance(each, int)]
        most = min((limit for limit in limits if limit), default=None)
        return hints_of(
            known, [tuple(v.shape) for v in self.program.state_dict.values()], most
        )

    def _most(self, length: Any) -> int | None:
        """Return the upper limit of a length that may vary."""
        allowed = self.program.range_constraints.get(length.node.expr)
        try:
            return int(allowed.upper) if allowed is not None else None
        except (TypeError, ValueError, OverflowError):  # no limit
            return None

    def run(self, x: NDArray[np.float32]) -> list[Array]:
        """Return all outputs."""
        import torch

        with torch.no_grad():
            given = torch.from_numpy(x).to(self.device, self.dtype)
            return _as_arrays(self.module(given))


def check_one(inputs: Sized) -> None:
    """Refuse a program that takes more or less than one image."""
    if len(inputs) != 1:
        raise Refusal(
            f"takes {len(inputs)} inputs, expected a network of one image: choose "
            "another file."
        )


def check_finite(weights: Iterable[tuple[str, Any]]) -> None:
    """Refuse weights that are NaN or infinite, by name."""
    import torch

    for key, value in weights:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            continue
        if not bool(torch.isfinite(value).all()):
            raise Refusal(
                f"holds NaN or infinity in the weight {key[:80]}, so its training "
                "failed: take an earlier checkpoint."
            )


def _dtype(weights: Iterable[torch.Tensor]) -> torch.dtype:
    import torch

    floating = (value.dtype for value in weights if value.is_floating_point())
    return next(floating, torch.float32)


def _as_arrays(given: Any) -> list[Array]:
    """Return the tensors of whatever a program gives, in order."""
    import torch

    found: list[Array] = []
    waiting = [given]
    while waiting and len(found) < 100:
        one = waiting.pop(0)
        if isinstance(one, torch.Tensor):
            one = one.detach().cpu()
            found.append((one.float() if one.is_floating_point() else one).numpy())
        elif isinstance(one, (list, tuple)):
            waiting = [*one, *waiting]
        elif isinstance(one, Mapping):
            waiting = [*one.values(), *waiting]
    return found


def hints_of(
    shape: list[int | None], kernels: Iterable[Shape], most: int | None = None
) -> list[Hint]:
    """Return what a declared input (N, C, [Z,] Y, X) takes; None where it may vary."""
    dims = len(shape) - 2
    if dims not in (2, 3):
        raise Refusal(
            f"takes an input of {len(shape)} axes, expected an image (N, C, Y, X) or "
            "(N, C, Z, Y, X): choose another file."
        )
    lengths = tuple(shape[2:])
    if shape[1] is not None:
        return [Hint(dims, shape[1], lengths, most)]
    guessed = [hint.channels for hint in _guesses(kernels) if hint.dims == dims]
    return [Hint(dims, channels, lengths, most) for channels in dict.fromkeys(guessed)]


def _guesses(shapes: Iterable[Shape]) -> list[Hint]:
    """Return what convolutions of these kernels (out, in, ...) may take.

    The first kernel is most often that of the input; then come the usual images.
    """
    kernels = [s for s in shapes if len(s) in (4, 5) and 1 <= s[1] <= 1024][:200]
    first = [(len(s) - 2, s[1]) for s in kernels[:4]]
    fewest = sorted((s[1], len(s) - 2) for s in kernels)[:2]
    known = [(dims, channels) for channels, dims in fewest]
    dims = {len(s) - 2 for s in kernels} or {2, 3}
    usual = [(d, c) for d in sorted(dims) for c in (1, 3, 2, 4)]
    pairs = dict.fromkeys([*first, *known, *usual])
    return [Hint(d, c, (None,) * d) for d, c in pairs]
