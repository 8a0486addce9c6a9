"""A network's output in one place, each layer computed only where it is needed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from napari_unet.engine.networks.layers import LINEAR, MAX_POOL, apply
from napari_unet.engine.receptive import users

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor, nn

    from napari_unet.engine.cropping import Cropped, Cut
    from napari_unet.engine.graph import Node
    from napari_unet.engine.networks.network import Network

LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the axes of a tensor
CONV = {2: functional.conv2d, 3: functional.conv3d}
UP_CONV = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
FRESH = ("conv", "conv_transpose", "norm", "concat", "add")  # memory of their own


@dataclass(frozen=True)
class _Rows:
    """Some rows of a value: a tensor (N, C, [Z,] Y, X), cut along its first axis."""

    start: int
    content: Tensor

    @property
    def stop(self) -> int:
        return self.start + self.content.shape[2]

    def part(self, start: int, stop: int) -> Tensor:
        return self.content.narrow(2, start - self.start, stop - start)


class Stream:
    """Computes parts of an image one after another, nothing twice.

    Of what the layers make, the rows (along the first axis) that the next part needs
    are kept, in the pieces in which they were made.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._nodes = network.graph.nodes
        self._last = users(self._nodes)
        self._numbers = sorted(set(self._last) - {0})
        self._readers: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number in self._numbers:
            for place, value in enumerate(self._nodes[number - 1].inputs):
                self._readers[value].append((number, place))
        self._held: dict[int, list[_Rows]] = {}

    def logits(self, x: Tensor, cropped: Cropped) -> Tensor:
        """Return logits (N, K, [Z,] Y, X) of a part of an image.

        Equal to what the network gives there for the whole image, but for rounding.

        Parameters
        ----------
        x : (N, C, [Z,] Y, X), the pixels ``cropped.read`` of the padded image
        cropped : from ``Croppable.cropped``, after the part before where there is one
        """
        if not cropped.done:
            self._held.clear()
        if x.shape[2]:
            self._add(0, self._network.scaled(x), cropped)
        for number in self._numbers:
            if number in cropped.cuts:
                self._make(number, cropped)
            for value in set(self._nodes[number - 1].inputs):
                if self._last[value] == number:
                    self._trim(value, cropped)
        return self._held.pop(len(self._nodes))[-1].content

    def _make(self, number: int, cropped: Cropped) -> None:
        """Make what is new of a node's result."""
        node, cuts = self._nodes[number - 1], cropped.cuts[number]
        start, stop = cropped.new(number)
        kept = start - self._joined_from(number, cropped)
        if node.op == "concat":
            self._concatenate(number, cropped, kept)
            return
        given = [
            self._given(value, place, cropped, cuts)
            for place, value in enumerate(node.inputs)
        ]
        if _is_relu(node):
            if kept:
                out = self._room(number, given[0].shape, given[0], kept)
                torch.clamp_min(given[0], 0, out=out.narrow(2, kept, stop - start))
                self._hold(number, start - kept, out)
                return
            if self._is_spare(node.inputs[0], cropped):
                self._hold(number, start, functional.relu(given[0], inplace=True))
                return
        made = _computed(node, self._network.layer_of(number), given, cuts)
        made = _part(made, [(c.skip, c.skip + c.length) for c in cuts])
        self._add(number, made, cropped)

    def _concatenate(self, number: int, cropped: Cropped, kept: int) -> None:
        """Put inputs into one tensor, behind the rows that are kept, copied once."""
        node, cuts = self._nodes[number - 1], cropped.cuts[number]
        pieces = [
            self._pieces(value, place, cropped, cuts)
            for place, value in enumerate(node.inputs)
        ]
        channels = sum(each[0].shape[1] for each in pieces)
        shape = (pieces[0][0].shape[0], channels, *(cut.length for cut in cuts))
        out = self._room(number, shape, pieces[0][0], kept)
        channel = 0
        for each in pieces:
            row, many = kept, each[0].shape[1]
            for piece in each:
                place_of = out.narrow(1, channel, many).narrow(2, row, piece.shape[2])
                place_of.copy_(piece)
                row += piece.shape[2]
            channel += many
        self._hold(number, cropped.new(number)[0] - kept, out)

    def _room(
        self, value: int, shape: Sequence[int], like: Tensor, kept: int
    ) -> Tensor:
        """Return a new tensor that begins with the last rows of a value."""
        size = [*shape[:2], shape[2] + kept, *shape[3:]]
        layout = LAYOUT[len(size)]
        out = torch.empty(
            size, dtype=like.dtype, device=like.device, memory_format=layout
        )
        row = 0
        for piece in self._last_rows(value, kept):
            out.narrow(2, row, piece.shape[2]).copy_(piece)
            row += piece.shape[2]
        return out

    def _joined_from(self, value: int, cropped: Cropped) -> int:
        """Return from which row on a value must be in one piece with what is new.

        That is what layers read that look at several rows at once; those that only put
        rows together take them piece by piece.
        """
        first = cropped.new(value)[0]
        base = cropped.needed[value][0][0]
        starts = [
            base + cropped.cuts[number][0].inputs[place][0]
            for number, place in self._readers[value]
            if number in cropped.cuts and self._nodes[number - 1].op != "concat"
        ]
        return min([first, *starts])

    def _given(
        self, value: int, place: int, cropped: Cropped, cuts: tuple[Cut, ...]
    ) -> Tensor:
        """Return what a node reads of an input."""
        pieces = self._pieces(value, place, cropped, cuts)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)

    def _pieces(
        self, value: int, place: int, cropped: Cropped, cuts: tuple[Cut, ...]
    ) -> list[Tensor]:
        """Return what a node reads of an input, in pieces along the first axis."""
        (start, stop), *others = (cut.inputs[place] for cut in cuts)
        base = cropped.needed[value][0][0]
        rows = self._between(value, start + base, stop + base)
        return [_part(piece, others, axis=3) for piece in rows]

    def _between(self, value: int, start: int, stop: int) -> list[Tensor]:
        """Return the rows of a value from one to another, in as few pieces as can be.

        The last piece often begins with rows of those before it.
        """
        found = []
        held = self._held[value]
        for rows in held[-1:] if held[-1].start <= start else held:
            first, end = max(start, rows.start), min(stop, rows.stop)
            if first < end:
                found.append(rows.part(first, end))
                start = end
        return found

    def _last_rows(self, value: int, many: int) -> list[Tensor]:
        """Return the last rows of a value, in pieces."""
        if not many:
            return []
        stop = self._held[value][-1].stop
        return self._between(value, stop - many, stop)

    def _is_spare(self, value: int, cropped: Cropped) -> bool:
        """Tell whether a layer may write into its input."""
        fresh = value > 0 and self._nodes[value - 1].op in FRESH
        return fresh and len(self._readers[value]) == 1 and value not in cropped.keep

    def _add(self, value: int, made: Tensor, cropped: Cropped) -> None:
        """Hold what is new of a value, in one piece with what is read with it."""
        first = cropped.new(value)[0]
        kept = first - self._joined_from(value, cropped)
        if kept:
            made = torch.cat([*self._last_rows(value, kept), made], dim=2)
        self._hold(value, first - kept, made)

    def _hold(self, value: int, start: int, content: Tensor) -> None:
        self._held.setdefault(value, []).append(_Rows(start, content))

    def _trim(self, value: int, cropped: Cropped) -> None:
        """Forget the pieces of a value that no later part needs."""
        first = cropped.keep.get(value)
        if first is None:
            self._held.pop(value, None)
        elif value in self._held:
            self._held[value] = [r for r in self._held[value] if r.stop > first]


