"""Finding out what a program takes and gives, by running it; inside its process."""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_unet.formats.programs.facts import Facts
from napari_unet.formats.programs.problems import Refusal, is_memory, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_unet.formats.programs.runners import Array, Hint, Runner, Shape

SIZES: dict[int, tuple[tuple[int, ...], ...]] = {  # tried in this order, [Z,] Y, X
    2: tuple((n, n) for n in (64, 256, 128, 512, 96, 224, 320, 32, 48, 1024)),
    3: (
        (32, 32, 32), (64, 64, 64), (16, 64, 64), (8, 64, 64), (32, 128, 128),
        (16, 128, 128), (16, 16, 16), (16, 256, 256), (128, 128, 128),
    ),
}  # fmt: skip
MULTIPLES = (2, 4, 8, 16, 32, 64, 128)
LONG = {2: 512, 3: 128}  # pixels along the axis on which reach is measured
BAND = 64  # pixels that are changed there, in the middle
UNSEEN = {2: 128, 3: 32}  # halo at least, where no halo is enough or known
FELT = 1e-6  # of the largest output: a change below is rounding
WEAK = 0.02  # of the largest change, and
CLEARLY = 3  # times the change at the far ends: what counts if all of it changed
NOT_A_NUMBER = (
    "gives NaN for a random image, expected numbers: its training failed, take an "
    "earlier checkpoint."
)
ROOMY = 2048  # a program that takes images of this size needs no pieces


class TimeIsUp(Exception):
    """The seconds for measuring are used up; what is not known stays unknown."""


@dataclass(frozen=True)
class Start:
    """What is known once one image went through."""

    hint: Hint
    size: tuple[int, ...]
    output: int
    outputs: int
    channels: int


@dataclass(frozen=True)
class Reach:
    """How far an output pixel sees: pixels, and whether that is all it depends on."""

    pixels: int
    local: bool


def probe(runner: Runner, seconds: float) -> Facts:
    """Return the facts about a program.

    Parameters
    ----------
    runner : the opened program
    seconds : after which nothing more is measured

    Raises
    ------
    Refusal
        If it gives no image of the size of its input.
    """
    prober = Prober(runner, time.monotonic() + seconds)
    start = prober.start()
    remarks: list[str] = []
    if start.outputs > 1:
        taken = f"number {start.output + 1} is taken"
        remarks.append(f"the program has {start.outputs} outputs, {taken}")
    fit, stride, reach = "pad", 0, None
    try:
        fit, stride = prober.fit()
        reach = prober.reach(fit, stride)
    except TimeIsUp:
        remarks.append("the program is slow: how far it sees is not known, but guessed")
    return _facts(prober, start, fit, stride, reach, tuple(remarks))


