"""Roles of corrected places in project.json: small, and checked when read."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from numcodecs.zstd import compress

from napari_unet.engine.holdout import Roles, Sites
from napari_unet.engine.sites import Fresh, give_roles
from napari_unet.io.project import RolesEntry
from napari_unet.io.roles import pack_roles, unpack_roles

STACK = (6, 100, 200)


def some_roles(shape: tuple[int, ...] = STACK, density: float = 0.2) -> Roles:
    side = (*shape[:-2], *(-(-n // 32) for n in shape[-2:]))
    blocks = np.argwhere(np.random.default_rng(1).random(side) < density)
    return give_roles([Fresh(Roles(), blocks, shape, 2)], 9, share=0.4)[0]


def packed(**changes: Any) -> RolesEntry:
    entry = pack_roles(some_roles())
    assert entry is not None
    return RolesEntry.model_validate(entry.model_dump() | changes)


def raw_of(places: Any, cells: Any) -> str:
    raw = np.array(places, "<i4").tobytes() + np.array(cells, np.uint8).tobytes()
    return base64.b64encode(compress(raw)).decode()


@pytest.mark.parametrize("shape", [(700, 900), STACK, (2, 3, 90, 100)])
def test_roles_come_back_as_they_were(shape: tuple[int, ...]) -> None:
    roles = some_roles(shape)
    entry = pack_roles(roles)
    assert entry is not None
    again = unpack_roles(RolesEntry.model_validate_json(entry.model_dump_json()), shape)
    assert again.sites == roles.sites
    assert again.planes.keys() == roles.planes.keys()
    for place, plane in roles.planes.items():
        np.testing.assert_array_equal(again.planes[place], plane)


def test_no_roles_are_no_entry() -> None:
    assert pack_roles(Roles()) is None


def test_an_accepted_plane_of_many_blocks_takes_few_bytes() -> None:
    roles = some_roles((4096, 4096), density=2)
    entry = pack_roles(roles)
    assert entry is not None
    assert len(entry.packed) < 300
    assert unpack_roles(entry, (4096, 4096)).sites == Sites(1, 1)


def test_nobody_writes_into_roles_that_were_read() -> None:
    roles = unpack_roles(packed(), STACK)
    with pytest.raises(ValueError, match="read-only"):
        next(iter(roles.planes.values()))[0, 0] = 1


@pytest.mark.parametrize(
    "changes",
    [
        {"packed": "no base 64"},
        {"packed": base64.b64encode(b"not compressed").decode()},
        {"packed": base64.b64encode(compress(b"\0" * 2**24)).decode()},
        {"packed": ""},
        {"planes": 7},
        {"planes": 2**31},
        {"planes": 1},
        {"planes": 1, "packed": raw_of([6], np.ones((4, 7)))},
        {"planes": 1, "packed": raw_of([-1], np.ones((4, 7)))},
        {"planes": 1, "packed": raw_of([0], np.full((4, 7), 4))},
        {"planes": 1, "packed": raw_of([0], np.ones((4, 8)))},
        {"planes": 2, "packed": raw_of([3, 3], np.ones((2, 4, 7)))},
    ],
)
def test_what_holds_no_roles_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        unpack_roles(packed(**changes), STACK)
