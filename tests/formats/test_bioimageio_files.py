"""A package's files and its YAML: what is unsafe or without end is refused."""

from __future__ import annotations

import os
import stat
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

from napari_unet.errors import CheckpointError
from napari_unet.formats.bioimageio.archive import is_package, is_safe, opened
from napari_unet.formats.bioimageio.document import parse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/a", "C:\\a", "c:a", "a\\..\\b", "~/a", "a\0b"]
)
def test_names_that_leave_the_package_are_unsafe(name: str) -> None:
    assert not is_safe(name)


@pytest.mark.parametrize("name", ["a", "a/b.c", "a..b", "..a", "a.b/..c"])
def test_names_within_the_package_are_safe(name: str) -> None:
    assert is_safe(name)


def archive(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../../out", "/out", "a/../../out"])
def test_an_archive_with_such_a_name_is_not_opened(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.zip", ("rdf.yaml", b"a: 1"), (name, b"x"))
    with pytest.raises(CheckpointError, match="lies outside of it"), opened(path):
        pass


def test_an_archive_with_a_link_is_not_opened(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ("rdf.yaml", b"a: 1"))
    link = zipfile.ZipInfo("weights.pt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(CheckpointError, match="holds the link"), opened(path):
        pass


def test_an_archive_that_grows_too_much_is_not_opened(tmp_path: Path) -> None:
    big = ("zeros.npy", bytes(2**28 + 1))
    path = archive(tmp_path / "a.zip", ("rdf.yaml", b"a: 1"), big)
    with pytest.raises(CheckpointError, match="would unpack to"), opened(path):
        pass


def test_a_member_that_is_too_large_or_damaged_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:  # stored, so that a flip stays a flip
        file.writestr("rdf.yaml", "a: 1")
        file.writestr("in.npy", b"x" * 1000)
    with opened(path) as package:
        with pytest.raises(CheckpointError, match="more than 10 bytes"):
            package.read("in.npy", 10)
        with pytest.raises(CheckpointError, match="does not hold gone"):
            package.read("gone", 10)
    content = bytearray(path.read_bytes())
    content[content.index(b"xxxx") + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum of in"), opened(path):
        pass


def test_a_link_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "rdf.yaml").write_text("a: 1")
    os.symlink(tmp_path / "secret", folder / "weights.pt")
    with (
        opened(folder) as package,
        pytest.raises(CheckpointError, match="lies outside"),
    ):
        package.read("weights.pt", 100)


def test_packages_are_told_from_other_archives_and_folders(tmp_path: Path) -> None:
    assert not is_package(archive(tmp_path / "a.zip", ("data.pkl", b"")))
    assert is_package(archive(tmp_path / "b.zip", ("model/rdf.yaml", b"")))
    assert not is_package(archive(tmp_path / "c.zip", ("a/b/c/rdf.yaml", b"")))
    assert not is_package(tmp_path)


BOMBS = {
    "deep": b"a: " + b"[" * 5000,
    "aliases": b"a: &a [1]\nb: [" + b"*a," * 5000 + b"]",
    "merge": b"a: &a {x: 1}\nb: {<<: *a}",
    "time": b"a: " + b":".join([b"59"] * 50_000),
    "digits": b"a: " + b"9" * 100_000,
    "hex": b"a: 0x" + b"f" * 400_000,
    "wide": b"a: [" + b"1," * 200_000 + b"]",
    "long": b"a: " + b"x" * 600_000,
    "tag": b"!!python/object/apply:os.system ['true']",
    "class": b"a: !!python/name:os.system",
    "no text": b"\xff\xfe\xfa",
    "date": b"a: 9999-99-99",
    "a list": b"[1, 2]",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_that_is_more_than_plain_data_is_refused(name: str) -> None:
    began = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"rdf\.yaml (is no plain|holds no)"):
        parse("rdf.yaml", BOMBS[name])
    assert time.perf_counter() - began < 2


def test_plain_yaml_is_read() -> None:
    text = "%YAML 1.2\n---\na: [1, -.inf, &x two]\nb: {c: *x}\n".encode("utf-8-sig")
    found = parse("rdf.yaml", text)
    assert found == {"a": [1, float("-inf"), "two"], "b": {"c": "two"}}
