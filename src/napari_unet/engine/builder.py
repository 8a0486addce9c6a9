"""Builder: writes a graph node by node, keeping count of channels. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from napari_unet.engine.graph import GraphSpec, Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_unet.engine.graph import Op

Shapes = dict[str, tuple[int, ...]]


class Misfit(Exception):
    """The weights are not those of the network that is being described."""


class Builder:
    """Describes a network, value by value; value 0 is the input.

    Parameters
    ----------
    dims : 2 or 3
    in_channels : of the network's input
    shapes : of the tensors in the state dict that is being read; with them, a layer
        takes its sizes from its weights, ``used`` collects what was used, and whatever
        does not fit raises Misfit. None: every layer is given its sizes.
    """

    def __init__(
        self, dims: int, in_channels: int, shapes: Mapping[str, tuple[int, ...]] | None
    ) -> None:
        self.dims = dims
        self.shapes = shapes
        self.nodes: list[Node] = []
        self.channels = [in_channels]
        self.used: set[str] = set()

    # -- layers with weights

    def conv(
        self, x: int, key: str, outputs: int | None = None, kernel: Any = None, *,
        stride: Any = 1, padding: Any = "same", dilation: Any = 1, bias: bool = True,
        padding_mode: str = "zeros", grouped: bool = False,
    ) -> int:  # fmt: skip
        """Add a convolution; "same" padding is (kernel - 1) / 2 pixels a side.

        Depthwise ones are recognised; ``grouped`` allows other groups of channels.
        """
        groups = 1
        if self.shapes is not None:
            outputs, inputs, *sizes = self._shape(key, 2 + self.dims)
            kernel = tuple(sizes)
            groups = self._groups(x, key, inputs, outputs, grouped)
            bias = self._use_optional(f"{key}.bias", (outputs,))
        kernel, stride, dilation = map(self._tuple, (kernel, stride, dilation))
        if padding == "same":
            padding = tuple(
                d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)
            )
        options: dict[str, Any] = {
            "inputs": self.channels[x], "outputs": outputs, "kernel": kernel,
            "bias": bias, "stride": stride, "padding": self._tuple(padding),
        }  # fmt: skip
        if set(dilation) != {1}:
            options["dilation"] = dilation
        if groups != 1:
            options["groups"] = groups
        if padding_mode != "zeros":
            options["padding_mode"] = padding_mode
        return self._add("conv", (x,), outputs, key, options)

    def conv_transpose(
        self, x: int, key: str, outputs: int | None = None, kernel: Any = None, *,
        stride: Any = 2, padding: Any = 0, output_padding: Any = 0, bias: bool = True,
        groups: int = 1,
    ) -> int:  # fmt: skip
        """Add a transposed convolution; its weights do not tell ``groups``."""
        if self.shapes is not None:
            inputs, outputs, *sizes = self._shape(key, 2 + self.dims)
            outputs *= groups
            kernel = tuple(sizes)
            if inputs != self.channels[x] or inputs % groups:
                raise Misfit(f"{key} reads {inputs}, not {self.channels[x]} channels")
            bias = self._use_optional(f"{key}.bias", (outputs,))
        options: dict[str, Any] = {
            "inputs": self.channels[x], "outputs": outputs, "bias": bias,
            "kernel": self._tuple(kernel), "stride": self._tuple(stride),
            "padding": self._tuple(padding),
        }  # fmt: skip
        if set(self._tuple(output_padding)) != {0}:
            options["output_padding"] = self._tuple(output_padding)
        if groups != 1:
            options["groups"] = groups
        return self._add("conv_transpose", (x,), outputs, key, options)

    def norm(
        self, x: int, key: str, kind: str = "batch", *, groups: int = 1,
        eps: float = 1e-5, momentum: float = 0.1, affine: bool = True,
        track: bool | None = None,
    ) -> int:  # fmt: skip
        """Add a norm; with weights at hand, ``affine`` and ``track`` are seen."""
        channels = self.channels[x]
        track = (kind == "batch") if track is None else track
        if self.shapes is not None:
            affine = self._use_optional(f"{key}.weight", (channels,))
            if affine:
                self._use(f"{key}.bias", (channels,))
            track = self._use_optional(f"{key}.running_mean", (channels,))
            if track:
                self._use(f"{key}.running_var", (channels,))
                self.used.add(f"{key}.num_batches_tracked")
            if kind == "batch" and not track:
                raise Misfit(f"{key} has no running statistics")
            if kind == "group" and (track or channels % groups):
                raise Misfit(f"{key} is no group norm of {groups} groups")
        options: dict[str, Any] = {
            "kind": kind, "channels": channels, "eps": eps, "affine": affine,
        }  # fmt: skip
        if kind == "group":
            options["groups"] = groups
        else:
            options |= {"track": track, "momentum": momentum}
        return self._add("norm", (x,), channels, key, options)

    def prelu(self, x: int, key: str) -> int:
        """Add a PReLU; one slope for all channels, or one each."""
        count = 1
        if self.shapes is not None:
            (count,) = self._shape(key, 1)
            if count not in (1, self.channels[x]):
                raise Misfit(f"{key} has {count} slopes")
        return self._add("prelu", (x,), self.channels[x], key, {"count": count})

    def linear(self, x: int, key: str, outputs: int = 0, *, bias: bool = True) -> int:
        """Add a linear layer over the channels of a flat global mean."""
        if self.shapes is not None:
            outputs, inputs = self._shape(key, 2)
            if inputs != self.channels[x]:
                raise Misfit(f"{key} reads {inputs}, not {self.channels[x]} channels")
            bias = self._use_optional(f"{key}.bias", (outputs,))
        options = {"inputs": self.channels[x], "outputs": outputs, "bias": bias}
        return self._add("linear", (x,), outputs, key, options)

    def dropout(self, x: int, rate: float, key: str = "") -> int:
        """Add dropout, which acts in training only; none for a rate of 0."""
        if not rate:
            return x
        return self._add("dropout", (x,), self.channels[x], key, {"rate": rate})

    # -- layers without weights

    def activation(self, x: int, kind: str = "relu", **options: float) -> int:
        """Add an activation: relu, leaky_relu (slope), sigmoid, ..."""
        return self._add(
            "activation", (x,), self.channels[x], options={"kind": kind, **options}
        )

    def pool(self, x: int, factor: Any = 2, *, kind: str = "max", **rest: Any) -> int:
        """Add a pooling over windows of ``factor`` pixels; rest: see layers.py."""
        size = self._tuple(factor)
        options = {"kernel": size, "stride": size, "kind": kind, **rest}
        return self._add("pool", (x,), self.channels[x], options=options)

    def upsample(
        self, x: int, factor: Any = 2, *, mode: Literal["nearest", "linear"] = "linear",
        align_corners: bool = False,
    ) -> int:  # fmt: skip
        """Add an up-sampling by whole factors."""
        options = {
            "factor": self._tuple(factor), "mode": mode, "align_corners": align_corners,
        }  # fmt: skip
        return self._add("upsample", (x,), self.channels[x], options=options)

    def resize_like(self, x: int, like: int, *, mode: str = "nearest") -> int:
        """Add an interpolation to the size of another value."""
        return self._add(
            "resize_like", (x, like), self.channels[x], options={"mode": mode}
        )

    def pad_like(
        self, x: int, like: int, *, where: str = "both", mode: str = "constant"
    ) -> int:
        """Pad to the size of another value, half on both sides, or at the end."""
        options = {"where": where, "mode": mode}
        return self._add("pad_like", (x, like), self.channels[x], options=options)

    def crop_like(self, x: int, like: int, *, where: str = "both") -> int:
        """Crop to the size of another value, half on both sides, or at the end."""
        return self._add(
            "crop_like", (x, like), self.channels[x], options={"where": where}
        )

    def pad(self, x: int, before: Any, after: Any, mode: str = "constant") -> int:
        """Pad by so many pixels before and after, per axis."""
        options = {
            "before": self._tuple(before), "after": self._tuple(after), "mode": mode,
        }  # fmt: skip
        return self._add("pad", (x,), self.channels[x], options=options)

    def concat(self, *values: int) -> int:
        """Join values along the channels, in this order."""
        return self._add("concat", values, sum(self.channels[v] for v in values))

    def add(self, *values: int) -> int:
        """Add values of equal channels, or of one channel."""
        return self._combine("add", values)

    def multiply(self, *values: int) -> int:
        """Multiply values of equal channels, or of one channel."""
        return self._combine("multiply", values)

    def global_mean(self, x: int, *, flat: bool = False) -> int:
        """Add the mean over all pixels, one number per channel."""
        return self._add("global_mean", (x,), self.channels[x], options={"flat": flat})

    def function(self, op: Op, x: int, outputs: int, **options: Any) -> int:
        """Add another node without weights; see engine/networks/layers.py."""
        return self._add(op, (x,), outputs, options=options)

    # -- the end

    def graph(
        self, family: str, widths: tuple[int, ...], *, last: int | None = None,
        **fields: Any,
    ) -> GraphSpec:  # fmt: skip
        """Return the graph whose result is ``last``, by default the newest value.

        ``fields`` are further ones of GraphSpec, such as ``fit`` and ``norm``.
        """
        if last is not None and last != len(self.nodes):
            self.concat(last)
        return GraphSpec(
            family=family, dims=self.dims, in_channels=self.channels[0],
            out_channels=self.channels[-1], widths=widths, nodes=tuple(self.nodes),
            **fields,
        )  # fmt: skip

    # -- inside

    def _combine(self, op: Op, values: tuple[int, ...]) -> int:
        counts = {self.channels[v] for v in values}
        if len(counts - {1}) > 1:
            raise Misfit(f"values of {sorted(counts)} channels cannot be combined")
        return self._add(op, values, max(counts))

    def _add(
        self, op: Op, inputs: tuple[int, ...], channels: int | None, key: str = "",
        options: dict[str, Any] | None = None,
    ) -> int:  # fmt: skip
        if channels is None:
            raise ValueError(f"{key} needs its number of channels")
        self.nodes.append(Node(op=op, inputs=inputs, key=key, options=options or {}))
        self.channels.append(channels)
        return len(self.nodes)

    def _tuple(self, value: Any) -> tuple[int, ...]:
        return (
            tuple(value) if isinstance(value, (tuple, list)) else (value,) * self.dims
        )

    def _shape(self, key: str, ndim: int) -> tuple[int, ...]:
        """Use a weight and return its shape."""
        shape = (self.shapes or {}).get(f"{key}.weight")
        if shape is None:
            raise Misfit(f"{key}.weight is not there")
        if len(shape) != ndim:
            raise Misfit(f"{key}.weight has {len(shape)} axes, not {ndim}")
        self.used.add(f"{key}.weight")
        return shape

    def _groups(
        self, x: int, key: str, inputs: int, outputs: int, grouped: bool
    ) -> int:
        have = self.channels[x]
        if inputs == have:
            return 1
        if inputs == 1 and outputs % have == 0:
            return have  # depthwise; other groups are too easily a mistake
        if grouped and have % inputs == 0 and outputs % (have // inputs) == 0:
            return have // inputs
        raise Misfit(f"{key} reads {inputs}, not {have} channels")

    def _use(self, key: str, shape: tuple[int, ...]) -> None:
        if not self._use_optional(key, shape):
            raise Misfit(f"{key} is not there")

    def _use_optional(self, key: str, shape: tuple[int, ...]) -> bool:
        found = (self.shapes or {}).get(key)
        if found is None:
            return False
        if found != shape:
            raise Misfit(f"{key} has the shape {found}, not {shape}")
        self.used.add(key)
        return True
