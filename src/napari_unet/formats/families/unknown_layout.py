"""Where activations and norms stand around the convolutions of an unknown U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from napari_unet.formats.families.unknown_choices import Option

if TYPE_CHECKING:
    from napari_unet.formats.families.unknown_blocks import Block
    from napari_unet.formats.families.unknown_choices import Choices
    from napari_unet.formats.families.unknown_parts import Unit

Role = Literal["block", "up", "stride", "middle", "head"]
Layer = Literal["norm", "act", "hidden norm"]


class Layout:
    """Says which layers follow a convolution; what names do not show is a choice.

    Parameters
    ----------
    choices : takes what is open
    normed : whether most of the network's convolutions have a norm
    """

    def __init__(self, choices: Choices, *, normed: bool) -> None:
        self.choices = choices
        self.normed = normed

    def after(self, block: Block, unit: Unit, role: Role) -> tuple[Layer, ...]:
        """Return the layers after a convolution of a block.

        Parameters
        ----------
        block : of the convolution
        unit : the convolution
        role : what the block is for
        """
        last = unit is block.units[-1]
        if role == "head" and last:
            return ("norm",) if unit.post else ()
        if unit.post:
            return self._with_norm(unit, role, last=last)
        if unit.pre:
            return ("act",) if unit.after else ()
        return self._without_norm(block, unit, role, last=last)

    def _with_norm(self, unit: Unit, role: Role, *, last: bool) -> tuple[Layer, ...]:
        if unit.inside:
            return ("act", "norm")
        if unit.inside == 0 and unit.after is not None:
            return ("norm", "act") if unit.after or unit.slope else ("norm",)
        if unit.depthwise:
            return ("norm", "act") if self._depthwise() else ("norm",)
        ordered: tuple[Layer, ...] = ("norm", "act")
        if unit.inside is None and self._order() == "act-norm":
            ordered = ("act", "norm")
        if unit.transposed or (role == "up" and last):
            return ordered if self._rising(unit) == "act" else ("norm",)
        return ordered

    def _order(self) -> str:
        return self.choices.take(
            "order", Option("norm-act", 0.85), Option("act-norm", 0.15)
        )

    def _depthwise(self) -> bool:
        taken = self.choices.take("depthwise", Option("act", 0.6), Option("none", 0.4))
        return taken == "act"

    def _rising(self, unit: Unit) -> str:
        """Choose what follows a convolution of an up-sampling; it may have a norm."""
        if unit.slope:
            return "act"
        if unit.transposed:
            act = 0.85 if unit.post else 0.15
            return self._act_or_none("transposed", act)
        if unit.post:
            return self._act_or_none("up", 0.85)
        size = max(unit.kernel)
        return self._act_or_none(
            "up", 0.12 if size == 1 else 0.3 if self.normed else 0.55
        )

    def _act_or_none(self, name: str, act: float) -> str:
        return self.choices.take(name, Option("act", act), Option("none", 1 - act))

    def _without_norm(
        self, block: Block, unit: Unit, role: Role, *, last: bool
    ) -> tuple[Layer, ...]:
        act: tuple[Layer, ...] = ("act",)
        if unit.slope:
            return act
        if unit.after is not None:
            return self._by_gap(unit.after)
        if unit.depthwise:
            return act if self.choices.take(
                "depthwise", Option("none", 0.7), Option("act", 0.3)
            ) == "act" else ()  # fmt: skip
        if unit.transposed or (role == "up" and last):
            return act if self._rising(unit) == "act" else ()
        if any(other.post or other.pre for other in block.units) and last:
            return act if self._act_or_none("bare", 0.2) == "act" else ()
        if role == "stride":
            return act if self._act_or_none("stride", 0.4) == "act" else ()
        if self.normed and len(block.units) == 1:
            return act if self._act_or_none("bare", 0.5) == "act" else ()
        hidden: tuple[Layer, ...] = ("hidden norm", "act")
        if any(other.after == 2 and not other.post for other in block.units):
            return hidden if self._hidden() else act
        return act

    def _by_gap(self, empty: int) -> tuple[Layer, ...]:
        if empty == 0:
            taken = self.choices.take(
                "between", Option("none", 0.7), Option("act", 0.3)
            )
            return ("act",) if taken == "act" else ()
        if empty == 2:
            return ("hidden norm", "act") if self._hidden() else ("act",)
        return ("hidden norm", "act") if empty == 3 else ("act",)

    def _hidden(self) -> bool:
        taken = self.choices.take(
            "hidden", Option("dropout", 0.5), Option("instance", 0.5)
        )
        return taken == "instance"

    def before(self, unit: Unit, *, first: bool) -> tuple[Layer, ...]:
        """Return the layers before a convolution: its pre-activation."""
        if not unit.pre:
            return ()
        if unit.inside is not None:
            return ("norm", "act") if unit.inside else ("norm",)
        return ("norm",) if first else ("norm", "act")
