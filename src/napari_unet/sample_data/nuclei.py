"""Nuclei under a fluorescence microscope, made on the fly, with the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMALLEST = 25  # pixels; what less is visible of at the border is in no truth
ANISOTROPY = 2.0  # a z step in lateral pixels


@dataclass(frozen=True)
class Optics:
    """A camera behind a fluorescence microscope.

    Attributes
    ----------
    blur : standard deviation of the sharpest focus in pixels
    defocus : the same for what lies furthest from the focus
    haze : share of the light that is scattered over the neighbourhood
    background : light without any nucleus, in photons
    photons : of the brightest nuclei, per pixel; fewer is noisier
    read_noise : standard deviation in photons
    shading : relative loss of light towards the corners
    dtype : of the image, uint8 or uint16
    """

    blur: float = 1.1
    defocus: float = 3.0
    haze: float = 0.34
    background: float = 20.0
    photons: float = 300.0
    read_noise: float = 2.5
    shading: float = 0.5
    dtype: str = "uint8"


@dataclass(frozen=True)
class Nucleus:
    """A nucleus before any optics.

    Attributes
    ----------
    centre : ([Z,] Y, X) in pixels
    radii : along its own axes in pixels, those of Z first in 3D
    angle : of its long axis in the YX plane, radians
    bumps : relative height and phase of the waves of its outline, two and more a turn
    brightness : relative to the brightest
    focus : 0 in focus, 1 furthest from it
    grain : seed of its texture
    """

    centre: tuple[float, ...]
    radii: tuple[float, ...]
    angle: float
    bumps: tuple[tuple[float, float], ...]
    brightness: float
    focus: float
    grain: int


@dataclass(frozen=True)
class SyntheticNuclei:
    """An image and the truth about it.

    Attributes
    ----------
    image : ([Z,] Y, X) uint8 or uint16
    labels : ([Z,] Y, X) int32, 0 is background
    """

    image: NDArray[Any]
    labels: NDArray[np.int32]


def synthesize(
    shape: Sequence[int],
    rng: np.random.Generator,
    *,
    diameter: float = 25.0,
    density: float = 0.2,
    optics: Optics | None = None,
) -> SyntheticNuclei:
    """Make a fluorescence image of nuclei, some touching, and the truth about it.

    Parameters
    ----------
    shape : (Y, X), or (Z, Y, X) with z steps of two lateral pixels
    rng : the only source of chance
    diameter : of a typical nucleus in lateral pixels
    density : share of the field that is filled with nuclei, about
    optics : blur, haze, noise and number format
    """
    shape = tuple(shape)
    nuclei = place_nuclei(shape, rng, diameter=diameter, density=density)
    light, labels = _drawn(shape, nuclei, optics or Optics())
    return SyntheticNuclei(
        _photographed(light, optics or Optics(), rng), _without_crumbs(labels)
    )


def synthesize_time(
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    *,
    diameter: float = 25.0,
    density: float = 0.16,
    optics: Optics | None = None,
) -> SyntheticNuclei:
    """Make a time lapse of nuclei that drift, turn and bleach; a label is a track.

    Parameters
    ----------
    shape : (T, Y, X)
    rng, diameter, density, optics : as for ``synthesize``
    """
    frames, *field = shape
    optics = optics or Optics()
    nuclei = place_nuclei(tuple(field), rng, diameter=diameter, density=density)
    speeds = rng.normal(0.0, 0.9, (len(nuclei), 3))
    images, labels = [], []
    for frame in range(frames):
        light, truth = _drawn(tuple(field), nuclei, optics)
        images.append(_photographed(light * 0.975**frame, optics, rng))
        labels.append(truth)
        speeds = 0.85 * speeds + rng.normal(0.0, 0.45, speeds.shape)
        nuclei = [_moved(n, v) for n, v in zip(nuclei, speeds, strict=True)]
    return SyntheticNuclei(np.stack(images), _without_crumbs(np.stack(labels)))


def _moved(nucleus: Nucleus, speed: NDArray[np.float64]) -> Nucleus:
    *rest, y, x = nucleus.centre
    centre = (*rest, y + float(speed[0]), x + float(speed[1]))
    return replace(nucleus, centre=centre, angle=nucleus.angle + 0.03 * float(speed[2]))


def place_nuclei(
    shape: tuple[int, ...], rng: np.random.Generator, *, diameter: float, density: float
) -> list[Nucleus]:
    """Scatter nuclei over a field so that some touch and few overlap.

    Parameters
    ----------
    shape : ([Z,] Y, X)
    rng : the only source of chance
    diameter : of a typical nucleus in lateral pixels
    density : share of the field that is filled, about
    """
    # lateral units, so that a distance means the same along every axis
    stretch = np.array([ANISOTROPY] * (len(shape) - 2) + [1.0, 1.0])
    extent = np.array(shape) * stretch
    ball = diameter ** len(shape) * (np.pi / 4 if len(shape) == 2 else np.pi / 6)
    wanted = max(round(density * float(np.prod(extent)) / ball), 1)
    placed: list[Nucleus] = []
    spots = np.zeros((0, len(shape)))
    for _ in range(60 * wanted):
        if len(placed) == wanted:
            break
        spot = _spot(spots, extent, diameter, rng)
        nucleus = _nucleus(spot / stretch, diameter, rng)
        reach = np.mean(nucleus.radii[-2:])
        reaches = np.array([np.mean(other.radii[-2:]) for other in placed])
        gaps = np.linalg.norm(spots - spot, axis=1)
        if (gaps > 0.86 * (reaches + reach)).all():
            placed.append(nucleus)
            spots = np.vstack([spots, spot])
    return placed


def _spot(
    spots: NDArray[np.float64],
    extent: NDArray[np.float64],
    diameter: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return a place to try: often beside a nucleus, else anywhere."""
    if len(spots) and rng.random() < 0.45:
        way = rng.normal(size=len(extent))
        way *= diameter * rng.uniform(0.85, 1.2) / np.linalg.norm(way)
        return np.asarray(np.clip(spots[rng.integers(len(spots))] + way, 0, extent))
    return rng.uniform(0, extent)


