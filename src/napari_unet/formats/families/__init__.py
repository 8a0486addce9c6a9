"""One module per family of state dicts; each tells from keys and shapes what it is.

A family's ``read(contents)`` returns a Reading, or None where the keys are not its
own, and raises Misfit where they are but something is missing or of another shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from napari_unet.engine.builder import Misfit
from napari_unet.engine.networks import build
from napari_unet.errors import CheckpointError
from napari_unet.formats.families import (
    milesial,
    monai_attention,
    monai_basic_unet,
    monai_dynunet,
    monai_nested,
    monai_segresnet,
    monai_unet,
    nnunet,
    own,
    pytorch3dunet,
    smp,
    torch_em,
    unknown,
)
from napari_unet.formats.families.unknown_refusals import NoUNet

if TYPE_CHECKING:
    from napari_unet.formats.reading import Contents, Reading


class Family(Protocol):
    """What a family's module offers."""

    NAME: str

    def read(self, contents: Contents) -> Reading | None:
        """Return how it understands the weights, None where they are not its own."""


FAMILIES: tuple[Family, ...] = (
    own, milesial, smp, pytorch3dunet, torch_em, monai_attention, monai_unet,
    monai_basic_unet, monai_nested,
    monai_dynunet, monai_segresnet, nnunet,
)  # fmt: skip


def recognise(contents: Contents) -> Reading:
    """Return how the weights of a file are to be understood.

    Parameters
    ----------
    contents : of a container

    Raises
    ------
    CheckpointError
        If no family fits; the sentence says what comes nearest, and what is wrong.
    """
    nearly: list[str] = []
    claimed = False
    for family in (*FAMILIES, unknown):
        if claimed and family is unknown:
            break  # of a known network something is lost: no other reading is better
        try:
            reading = family.read(contents)
        except NoUNet as other:
            nearly.append(f"holds {other}")
            continue
        except Misfit as misfit:
            nearly.append(f"looks like {family.NAME}, but {misfit}")
            claimed = True
            continue
        if reading is None:
            continue
        surplus = _surplus(reading)
        if surplus is None:
            return reading
        nearly.append(f"looks like {family.NAME}, but has the surplus weight {surplus}")
    what = nearly[0] if nearly else "holds weights of no U-Net that is known"
    raise CheckpointError(
        f"{contents.name} {what}; expected the weights of a U-Net: save it again, or "
        "choose another file."
    )


def _surplus(reading: Reading) -> str | None:
    """Return the first weight that the network does not use."""
    import torch

    with torch.device("meta"):
        known = build(reading.spec.architecture).state_dict()
    return next((key for key in reading.weights if key not in known), None)
