"""Writes the graph of an unknown U-Net: a program of blocks, and choices."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_unet.engine.builder import Builder
from napari_unet.formats.families.unknown_blocks import RECURRENT_WORDS
from napari_unet.formats.families.unknown_choices import Option
from napari_unet.formats.families.unknown_layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_unet.formats.families.unknown_blocks import Block, Gate
    from napari_unet.formats.families.unknown_choices import Choices
    from napari_unet.formats.families.unknown_layout import Layer, Role
    from napari_unet.formats.families.unknown_parts import Unit
    from napari_unet.formats.families.unknown_squeeze import Squeeze

RESIDUAL_WORDS = re.compile(r"res(?!olution|ult|ample|ize|hape)", re.I)
SLOPES = {"leaky 0.01": 0.01, "leaky 0.1": 0.1, "leaky 0.2": 0.2}
GROUPS = (8, 32, 16, 4, 2, 1)


@dataclass(frozen=True)
class Plan:
    """What was found of a network: its blocks, gates, tensors and norms.

    ``norms`` are the channels of all norms, ``hints`` their names, ``squeezes`` those
    of each block, ``odd`` what speaks against it beforehand.
    """

    blocks: Sequence[Block]
    gates: Sequence[Gate]
    shapes: Mapping[str, tuple[int, ...]]
    dims: Literal[2, 3]
    norms: tuple[int, ...] = ()
    hints: str = ""
    squeezes: Mapping[int, tuple[Squeeze, ...]] = field(default_factory=dict)
    odd: float = 0.0

    @property
    def normed(self) -> bool:
        """Whether most convolutions have a norm."""
        units = [unit for block in self.blocks for unit in block.members]
        return 2 * sum(bool(u.post or u.pre) for u in units) > len(units)

    @property
    def preactivated(self) -> bool:
        """Whether norms come before convolutions."""
        units = [unit for block in self.blocks for unit in block.units]
        return sum(bool(u.pre) for u in units) > 2

    @property
    def residual(self) -> bool:
        """Whether there are convolved shortcuts."""
        return any(block.kind == "residual" for block in self.blocks)


class Writer:
    """Writes layers of a plan as its choices say.

    Parameters
    ----------
    plan : the network's parts
    choices : takes what is open
    in_channels : of the network's input
    """

    def __init__(self, plan: Plan, choices: Choices, in_channels: int) -> None:
        self.plan, self.choices = plan, choices
        self.b = Builder(plan.dims, in_channels, plan.shapes)
        self.layout = Layout(choices, normed=plan.normed)
        self.may_stride = False

    # -- layers

    def norm(self, x: int, key: str) -> int:
        """Add a norm; without statistics its kind is a choice."""
        if f"{key}.running_mean" in self.plan.shapes:
            return self.b.norm(x, key)
        kind = self._norm_kind()
        if kind == "instance":
            return self.b.norm(x, key, "instance")
        return self.b.norm(x, key, "group", groups=int(kind.split()[1]))

    def _norm_kind(self) -> str:
        hints = self.plan.hints
        named = bool(re.search(r"gn\d?\b|group", hints, re.I))
        instance = 0.6 if re.search(r"\bin\d?\b|inst", hints, re.I) else 0.25
        weights = {8: 0.4, 32: 0.2, 16: 0.12, 4: 0.06, 2: 0.02, 1: 0.04}
        fitting = [g for g in GROUPS if all(n % g == 0 for n in self.plan.norms)]
        return self.choices.take(
            "norm",
            *(Option(f"group {g}", weights[g]) for g in fitting),
            Option("instance", 0.001 if named else instance),
        )

    def activation(self, x: int, slope: str = "") -> int:
        """Add an activation, or the PReLU of a key."""
        if slope:
            return self.b.prelu(x, slope)
        kind = self.choices.take(
            "activation", Option("relu", 0.85), Option("leaky 0.01", 0.06),
            Option("leaky 0.1", 0.03), Option("leaky 0.2", 0.03), Option("elu", 0.02),
            Option("silu", 0.01), Option("gelu", 0.01),
        )  # fmt: skip
        if kind in SLOPES:
            return self.b.activation(x, "leaky_relu", slope=SLOPES[kind])
        if kind == "elu":
            return self.b.activation(x, kind, slope=1.0)
        return self.b.activation(x, kind)

    def layers(self, x: int, unit: Unit, kinds: Iterable[Layer], norm: str) -> int:
        """Add norms and activations of a convolution in this order."""
        for kind in kinds:
            if kind == "norm":
                x = self.norm(x, norm)
            elif kind == "hidden norm":
                x = self.b.function(
                    "norm", x, self.b.channels[x], kind="instance",
                    channels=self.b.channels[x], affine=False, track=False,
                )  # fmt: skip
            else:
                x = self.activation(x, unit.slope)
        return x

    def convolution(self, x: int, unit: Unit, step: tuple[int, ...] | None) -> int:
        """Add a convolution without its norm; ``step``: its stride if not 1."""
        kernel = unit.kernel
        if unit.transposed:
            stride = step or tuple(1 if k == 1 else 2 for k in kernel)
            padding = tuple((k - 1) // 2 for k in kernel)
            more = tuple(
                s - k + 2 * p for s, k, p in zip(stride, kernel, padding, strict=True)
            )
            return self.b.conv_transpose(
                x, unit.key, stride=stride, padding=padding, output_padding=more
            )
        if step is None and any(k % 2 == 0 for k in kernel):
            before = [(k - 1) // 2 for k in kernel]
            after = [k // 2 for k in kernel]
            x = self.b.pad(x, before, after)
            return self.b.conv(x, unit.key, padding=0)
        padding = tuple((k - 1) // 2 for k in kernel)
        return self.b.conv(x, unit.key, stride=step or 1, padding=padding)

    def unit(
        self, x: int, block: Block, unit: Unit, role: Role,
        step: tuple[int, ...] | None = None,
    ) -> int:  # fmt: skip
        """Add a convolution of a block with all that stands around it."""
        x = self.layers(x, unit, self.layout.before(unit, first=x == 0), unit.pre)
        x = self.convolution(x, unit, step)
        return self.layers(x, unit, self.layout.after(block, unit, role), unit.post)

    # -- blocks

    def block(
        self, x: int, block: Block, role: Role = "block",
        step: tuple[int, ...] | None = None, beside: Block | None = None,
    ) -> int:  # fmt: skip
        """Add a block; ``step``: the stride of its first convolution if not 1."""
        if block.kind == "entry":
            return self._entry(x, block)
        shortcut = block.shortcut or (beside.units[0] if beside else None)
        if shortcut is not None:
            return self._residual(x, block, shortcut, role, step)
        if self._identity(block, role, step):
            return self._residual(x, block, None, role, step)
        for unit in block.units:
            first = unit is block.units[0]
            x = self.unit(x, block, unit, role, step if first else None)
        return self._squeezed(x, block)

    def _squeezed(self, x: int, block: Block) -> int:
        """Weigh channels by what is made of their means; add weighed pixels."""
        for squeeze in self.plan.squeezes.get(block.number, ()):
            flat = squeeze.first.kind == "linear"
            layer = self.b.linear if flat else self.b.conv
            y = layer(self.b.global_mean(x, flat=flat), squeeze.first.key)
            y = layer(self.activation(y), squeeze.second.key)
            z = self.b.multiply(x, self.b.activation(y, "sigmoid"))
            if squeeze.spatial is not None:
                y = self.b.activation(self.b.conv(x, squeeze.spatial.key), "sigmoid")
                z = self.b.add(z, self.b.multiply(x, y))
            x = z
        return x

    def _identity(self, block: Block, role: Role, step: tuple[int, ...] | None) -> bool:
        alike = block.inputs == block.outputs and len(block.units) > 1
        if not alike or role == "head" or step or block.rises:
            return False
        named = bool(RESIDUAL_WORDS.search(block.key))
        if not (named or self.plan.residual):
            return False
        taken = self.choices.take("identity", Option("yes", 0.8), Option("no", 0.2))
        return taken == "yes"

    def _residual(
        self, x: int, block: Block, shortcut: Unit | None, role: Role,
        step: tuple[int, ...] | None,
    ) -> int:  # fmt: skip
        """Add a block whose result is added to its input, convolved or not."""
        y = x
        if shortcut is not None:
            y = self.layers(
                y, shortcut, ("norm",) if shortcut.pre else (), shortcut.pre
            )
            y = self.convolution(y, shortcut, step)
            after: tuple[Layer, ...] = ("norm",) if shortcut.post else ()
            y = self.layers(y, shortcut, after, shortcut.post)
        for unit in block.units[:-1]:
            first = unit is block.units[0]
            x = self.unit(x, block, unit, role, step if first else None)
        last = block.units[-1]
        first = last is block.units[0]
        x = self.layers(x, last, self.layout.before(last, first=x == 0), last.pre)
        x = self.convolution(x, last, step if first else None)
        pre = bool(last.pre) or (self.plan.preactivated and not last.post)
        if pre:
            return self.b.add(self._squeezed(x, block), y)
        taken = self.choices.take(
            "sum", Option("act", 0.75), Option("inside", 0.13),
            Option("none", 0.0 if last.slope else 0.12),
        )  # fmt: skip
        kinds = self.layout.after(block, last, role)
        if taken != "inside":
            kinds = tuple(kind for kind in kinds if kind != "act")
        x = self._squeezed(self.layers(x, last, kinds, last.post), block)
        x = self.b.add(x, y)
        return self.activation(x, last.slope) if taken == "act" else x

    def _entry(self, x: int, block: Block) -> int:
        """Add a block that adds its first convolution to what others make of it."""
        entry = block.shortcut
        if entry is None:
            raise ValueError(f"{block.key} has no first convolution")
        x = self.convolution(x, entry, None)
        x = self.layers(x, entry, ("norm", "act") if entry.post else (), entry.post)
        named = bool(RECURRENT_WORDS.search(block.key))
        times = self.choices.take(
            "recurrent", Option("2", 0.9 if named else 0.0),
            Option("0", 0.1 if named else 0.9),
        )  # fmt: skip
        y = x
        for unit in block.units:
            start = y
            y = self.unit(start, block, unit, "block")
            for _ in range(int(times)):
                y = self.unit(self.b.add(start, y), block, unit, "block")
        return self.b.add(x, y)

    # -- between blocks

    def pool(self, x: int, step: tuple[int, ...]) -> int:
        """Add a pooling."""
        return self.b.pool(
            x, step, kind="average" if self._pooling() == "average" else "max"
        )

    def strided(self, block: Block) -> bool:
        """Choose whether the first convolution of a level is strided."""
        return stridable(block) and self._pooling() == "stride"

    def _pooling(self) -> str:
        stride = 4.0 if self.plan.preactivated and self.plan.residual else 0.08
        if not self.may_stride:
            stride = 0.0
        return self.choices.take(
            "pool", Option("max", 0.85), Option("average", 0.07),
            Option("stride", stride),
        )  # fmt: skip

    def upsample(self, x: int, step: tuple[int, ...], block: Block | None) -> int:
        """Add an up-sampling without weights, before a block or a merge."""
        unit = block.units[0] if block else None
        nearest, linear, aligned = 0.2, 0.25, 0.55
        if unit is not None and max(unit.kernel) == 1:
            nearest, linear, aligned = 0.22, 0.53, 0.25
        elif unit is not None:
            nearest, linear, aligned = 0.55, 0.2, 0.25
        mode = self.choices.take(
            "upsampling", Option("nearest", nearest), Option("linear", linear),
            Option("aligned", aligned),
        )  # fmt: skip
        return self.b.upsample(
            x, step, mode="nearest" if mode == "nearest" else "linear",
            align_corners=mode == "aligned",
        )  # fmt: skip

    def concat(self, skips: Sequence[int], up: int) -> int:
        """Join skips and what was up-sampled, in the order that is taken."""
        order = self.choices.take("concat", Option("skip", 0.55), Option("up", 0.45))
        return (
            self.b.concat(*skips, up) if order == "skip" else self.b.concat(up, *skips)
        )

    def gate(self, skip: int, up: int, below: int, gate: Gate) -> int:
        """Weigh a skip by attention, as Oktay et al. do (arXiv:1804.03999)."""
        same = self.b.channels[up] == gate.signal.inputs and up != below
        signal = self._gated(up if same else below, gate.signal, None)
        fine = max(gate.skip.kernel) == 1 and same
        step = None if fine else (2,) * self.plan.dims
        values = self._gated(skip, gate.skip, step)
        if same and not fine:
            signal = self.b.pool(signal, 2, kind="average")
        psi = self._gated(self.b.activation(self.b.add(signal, values)), gate.psi, None)
        psi = self.b.activation(psi, "sigmoid")
        if not fine:
            psi = self.b.upsample(psi, 2)
        return self.b.multiply(skip, psi)

    def _gated(self, x: int, unit: Unit, step: tuple[int, ...] | None) -> int:
        x = self.convolution(x, unit, step)
        return self.norm(x, unit.post) if unit.post else x

    # -- the end

    def norm_name(self) -> Any:
        """Return the kind of the norms, as GraphSpec calls it."""
        kinds = {
            str(node.options["kind"]) for node in self.b.nodes if node.op == "norm"
        }
        return next(iter(kinds)) if len(kinds) == 1 else "batch" if kinds else "none"


def stridable(block: Block) -> bool:
    """Tell whether a block may go one level down by its first convolution."""
    return max(block.units[0].kernel) > 1 and block.kind != "entry" and not block.rises