def _nucleus(
    centre: NDArray[np.float64], diameter: float, rng: np.random.Generator
) -> Nucleus:
    """Return a nucleus at rest; one in twenty condensed for division."""
    radius = 0.5 * diameter * float(np.clip(rng.lognormal(0.0, 0.16), 0.65, 1.5))
    longer = float(rng.uniform(1.05, 1.5))
    brightness = float(np.clip(rng.lognormal(-0.65, 0.4), 0.18, 0.95))
    if rng.random() < 0.05:
        radius, longer, brightness = 0.7 * radius, float(rng.uniform(1.6, 2.2)), 1.0
    radii: tuple[float, ...] = (radius * longer**0.5, radius / longer**0.5)
    if len(centre) == 3:
        radii = (0.9 * radius / ANISOTROPY, *radii)
    heights = rng.normal(0.0, (0.04, 0.04, 0.025, 0.015))
    phases = rng.uniform(0, 2 * np.pi, 4)
    return Nucleus(
        tuple(float(c) for c in centre), tuple(map(float, radii)),
        float(rng.uniform(0, np.pi)),
        tuple(zip(heights.tolist(), phases.tolist(), strict=True)),
        brightness, float(rng.beta(1.0, 2.5)), int(rng.integers(2**31)),
    )  # fmt: skip


