"""Writing so that a file or folder is whole or not there; where settings lie."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_unet.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name in the same folder; put it in place when all went well.

    Parameters
    ----------
    path : where the file shall be; a file there is replaced, or kept when all fails

    Yields
    ------
    temporary : where to write, of the same suffix

    Raises
    ------
    OutputError
        If the folder is absent or not writable, or the disk is full.
    """
    path = Path(path)
    with in_words(path):
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _to_disk(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            _entry_to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside; put it in place when all went well.

    Parameters
    ----------
    path : where the folder shall be; one there is replaced, with all that is in it, or
        kept when all fails

    Yields
    ------
    temporary : an empty folder to write into

    Raises
    ------
    OutputError
        If the folder around is absent or not writable, or the disk is full.
    """
    path = Path(path)
    with in_words(path):
        around = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
        try:
            temporary, old = around / "new", around / "old"
            temporary.mkdir()
            yield temporary
            for written in temporary.rglob("*"):
                if written.is_file():
                    _to_disk(written)
                else:
                    _entry_to_disk(written)
            _entry_to_disk(temporary)
            if path.is_dir():  # a folder that is not empty cannot be replaced at once
                path.rename(old)
            try:
                temporary.rename(path)
            except OSError:
                if old.is_dir():
                    old.rename(path)
                raise
            _entry_to_disk(path.parent)
        finally:
            shutil.rmtree(around, ignore_errors=True)


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turn what the system says of a place that cannot be written into a sentence.

    Raises
    ------
    OutputError
        If the system says anything.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({error.strerror or error}); expected a "
            "writable folder with enough free space: choose another place."
        ) from error


def settings_folder() -> Path:
    """Return the folder in which is remembered what was open; it may not be there."""
    named = os.environ.get("NAPARI_UNET_SETTINGS")
    return Path(named) if named else platformdirs.user_config_path("napari-unet")


def _to_disk(path: Path) -> None:
    """Wait until a file would outlive a power cut."""
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _entry_to_disk(folder: Path) -> None:
    """Wait until the names in a folder would outlive a power cut, where that can be."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """Return what new files may not allow; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
