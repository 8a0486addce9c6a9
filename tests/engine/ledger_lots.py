"""What random work on a layer is drawn from: places, values, brushes, predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cc3d
import numpy as np
from dense_ledger import DenseLedger

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region


@dataclass(frozen=True)
class Setting:
    """What is corrected."""

    shape: tuple[int, ...]
    dims: int = 2
    instances: bool = True
    stored: bool = False  # on disk, not in memory


class Lots:
    """Draws lots that fit to what the layer holds and which slice is in view."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.setting, self.shape = setting, setting.shape
        self.flat = len(self.shape) - setting.dims
        self.place = [0] * self.flat  # the slice in view
        self.initial = np.zeros(self.shape, np.int32)
        if seed % 2:
            self.initial = self.drawn(tuple(slice(0, n) for n in self.shape))
        self.model = DenseLedger(
            self.initial, setting.dims, instances=setting.instances
        )

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def present(self) -> list[int]:
        """Objects of the plane (volume) in view; one that is absent where none is."""
        found = np.unique(self.model.labels[tuple(self.place)])
        return [int(label) for label in found if label] or [1]

    def some_value(self) -> int:
        """Return what is painted: background, an object that is there, a new one."""
        if not self.setting.instances:
            return int(self.rng.integers(4))
        values = [0, int(self.rng.choice(self.present())), self.model.next_label]
        return values[int(self.rng.integers(3))] + 3 * self.chance(0.05)

    def somewhere(self) -> tuple[int, ...]:
        """Return a pixel of what is in view, often beside the border of a block."""
        at = [int(self.rng.integers(n)) for n in self.shape[self.flat :]]
        for axis in (-2, -1):
            if self.shape[axis] > 256 and self.chance(0.4):
                at[axis] = int(self.rng.integers(250, min(self.shape[axis], 262)))
        return (*self.place, *at)

    def box(self, side: int) -> Region:
        """Return a window, mostly of what is in view, up to ``side`` long."""
        window = []
        for axis, (at, n) in enumerate(zip(self.somewhere(), self.shape, strict=True)):
            length = int(self.rng.integers(1, side + 1))
            if axis < len(self.shape) - 2 and self.chance(0.7):
                length = 1
            window.append(slice(at, min(at + length, n)))
        return tuple(window)

    def brush(self, value: int) -> tuple[Any, Any]:
        """Return a key and values of one write of a stroke."""
        window = self.box(12)
        if self.chance(0.4):
            return window, value
        holes = self.rng.random(self.model.labels[window].shape) < 0.6
        if self.chance(0.5):  # as napari paints: a window is read, changed, written
            content = self.model.labels[window].copy()
            content[holes] = value
            return window, content
        places = np.argwhere(holes) + [s.start for s in window]
        return tuple(places.T) if len(places) else window, value

    def line(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return a line, mostly through an object, in a volume along one slice."""
        labels = self.model.labels[tuple(self.place)]
        inside = np.argwhere(labels == self.rng.choice(self.present()))
        middle = self.rng.choice(inside) if len(inside) else np.array(shape) / 2
        reach = np.array([self.rng.integers(-15, 16) for _ in shape], float)
        reach[: len(shape) - 2] = 0
        ends = [middle - reach, middle + reach * self.rng.random()]
        if len(inside) and self.chance(0.3):  # both ends in the object
            ends[0] = middle
        return np.array(ends, float)

    def drawn(self, window: Region) -> NDArray[np.int32]:
        """Return a prediction: objects of several sizes, each in one piece."""
        shape = tuple(s.stop - s.start for s in window)
        found = np.zeros(shape, np.int32)
        for index in np.ndindex(shape[: self.flat]):
            plane = self.discs(shape[self.flat :])
            if self.setting.instances:
                connectivity = 4 if plane.ndim == 2 else 6
                plane = cc3d.connected_components(plane, connectivity=connectivity)
                plane = np.where(plane > 0, plane + found.max(), 0)
            found[index] = plane
        return found

    def discs(self, shape: tuple[int, ...]) -> NDArray[np.int32]:
        plane = np.zeros(shape, np.int32)
        grid = np.indices(shape, sparse=True)
        for _ in range(self.rng.integers(2, 9)):
            radius = self.rng.integers(2, 5 + max(shape) // 12)
            centre = [self.rng.integers(n) for n in shape]
            away = sum((x - c) ** 2 for x, c in zip(grid, centre, strict=True))
            plane[away <= radius**2] = self.rng.integers(1, 4)
        return plane

    def plane(self, at: tuple[int, ...]) -> Region:
        """Return the window of the plane with a pixel."""
        there = tuple(slice(n, n + 1) for n in at[:-2])
        return (*there, *(slice(0, n) for n in self.shape[-2:]))

    def around(self, planes: Region, region: Region) -> Region:
        """Return a region widened within its planes."""
        return tuple(
            slice(max(p.start, r.start - 20), min(p.stop, r.stop + 20))
            for p, r in zip(planes, region, strict=True)
        )