def _is_relu(node: Node) -> bool:
    return node.op == "activation" and node.options["kind"] == "relu"


def _part(x: Tensor, ranges: Iterable[tuple[int, int]], axis: int = 2) -> Tensor:
    """Return what lies in these pixels of an axis and those after it; a view."""
    for number, (start, stop) in enumerate(ranges, start=axis):
        if (start, stop) != (0, x.shape[number]):
            x = x.narrow(number, start, stop - start)
    return x


def _computed(
    node: Node, layer: nn.Module | None, given: list[Tensor], cuts: tuple[Cut, ...]
) -> Tensor:
    """Return what a node makes of its inputs."""
    x, dims = given[0], len(cuts)
    if node.op == "conv":
        return _conv(layer, x, cuts)
    if node.op == "conv_transpose":
        return _up_conv(layer, x, cuts)
    if node.op == "pool" and node.options.get("kind", "max") == "max":
        x, padding = _padded(x, cuts, -torch.inf)
        kernel, stride = (node.per_axis(name, dims) for name in ("kernel", "stride"))
        return MAX_POOL[dims](x, kernel, stride, padding)
    if node.op == "pad":
        value: Any = node.options.get("value", 0.0)
        return functional.pad(x, _margins(cuts), value=value)
    if node.op in ("upsample", "resize_like"):
        return _enlarged(node, x, cuts)
    if node.op in ("pad_like", "crop_like", "dropout"):
        return x
    result: Tensor = apply(node, dims, given) if layer is None else layer(*given)
    return result


