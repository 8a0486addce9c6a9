"""The folder: project.json, bases, fingerprints, locks, what can be opened again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_unet.engine.blocks import SparseArray
from napari_unet.errors import ProjectError
from napari_unet.io.fingerprint import fingerprint_steps
from napari_unet.io.labels_store import (
    Base,
    base_paths,
    read_base,
    read_image,
    store_image_steps,
    write_base_steps,
)
from napari_unet.io.migrations import FORMAT, MIGRATIONS
from napari_unet.io.project import (
    ImageEntry,
    Manifest,
    new_folder,
    place_of,
    projects_folder,
    read_manifest,
    write_manifest,
)
from napari_unet.io.project_lock import ProjectLock, is_locked
from napari_unet.io.recent_projects import recent_projects, remember_project

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

OLD = Path(__file__).parent / "projects" / "format-1"
ENTRY = ImageEntry(id=1, name="nuclei", axes="YX", shape=(20, 30), dtype="uint8")


def result(steps: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


# -- project.json


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = Manifest(images=(ENTRY,), settings={"predict": {"threshold": 0.3}})
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert manifest.format == FORMAT


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "damaged"),
        ("[]", "states no format"),
        ('{"format": 1', "damaged"),
        ('{"format": 99}', "newer version"),
        ('{"format": 0}', "no format 0"),
        ('{"format": 1, "images": 5}', "damaged"),
        ('{"format": 1, "images": [{"id": 1}]}', "parts are missing"),
        ('{"format": 2, "images": [{"id": "../x"}]}', r"images\.0\.id"),
        ("[" * 100_000, "damaged"),
        ('{"format": 2, "settings": ' + '{"a":' * 900 + "1" + "}" * 901, "damaged"),
        ('{"format": 2, "changed": 1e300}', "changed"),
        ('{"format": 2, "made": Infinity}', "made"),
        ('{"format": 2, "versions": [{"number": 1}, {"number": 1}]}', "same number"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(
    tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "project.json").write_text(content)
    with pytest.raises(ProjectError, match=words):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (20,)}, {"shape": (20, 0)}, {"shape": (20, 30, 3)},
        {"dtype": "nonsense"}, {"generation": 0}, {"dims": 7}, {"dtype": "O"},
        {"axes": "YY"}, {"axes": "CX"}, {"seconds": float("nan")}, {"strokes": -1},
        {"id": 10**300},
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    found = Manifest(images=(ENTRY,)).model_dump()
    found["images"][0].update(change)
    (tmp_path / "project.json").write_text(json.dumps(found))
    with pytest.raises(ProjectError, match="damaged"):
        read_manifest(tmp_path)


def test_a_name_that_no_text_holds_is_written(tmp_path: Path) -> None:
    entry = ImageEntry.model_validate({**ENTRY.model_dump(), "name": "\udce4.tif"})
    write_manifest(tmp_path, Manifest(images=(entry,)))
    assert read_manifest(tmp_path).images[0].name == "?.tif"


def test_a_long_name_of_letters_of_four_bytes_fits_into_a_file_system() -> None:
    folder = new_folder(["\U00020000" * 300])
    folder.mkdir(parents=True)
    assert folder.name.endswith("\U00020000")


def test_a_folder_that_is_no_project_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"holds no project\.json"):
        read_manifest(tmp_path)


def test_a_project_of_format_1_is_migrated_and_left_as_it_is() -> None:
    before = (OLD / "project.json").read_bytes()
    drawn, read = read_manifest(OLD).images
    assert (drawn.relative, drawn.strokes) == (None, 0)
    assert drawn.fingerprint.startswith("blake2b-1:")
    assert read.relative is not None
    assert (OLD / read.relative).resolve() == Path("/data/nuclei.tif")
    assert (OLD / "project.json").read_bytes() == before


def test_every_older_format_has_its_migration() -> None:
    assert sorted(MIGRATIONS) == list(range(1, FORMAT))


def test_images_that_moved_with_their_project_are_found(tmp_path: Path) -> None:
    entry = ENTRY.model_copy(
        update={"path": str(tmp_path / "gone.tif"), "relative": "../here.tif"}
    )
    assert place_of(entry, tmp_path / "project") == tmp_path / "gone.tif"
    (tmp_path / "project").mkdir()
    (tmp_path / "here.tif").touch()
    found = place_of(entry, tmp_path / "project")
    assert found is not None
    assert found.resolve() == (tmp_path / "here.tif").resolve()


def test_a_new_project_has_a_plain_name_of_its_own() -> None:
    one = new_folder(["a/b\\c:*.tif"])
    assert one.parent == projects_folder()
    assert one.name.endswith(" a_b_c__.tif")
    one.mkdir(parents=True)
    other = new_folder(["a/b\\c:*.tif"])
    shutil.rmtree(one)
    assert other != one


# -- bases


def base(shape: tuple[int, ...]) -> tuple[Base, np.ndarray, SparseArray]:
    labels = np.zeros(shape, np.int32)
    labels[..., 5:9, 7:30] = 2**31 - 1
    states = SparseArray(shape, np.uint8)
    states[(..., slice(0, 3), slice(0, 3))] = 2
    return Base(shape, labels.__getitem__, states.__getitem__), labels, states


@pytest.mark.parametrize("shape", [(40, 50), (3, 300, 257), (2, 2, 20, 4100)])
def test_a_base_is_read_as_it_was_written(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    written, labels, states = base(shape)
    result(write_base_steps(tmp_path, 3, written))
    found, marks = read_base(tmp_path, 3, shape)
    again = SparseArray(shape, np.uint8)
    for window, values in marks:
        again[window] = values
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(again[()], states[()])


def test_a_base_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    steps = write_base_steps(tmp_path, 1, base((3, 40, 50))[0])
    next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("act", ["remove", "remove a file", "damage", "other shape"])
def test_a_damaged_base_is_said(tmp_path: Path, act: str) -> None:
    shape = (2, 40, 50)
    result(write_base_steps(tmp_path, 1, base(shape)[0]))
    place = base_paths(tmp_path, 1)[0]
    file = next(each for each in (place / "c").rglob("*") if each.is_file())
    if act == "remove":
        shutil.rmtree(place)
    elif act == "remove a file":
        file.unlink()
    elif act == "damage":
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 255
        file.write_bytes(content)
    with pytest.raises(ProjectError, match="damaged or gone"):
        read_base(tmp_path, 1, (9, 9) if act == "other shape" else shape)


@pytest.mark.parametrize("dtype", ["float32", ">u2", "bool", "int64"])
def test_an_image_is_kept_and_read_again(tmp_path: Path, dtype: str) -> None:
    image = (np.random.default_rng(0).random((3, 700, 600)) * 9).astype(dtype)
    result(store_image_steps(tmp_path / "image.zarr", image))
    found = read_image(tmp_path / "image.zarr", image.shape, str(image.dtype))
    assert found is not None
    np.testing.assert_array_equal(found, image)
    assert read_image(tmp_path / "image.zarr", (9, 9), dtype) is None
    assert read_image(tmp_path / "gone.zarr", image.shape, dtype) is None


# -- fingerprints


def fingerprint(image: Any) -> str:
    return str(result(fingerprint_steps(image)))


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (2, 3, 50, 60)])
def test_every_pixel_counts(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 9, shape).astype(np.uint16)
    other = image.copy()
    other.reshape(-1)[-1] += 1
    assert fingerprint(image) == fingerprint(image.copy())
    assert fingerprint(image) != fingerprint(other)
    assert fingerprint(image) != fingerprint(image.astype(np.uint8))
    assert fingerprint(image) != fingerprint(image.reshape(-1, 1))


def test_the_order_of_bytes_in_memory_does_not_count() -> None:
    image = np.arange(600, dtype=np.uint16).reshape(20, 30)
    assert fingerprint(image) == fingerprint(image.astype(">u2"))
    assert fingerprint(image) == fingerprint(np.asfortranarray(image))


def test_of_a_huge_image_only_pieces_are_read() -> None:
    class Huge:
        shape = (500, 40_000, 30_000)
        dtype = np.dtype(np.uint16)
        read = 0

        def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
            size = tuple(s.stop - s.start for s in window)
            assert all(s.stop <= n for s, n in zip(window, self.shape, strict=True))
            self.read += 2 * int(np.prod(size))
            return np.full(size, window[0].start, np.uint16)

    huge = Huge()
    assert fingerprint(huge)
    assert 2**26 < huge.read < 2**28


# -- locks, and what can be opened again


def test_a_lock_is_one_windows_alone(tmp_path: Path) -> None:
    one, other = ProjectLock(tmp_path), ProjectLock(tmp_path)
    assert not is_locked(tmp_path)
    assert one.acquire()
    assert is_locked(tmp_path)
    assert not other.acquire()
    assert "process" in other.holder()
    one.release()
    assert not is_locked(tmp_path)
    assert other.acquire()
    other.release()


@pytest.mark.usefixtures("projects")
def test_damaged_projects_are_left_out_of_the_recent_ones(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
        write_manifest(folder, Manifest(images=(ENTRY,), changed=5e9))
        remember_project(folder)
    (bad / "project.json").write_text("{")
    found = [each for each in recent_projects() if each.folder.parent == tmp_path]
    assert [(each.folder, each.images) for each in found] == [(good, ("nuclei",))]