def _drawn(
    shape: tuple[int, ...], nuclei: Sequence[Nucleus], optics: Optics
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the light of nuclei, each blurred by its own focus, and labels."""
    light = np.zeros((3, *shape), np.float32)
    labels = np.zeros(shape, np.int32)
    nearest = np.full(shape, np.inf, np.float32)
    for number, nucleus in enumerate(nuclei, start=1):
        window, depth = _depths(nucleus, shape)
        inside = depth < 1
        light[min(int(3 * nucleus.focus), 2)][window] += _glow(nucleus, depth)
        # where two overlap, the pixel is of the one whose centre is nearer
        won = inside & (depth < nearest[window])
        labels[window][won] = number
        nearest[window][won] = depth[won]
    widths = np.linspace(optics.blur, optics.defocus, 3)
    return sum(map(_blurred, light, widths), np.zeros(shape, np.float32)), labels


def _depths(
    nucleus: Nucleus, shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """Return a window around a nucleus, and in it 0 (centre) to 1 (outline)."""
    reach = 1.3 * max(nucleus.radii[-2:])
    reaches = [1.3 * nucleus.radii[0]] * (len(shape) - 2) + [reach, reach]
    window = tuple(
        slice(max(round(c - r), 0), max(min(round(c + r) + 1, n), 0))
        for c, r, n in zip(nucleus.centre, reaches, shape, strict=True)
    )
    *z, y, x = np.ogrid[window]
    y, x = y - nucleus.centre[-2], x - nucleus.centre[-1]
    along = x * np.cos(nucleus.angle) + y * np.sin(nucleus.angle)
    across = y * np.cos(nucleus.angle) - x * np.sin(nucleus.angle)
    turn = np.arctan2(across, along)
    waves = enumerate(nucleus.bumps, start=2)
    outline = 1 + sum(height * np.cos(k * turn + at) for k, (height, at) in waves)
    squared = (along / nucleus.radii[-2]) ** 2 + (across / nucleus.radii[-1]) ** 2
    squared = squared / outline**2
    if z:
        squared = squared + ((z[0] - nucleus.centre[0]) / nucleus.radii[0]) ** 2
    return window, np.sqrt(squared).astype(np.float32)


def _glow(nucleus: Nucleus, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the light of a nucleus: thicker in the middle, grainy, dark nucleoli."""
    rng = np.random.default_rng(nucleus.grain)
    thickness = 0.6 + 0.4 * np.sqrt(np.clip(1 - depth**2, 0, None))
    fine, coarse = (_noise(depth.shape, width, rng) for width in (1.1, 2.8))
    texture = 1 + 0.16 * fine + 0.14 * coarse - 0.35 * (coarse < -1.4)
    glow = nucleus.brightness * thickness * np.clip(texture, 0.2, 1.8) * (depth < 1)
    return np.asarray(glow, np.float32)


def _noise(
    shape: tuple[int, ...], width: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return smooth noise of mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), width)
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-9))


def _blurred(light: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Return light out of focus; in 3D twice as wide along the optical axis."""
    widths = [width] * light.ndim  # a z step is two pixels wide
    return np.asarray(ndimage.gaussian_filter(light, widths), np.float32)


def _photographed(
    light: NDArray[np.float32], optics: Optics, rng: np.random.Generator
) -> NDArray[Any]:
    """Return what a camera records of light: haze, shading, noise, numbers."""
    haze = sum(_blurred(light, width) for width in (6.0, 25.0)) / 2
    seen = (1 - optics.haze) * light + optics.haze * haze
    shading = _shading(light.shape, optics, rng)
    photons = optics.photons * seen * shading + optics.background * (1 + 0.3 * shading)
    counts = rng.poisson(photons) + rng.normal(0, optics.read_noise, light.shape)
    highest = np.iinfo(optics.dtype).max
    gain = 0.8 if optics.dtype == "uint8" else 12.0
    offset = 4.0 if optics.dtype == "uint8" else 100.0
    return np.clip(gain * counts + offset, 0, highest).round().astype(optics.dtype)


def _shading(
    shape: tuple[int, ...], optics: Optics, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return relative light: brightest off the centre, darker outwards and deep."""
    y, x = (np.linspace(-1, 1, n) for n in shape[-2:])
    peak = rng.uniform(-0.35, 0.35, 2)
    fall = ((y[:, np.newaxis] - peak[0]) ** 2 + (x - peak[1]) ** 2) / 2
    lateral = 1 - optics.shading * np.clip(fall, 0, 1.5)
    if len(shape) == 2:
        return np.asarray(lateral)
    deep = np.linspace(1.0, 0.75, shape[0])[:, np.newaxis, np.newaxis]
    return np.asarray(deep * lateral)


def _without_crumbs(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return labels 1 to n without what is hardly visible."""
    areas = np.bincount(labels.ravel())
    keep = areas >= SMALLEST
    keep[0] = False
    numbers = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return np.asarray(numbers[labels], np.int32)
