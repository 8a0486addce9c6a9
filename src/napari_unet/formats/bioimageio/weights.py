"""Which of a package's weights are taken: what can be trained before what cannot."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING
from weakref import finalize

from napari_unet.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_unet.engine.model import Model
    from napari_unet.formats.bioimageio.archive import Package
    from napari_unet.formats.bioimageio.description import Description
    from napari_unet.formats.bioimageio.tensors import Source, WeightsFile
    from napari_unet.formats.interrupt import Interrupt

NATIVE = "napari-unet.safetensors"  # our own file, beside what others read
PARSER_ERRORS = (  # of the libraries that read weights, seen with damaged files (B9)
    OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError,
    IndexError, UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip


class Room:
    """A temporary folder, which is gone when it is closed or no longer needed."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="napari-unet-"))
        self.close = finalize(self, rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class Wanted:
    """What the user asks for.

    Attributes
    ----------
    reading : of the weights, "" for the likeliest
    trust : whether programs may run
    interrupt : ends a wait from another thread
    """

    reading: str = ""
    trust: bool = False
    interrupt: Interrupt | None = None


@dataclass(frozen=True)
class Candidate:
    """One file of weights that may be opened.

    Attributes
    ----------
    kind : the name in the description
    file : which
    program : whether it only predicts
    load : opens a file on the disk; gets the room that it lies in, to keep it
    tried_only : whether it is taken only if it reproduces the test output
    """

    kind: str
    file: WeightsFile
    program: bool
    load: Callable[[Path, Wanted, Room], Model]
    tried_only: bool = False

    def open(self, package: Package, wanted: Wanted, room: Room) -> Model:
        """Return the model of this file, its hashes checked.

        What was unpacked is gone afterwards, but for programs, which keep it.

        Raises
        ------
        CheckpointError
            If it is absent, was changed, or cannot be read.
        """
        try:
            for source in self.file.beside:
                _placed(package, source, room.path)
            place = _placed(package, self.file.source, room.path)
            model = self.load(place, wanted, room)
        except PARSER_ERRORS as error:
            room.close()
            line = (str(error).splitlines() or ["no details"])[0][:120]
            raise CheckpointError(
                f"{self.file.source.name[-80:]} is damaged ({type(error).__name__}: "
                f"{line}): download the package again."
            ) from error
        except BaseException:
            room.close()
            raise
        if not self.program:
            room.close()
        return model


def candidates(description: Description) -> Iterator[Candidate]:
    """Yield the weights that can be opened, the best first."""
    for source in description.attachments:
        if source.name == NATIVE:
            file = _as_weights(source)
            yield Candidate("napari-unet weights", file, False, _load_native)
    for kind, program, load in _KINDS:
        if kind in description.weights:
            sure = load is _load_scripted
            yield Candidate(kind, description.weights[kind], program, load, sure)


def unknown_kinds(description: Description) -> list[str]:
    """Return the kinds of weights of a package that cannot be opened here."""
    known = {kind for kind, _, _ in _KINDS}
    return [kind for kind in description.weights if kind not in known]


def _as_weights(source: Source) -> WeightsFile:
    from napari_unet.formats.bioimageio.tensors import WeightsFile

    return WeightsFile(source)


def _placed(package: Package, source: Source, folder: Path) -> Path:
    """Return where a file lies that the package holds unchanged."""
    name = source.name
    if source.remote:
        name = name.partition("?")[0].rpartition("/")[2]
        if not (name and source.sha256 and package.has(name)):
            raise CheckpointError(
                f"{source.name[:120]} is not in the package, and nothing is downloaded "
                "on opening: download the whole package."
            )
    if source.sha256 and package.has(name) and package.sha256(name) != source.sha256:
        raise CheckpointError(
            f"{name} is not the file that the package describes (its SHA-256 differs): "
            "download the package again."
        )
    return package.place(name, folder)


def _load_native(place: Path, wanted: Wanted, room: Room) -> Model:
    from napari_unet.formats import native

    del wanted, room
    return native.load(place).clone()  # the file is mapped, and will be gone


def _load_state_dict(place: Path, wanted: Wanted, room: Room) -> Model:
    from napari_unet.formats import torch_file

    del room
    return torch_file.load(place, wanted.reading)


def _load_keras(place: Path, wanted: Wanted, room: Room) -> Model:
    try:
        from napari_unet.formats import keras_file
    except ImportError as error:
        raise CheckpointError(
            f"{place.name} is a Keras file, and the package {error.name} is not "
            'installed: install napari-unet-workbench with its extra "keras".'
        ) from error
    del room
    return keras_file.load(place, wanted.reading)


def _load_onnx(place: Path, wanted: Wanted, room: Room) -> Model:
    from napari_unet.formats.programs import onnx_file

    return onnx_file.load(place, wanted.trust, wanted.interrupt, room)


def _load_scripted(place: Path, wanted: Wanted, room: Room) -> Model:
    """Recognise the weights in a program, which is not run."""
    from napari_unet.formats.scripted import scripted_weights
    from napari_unet.formats.weights import understood
    from napari_unet.formats.wrappers import unwrap

    del room
    weights = scripted_weights(place)
    return understood(unwrap(place.name, place.stem, weights), wanted.reading)


def _load_torchscript(place: Path, wanted: Wanted, room: Room) -> Model:
    from napari_unet.formats.programs import torchscript

    return torchscript.load(place, wanted.trust, wanted.interrupt, room)


_KINDS: tuple[tuple[str, bool, Callable[[Path, Wanted, Room], Model]], ...] = (
    ("pytorch_state_dict", False, _load_state_dict),
    ("keras_hdf5", False, _load_keras),
    ("keras_v3", False, _load_keras),
    ("torchscript", False, _load_scripted),
    ("onnx", True, _load_onnx),
    ("torchscript", True, _load_torchscript),
    ("pytorch_script", True, _load_torchscript),  # its name in format version 0.3
)
