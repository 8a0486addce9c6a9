"""An ONNX network, inside the child process: data that onnxruntime computes with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.formats.programs.onnx_check import checked
from napari_unet.formats.programs.problems import Refusal
from napari_unet.formats.programs.runners import check_one, hints_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import ModelProto

    from napari_unet.formats.programs.runners import Array, Hint

DTYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16,
    "tensor(double)": np.float64, "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
}  # fmt: skip
MOST_COLOURS = 4  # a last axis no longer than this holds channels


class OnnxRunner:
    """A network of onnxruntime."""

    def __init__(self, path: Path, device: str) -> None:
        import onnxruntime

        model = checked(path)
        self.kernels = _kernels(model)
        options = onnxruntime.SessionOptions()
        options.enable_cpu_mem_arena = False  # would keep the largest tile's memory
        options.log_severity_level = 4
        # named, because the default ones may use the network
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            number = device.partition(":")[2] or "0"
            providers = [("CUDAExecutionProvider", {"device_id": number}), *providers]
        self.session = onnxruntime.InferenceSession(str(path), options, providers)
        inputs = self.session.get_inputs()
        check_one(inputs)
        self.name = inputs[0].name
        self._read_input(inputs[0])

    def _read_input(self, declared: Any) -> None:
        """Find out axes and type of the declared input."""
        if declared.type not in DTYPES:
            raise Refusal(
                f"takes {str(declared.type)[:60]}, expected a network of images: "
                "choose another file."
            )
        self.dtype = np.dtype(DTYPES[declared.type])
        shape = [n if isinstance(n, int) and n > 0 else None for n in declared.shape]
        if len(shape) not in (4, 5):
            hints_of(shape, [])  # which refuses it
        last, second = shape[-1] or MOST_COLOURS + 1, shape[1] or MOST_COLOURS + 1
        self.channels_last = last <= MOST_COLOURS < second
        if self.channels_last:
            shape = [shape[0], shape[-1], *shape[1:-1]]
        self.batch = shape[0] or 1
        self.shape = shape

    def hints(self) -> list[Hint]:
        """Return what its signature says."""
        return hints_of(self.shape, self.kernels)

    def run(self, x: NDArray[np.float32]) -> list[Array]:
        """Return all outputs."""
        given = np.moveaxis(x, 1, -1) if self.channels_last else x
        given = np.repeat(given, self.batch, axis=0)
        if self.dtype.kind == "u":
            given = np.rint(given).clip(0, 2 ** (8 * self.dtype.itemsize) - 1)
        given = np.ascontiguousarray(given, self.dtype)
        outputs = self.session.run(None, {self.name: given})
        arrays = [one for one in outputs if isinstance(one, np.ndarray)]
        return [self._first(one) for one in arrays]

    def _first(self, output: Array) -> Array:
        """Return an output for one image, channels first."""
        if output.ndim == len(self.shape):
            output = output[:1]
            output = np.moveaxis(output, -1, 1) if self.channels_last else output
        return output.astype(np.float32) if output.dtype.kind == "f" else output


def _kernels(model: ModelProto) -> list[tuple[int, ...]]:
    """Return the shapes of convolution kernels in the order in which they are used."""
    shapes = {one.name: tuple(one.dims) for one in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    used = [name for node in convolutions for name in node.input[1:2]]
    return [shapes[name] for name in used if name in shapes]
