"""Sample images for napari's File > Open Sample, and nuclei made on the fly."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.errors import UnetError
from napari_unet.sample_data.nuclei import (
    Nucleus,
    Optics,
    SyntheticNuclei,
    synthesize,
    synthesize_time,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Nucleus",
    "Optics",
    "SyntheticNuclei",
    "cells3d",
    "human_mitosis",
    "ihc",
    "synthesize",
    "synthesize_time",
    "synthetic_nuclei_2d",
    "synthetic_nuclei_3d",
    "synthetic_nuclei_time",
]

LayerData = tuple[Any, dict[str, Any], str]  # napari's: data, properties, layer type

# the files and checksums of scikit-image, kept where scikit-image keeps them
COMMIT = "2cdc5ce89b334d28f06a58c9f0ca21aa6992a5ba"
SOURCE = f"https://gitlab.com/scikit-image/data/-/raw/{COMMIT}/"
MITOSIS = (
    "mitosis.tif",
    "AS_09125_050116030001_D03f00d0.tif",
    "2751ba667c4067c5d30817cff004aa06f6f6287f1cdbb5b8c9c6a500308cb456",
)
CELLS = (
    "cells3d.tif",
    "cells3d.tif",
    "afc7c7d80d38bfde09788b4064ac1e64ec14e88454ab785ebdc8dbba5ca3b222",
)
PATIENCE = (5, 30)  # seconds to wait for a connection, and for an answer


def ihc() -> list[LayerData]:
    """Return the histology image that scikit-image ships, brown stain on blue."""
    from skimage import data

    return [(data.immunohistochemistry(), {"name": "IHC", "rgb": True}, "image")]


def human_mitosis() -> list[LayerData]:
    """Return nuclei of human cells, some in mitosis; downloaded once.

    Raises
    ------
    UnetError
        If it was never downloaded and there is no network.
    """
    return [(_downloaded(*MITOSIS), {"name": "human mitosis"}, "image")]


def cells3d() -> list[LayerData]:
    """Return membranes and nuclei in 3D; downloaded once.

    Raises
    ------
    UnetError
        If it was never downloaded and there is no network.
    """
    both = _downloaded(*CELLS)
    shared = {"scale": (0.29, 0.26, 0.26), "blending": "additive"}
    membranes = {"name": "cells 3D membranes", "colormap": "magenta", **shared}
    nuclei = {"name": "cells 3D nuclei", "colormap": "gray", **shared}
    return [(both[:, 0], membranes, "image"), (both[:, 1], nuclei, "image")]


def synthetic_nuclei_2d() -> list[LayerData]:
    """Return synthetic fluorescent nuclei, 512 x 512, and the truth about them."""
    made = synthesize((512, 512), np.random.default_rng(7))
    return _layers("synthetic nuclei", made)


def synthetic_nuclei_3d() -> list[LayerData]:
    """Return a stack of synthetic nuclei, 32 x 192 x 192, and the truth about it."""
    optics = Optics(dtype="uint16", photons=400.0)
    rng = np.random.default_rng(3)
    made = synthesize((32, 192, 192), rng, density=0.16, optics=optics)
    return _layers("synthetic nuclei 3D", made, scale=(1.0, 0.5, 0.5))


def synthetic_nuclei_time() -> list[LayerData]:
    """Return a time lapse of moving synthetic nuclei, 12 x 256 x 256, and the truth."""
    made = synthesize_time((12, 256, 256), np.random.default_rng(11))
    return _layers("synthetic nuclei time", made)


def _layers(name: str, made: SyntheticNuclei, **shared: Any) -> list[LayerData]:
    truth = {"name": f"{name} - truth", "visible": False, **shared}
    return [
        (made.image, {"name": name, **shared}, "image"),
        (made.labels, truth, "labels"),
    ]


def _downloaded(name: str, remote: str, sha256: str) -> NDArray[Any]:
    """Return an image of scikit-image's collection, kept in its cache."""
    import pooch
    import requests
    import tifffile

    cache = Path(os.environ.get("SKIMAGE_DATADIR", pooch.os_cache("scikit-image")))
    try:
        place = pooch.retrieve(
            SOURCE + remote,
            known_hash=f"sha256:{sha256}",
            fname=name,
            path=cache / version("scikit-image") / "data",
            downloader=pooch.HTTPDownloader(timeout=PATIENCE),
        )
    except (requests.RequestException, OSError, ValueError) as error:
        raise UnetError(
            f"The sample image {name} could not be downloaded from gitlab.com "
            f"({type(error).__name__}): connect to the network, or open a synthetic "
            "sample instead."
        ) from error
    return np.asarray(tifffile.imread(place))
