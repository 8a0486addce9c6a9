"""The one door: any file to a Model, a Model to a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet.engine.device import choose_device
from napari_unet.engine.model import revised
from napari_unet.errors import CheckpointError, UnetError
from napari_unet.files import replacing
from napari_unet.formats import native, torch_file
from napari_unet.formats.bundled import bundled_models, bundled_path
from napari_unet.formats.weights import check_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_unet.engine.model import Model

HEAD = 512  # bytes that a format may look at to recognise its files


@dataclass(frozen=True)
class Format:
    """One kind of checkpoint file."""

    name: str
    matches: Callable[[Path, bytes], bool]
    load: Callable[[Path, str], Model]


@dataclass(frozen=True)
class Writer:
    """One kind of file that a model can be saved as."""

    name: str
    save: Callable[[Model, Path], None]
    load: Callable[[Path], Model]


FORMATS = (
    Format("native", native.matches, native.load),
    Format("PyTorch state dict", torch_file.matches, torch_file.load),
)
WRITERS = {native.SUFFIX: Writer("native", native.save, native.load)}


def load_model(
    path: str | Path,
    *,
    device: str = "auto",
    trust: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> Model:
    """Open a checkpoint without executing anything in it.

    Parameters
    ----------
    path : a file, or the name of a bundled model such as "nuclei-2d"
    device : "auto", "cpu", "cuda" or "mps"
    trust : allow formats that are programs to run; none of today's formats is one
    overrides : fields of ModelSpec to replace, where a guess was wrong; a dictionary
        replaces fields of that field, "reading" takes another of ``spec.readings``

    Raises
    ------
    CheckpointError
        If the file is no checkpoint that can be opened; the sentence says why.
    DeviceError
        If the device is not there.
    """
    place = _locate(path)
    chosen = choose_device(device)
    changes = dict(overrides or {})
    model = _open(place, str(changes.pop("reading", "")))
    if changes:
        model = revised(model, changes)
    return model.to(chosen)


def _locate(path: str | Path) -> Path:
    bundled = bundled_path(str(path))
    if bundled is not None:
        return bundled
    place = Path(path).expanduser()
    if place.is_dir():
        raise CheckpointError(
            f"{place} is a folder, expected a checkpoint file: choose the file in it."
        )
    if not place.is_file():
        known = ", ".join(bundled_models()) or "none"
        raise CheckpointError(
            f"{place} is neither a file nor a bundled model (bundled: {known}): "
            "check the name."
        )
    return place


def _open(path: Path, wanted: str) -> Model:
    """Let the first format that recognises a file open it."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if not head:
            raise CheckpointError(
                f"{path.name} is empty, expected a checkpoint: download it again."
            )
        for one in FORMATS:
            if one.matches(path, head):
                return one.load(path, wanted)
    except (UnetError, MemoryError):
        raise
    except PermissionError as error:
        raise CheckpointError(
            f"{path} may not be read by you, expected a readable checkpoint: change "
            "its permissions, or copy it."
        ) from error
    except Exception as error:  # the one door for parsers' errors (fact B9)
        raise CheckpointError(
            f"{path.name} is damaged ({type(error).__name__}: {_first_line(error)}): "
            "copy or download it again."
        ) from error
    raise CheckpointError(
        f"{path.name} is {_what(head)}, expected a checkpoint "
        "(.safetensors, .pt, .pth, .ckpt): choose another file."
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no details"])[0][:120]


def _what(head: bytes) -> str:
    """Say in a word what a file that is no checkpoint seems to be."""
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page (often a failed download)"
    kinds = {
        b"\x89PNG": "a PNG image", b"II*\0": "a TIFF image", b"MM\0*": "a TIFF image",
        b"%PDF": "a PDF", b"\x1f\x8b": "a gzip archive", b"\x89HDF": "an HDF5 file",
        b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    }  # fmt: skip
    known = next(
        (kind for magic, kind in kinds.items() if head.startswith(magic)), None
    )
    return known or "of an unknown kind"


def save_model(model: Model, path: str | Path) -> Path:
    """Write a model, read it back, and only then put the file in place.

    Parameters
    ----------
    model : what to save
    path : ending in .safetensors (native)

    Raises
    ------
    OutputError
        If the file cannot be written; nothing is left half-written.
    CheckpointError
        If the ending is of no known format, or the weights hold NaN.
    """
    place = Path(path).expanduser()
    writer = WRITERS.get(place.suffix.lower())
    if writer is None:
        raise CheckpointError(
            f'"{place.name}" ends in {place.suffix!r}, expected one of '
            f"{', '.join(WRITERS)}: choose such a name."
        )
    check_weights(place.name, model.network.state_dict())
    with replacing(place) as temporary:
        writer.save(model, temporary)
        writer.load(temporary)
    return place
