"""What every network is to the engine, whether a graph or a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    import torch


class AnyNetwork(nn.Module):
    """Computes logits (N, K, [Z,] Y, X) of (N, C, [Z,] Y, X) of any size."""

    @property
    def stride(self) -> int:
        """Pixels at full resolution that make one pixel of the coarsest level."""
        raise NotImplementedError

    @property
    def halo(self) -> int:
        """Pixels around a stride-aligned core that its output depends on."""
        raise NotImplementedError

    @property
    def local(self) -> bool:
        """Whether an output pixel depends on a bounded neighbourhood only."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    def interrupt(self) -> None:
        """Make a call that waits in another thread end; a graph's never waits."""
