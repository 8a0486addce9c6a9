"""What probing a program finds out; crosses from its process as JSON. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from napari_unet.engine.config import Frozen

Family = Literal["TorchScript", "torch.export", "ONNX"]
Count = Annotated[int, Field(ge=1, le=65536)]


class Facts(Frozen):
    """A program as it was seen to behave.

    ``output`` of ``outputs`` is the one taken; ``low`` and ``high`` are the extremes of
    its values for random images, ``whole`` tells whether its channels always sum to 1.
    The rest is as in ProgramSpec.
    """

    dims: Literal[2, 3]
    in_channels: Annotated[int, Field(ge=1, le=1024)]
    out_channels: Annotated[int, Field(ge=1, le=1024)]
    stride: Annotated[int, Field(ge=1, le=4096)] = 1
    halo: Annotated[int, Field(ge=0, le=65536)] = 0
    local: bool = True
    fit: Literal["itself", "pad", "fixed"] = "pad"
    size: tuple[Count, ...] = ()
    output: Annotated[int, Field(ge=0, le=65536)] = 0
    outputs: Count = 1
    low: FiniteFloat = 0.0
    high: FiniteFloat = 0.0
    whole: bool = False
    limited: bool = True
    remarks: Annotated[
        tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=20)
    ] = ()
