"""Small programs of every kind, made by the libraries that make them for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.formats.recorded import drawn_weights
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx
    from torch import Tensor


class Small(nn.Module):
    """A U-Net of one level; takes even sizes."""

    def __init__(self, dims: int = 2, channels: int = 3, norm: bool = False) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        pool, up, instance = (
            (nn.MaxPool2d, nn.ConvTranspose2d, nn.InstanceNorm2d),
            (nn.MaxPool3d, nn.ConvTranspose3d, nn.InstanceNorm3d),
        )[dims - 2]
        self.up = up(8, 8, 2, 2)  # a kernel that is not the first one used
        self.first = conv(channels, 8, 3, padding=1)
        self.norm = instance(8) if norm else nn.Identity()
        self.pool = pool(2)
        self.middle = conv(8, 8, 3, padding=1)
        self.head = conv(16, 2, 1)
        shapes = {key: list(value.shape) for key, value in self.state_dict().items()}
        self.load_state_dict(drawn_weights(shapes))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.norm(self.first(x)))
        middle = torch.relu(self.middle(self.pool(first)))
        return self.head(torch.cat([first, self.up(middle)], 1))


class Marking(nn.Module):
    """Writes a file when it is loaded, and when it is run."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.place, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.place = state[0]
        mark = torch.from_file(state[0], shared=True, size=4)
        self.training = bool(mark.sum() > 0)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file(self.place, shared=True, size=4).sum()


class Endless(nn.Module):
    """Never ends for bright images, or for any."""

    def __init__(self, bright: float) -> None:
        super().__init__()
        self.bright = bright

    def forward(self, x: Tensor) -> Tensor:
        while bool(x.max() >= self.bright):
            x = x.abs()
        return x


class Several(nn.Module):
    """Gives a number, two images and whole numbers."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores = torch.cat([x, -x], 1).softmax(1)
        return {"loss": x.mean(), "classes": scores.argmax(1), "out": scores, "x": x}


def scripted(path: Path, module: nn.Module) -> Path:
    torch.jit.script(module).save(path)
    return path


def frozen(path: Path, module: nn.Module) -> Path:
    torch.jit.freeze(torch.jit.script(module)).save(path)
    return path


def exported(path: Path, module: nn.Module, x: Tensor, multiple: int = 0) -> Path:
    """Export for one size, or for all multiples."""
    dynamic: Any = None
    if multiple:
        sides = [torch.export.Dim(name, min=2, max=2000) for name in ("h", "w")]
        dynamic = ({2: multiple * sides[0], 3: multiple * sides[1]},)
    torch.export.save(torch.export.export(module, (x,), dynamic_shapes=dynamic), path)
    return path


def onnx_exported(path: Path, module: nn.Module, x: Tensor) -> Path:
    sides = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        module, (x,), dynamo=True, dynamic_shapes=(sides,), verbose=False
    )
    program.save(path)
    return path


def onnx_model(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    *,
    shape: Sequence[int | str] = (1, 1, "h", "w"),
    inputs: Sequence[str] = ("x",),
    weights: Sequence[onnx.TensorProto] = (),
    domains: Sequence[str] = (),
) -> Path:
    """Write a network of these nodes, from "x" to "y"."""
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in inputs]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", given, [result], weights)
    opsets = [helper.make_opsetid(domain, 1) for domain in domains]
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18), *opsets], ir_version=9
    )
    path.write_bytes(model.SerializeToString())
    return path


def blur(path: Path, **fields: Any) -> Path:
    """Write the smallest network: the mean of 3 x 3 pixels, and its negative."""
    kernel = np.full((2, 1, 3, 3), 1 / 9, np.float32) * [[[[1]]], [[[-1]]]]
    weights = [numpy_helper.from_array(kernel.astype(np.float32), "kernel")]
    node = helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[1, 1, 1, 1])
    return onnx_model(path, [node], weights=weights, **fields)


def endless_onnx(path: Path) -> Path:
    """Write a network that never ends for images with a value above 1000."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Abs", ["v"], ["w"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("n", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "limit"], ["bright"]),
        helper.make_node("Loop", ["", "bright", "x"], ["y"], body=body),
    ]
    limit = numpy_helper.from_array(np.array(1000, np.float32), "limit")
    return onnx_model(path, nodes, weights=[limit])
