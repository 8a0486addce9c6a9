"""Whether a model gives for tiles what it gives for the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_unet.engine.axes import arrange, in_channel_order
from napari_unet.engine.config import PredictConfig
from napari_unet.engine.lazy import read
from napari_unet.engine.normalize import normalize, statistics
from napari_unet.engine.tile_runner import TileRunner

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_unet.engine.config import TileDone
    from napari_unet.engine.model import Model

CROP = {2: 640, 3: 80}  # pixels a side; the whole of it is computed at once
TILE = {2: 160, 3: 32}
EQUAL = 1e-4  # of scores; rounding makes less


@dataclass(frozen=True)
class TilingCheck:
    """How far tiles differ from the whole.

    Attributes
    ----------
    difference : the largest, of scores from 0 to 1
    shape : of what was compared, [Z,] Y, X
    tile : side of the tiles in pixels
    """

    difference: float
    shape: tuple[int, ...]
    tile: int

    def __str__(self) -> str:
        """Say it to a user."""
        size = " x ".join(map(str, self.shape))
        found = (
            f"the largest difference of scores is {self.difference:.1g}, of {size} "
            f"pixels in tiles of {self.tile}"
        )
        if self.difference <= EQUAL:
            return f"Tiles give what the whole image gives: {found}."
        return (
            f"Tiles differ from the whole image: {found}. Choose a tile as large as "
            "the image, if the memory allows."
        )


def check_tiling_steps(
    model: Model, image: Any, axes: str, channel: int | None = None
) -> Generator[TileDone, None, TilingCheck]:
    """Compare the scores of tiles with those of the network itself, in float32.

    Parameters
    ----------
    model, image, axes, channel : as for ``predict``; the middle is compared

    Raises
    ------
    ImageError
        If the image cannot be used.
    """
    spec, dims = model.spec, model.spec.architecture.dims
    picture = in_channel_order(
        arrange(image, axes, spec.architecture, channel).image, spec.channel_order
    )
    flat = picture.shape[1 : picture.ndim - dims]
    starts = [max(n - CROP[dims], 0) // 2 for n in picture.shape[-dims:]]
    middle = (slice(None), *(n // 2 for n in flat))
    part = read(picture[(*middle, *(slice(s, s + CROP[dims]) for s in starts))])
    stats = statistics(part, spec.normalization)
    whole = _whole(model, torch.from_numpy(normalize(part, stats))[None])
    config = PredictConfig(tile=TILE[dims])
    region = tuple(slice(0, n) for n in part.shape[1:])
    runner = TileRunner(model, config, 1, torch.float32)
    looks = runner.looks(region, several=False, spread=False)
    yield from runner.look(part, stats, region, looks)
    tiled = looks.mean()
    difference = float(np.abs(tiled - whole).max())
    return TilingCheck(difference, part.shape[1:], TILE[dims])


@torch.inference_mode()
def _whole(model: Model, x: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return scores of all at once, nothing folded, nothing cropped."""
    return np.asarray(model.scores(x.to(model.device))[0].float().cpu().numpy())
