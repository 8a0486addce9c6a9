"""What can be sent into a running training. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet.engine.sampling import Example


class Command(Enum):
    """What needs no further word."""

    STOP = "stop and keep the best so far"


@dataclass(frozen=True)
class Learn:
    """Corrections as they are now; they join at the next check.

    Attributes
    ----------
    examples : all of them, also those known before
    """

    examples: Sequence[Example]
