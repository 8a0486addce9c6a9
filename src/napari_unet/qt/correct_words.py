"""What the Correct panel says: buttons, tips, what to draw, how much is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_unet.engine.protect import ACCEPTED, EDITED, IGNORED
from napari_unet.qt.parts import duration

if TYPE_CHECKING:
    from napari_unet.opened import OpenImage
    from napari_unet.tool_steps import Tool


class ObjectTool(NamedTuple):
    """A tool that is used on one object."""

    tool: Tool
    text: str
    tip: str


class DrawTool(NamedTuple):
    """A tool for which the user draws."""

    tool: Tool | None
    text: str
    way: str  # as ``Drawing.start`` knows it
    layer: str
    hint: str
    tip: str


ON_OBJECT = {
    "delete": ObjectTool("delete", "Delete", "Remove the object"),
    "fill_holes": ObjectTool("fill holes", "Fill holes", "Close the object's holes"),
    "smooth": ObjectTool("smooth", "Smooth", "Round off the object's outline"),
    "snap": ObjectTool(
        "snap", "Snap to edges",
        "Move the object's outline to the nearest edge that the network saw, up to 8 "
        "pixels away",
    ),
    "copy": ObjectTool(
        "copy", "Copy to next slice",
        "Put the object into the next slice or frame too, and go there",
    ),
    "accept_object": ObjectTool(
        "accept object", "Accept object", "Mark the object as right",
    ),
}  # fmt: skip
WHICH = (
    "The button takes the selected label, which the layer's colour picker chooses; the "
    "key takes the object under the mouse pointer."
)
DRAWN = {
    "split": DrawTool(
        "split", "Split", "line", "draw a line across the object",
        "Split: drag a line across an object, or from the middle of one part to the "
        "middle of the other. Escape ends.",
        "Cut an object in two with a line across it; or drag a line from the middle of "
        "one cell to the middle of the other, and they part between",
    ),
    "merge": DrawTool(
        "merge", "Merge", "line", "draw a line through the objects",
        "Merge: drag a line through the objects that are one. Escape ends.",
        "Join objects with a line through them",
    ),
    "ignore": DrawTool(
        None, "Ignore", "outline", "draw around what to ignore",
        "Ignore: drag around debris, or around what is out of focus. Escape ends.",
        "Draw around debris or what is out of focus: fine-tuning neither learns from "
        "it nor counts it",
    ),
}  # fmt: skip
STATES: dict[int | None, str] = {
    EDITED: "orange",
    ACCEPTED: "lime",
    IGNORED: "cornflowerblue",
    IGNORED + EDITED: "cornflowerblue",
    IGNORED + ACCEPTED: "cornflowerblue",
}
NOTHING = (
    "Nothing corrected yet: paint on the layer, use a tool, or accept what is right."
)
NOT_3D = "drawing needs the 2D display (the button with the cube, Ctrl+Y)"
CLASSES = "these labels are classes, not objects: paint on the layer"


def with_key(tip: str, keys: str) -> str:
    """Return a tooltip with the keys that do the same."""
    return f"{tip} ({keys})" if keys else tip


def summary_of(opened: OpenImage, kept: str) -> str:
    """Say how much of an image is corrected, and how long that took.

    Parameters
    ----------
    opened : the image
    kept : a few words about whether it is on the disk
    """
    corrections = opened.corrections
    tally, size = corrections.tally(), corrections.labels.size
    if not tally and not tally.ignored_pixels:
        return NOTHING
    share = percent(tally.edited_pixels + tally.accepted_pixels, size)
    said = (
        f"{objects(tally.edited_objects)} edited, {tally.accepted_objects:,} accepted"
    )
    said += f" ({share} of the pixels)"
    if tally.ignored_pixels:
        said += f", {percent(tally.ignored_pixels, size)} ignored"
    return f"{said}, {duration(corrections.work.seconds)} of hand work; {kept}"


def objects(count: int) -> str:
    """Return a number of objects."""
    return "1 object" if count == 1 else f"{count:,} objects"


def percent(part: int, whole: int) -> str:
    """Return a share in per cent, never 0 for something."""
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
