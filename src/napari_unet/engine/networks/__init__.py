"""The networks; ``build(spec)`` makes the one that a spec describes."""

from napari_unet.engine.networks.unet import (
    UNet,
    build,
    he_normal,
    pad_to_multiple,
)

__all__ = ["UNet", "build", "he_normal", "pad_to_multiple"]
