"""Where Keras' two layouts keep the weights of a layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from napari_unet.engine.builder import Misfit

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet.formats.families.keras.config import Net
    from napari_unet.formats.hdf5 import Hdf5

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # Keras 3; Keras 2.12 to 2.15


class Stored(Protocol):
    """Gives the weights of layers."""

    def of(self, path: tuple[str, ...]) -> list[tuple[str, NDArray[np.generic]]]:
        """Return names ("" where not kept) and values of a layer's weights, in order.

        ``path`` is the layer's name behind those of the networks around it.
        """


class NamedWeights:
    """Keras 2's layout, and that of ``.h5`` files of Keras 3: weights by name.

    Parameters
    ----------
    h5 : the file
    root : the group that holds one group per layer
    """

    def __init__(self, h5: Hdf5, root: str) -> None:
        self._h5 = h5
        self._root = root

    def of(self, path: tuple[str, ...]) -> list[tuple[str, NDArray[np.generic]]]:
        """Return names and values of a layer's weights; see Stored."""
        group = f"{self._root}/{path[0]}".strip("/")
        names = self._h5.names(group, "weight_names") or ()
        if len(path) > 1:  # an inner network's weights lie together in one group
            names = tuple(n for n in names if _place(n, 1) == path[-1])
        for name in names:
            if f"{group}/{name}" not in self._h5.shapes:
                raise Misfit(f"its weight {name!r:.80} is not there")
        return [(_place(n, 0), self._h5.array(f"{group}/{n}")) for n in names]


def _place(name: str, back: int) -> str:
    """Return a part of "block/conv2d/kernel:0" counted from its end."""
    parts = name.split("/")
    return parts[-1 - back].split(":")[0] if len(parts) > back else ""


class NumberedWeights:
    """Keras 3's layout: by class and number, in the order of the description.

    Parameters
    ----------
    h5 : the file
    net : the network that the weights are of
    """

    def __init__(self, h5: Hdf5, net: Net) -> None:
        self._h5 = h5
        self._groups: dict[tuple[str, ...], str] = {}
        todo: list[tuple[tuple[str, ...], Net, str]] = [((), net, "")]
        while todo:
            path, inner, group = todo.pop()
            for name, place in layer_groups(h5, inner, group).items():
                self._groups[*path, name] = place
                deeper = inner.layers[name].net
                if deeper is not None:
                    todo.append(((*path, name), deeper, place))

    def of(self, path: tuple[str, ...]) -> list[tuple[str, NDArray[np.generic]]]:
        """Return values of a layer's weights; see Stored."""
        group = self._groups.get(path)
        if group is None:
            return []
        return [("", self._h5.array(place)) for place in variables(self._h5, group)]


def variables(h5: Hdf5, group: str) -> list[str]:
    """Return the paths of a layer's numbered weights, in order."""
    paths = (f"{group}/vars/{number}" for number in range(16))
    return [path for path in paths if path in h5.shapes]


def layer_groups(h5: Hdf5, net: Net, group: str) -> dict[str, str]:
    """Return the group of each layer that has weights.

    Layers of a class are numbered in their order. Keras 2.12 counted those with
    weights twice, so where as many groups hold weights as there are layers, the rank
    decides, not the number.
    """
    held = groups_by_class(h5, group)
    of_class: dict[str, list[str]] = {}
    for name, layer in net.layers.items():
        of_class.setdefault(snake_case(layer.kind), []).append(name)
    found: dict[str, str] = {}
    for kind, names in of_class.items():
        groups = held.get(kind, {})
        if len(groups) == len(names):
            found |= dict(zip(names, groups.values(), strict=True))
        else:
            found |= {n: groups[i] for i, n in enumerate(names) if i in groups}
    return found


def groups_by_class(h5: Hdf5, group: str = "") -> dict[str, dict[int, str]]:
    """Return the groups that hold weights by class and number, in order of numbers."""
    found: dict[str, dict[int, str]] = {}
    for container in CONTAINERS:
        start = f"{group}/{container}/".lstrip("/")
        for name in _children(h5.shapes, start):
            match = re.fullmatch(r"(.*?)(?:_(\d{1,4}))?", name)
            if match:
                numbers = found.setdefault(match[1], {})
                numbers.setdefault(int(match[2] or 0), f"{start}{name}")
    return {kind: dict(sorted(groups.items())) for kind, groups in found.items()}


def _children(paths: Iterable[str], start: str) -> set[str]:
    return {
        path.removeprefix(start).split("/")[0]
        for path in paths
        if path.startswith(start)
    }


def snake_case(name: str) -> str:
    """Return what Keras makes of a class: conv2d_transpose of Conv2DTranspose."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
