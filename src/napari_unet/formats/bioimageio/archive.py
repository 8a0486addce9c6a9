"""The files of a package, in a zip archive or a folder: its own, and as stated."""

from __future__ import annotations

import hashlib
import lzma
import re
import stat
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from napari_unet.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml", "model.yaml", "rdf.yml")
SUFFIXES = (".yaml", ".yml")
MOST_MEMBERS = 10_000
MOST_UNPACKED = 2**36  # bytes of all members
FREE = 2**28  # bytes that a package may unpack to, however small it is
RATIO = 20  # unpacked to packed; weights hardly shrink, images by half
CHUNK = 2**20
UNSAFE = re.compile(r"^[/~]|^[A-Za-z]:|\\|\0")
ENCRYPTED = 1
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


class Package:
    """A package whose members' names and sizes were checked.

    Parameters
    ----------
    path : of the zip archive, of the folder, or of the description in a folder
    archive : the opened zip archive; None for a folder
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile | None) -> None:
        self.name = path.name
        self.archive = archive
        self.folder = path if path.is_dir() else path.parent
        self.description = path.name if path.suffix in SUFFIXES else ""
        self._inside = ""
        if archive is not None:
            _check_members(path, archive.infolist())
        if not self.description:
            self.description, self._inside = self._find_description(path)

    def _find_description(self, path: Path) -> tuple[str, str]:
        """Return the description's name and the archive's folder that it lies in."""
        found = sorted(
            (name for name in self._names() if _describes(name)),
            key=lambda name: (name.count("/"), DESCRIPTIONS.index(_last(name))),
        )
        if not found:
            raise CheckpointError(
                f"{path.name} holds no rdf.yaml, expected a BioImage.IO package: "
                "choose another file."
            )
        inside = found[0].removesuffix(_last(found[0]))
        return _last(found[0]), inside

    def _names(self) -> list[str]:
        if self.archive is not None:
            return self.archive.namelist()
        return [name for name in DESCRIPTIONS if (self.folder / name).is_file()]

    def has(self, name: str) -> bool:
        """Tell whether a file of this name is in the package."""
        if self.archive is not None:
            return self._inside + name in self.archive.NameToInfo
        return self._place(name).is_file()

    def read(self, name: str, most: int) -> bytes:
        """Return a small file's content.

        Raises
        ------
        CheckpointError
            If it is absent, damaged, or larger than ``most`` bytes.
        """
        with self.open(name) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise CheckpointError(
                f"{self.name}: {name} has more than {most:,} bytes, expected a small "
                "file: choose another package."
            )
        return content

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file of the package; the checksum of a whole read is verified."""
        if not self.has(name):
            raise CheckpointError(
                f"{self.name} does not hold {name}, which it names: download the whole "
                "package again."
            )
        try:
            if self.archive is None:
                with self._place(name).open("rb") as file:
                    yield file
            else:
                with self.archive.open(self._inside + name) as member:
                    yield member  # type: ignore[misc]  # a reader of bytes as well
        except DAMAGE as error:
            raise CheckpointError(
                f"{self.name} is damaged, the checksum of {name} differs: copy it "
                "again."
            ) from error

    def place(self, name: str, folder: Path) -> Path:
        """Return where a file can be read; a member is first unpacked to ``folder``."""
        if self.archive is None:
            self._check_there(name)
            return self._place(name)
        target = folder / _last(name)
        with self.open(name) as source, target.open("wb") as file:
            while chunk := source.read(CHUNK):
                file.write(chunk)
        return target

    def sha256(self, name: str) -> str:
        """Return a file's hash."""
        total = hashlib.sha256()
        with self.open(name) as file:
            while chunk := file.read(CHUNK):
                total.update(chunk)
        return total.hexdigest()

    def _check_there(self, name: str) -> None:
        with self.open(name):
            pass

    def _place(self, name: str) -> Path:
        """Return a path that stays in the folder, whatever the name or a link says."""
        if not is_safe(name):
            raise CheckpointError(_unsafe(self.name, name))
        place = (self.folder / name).resolve()
        if not place.is_relative_to(self.folder.resolve()):
            raise CheckpointError(_unsafe(self.name, name))
        return place


@contextmanager
def opened(path: Path) -> Iterator[Package]:
    """Open a package and close it in the end.

    Parameters
    ----------
    path : a zip archive, a folder, or a description in a folder

    Raises
    ------
    CheckpointError
        If it holds what a package may not hold; nothing is unpacked then.
    """
    if path.is_dir() or path.suffix in SUFFIXES:
        yield Package(path, None)
        return
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise CheckpointError(
            f"{path.name} is damaged or cut short, expected a whole zip archive: copy "
            "it again."
        ) from error
    with archive:
        package = Package(path, archive)  # its sizes are checked before it is unpacked
        damaged = archive.testzip()
        if damaged:
            raise CheckpointError(
                f"{path.name} is damaged, the checksum of {damaged[:80]} differs: "
                "download the package again."
            )
        yield package


def is_package(path: Path) -> bool:
    """Tell whether a zip archive or a folder holds a package's description."""
    if path.is_dir():
        return any((path / name).is_file() for name in DESCRIPTIONS)
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(map(_describes, archive.namelist()))


def is_safe(name: str) -> bool:
    """Tell whether a name stays inside of the package."""
    return not UNSAFE.search(name) and ".." not in PurePosixPath(name).parts


def _describes(name: str) -> bool:
    return _last(name) in DESCRIPTIONS and name.count("/") < 2


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse names that leave the package, links, secrets, and bombs."""
    for member in members:
        if not is_safe(member.filename):
            raise CheckpointError(_unsafe(path.name, member.filename))
        if stat.S_ISLNK(member.external_attr >> 16):
            raise CheckpointError(
                f"{path.name} holds the link {member.filename[:80]!r}, expected files "
                "only: nothing was unpacked, choose another package."
            )
        if member.flag_bits & ENCRYPTED:
            raise CheckpointError(
                f"{path.name} is encrypted, expected an open package: unpack it first."
            )
    total = sum(member.file_size for member in members)
    allowed = min(max(FREE, RATIO * path.stat().st_size), MOST_UNPACKED)
    if total > allowed or len(members) > MOST_MEMBERS:
        raise CheckpointError(
            f"{path.name} would unpack to {total:,} bytes in {len(members):,} files, "
            f"expected at most {allowed:,}: choose another package."
        )


def _unsafe(package: str, name: str) -> str:
    return (
        f"{package} names the file {name[:80]!r}, which lies outside of it; expected "
        "files of the package only: nothing was unpacked, choose another package."
    )
