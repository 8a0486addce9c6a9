"""What the correction tools do, on the plane or volume in which objects stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from napari_unet.engine import tools
from napari_unet.engine.blocks import common, overlap, relative, shape_of, window_of
from napari_unet.engine.objects import wider
from napari_unet.engine.protect import members
from napari_unet.engine.tools import Change
from napari_unet.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.opened import KeptScores, OpenImage

Tool = Literal[
    "split", "merge", "delete", "fill holes", "smooth", "snap", "copy", "accept object"
]  # as they stand in the history
REACH = 8  # pixels that snapping may move an outline
MARGIN = 16  # pixels around an object that a tool sees; more than any of them needs


@dataclass(frozen=True)
class ToolUse:
    """A tool, and what the user wants to be done with it.

    Attributes
    ----------
    tool : which
    plane : slices with numbers over the layer's axes: the plane or volume in which the
        objects stand
    axes : the axes of that plane or volume; along the others, ``plane`` is one long
    label : the object; 0 for tools that take a line
    line : (N, number of ``axes``) float, points in pixels of the layer along ``axes``
    target : like ``plane``, where an object is copied to
    renumber : whether the copy is an object of its own
    """

    tool: Tool
    plane: Region
    axes: tuple[int, ...]
    label: int = 0
    line: NDArray[np.float64] | None = None
    target: Region | None = None
    renumber: bool = True

    @property
    def pixels(self) -> int:
        """How many there are to look through."""
        return int(np.prod(shape_of(self.plane), dtype=np.int64))

    @property
    def place(self) -> Region:
        """The plane or volume that is written into."""
        return self.target or self.plane

    def region(self, window: Region) -> Region:
        """Return a window of the place over all axes of the layer."""
        inside = dict(zip(self.axes, window, strict=True))
        return tuple(inside.get(axis, s) for axis, s in enumerate(self.place))


@dataclass(frozen=True)
class Task:
    """A use of a tool with the labels it is used on.

    Attributes
    ----------
    labels, target : ([Z,] Y, X) int32, of ``use.plane`` and ``use.target``; only read.
        They are the layer's own pixels: a copy of a large volume would stop the window.
    first : lowest id that may be given
    fixed : ids of corrected objects in the target, which must not be replaced
    kept : scores of the last prediction
    """

    use: ToolUse
    labels: NDArray[np.int32]
    target: NDArray[np.int32]
    first: int
    fixed: NDArray[np.int32]
    kept: KeptScores | None

    def change(self) -> Change:
        """Return what the tool would write.

        Raises
        ------
        LabelsError
            If it cannot be used here.
        """
        line, tool = self.use.line, self.use.tool
        if tool == "split" and line is not None:
            return tools.split(self.labels, line, self.first)
        if tool == "merge" and line is not None:
            return tools.merge_along(self.labels, line)
        if tool == "copy":
            return self._copied()
        return self._reshaped()

    def _reshaped(self) -> Change:
        """Use a tool on one object, in a crop around it."""
        tight = tools.window_of(self.labels, (self.use.label,))
        if not self.use.label or tight is None:
            raise _absent(self.use.label)
        room = wider(tight, MARGIN, self.labels.shape)
        act = self._acts(room)[self.use.tool]
        change = act(np.asarray(self.labels[room]), self.use.label)
        pairs = zip(change.window, room, strict=True)
        window = tuple(slice(w.start + r.start, w.stop + r.start) for w, r in pairs)
        return Change(window, change.labels, change.ids)

    def _acts(self, room: Region) -> dict[Tool, Callable[[Any, int], Change]]:
        return {
            "delete": lambda labels, label: tools.delete(labels, (label,)),
            "fill holes": tools.fill_holes,
            "smooth": tools.smooth,
            "snap": lambda labels, label: tools.snap(
                labels, label, self._scores(room), REACH
            ),
            "accept object": _as_it_is,
        }

    def _copied(self) -> Change:
        label = self.use.label
        if not label:
            raise _absent(label)
        kept = members(self.target, self.fixed)
        new = self.first if self.use.renumber else label
        try:
            return tools.copy_object(self.labels, self.target, label, new, kept)
        except LabelsError as error:
            if tools.window_of(self.labels, (label,)) is None:
                raise _absent(label) from error
            raise

    def _scores(self, room: Region) -> NDArray[np.float32]:
        """Return how surely pixels of a window are of the object, nan where unknown."""
        region, kept = self.use.region(room), self.kept
        scores = np.full(shape_of(region), np.nan, np.float32)
        if kept is None or not overlap(region, kept.window):
            raise LabelsError(
                "No scores of the network are kept here, which snapping needs: press "
                "Predict first."
            )
        piece = common(region, kept.window)
        found = kept.scores[(slice(None), *relative(piece, kept.window))]
        scores[relative(piece, region)] = foreground(found, kept, self.use.label)
        return scores.reshape(shape_of(room))


def task_of(opened: OpenImage, use: ToolUse) -> Task:
    """Return a task on the labels as they are now."""
    corrections = opened.corrections
    labels = _standing(corrections.labels.now(use.plane), use.axes)
    fixed = np.zeros(0, np.int32)
    target = labels
    if use.target is not None:
        target = _standing(corrections.labels.now(use.target), use.axes)
        fixed = corrected_objects(opened, use.target)
    return Task(use, labels, target, corrections.next_label, fixed, opened.kept)


def use_tool(task: Task) -> Generator[None, None, Change]:
    """Find what a tool would write."""
    yield
    return task.change()


def corrected_objects(opened: OpenImage, plane: Region) -> NDArray[np.int32]:
    """Return the objects in a plane or volume of which a pixel is marked by the user.

    Looks only at what was marked, so that it is quick in a large volume too.
    """
    corrections = opened.corrections
    found = [np.zeros(0, np.int32)]
    for key in corrections.state.written():
        window = window_of(key, corrections.shape)
        if overlap(window, plane):
            piece = common(window, plane)
            inside = corrections.labels.now(piece)[corrections.state[piece] != 0]
            found.append(np.unique(inside).astype(np.int32))
    return np.unique(np.concatenate(found))


def foreground(
    scores: NDArray[np.floating[Any]], kept: KeptScores, label: int
) -> NDArray[np.float32]:
    """Return the score of being an object, or of being of a class.

    Parameters
    ----------
    scores : (K, ...) float, 0 to 1
    kept : where they come from
    label : the class, for models that give classes
    """
    channel = {"instances": 0, "foreground": -1, "classes": label}.get(
        kept.spec.output, label - 1
    )
    if channel >= len(scores):
        raise LabelsError(
            f"Found label {label}, which the model {kept.spec.name} does not know: "
            "snapping needs a class that it gives."
        )
    return np.asarray(scores[channel], np.float32)


def _as_it_is(labels: NDArray[np.int32], label: int) -> Change:
    """Return an object as it is, with its window."""
    window = cast("Region", tools.window_of(labels, (label,)))
    return Change(window, labels[window], (label,))


def _standing(labels: NDArray[np.int32], axes: tuple[int, ...]) -> NDArray[np.int32]:
    """Return labels without the axes along which no object reaches."""
    others = tuple(axis for axis in range(labels.ndim) if axis not in axes)
    return labels.squeeze(others)


def _absent(label: int) -> LabelsError:
    found = f"Label {label} is no object here" if label else "No object is chosen"
    return LabelsError(
        f"{found}, expected one that is in view: pick it with the layer's colour "
        "picker, or point at it and press the tool's key."
    )
