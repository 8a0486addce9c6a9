"""Several looks at one plane: their mean, and how far they are apart."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import ModelSpec, Output
    from napari_unet.engine.tiles import Slices


class Looks:
    """The mean of what flips, turns and models give of one plane or volume.

    Parameters
    ----------
    shape : of the scores, (K, [Z,] Y, X)
    dtype : of what is summed
    output : the meaning of the K channels
    spread : whether it is to be known how far they are apart; takes three times the
        memory
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, output: Output, *, spread: bool
    ) -> None:
        self._sum = np.zeros(shape, dtype)
        self._squares = np.zeros(shape, np.float32) if spread else None
        self._output = output
        self._count = 0
        self._latest = self._sum  # what the look that is being taken is added to

    @property
    def channels(self) -> int:
        """K."""
        return len(self._sum)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what is summed."""
        dtype: np.dtype[Any] = self._sum.dtype
        return dtype

    @contextmanager
    def one(self) -> Iterator[NDArray[Any]]:
        """Take one more look: what is added to the given array is its scores."""
        self._count += 1
        if self._squares is None:
            yield self._sum
            return
        self._latest = scores = np.zeros(self._sum.shape, np.float32)
        yield scores
        self._sum += scores
        self._squares += scores * scores

    def mean(self) -> NDArray[Any]:
        """Return the mean scores, (K, [Z,] Y, X)."""
        return self._sum if self._count < 2 else self._sum / self._count

    def so_far(self, part: Slices) -> NDArray[np.float32]:
        """Return the scores of a part, (K, [Z,] Y, X), during the first look."""
        return self._latest[(slice(None), *part)].astype(np.float32)

    def spread(self) -> NDArray[np.float32]:
        """Return the standard deviation of the scores, ([Z,] Y, X) float32, 0 to 0.5.

        Of the foreground, or of the class in which the looks are furthest apart.
        """
        if self._squares is None:
            raise ValueError("only the mean was to be known")
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - mean * mean, 0)
        if self._output in ("instances", "foreground"):
            variance = variance[[0 if self._output == "instances" else -1]]
        return np.asarray(np.sqrt(variance.max(axis=0)), np.float32)


def check_alike(models: Sequence[Model]) -> None:
    """Refuse models whose scores have no mean.

    Raises
    ------
    CheckpointError
        Naming the first that differs, and in what.
    """
    first = models[0].spec
    for model in models[1:]:
        if _gives(model.spec) != _gives(first):
            raise CheckpointError(
                f"{model.spec.name} gives {_in_words(model.spec)}, {first.name} gives "
                f"{_in_words(first)}, expected the same of all: choose another, "
                "or leave it out of the ensemble."
            )


def _gives(spec: ModelSpec) -> tuple[object, ...]:
    network = spec.architecture
    return network.dims, network.out_channels, spec.output


def _in_words(spec: ModelSpec) -> str:
    network = spec.architecture
    many = "" if network.out_channels == 1 else "s"
    return f'{network.dims}D "{spec.output}" in {network.out_channels} channel{many}'
