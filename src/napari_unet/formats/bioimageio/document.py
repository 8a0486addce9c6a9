"""YAML as data: no tags that make objects, no aliases without end, no depths."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from napari_unet.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = 500_000  # characters; descriptions have a few thousand
DEEPEST = 40
MOST_ALIASES = 200
MOST_ITEMS = 20_000
MOST_EVENTS = 40_000
ODD_NUMBER = re.compile(
    r"[-+0-9:_.]{100,}|[-+]?0[xob][0-9a-fA-F_]{100,}"
)  # Python takes minutes for some of these


class Malformed(Exception):
    """What a description says that cannot be meant so."""


def parse(name: str, content: bytes) -> dict[str, Any]:
    """Return the mapping that a YAML text describes; nothing of it is run.

    Parameters
    ----------
    name : of the file, for messages
    content : in UTF-8

    Raises
    ------
    CheckpointError
        If it is no YAML, or more than plain data.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = content.decode("utf-8-sig")
        _check_events(yaml, loader, text)
        found = yaml.load(text, loader)  # noqa: S506  a safe loader, C or Python
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        line = (str(error).splitlines() or ["no details"])[0][:120]
        raise CheckpointError(
            f"{name} is no plain YAML ({line}); nothing was run: choose another file."
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{name} holds no description of a model, expected a BioImage.IO rdf.yaml: "
            "choose another file."
        )
    return found


def _check_events(yaml: Any, loader: Any, text: str) -> None:
    """Refuse what would grow when it is loaded, from the stream of its events."""
    if len(text) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} characters")
    depth = aliases = 0
    for count, event in enumerate(yaml.parse(text, loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        elif _is_odd(yaml, event):
            raise ValueError("a number or key that is no plain data")
        if depth > DEEPEST or aliases > MOST_ALIASES or count > MOST_EVENTS:
            raise ValueError("nested or repeated without end")


def _is_odd(yaml: Any, event: Any) -> bool:
    """Tell whether a scalar is a merge key, or a number that takes long to read."""
    if not isinstance(event, yaml.ScalarEvent):
        return False
    return event.value == "<<" or bool(ODD_NUMBER.fullmatch(event.value))


# -- what is expected at a place, or Malformed


def mapping(value: object, what: str) -> dict[str, Any]:
    """Return a mapping with text keys; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Malformed(f"{what} is no mapping")
    return {str(key): inner for key, inner in value.items()}


def items(value: object, what: str) -> list[Any]:
    """Return a list; an absent one is empty, one value is a list of it."""
    if value is None:
        return []
    found = value if isinstance(value, list) else [value]
    if len(found) > MOST_ITEMS:
        raise Malformed(f"{what} has {len(found):,} entries")
    return found


def words(value: object, most: int = 300) -> str:
    """Return one line of text; an absent one is empty."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    return " ".join(str(value).split())[:most]


def number(value: object, what: str) -> float:
    """Return a finite number."""
    try:
        found = float(value)  # type: ignore[arg-type]  # that is what is tried
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"{what} is no number") from error
    if not math.isfinite(found) or isinstance(value, bool):
        raise Malformed(f"{what} is no finite number")
    return found


def numbers(value: object, what: str) -> tuple[float, ...]:
    """Return numbers, one or several."""
    return tuple(number(one, what) for one in items(value, what))


def whole(value: object, what: str, least: int = 0, most: int = 2**31) -> int:
    """Return a whole number between two limits, both included."""
    found = number(value, what)
    if found != int(found) or not least <= found <= most:
        raise Malformed(f"{what} is {found:g}")
    return int(found)


def each(value: object, what: str, make: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """Return what is made of each mapping of a list."""
    return [make(mapping(one, what)) for one in items(value, what)]
