"""Comparing ledgers, for tests; imports little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_unet.engine.corrections import Corrections


def content(corrections: Corrections) -> tuple[Any, ...]:
    """Return all that a user would see of corrections."""
    return (
        np.array(corrections.labels).tolist(), corrections.state[()].tolist(),
        corrections.history.last, corrections.history.next, corrections.next_label,
        corrections.dims, corrections.instances, corrections.work,
    )  # fmt: skip


def assert_same(one: Corrections, other: Corrections) -> None:
    """Compare two ledgers at every place of their history, back to its start."""
    while True:
        assert content(one) == content(other)
        if one.history.last is None:
            break
        one.undo()
        other.undo()
        one.work = other.work  # each undo is timed
