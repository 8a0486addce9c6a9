"""Files of ``torch.save``: any state dict, whatever is wrapped around it."""

from __future__ import annotations

import pickletools
import zipfile
from mmap import ACCESS_READ, mmap
from pickle import UnpicklingError
from typing import IO, TYPE_CHECKING, cast

import torch

from napari_unet.engine.spec import UNetSpec
from napari_unet.errors import CheckpointError, OutputError
from napari_unet.formats.safe_pickle import load_pickle, reason
from napari_unet.formats.weights import understood
from napari_unet.formats.wrappers import unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from torch import Tensor

    from napari_unet.engine.model import Model
    from napari_unet.formats.reading import Contents

SUFFIXES = (".pth", ".pt")
ARCHIVE = b"PK\x03\x04"
PICKLE = tuple(b"\x80" + bytes([n]) for n in range(2, 6))
MOST_OPERATIONS = 5_000_000


def matches(path: Path, head: bytes) -> bool:
    """Tell whether a file is a zip archive or a pickle, as ``torch.save`` writes."""
    del path
    return head.startswith((ARCHIVE, *PICKLE))


def load(path: Path, wanted: str = "") -> Model:
    """Open a state dict; nothing in it is executed.

    Parameters
    ----------
    path : a file of ``torch.save``
    wanted : the reading that the user asks for, "" for the likeliest

    Raises
    ------
    CheckpointError
        If the file holds code, is damaged, or is of no U-Net.
    """
    return understood(contents(path), wanted)


def contents(path: Path) -> list[Contents]:
    """Return the networks that a file of ``torch.save`` holds.

    Raises
    ------
    CheckpointError
        If the file holds code, is damaged, or holds no weights.
    """
    remarks = _check_archive(path)
    try:
        content = load_pickle(path)
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} holds {reason(error)}; expected plain "
            "weights, and nothing was run: save network.state_dict() again."
        ) from error
    networks = unwrap(path.name, path.stem, content)
    for network in networks:
        _check_size(path, network.weights)
    return [network.remarked(*remarks) for network in networks]


def save(model: Model, path: Path) -> None:
    """Write a state dict in the maker's own layout: the same keys and wrappers.

    Parameters
    ----------
    model : opened from such a file, or made by this program
    path : written in place; ``save_model`` gives a temporary name

    Raises
    ------
    OutputError
        If the model did not come from a state dict, or only part of it was kept.
    """
    layout = model.spec.layout
    own = isinstance(model.spec.architecture, UNetSpec)
    if not (layout.complete or own):
        raise OutputError(
            f"{model.spec.name} was not opened from a PyTorch state dict that is used "
            "whole, so it has no layout of its maker: save it as .safetensors."
        )
    weights = model.network.state_dict()
    content: dict[str, Any] = {
        layout.prefix + key: value.detach().cpu().clone()
        for key, value in weights.items()
    }
    for name in reversed(layout.wrapper):
        content = {name: content}
    torch.save(content, path)


def _check_archive(path: Path) -> tuple[str, ...]:
    """Refuse archives that are cut short, packed, or fail their checksums."""
    with path.open("rb") as file:  # as torch tells its two kinds of files apart
        archived = file.read(len(ARCHIVE)) == ARCHIVE
    if not archived:
        _check_claims(path)
        return ()
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path.name} is cut short, its end is missing: copy it again."
        )
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_members(path, members)
        checked = any(member.CRC for member in members)  # torch may write none (B8)
        damaged = archive.testzip() if checked else None
    if damaged:
        raise CheckpointError(
            f"{path.name} is damaged, the checksum of {damaged} differs: copy it again."
        )
    without = "the file was written without checksums, so damage cannot be noticed"
    return () if checked else (without,)


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = {member.filename.rpartition("/")[2] for member in members}
    if "data.pkl" not in names:
        raise CheckpointError(
            f"{path.name} is a zip archive without PyTorch weights: choose a file of "
            "torch.save."
        )
    if any(member.compress_type for member in members):
        raise CheckpointError(
            f"{path.name} has packed members, which torch never writes: "
            "save it again with torch.save."
        )
    held = path.stat().st_size
    if any(member.file_size > held for member in members):
        raise CheckpointError(
            f"{path.name} states members larger than itself: copy it again."
        )


def _check_claims(path: Path) -> None:
    """Refuse an old torch file that states more numbers than it has bytes.

    Such files have no archive around them, and torch makes room for what is stated
    before it reads; the size is the largest number before each mark of a storage.
    """
    held = path.stat().st_size
    with path.open("rb") as whole, mmap(whole.fileno(), 0, access=ACCESS_READ) as file:
        for _ in range(5):  # magic number, protocol, machine, content, names
            if file.tell() == held:
                return
            recent: list[int] = []
            for count, (operation, argument, _) in enumerate(_operations(file)):
                if count > MOST_OPERATIONS:
                    raise CheckpointError(
                        f"{path.name} is no checkpoint: choose another file."
                    )
                if isinstance(argument, int) and "INT" in operation.name:
                    recent = [*recent[-3:], argument]
                if operation.name == "BINPERSID" and max(recent, default=0) > held:
                    raise CheckpointError(
                        f"{path.name} states {max(recent):,} numbers and holds "
                        f"{held:,} bytes: copy it again."
                    )


def _operations(file: mmap) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    """Yield the operations of the next pickle in a file."""
    return pickletools.genops(cast("IO[bytes]", file))  # it can read all that is asked


def _check_size(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Refuse views that pretend to be far larger than what they look at (fact B8)."""
    held = path.stat().st_size
    for key, value in weights.items():
        stated = value.numel() * value.element_size()
        if stated > min(held, _bytes_of(value)):
            raise CheckpointError(
                f"{path.name} states {stated:,} bytes for {key} and holds "
                f"{min(held, _bytes_of(value)):,}: save contiguous weights again."
            )


def _bytes_of(value: Any) -> int:
    return int(value.untyped_storage().nbytes())
