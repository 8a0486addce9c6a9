"""Writing so that a file is either whole or not there."""

from __future__ import annotations

import stat
import sys
from typing import TYPE_CHECKING

import pytest

from napari_unet.errors import OutputError
from napari_unet.files import replacing, replacing_folder

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".txt"
        assert temporary.parent == tmp_path
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["absent/a.txt", "file/a.txt"])
def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    with (
        pytest.raises(OutputError, match=r"could not be written.*choose another place"),
        replacing(tmp_path / name) as temporary,
    ):
        temporary.write_text("never")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (
        pytest.raises(OutputError, match="could not be written"),
        replacing(tmp_path / "a") as temporary,
    ):
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for text in ("first", "second"):
        with replacing_folder(path) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / text).write_text(text)
            assert not (path / "deep" / text).exists()
        assert [p.name for p in (path / "deep").iterdir()] == [text]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_folder_and_leaves_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "old").write_text("old")

    def write_half() -> None:
        with replacing_folder(path) as temporary:
            (temporary / "half").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "old"]


@pytest.mark.parametrize("name", ["absent/a", "file", "file/a"])
def test_a_place_for_no_folder_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    with (
        pytest.raises(OutputError, match=r"could not be written.*choose another place"),
        replacing_folder(tmp_path / name) as temporary,
    ):
        (temporary / "x").write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