def _margins(cuts: tuple[Cut, ...]) -> list[int]:
    return [n for cut in reversed(cuts) for n in (cut.before, cut.after)]


def _padded(
    x: Tensor, cuts: tuple[Cut, ...], value: float = 0.0
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the input with its margins, and what of them the layer itself is to add.

    That is what is missing on both sides alike: then nothing is copied.
    """
    if all(cut.before == cut.after for cut in cuts):
        return x, tuple(cut.before for cut in cuts)
    return _with_margins(x, cuts, value), (0,) * len(cuts)


def _with_margins(x: Tensor, cuts: tuple[Cut, ...], value: float) -> Tensor:
    """Return the input with its margins; functional.pad fills all of it first."""
    spans = list(zip(x.shape[2:], cuts, strict=True))
    size = [*x.shape[:2], *(n + cut.before + cut.after for n, cut in spans)]
    layout = LAYOUT[len(size)]
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout)
    inner = out
    for axis, (n, cut) in enumerate(spans, start=2):
        inner.narrow(axis, 0, cut.before).fill_(value)
        inner.narrow(axis, cut.before + n, cut.after).fill_(value)
        inner = inner.narrow(axis, cut.before, n)
    inner.copy_(x)
    return out


def _conv(layer: Any, x: Tensor, cuts: tuple[Cut, ...]) -> Tensor:
    x, padding = _padded(x, cuts)
    return CONV[len(cuts)](
        x, layer.weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups
    )


def _up_conv(layer: Any, x: Tensor, cuts: tuple[Cut, ...]) -> Tensor:
    """Return the transposed convolution of a part, long enough for what is wanted."""
    spans = zip(x.shape[2:], layer.stride, layer.kernel_size, strict=True)
    made = [(n - 1) * step + size for n, step, size in spans]
    more = [
        max(c.skip + c.length - n, 0) for c, n in zip(cuts, made, strict=True)
    ]  # at the image's end: pixels that no input reaches
    return UP_CONV[len(cuts)](
        x, layer.weight, layer.bias, layer.stride, 0, more, layer.groups
    )


def _enlarged(node: Node, x: Tensor, cuts: tuple[Cut, ...]) -> Tensor:
    size = [n * cut.factor for n, cut in zip(x.shape[2:], cuts, strict=True)]
    if node.options.get("mode", "nearest") != "linear":
        return functional.interpolate(x, size, mode=str(node.options["mode"]))
    return functional.interpolate(x, size, mode=LINEAR[len(cuts)], align_corners=False)
