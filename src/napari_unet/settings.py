"""What is remembered between two runs: small JSON files in the user's settings."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from napari_unet.errors import OutputError
from napari_unet.files import replacing, settings_folder

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)
PRECISIONS = "precision.json"  # a table: the fastest number format of a network
LARGEST = 100_000  # bytes of a file
MOST = 200  # entries of a table


def place_of(name: str) -> Path:
    """Return where a file of settings lies; it may not be there."""
    return settings_folder() / name


def remembered(name: str) -> Any:
    """Return what a file holds; None if it is absent, damaged or far too large."""
    place = place_of(name)
    try:
        if place.stat().st_size > LARGEST:
            return None
        return json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def remember(name: str, content: Any) -> None:
    """Write a file; a home that is read-only must not keep the user from working."""
    place = place_of(name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except (OSError, OutputError) as error:
        log.warning("%s is not remembered: %s", name, error)


class Table:
    """Texts by key, in a file; the latest few hundred."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get(self, key: str) -> str | None:
        """Return what is remembered; None: nothing, or no text."""
        found = self._all().get(key)
        return found if isinstance(found, str) else None

    def put(self, key: str, value: str) -> None:
        """Remember a text."""
        known = {k: v for k, v in self._all().items() if k != key}
        remember(self._name, dict([*known.items(), (key, value)][-MOST:]))

    def _all(self) -> dict[str, Any]:
        found = remembered(self._name)
        return found if isinstance(found, dict) else {}
