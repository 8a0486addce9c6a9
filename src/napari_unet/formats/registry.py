"""The one door: any file to a Model, a Model to a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_unet.engine.device import choose_device
from napari_unet.engine.model import revised
from napari_unet.errors import CheckpointError, OutputError, UnetError
from napari_unet.files import replacing
from napari_unet.formats import (
    bioimageio,
    keras_file,
    native,
    nnunet_folder,
    onnx_export,
    pt2_export,
    torch_file,
)
from napari_unet.formats.bundled import bundled_models, bundled_path
from napari_unet.formats.programs import onnx_file, pt2, torchscript
from napari_unet.formats.weights import check_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_unet.engine.model import Model
    from napari_unet.formats.interrupt import Interrupt

HEAD = 512  # bytes that a format may look at to recognise its files


@dataclass(frozen=True)
class Asked:
    """How the user wants a file opened.

    Attributes
    ----------
    trust : whether programs may run
    wanted : which reading of the weights, "" for the likeliest
    interrupt : ends a wait for another process from another thread
    """

    trust: bool = False
    wanted: str = ""
    interrupt: Interrupt | None = None


@dataclass(frozen=True)
class Format:
    """One kind of checkpoint.

    ``matches`` looks at the place and the first bytes, which a folder has none of;
    ``folders`` says whether a folder may be one.
    """

    name: str
    matches: Callable[[Path, bytes], bool]
    load: Callable[[Path, Asked], Model]
    folders: bool = False


@dataclass(frozen=True)
class Writer:
    """One kind of file that a model can be saved as.

    ``save(model, path, **asked)`` takes what the format asks for, such as authors;
    ``verify(path, model)`` reads it back and raises where it differs.
    """

    name: str
    save: Callable[..., None]
    verify: Callable[[Path, Model], object]


def _weights(load: Callable[[Path, str], Model]) -> Callable[[Path, Asked], Model]:
    """Return the door of a format that is weights and nothing to run."""
    return lambda path, asked: load(path, asked.wanted)


def _program(load: Callable[..., Model]) -> Callable[[Path, Asked], Model]:
    """Return the door of a format that is a program."""
    return lambda path, asked: load(path, asked.trust, asked.interrupt)


def _package(path: Path, asked: Asked) -> Model:
    return bioimageio.load(path, asked.wanted, asked.trust, asked.interrupt)


FORMATS = (  # the first that recognises a file opens it
    Format("native", native.matches, _weights(native.load)),
    Format(
        "nnU-Net", nnunet_folder.matches, _weights(nnunet_folder.load), folders=True
    ),
    Format("BioImage.IO", bioimageio.matches, _package, folders=True),
    Format("Keras", keras_file.matches, _weights(keras_file.load)),
    Format("TorchScript", torchscript.matches, _program(torchscript.load)),
    Format("torch.export", pt2.matches, _program(pt2.load)),
    Format("ONNX", onnx_file.matches, _program(onnx_file.load)),
    Format("PyTorch state dict", torch_file.matches, _weights(torch_file.load)),
)


def _read_back(load: Callable[[Path, str], Model]) -> Callable[[Path, Model], object]:
    """Return the check of a format whose files are opened again whole."""

    def verify(path: Path, model: Model) -> None:
        again = load(path, "").network.state_dict()
        for key, value in model.network.state_dict().items():
            if not torch.equal(again[key], value.cpu()):
                raise OutputError(
                    f"{path.parent} did not keep what was written to it ({key} "
                    "differs), nothing was saved: choose another place."
                )

    return verify


WRITERS = {
    native.SUFFIX: Writer("native", native.save, _read_back(native.load)),
    ".zip": Writer("BioImage.IO", bioimageio.save, bioimageio.verify),
    onnx_export.SUFFIX: Writer("ONNX", onnx_export.save, onnx_export.verify),
    pt2_export.SUFFIX: Writer("torch.export", pt2_export.save, pt2_export.verify),
    ".pth": Writer(
        "PyTorch, in its maker's layout", torch_file.save, _read_back(torch_file.load)
    ),
}


def load_model(
    path: str | Path,
    *,
    device: str = "auto",
    trust: bool = False,
    overrides: Mapping[str, Any] | None = None,
    interrupt: Interrupt | None = None,
) -> Model:
    """Open a checkpoint without executing anything in it.

    Parameters
    ----------
    path : a file, a folder of nnU-Net or BioImage.IO, or the name of a bundled model
        such as "nuclei-2d"
    device : "auto", "cpu", "cuda" or "mps"
    trust : allow files that are programs (TorchScript, torch.export) to run
    overrides : fields of ModelSpec to replace, where a guess was wrong; a dictionary
        replaces fields of that field, "reading" takes another of ``spec.readings``
    interrupt : ends the wait for a program from another thread

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
    wanted = str(changes.pop("reading", ""))
    model = _open(place, Asked(trust, wanted, interrupt))
    if changes:
        model = revised(model, changes)
    return model.to(chosen)


def _locate(path: str | Path) -> Path:
    bundled = bundled_path(str(path))
    if bundled is not None:
        return bundled
    place = Path(path).expanduser()
    if not place.exists():
        known = ", ".join(bundled_models()) or "none"
        raise CheckpointError(
            f"{place} is neither a file or folder nor a bundled model (bundled: "
            f"{known}): check the name."
        )
    return place


def _open(path: Path, asked: Asked) -> Model:
    """Let the first format that recognises a file or folder open it."""
    try:
        head = _head(path)
        for one in FORMATS:
            if one.folders >= path.is_dir() and one.matches(path, head):
                return one.load(path, asked)
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
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder, expected one of nnU-Net (plans.json, fold_0) or of "
            "BioImage.IO (rdf.yaml): choose the checkpoint file in it."
        )
    raise CheckpointError(
        f"{path.name} is {_what(head)}, expected a checkpoint "
        "(.safetensors, .pt, .pth, .ckpt, .h5, .keras, .zip, .onnx, .pt2): choose "
        "another file."
    )


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, none of a folder."""
    if path.is_dir():
        return b""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise CheckpointError(
            f"{path.name} is empty, expected a checkpoint: download it again."
        )
    return head


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no details"])[0][:120]


def _what(head: bytes) -> str:
    """Say in a word what a file that is no checkpoint seems to be."""
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page (often a failed download)"
    kinds = {
        b"\x89PNG": "a PNG image", b"II*\0": "a TIFF image", b"MM\0*": "a TIFF image",
        b"%PDF": "a PDF", b"\x1f\x8b": "a gzip archive",
        b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    }  # fmt: skip
    known = next(
        (kind for magic, kind in kinds.items() if head.startswith(magic)), None
    )
    return known or "of an unknown kind"


def save_model(model: Model, path: str | Path, **asked: Any) -> Path:
    """Write a model, read it back, and only then put the file in place.

    Parameters
    ----------
    model : what to save
    path : its ending chooses the format: .safetensors (native), .zip (BioImage.IO),
        .onnx, .pt2, or .pth (PyTorch weights in the layout that they came in)
    asked : what the format asks for; .zip: see ``bioimageio.save``

    Raises
    ------
    OutputError
        If the file cannot be written, or the format asks for more; nothing is left
        half-written.
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
        writer.save(model, temporary, **asked)
        writer.verify(temporary, model)
    return place
