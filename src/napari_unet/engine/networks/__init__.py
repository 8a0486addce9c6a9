"""The networks; ``build(spec)`` makes the one that a spec describes."""

from napari_unet.engine.networks.unet import UNet, build, pad_to_multiple

__all__ = ["UNet", "build", "pad_to_multiple"]