def _facts(
    prober: Prober, start: Start, fit: str, stride: int, reach: Reach | None,
    remarks: tuple[str, ...],
) -> Facts:  # fmt: skip
    dims = start.hint.dims
    size: tuple[int, ...] = start.size if fit == "fixed" else ()
    if not stride:  # so slow that not even sizes could be tried
        fit, size, stride = "fixed", start.size, 1
    most = start.hint.most
    if fit != "fixed" and most is not None and most < ROOMY:
        fit, size = "fixed", (min(most, LONG[dims]) // stride * stride,) * dims
    reach = reach or Reach(0, local=False)
    if not reach.local:
        reach = Reach(max(reach.pixels, UNSEEN[dims]), local=False)
    if fit == "fixed":
        shown = " x ".join(map(str, size))
        remarks = (*remarks, f"images are put together from pieces of {shown} pixels")
    return Facts(
        dims=dims, in_channels=start.hint.channels, out_channels=start.channels,
        stride=stride, halo=_halo(reach.pixels, stride), local=reach.local,
        fit=fit, size=size, output=start.output, outputs=start.outputs,
        low=prober.low, high=prober.high, whole=prober.whole, remarks=remarks,
    )  # fmt: skip


def _halo(pixels: int, stride: int) -> int:
    """Return the reach on the grid, and a cell more where there is any."""
    return (-(-pixels // stride) + bool(pixels)) * stride


class Prober:
    """Runs a program on random images and looks at what comes out."""

    def __init__(self, runner: Runner, deadline: float) -> None:
        self.runner = runner
        self.deadline = deadline
        self.rng = np.random.default_rng(0)
        self.low, self.high, self.whole = np.inf, -np.inf, True
        self.known: Start | None = None

    # -- images

    def images(self) -> tuple[Callable[[Shape], NDArray[np.float32]], ...]:
        """Return what draws images of mean 0, of 0 to 1, and of 0 to 255."""
        return (
            lambda shape: self.rng.standard_normal(shape, np.float32),
            lambda shape: self.rng.random(shape, np.float32),
            lambda shape: self.rng.random(shape, np.float32) * 255,
        )

    def shape(self, size: tuple[int, ...]) -> Shape:
        """Return the whole shape of an image of this size."""
        return (1, self._start.hint.channels, *size)

    @property
    def _start(self) -> Start:
        if self.known is None:
            raise ValueError("nothing is known yet")
        return self.known

    # -- the first image that goes through

    def start(self) -> Start:
        """Try channels and sizes until an image comes out."""
        wrong, first = "", ""
        for hint, size in _trials(self.runner.hints()):
            if time.monotonic() > self.deadline:
                break
            draw = self.images()[1]
            try:
                outputs = self.runner.run(draw((1, hint.channels, *size)))
            except Exception as error:
                if is_memory(error):
                    raise
                first = first or told(error)
                continue
            found = _image_among(outputs, size)
            if found is not None:
                channels = outputs[found].shape[1]
                self.known = Start(hint, size, found, len(outputs), channels)
                if np.isnan(outputs[found]).any():
                    raise Refusal(NOT_A_NUMBER)
                self._watch(np.nan_to_num(outputs[found]))
                return self.known
            wrong = wrong or _shapes(outputs, (1, hint.channels, *size))
        raise Refusal(wrong or _nothing_fits(first))

    def run(self, x: NDArray[np.float32]) -> Array:
        """Return the image that comes out; TimeIsUp when it is late."""
        if time.monotonic() > self.deadline:
            raise TimeIsUp
        output = np.nan_to_num(self.runner.run(x)[self._start.output])
        if output.shape != (1, self._start.channels, *x.shape[2:]):
            raise ValueError("another size comes out than went in")
        self._watch(output)
        return output

    def _watch(self, output: Array) -> None:
        """Remember the extremes."""
        self.low = min(self.low, float(output.min()))
        self.high = max(self.high, float(output.max()))
        self.whole &= bool(np.abs(output.sum(axis=1) - 1).max() < 1e-3)

    # -- sizes

    def fit(self) -> tuple[str, int]:
        """Return how sizes are made to fit, and the stride."""
        size = self._start.size
        if any(self._start.hint.lengths):
            return "fixed", self._shift(size[-1])
        if self._takes(tuple(n + 1 + 2 * i for i, n in enumerate(size))):
            return "itself", self._shift(LONG[self._start.hint.dims])
        fitting = [m for m in MULTIPLES if not any(n % m for n in size)]
        number = bisect_left(
            fitting, True, key=lambda m: self._takes(tuple(n + m for n in size))
        )
        if number < len(fitting):
            return "pad", fitting[number]
        return "fixed", self._shift(size[-1])

    def _takes(self, size: tuple[int, ...]) -> bool:
        try:
            self.run(self.images()[0](self.shape(size)))
        except TimeIsUp:
            raise
        except Exception as error:
            if is_memory(error):
                raise
            return False
        return True

    def _shift(self, length: int) -> int:
        """Return the smallest shift of the image that shifts the output alike.

        That is the network's grid. Where nothing shifts exactly, the smallest shift
        that is about as good as the best is taken.
        """
        shifts = [n for n in (1, *MULTIPLES) if n <= max(length // 4, 1)]
        long, short = length + shifts[-1], self._start.size[:-1]
        x = self.images()[1](self.shape((*short, long)))
        middle, half = long // 2, max(length // 16, 1)

        def seen(shift: int) -> Array:
            output = self.run(np.ascontiguousarray(x[..., shift : shift + length]))
            return output[..., middle - half - shift : middle + half - shift]

        still = seen(0)
        rounding = 1e-5 * float(np.abs(still).max())
        errors: dict[int, float] = {}
        for shift in shifts:
            errors[shift] = float(np.abs(seen(shift) - still).max())
            if errors[shift] <= rounding:
                return shift
        return next(n for n, e in errors.items() if e <= 2 * min(errors.values()))

    # -- reach

    def reach(self, fit: str, stride: int) -> Reach:
        """Return how far a change of the input reaches in the output.

        A band across the middle of a long image is replaced; its edges lie on the
        network's grid, as those of tiles do. What changes beyond them is the reach.
        """
        dims, short = self._start.hint.dims, self._start.size
        found: Reach | None = None
        draws = self.images()[:1] if fit == "fixed" else self.images()  # large: slow
        for draw, axis in product(draws, range(dims)):
            length = short[axis] if fit == "fixed" else LONG[dims]
            try:
                one = self._along(axis, length, stride, draw)
                if not one.local and fit != "fixed":
                    one = self._along(axis, 2 * length, stride, draw)
            except TimeIsUp:
                if found is None:
                    raise
                return found
            local = one.local and (found is None or found.local)
            found = Reach(max(one.pixels, found.pixels if found else 0), local)
        return found or Reach(0, local=True)

    def _along(
        self, axis: int, length: int, stride: int,
        draw: Callable[[Shape], NDArray[np.float32]],
    ) -> Reach:  # fmt: skip
        size = list(self._start.size)
        size[axis] = length
        band = -(-min(BAND, length // 4) // stride) * stride
        begins = (length - band) // 2 // stride * stride
        x = draw(self.shape(tuple(size)))
        changed = x.copy()
        place = (*(slice(None),) * (2 + axis), slice(begins, begins + band))
        changed[place] = 3 * draw(changed[place].shape)
        before = self.run(x)
        change = np.abs(self.run(changed) - before)
        others = tuple(n for n in range(change.ndim) if n != 2 + axis)
        profile = change.max(axis=others)
        return _reach_of(profile, begins, begins + band, float(np.abs(before).max()))


def _reach_of(
    profile: NDArray[np.float32], begins: int, ends: int, largest: float
) -> Reach:
    """Return how far beyond [begins, ends) the output changed.

    Where it changed everywhere, as by a norm over the whole image, only what changed
    clearly more than the far ends counts.
    """
    felt = np.flatnonzero(profile > FELT * max(largest, 1e-30))
    if not felt.size:
        return Reach(0, local=True)
    local = bool(felt[0] > 0 and felt[-1] < len(profile) - 1)
    if not local:
        end = max(len(profile) // 8, 1)
        far = float(np.median([*profile[:end], *profile[-end:]]))
        felt = np.flatnonzero(profile > max(CLEARLY * far, WEAK * profile.max()))
    reached = (begins - int(felt[0]), int(felt[-1]) + 1 - ends) if felt.size else (0,)
    return Reach(max(*reached, 0), local)


def _trials(hints: list[Hint]) -> list[tuple[Hint, tuple[int, ...]]]:
    """Return what to try, every hint at one size before the next size."""
    trials: dict[tuple[Hint, tuple[int, ...]], None] = {}
    for number in range(max(map(len, SIZES.values()))):
        for hint in hints:
            sizes = SIZES[hint.dims]
            size = sizes[min(number, len(sizes) - 1)]
            if hint.most is not None:
                size = tuple(min(n, hint.most) for n in size)
            known = zip(hint.lengths, size, strict=True)
            trials[hint, tuple(fixed or free for fixed, free in known)] = None
    return list(trials)


def _image_among(outputs: list[Array], size: tuple[int, ...]) -> int | None:
    """Return the number of the first output that is an image of this size."""
    for number, output in enumerate(outputs):
        if (
            output.dtype.kind == "f" and output.ndim == len(size) + 2
            and output.shape[0] == 1 and output.shape[2:] == size
            and 1 <= output.shape[1] <= 1024
        ):  # fmt: skip
            return number
    return None


def _shapes(outputs: list[Array], given: Shape) -> str:
    shown = " and ".join(f"{o.dtype} of shape {o.shape}" for o in outputs[:3])
    return (
        f"gives {shown or 'nothing'} for an image of shape {given}, expected scores "
        "of the image's size: choose a segmentation network."
    )


def _nothing_fits(first: str) -> str:
    return (
        f"takes none of the images that were tried ({first or 'too slow'}), expected a "
        "network of one image: choose another file, or export it again."
    )
