"""Looking through an ONNX file before anything opens it; inside the child process."""

from __future__ import annotations

from math import prod
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.formats.programs.problems import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import ModelProto, TensorProto

# onnxruntime's own operators; all others would need a library of machine code
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")
PLAIN = {*range(1, 8), *range(9, 14)}  # types of TensorProto in whole bytes


def checked(path: Path) -> ModelProto:
    """Parse an ONNX file; refuse it if it needs foreign operators or foreign files."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    functions = {(each.domain, each.name) for each in model.functions}
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        for tensor in getattr(graph, "initializer", ()):
            _check_tensor(path, tensor)
        for sparse in getattr(graph, "sparse_initializer", ()):
            _check_tensor(path, sparse.values)
            _check_tensor(path, sparse.indices)
        for node in graph.node:
            named = (node.domain, node.op_type)
            if node.domain not in DOMAINS and named not in functions:
                raise Refusal(
                    f"needs the operator {node.op_type[:60]} of {node.domain[:60]}, "
                    "which comes with a library of its own, expected operators of ONNX "
                    "itself: export it without."
                )
            graphs += list(_inner(path, node))
    return model


def _inner(path: Path, node: Any) -> Iterator[Any]:
    """Yield the graphs inside a node; check its tensors."""
    for attribute in node.attribute:
        for tensor in (attribute.t, *attribute.tensors):
            _check_tensor(path, tensor)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            _check_tensor(path, sparse.values)
            _check_tensor(path, sparse.indices)
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _check_tensor(path: Path, tensor: TensorProto) -> None:
    """Check where a tensor's numbers are, how many, and that they are finite."""
    from onnx import TensorProto as Proto
    from onnx import helper

    external = {entry.key: entry.value for entry in tensor.external_data}
    if tensor.data_location == Proto.EXTERNAL or external:
        _check_external(path, tensor.name, external)
        return
    if any(length < 0 for length in tensor.dims):
        raise Refusal(f"states a negative size for {tensor.name[:80]}: copy it again.")
    listed = np.array([*tensor.float_data, *tensor.double_data])
    _check_finite(tensor.name, listed)
    if not tensor.HasField("raw_data") or tensor.data_type not in PLAIN:
        return
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    stated, held = prod(tensor.dims) * dtype.itemsize, len(tensor.raw_data)
    if stated != held:
        raise Refusal(
            f"states {stated:,} bytes for {tensor.name[:80]} and holds {held:,}: copy "
            "it again."
        )
    _check_finite(tensor.name, np.frombuffer(tensor.raw_data, dtype))


def _check_finite(name: str, values: NDArray[Any]) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Refusal(
            f"holds NaN or infinity in the weight {name[:80]}, so its training "
            "failed: take an earlier checkpoint."
        )


def _check_external(path: Path, name: str, external: dict[str, str]) -> None:
    """Refuse numbers that lie outside of the file's own folder, or are not there."""
    place = external.get("location", "")
    parts = PurePosixPath(place).parts + PureWindowsPath(place).parts
    absolute = PurePosixPath(place).is_absolute() or PureWindowsPath(place).anchor
    folder = path.parent.resolve()
    inside = bool(place) and not absolute and ".." not in parts
    if not inside or not (folder / place).resolve().is_relative_to(folder):
        raise Refusal(
            f"keeps the weight {name[:80]} in {place[:80]!r}, outside of its own "
            "folder, expected a file beside it: export it into one file."
        )
    data = folder / place
    if not data.is_file():
        raise Refusal(
            f"keeps weights in {place[:80]!r}, which is not there: put that file "
            "beside it."
        )
    begins, length = (int(external.get(key) or 0) for key in ("offset", "length"))
    if begins < 0 or length < 0 or begins + length > data.stat().st_size:
        raise Refusal(
            f"states more weights than {place[:80]!r} holds: copy both files again."
        )
