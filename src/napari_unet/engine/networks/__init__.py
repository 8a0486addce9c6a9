"""The networks; ``build(architecture)`` makes the one that is described."""

from napari_unet.engine.networks.any_network import AnyNetwork
from napari_unet.engine.networks.network import (
    Network,
    build,
    he_normal,
    pad_to_multiple,
)

__all__ = ["AnyNetwork", "Network", "build", "he_normal", "pad_to_multiple"]
