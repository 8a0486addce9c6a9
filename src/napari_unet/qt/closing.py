"""What happens when the window of a viewer is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QMessageBox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_unet.qt.bench import Bench


def asks_to_lose(window: Any, names: Sequence[str], why: str) -> bool:
    """Ask whether a window may close over corrections that cannot be kept.

    Parameters
    ----------
    window : over which the question is shown
    names : of the images
    why : they cannot be kept, a sentence
    """
    those = ", ".join(dict.fromkeys(names))
    button = QMessageBox.question(
        window, "Corrections that are not kept",
        f"The corrections of {those} are not kept: {why} Close without them? (Save "
        "masks is in the Correct panel, Save as in the Project line.)",
        QMessageBox.StandardButton.Discard | QMessageBox.StandardButton.Cancel,
        QMessageBox.StandardButton.Cancel,
    )  # fmt: skip
    return bool(button == QMessageBox.StandardButton.Discard)


def close_window(
    window: Callable[[], Any], bench: Callable[[], Bench | None], **how: bool
) -> Any:
    """Close a window; ask first when the user does it through napari's File menu.

    napari's menu calls ``close(confirm_need=True)``, a script's ``viewer.close()`` does
    not, and must not wait for a person.
    """
    here, owner = window(), bench()
    if how.get("confirm_need") and owner is not None and not owner.may_close(here):
        return False
    return type(here).close(here, **how)
