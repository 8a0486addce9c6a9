"""How sure a network is, pixel by pixel, and when that means something.

References
----------
Settles: Active learning literature survey, University of Wisconsin 2009 (entropy).
Gal et al.: Deep Bayesian active learning with image data, ICML 2017, arXiv:1703.02910
(disagreement of several predictions of one place).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

from napari_unet.engine.device import choose_dtype
from napari_unet.engine.networks import pad_to_multiple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.grid import Grid
    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import Output

SCALES = (1.0, 2.0, 4.0)  # pixels, at which structure is looked for
FULL_TRUST = 2.0  # times the correlation of doubt with edges
FLAT = 1e-6  # spread of doubt times that of edges, below which there is none
TINY = 1e-6


def unsure(scores: NDArray[Any], output: Output) -> NDArray[np.float32]:
    """Return the entropy of scores, as a share of the highest there can be.

    Parameters
    ----------
    scores : (K, [Z,] Y, X) float, 0 to 1
    output : the meaning of the K channels

    Returns
    -------
    doubt : ([Z,] Y, X) float32, 0 to 1; of the foreground, of the classes, or of the
        least sure of classes that do not exclude each other
    """
    p = np.clip(np.asarray(scores, np.float32), 0, 1)
    if output == "classes":
        p = p / np.maximum(p.sum(axis=0), TINY)
        entropy = -(p * np.log(p + TINY)).sum(axis=0) / np.log(max(len(p), 2))
    elif output == "multilabel":
        entropy = _binary(p).max(axis=0)
    else:
        entropy = _binary(foreground(p, output))
    return np.asarray(entropy.clip(0, 1), np.float32)


def _binary(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy of yes or no, in bits."""
    q = 1 - p
    bits = -(p * np.log2(p + TINY) + q * np.log2(q + TINY))
    return np.asarray(bits, np.float32)


def foreground(scores: NDArray[Any], output: Output) -> NDArray[np.float32]:
    """Return how far each pixel counts as object, ([Z,] Y, X) float32, 0 to 1."""
    p = np.clip(np.asarray(scores, np.float32), 0, 1)
    if output == "classes":
        return np.asarray(1 - p[0], np.float32)
    if output == "multilabel":
        return np.asarray(p.max(axis=0), np.float32)
    return np.asarray(p[0 if output == "instances" else -1], np.float32)


def edges(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the gradient's magnitude at each of ``SCALES``.

    Parameters
    ----------
    image : ([Z,] Y, X) float32, normalised
    """
    return [ndimage.gaussian_gradient_magnitude(image, scale) for scale in SCALES]


def trust_in(doubt: NDArray[np.float32], edge: NDArray[np.float32]) -> float:
    """Return how far the doubt of scores means something, 0 to 1.

    A network that sees what there is doubts where objects end, so its doubt goes with
    the edges of the image. One that does not is sure of nonsense, and doubts where
    there is nothing: measured on tissue with a model for fluorescence, doubt and edges
    correlate by -0.1 to -0.4, on images of its own kind by 0.4 to 0.6.

    Parameters
    ----------
    doubt : ([Z,] Y, X) float32, as from ``unsure``
    edge : of the same shape, the gradient's magnitude
    """
    a, b = (np.float64(pixels) - pixels.mean(dtype=float) for pixels in (doubt, edge))
    spread = float(np.sqrt((a * a).mean() * (b * b).mean()))
    if spread < FLAT:
        return 0.0
    return float(np.clip(FULL_TRUST * (a * b).mean() / spread, 0, 1))


@dataclass(frozen=True)
class Survey:
    """What is seen in each of N windows; see ``Candidates``."""

    unsure: NDArray[np.float64]
    trust: NDArray[np.float64]
    looks: NDArray[np.float64]
    structure: NDArray[np.float64]


def survey(
    image: NDArray[np.float32], scores: NDArray[Any], output: Output, grid: Grid
) -> Survey:
    """Measure the windows of a plane or volume.

    Parameters
    ----------
    image : (C, [Z,] Y, X) float32, normalised
    scores : (K, [Z,] Y, X) float, 0 to 1
    output : the meaning of the K channels
    grid : of the windows
    """
    pixels, inside = unsure(scores, output), foreground(scores, output)
    doubt, found = grid.means(pixels), edges(image.mean(axis=0))
    trust = np.full(len(doubt), trust_in(pixels, found[1]))
    steep = [grid.means(each) for each in found]
    looks = [
        *(part for each in _distinct(image) for part in _moments(each, grid)),
        *_moments(inside, grid), doubt, *steep,
    ]  # fmt: skip
    return Survey(doubt, trust, np.stack(looks, axis=1), steep[1])


def _distinct(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the channels; one where all show the same, as of grey given as colour."""
    same = all(np.array_equal(image[0], other) for other in image[1:])
    return image[:1] if same else image


def _moments(pixels: NDArray[np.float32], grid: Grid) -> list[NDArray[np.float64]]:
    mean, square = grid.means(pixels), grid.means(pixels.astype(np.float64) ** 2)
    return [mean, np.sqrt(np.maximum(square - mean**2, 0))]


@torch.inference_mode()
def flip_disagreement(model: Model, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far the network's answers for flips of an image differ.

    Parameters
    ----------
    model : any
    image : (C, [Z,] Y, X) float32, normalised; as it is, and flipped along X and Y

    Returns
    -------
    spread : ([Z,] Y, X) float32, 0 to 1; the widest of all channels of scores
    """
    x = torch.from_numpy(np.ascontiguousarray(image))[np.newaxis].to(model.device)
    x = pad_to_multiple(x, model.network.stride)  # else flips would shift its grid
    dtype = choose_dtype("auto", model.device)
    answers = []
    with torch.autocast(x.device.type, dtype=dtype, enabled=dtype != torch.float32):
        for flip in ((), (-1,), (-2,)):
            answers.append(model.scores(x.flip(flip)).flip(flip)[0].float())
    stacked = torch.stack(answers)
    widest = (stacked.amax(dim=0) - stacked.amin(dim=0)).amax(dim=0).clamp(0, 1)
    inside = tuple(slice(n) for n in image.shape[1:])
    return np.asarray(widest.cpu().numpy()[inside], np.float32)
