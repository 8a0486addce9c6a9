"""Roles of corrected places as text for project.json, and back, checked."""

from __future__ import annotations

import base64
from math import prod

import numpy as np
from numcodecs.zstd import compress

from napari_unet.engine.holdout import BETWEEN, Roles, Sites, grid
from napari_unet.io.project import RolesEntry
from napari_unet.io.unpacking import unpacked

LEVEL = 3  # of zstd: a few bytes for each line of blocks that have one role


def pack_roles(roles: Roles) -> RolesEntry | None:
    """Return roles as they stand in project.json; None where there are none.

    The places of the planes along the leading axes (int32), then the roles of their
    blocks (uint8), compressed, in base64.
    """
    if not roles.planes:
        return None
    places = sorted(roles.planes)
    cells = [roles.planes[place].tobytes() for place in places]
    raw = b"".join([np.array(places, "<i4").tobytes(), *cells])
    return RolesEntry(
        learning=roles.sites.learning, held_out=roles.sites.held_out,
        planes=len(places), packed=base64.b64encode(compress(raw, LEVEL)).decode(),
    )  # fmt: skip


def unpack_roles(entry: RolesEntry, shape: tuple[int, ...]) -> Roles:
    """Return the roles that project.json holds.

    Parameters
    ----------
    entry : as ``pack_roles`` returned it
    shape : of the labels; what is allocated is at most a thousandth of their pixels

    Raises
    ------
    ValueError
        If it holds no such roles.
    """
    *stack, height, width = grid(shape)
    if entry.planes > prod(stack):
        raise ValueError("more planes have roles than there are")
    size = entry.planes * (4 * len(stack) + height * width)
    raw = unpacked(base64.b64decode(entry.packed, validate=True), size)
    end = entry.planes * 4 * len(stack)
    places = raw[:end].view("<i4").reshape(entry.planes, len(stack))
    cells = raw[end:].reshape(entry.planes, height, width)
    if (places < 0).any() or (places >= np.array(stack, int)).any():
        raise ValueError("a plane lies outside of the labels")
    if len(np.unique(places, axis=0)) < len(places) or cells.max() > BETWEEN:
        raise ValueError("a plane is there twice, or has unknown roles")
    cells.flags.writeable = False
    planes = dict(zip(map(tuple, places.tolist()), cells, strict=True))
    return Roles(planes, Sites(entry.learning, entry.held_out))
