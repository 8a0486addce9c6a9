"""Labels of a large image made block by block: one object, one number, across seams."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.engine.config import BlockDone
from napari_unet.engine.instances import labels_from_scores, numbers_without_small

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_unet.engine.config import LabelsConfig
    from napari_unet.engine.spec import Output
    from napari_unet.engine.tiles import Slices

LARGEST = 2**24  # pixels of a plane or volume whose labels are made at once
CORE = {2: 1024, 3: 160}  # pixels, of a block
MARGIN = {2: 128, 3: 32}  # pixels around it that its objects are seen in
SAME = 0.5  # share of the smaller one that two views of one object have in common


def label_steps(
    labels: NDArray[np.int32], scores: NDArray[Any], output: Output,
    config: LabelsConfig,
) -> Generator[BlockDone, None, None]:  # fmt: skip
    """Turn the scores of one plane or volume into labels, in little memory.

    A large one is done in blocks that see a margin around them. An object that crosses
    a seam is seen by both blocks, and keeps the number that it got first.

    Parameters
    ----------
    labels : ([Z,] Y, X) int32, zeros; written, 1 to n
    scores : (K, [Z,] Y, X) float, 0 to 1
    output, config : as for ``labels_from_scores``

    Yields
    ------
    BlockDone, where there are several
    """
    blocks = _blocks(labels.shape)
    if labels.size <= LARGEST:
        blocks = [((slice(None),) * labels.ndim,) * 2]
    if len(blocks) == 1 or output in ("classes", "multilabel"):
        for done, (core, _) in enumerate(blocks, start=1):
            part = scores[(slice(None), *core)].astype(np.float32, copy=False)
            labels[core] = labels_from_scores(part, output, config)
            if len(blocks) > 1:
                yield BlockDone(done, len(blocks))
        return
    every = config.model_copy(update={"smallest": 0})  # what is cut may look small
    highest = 0
    for done, (core, window) in enumerate(blocks, start=1):
        part = scores[(slice(None), *window)].astype(np.float32, copy=False)
        seen = labels_from_scores(part, output, every)
        inner = tuple(
            slice(c.start - w.start, c.stop - w.start)
            for c, w in zip(core, window, strict=True)
        )
        numbers, highest = _numbers(seen, labels[window], inner, highest)
        labels[core] = numbers[seen[inner]]
        yield BlockDone(done, len(blocks))
    _drop_small(labels, [core for core, _ in blocks], highest, config.least)


def _drop_small(
    labels: NDArray[np.int32], cores: list[Slices], highest: int, smallest: int
) -> None:
    """Give objects new numbers, small ones none, block by block."""
    areas = np.zeros(highest + 1, np.int64)
    for core in cores:
        areas += np.bincount(labels[core].ravel(), minlength=highest + 1)
    numbers = numbers_without_small(areas, smallest)
    for core in cores:
        labels[core] = numbers[labels[core]]


def _blocks(shape: tuple[int, ...]) -> list[tuple[Slices, Slices]]:
    """Return cores that cover a shape, and the window in which each is seen."""
    side, margin = CORE[len(shape)], MARGIN[len(shape)]
    axes = [
        [
            (
                slice(start, min(start + side, n)),
                slice(max(start - margin, 0), min(start + side + margin, n)),
            )
            for start in range(0, n, side)
        ]
        for n in shape
    ]
    return [
        (tuple(core for core, _ in spans), tuple(window for _, window in spans))
        for spans in product(*axes)
    ]


def _numbers(
    seen: NDArray[np.int32], before: NDArray[np.int32], inner: Slices, highest: int
) -> tuple[NDArray[np.int32], int]:
    """Return the number of each object that is seen, and the highest by now.

    Parameters
    ----------
    seen : of a window, 1 to n
    before : what other blocks wrote of it
    inner : the core within the window
    highest : number that was given
    """
    numbers = np.zeros(int(seen.max(initial=0)) + 1, np.int32)
    present = np.bincount(seen[inner].ravel(), minlength=len(numbers)) > 0
    present[0] = False
    taken: set[int] = set()
    for number, earlier in _same(seen, before):
        if present[number] and not numbers[number] and earlier not in taken:
            numbers[number] = earlier
            taken.add(earlier)
    new = present & (numbers == 0)
    numbers[new] = np.arange(highest + 1, highest + 1 + np.count_nonzero(new))
    return numbers, highest + int(np.count_nonzero(new))


def _same(seen: NDArray[np.int32], before: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return pairs of views of one object, those that share most pixels first."""
    both = (seen > 0) & (before > 0)
    if not both.any():
        return []
    one, other = seen[both].astype(np.int64), before[both].astype(np.int64)
    base = int(other.max()) + 1
    pairs, shared = np.unique(one * base + other, return_counts=True)
    one, other = pairs // base, pairs % base
    known = before > 0  # where an earlier block has not been, nothing is compared
    of_seen = np.bincount(seen[known].ravel(), minlength=int(one.max()) + 1)
    numbers, pixels = np.unique(before[known], return_counts=True)
    of_before = pixels[np.searchsorted(numbers, other)]
    same = shared >= SAME * np.minimum(of_seen[one], of_before)
    order = np.argsort(-shared[same], kind="stable")
    return list(
        zip(one[same][order].tolist(), other[same][order].tolist(), strict=True)
    )
