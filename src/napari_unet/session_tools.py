"""What a session does to labels by hand: tools, acceptance, undo."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_unet.engine.blocks import shape_of
from napari_unet.errors import LabelsError
from napari_unet.jobs import Job
from napari_unet.tool_steps import task_of, use_tool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.blocks import Region
    from napari_unet.engine.tools import Change
    from napari_unet.opened import OpenImage
    from napari_unet.tool_steps import ToolUse

DONE = {"split": "Splitting", "merge": "Merging", "delete": "Deleting",
        "fill holes": "Filling holes", "smooth": "Smoothing", "snap": "Snapping",
        "copy": "Copying", "accept object": "Accepting"}  # fmt: skip

UNCHANGED = {
    "fill holes": "The object has no hole: nothing was changed.",
    "smooth": "The outline is smooth already: nothing was changed.",
    "copy": "The object is there already, just like here: nothing was changed.",
    "snap": "The outline is at the edge of the scores already: nothing was changed.",
}


class ToolSession:
    """Corrections of the images of a session. All methods are for the main thread."""

    labels_changed = Signal(object, object)  # OpenImage, window or None
    tool_used = Signal(object, object, object)  # OpenImage, ToolUse, resulting ids

    def __init__(self) -> None:
        super().__init__()
        self._uses = count(1)

    def tool_job(self, opened: OpenImage, use: ToolUse) -> Job[Change]:
        """Use a correction tool, as one step that can be undone.

        Parameters
        ----------
        opened : the image
        use : which tool, where, on what

        Returns
        -------
        job
            It may be run at once, or in a worker where ``use.pixels`` are many. If the
            labels change meanwhile, the tool is used anew on what is there then.
        """
        corrections = opened.corrections
        corrections.commit()
        revision = corrections.revision

        def accept(change: Change) -> None:
            corrections.commit()
            if corrections.revision != revision:
                change = task_of(opened, use).change()
            self._take_change(opened, use, change)

        title = f"{DONE[use.tool]} in {opened.name} ({next(self._uses)})"
        return Job(title, use_tool(task_of(opened, use)), 1, accept, "short")

    def _take_change(self, opened: OpenImage, use: ToolUse, change: Change) -> None:
        corrections = opened.corrections
        region = use.region(change.window)
        if use.tool == "accept object":
            self.accept_object(opened, use.label, region)
        else:
            labels = change.labels.reshape(shape_of(region))
            if not corrections.edit(use.tool, region, labels):
                raise LabelsError(UNCHANGED.get(use.tool, "Nothing was changed."))
            self.labels_changed.emit(opened, region)
        self.tool_used.emit(opened, use, change.ids)

    def accept(self, opened: OpenImage, region: Region) -> None:
        """Mark what lies in a region as right."""
        opened.corrections.accept(region)
        self.labels_changed.emit(opened, None)

    def accept_object(self, opened: OpenImage, label: int, region: Region) -> None:
        """Mark one object, as far as it lies in a region, as right."""
        opened.corrections.accept_object(label, region)
        self.labels_changed.emit(opened, None)

    def unaccept(self, opened: OpenImage, region: Region) -> None:
        """Take back what was accepted or ignored in a region."""
        opened.corrections.unaccept(region)
        self.labels_changed.emit(opened, None)

    def ignore(
        self, opened: OpenImage, outline: NDArray[np.float64], axes: tuple[int, ...]
    ) -> None:
        """Mark what an outline encloses as neither to be learnt from nor counted.

        Parameters
        ----------
        opened : the image
        outline : (N, number of the labels' axes) float, points in pixels
        axes : the two of the slice in which it was drawn

        Raises
        ------
        LabelsError
            If it encloses nothing of the image.
        """
        from skimage.draw import polygon  # 0.1 s, paid at the first use

        shape = opened.corrections.shape
        ndim = len(shape)
        extent = (shape[axes[0]], shape[axes[1]])
        rows, columns = polygon(outline[:, axes[0]], outline[:, axes[1]], shape=extent)
        inside = dict(zip(axes, (rows, columns), strict=True))
        slices = np.rint(outline[0]).astype(int)
        outer = [axis for axis in range(ndim) if axis not in axes]
        if not rows.size or any(not 0 <= slices[a] < shape[a] for a in outer):
            raise LabelsError(
                "The outline encloses no pixel of the image, expected a part that is "
                "to be ignored: draw around it."
            )
        places = [
            inside.get(axis, slices[axis : axis + 1]) for axis in range(len(shape))
        ]
        region = tuple(slice(int(p.min()), int(p.max()) + 1) for p in places)
        where = np.zeros(shape_of(region), bool)
        where[tuple(p - s.start for p, s in zip(places, region, strict=True))] = True
        opened.corrections.ignore(region, where)
        self.labels_changed.emit(opened, None)

    def undo(self, opened: OpenImage) -> None:
        """Take back the last step: a stroke, a prediction, a tool, an acceptance."""
        self.labels_changed.emit(opened, opened.corrections.undo())

    def redo(self, opened: OpenImage) -> None:
        """Do the last undone step again."""
        self.labels_changed.emit(opened, opened.corrections.redo())
