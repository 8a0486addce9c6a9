"""Pickles with numpy's numbers: numbers come out, and nothing else happens."""

from __future__ import annotations

import collections
import functools
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from napari_unet.formats.safe_pickle import load_pickle, reason

MARKER = "PWNED_BY_A_CHECKPOINT"
HOSTILE = (
    "a_string.pth", "empty_file.pth", "evil_dict_pickle.pt", "evil_in_torch_zip.pth",
    "evil_plain_pickle.pth", "whole_model_pickle.pth",
)  # fmt: skip


class Reduced:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: object, arguments: tuple[object, ...]) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Built(Reduced):
    """Pickles as such a call whose result is given a state."""

    def __init__(self, function: object, arguments: object, state: object) -> None:
        self.call = function, arguments, state  # type: ignore[assignment]


def saved(folder: Path, content: object) -> Path:
    path = folder / "file.pth"
    torch.save(content, path)
    return path


def by_name(name: str) -> object:
    """Return numpy's own function that files name so."""
    from numpy._core import multiarray

    return getattr(multiarray, name)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.1), np.float32(-3.5), np.float16(0.25), np.int64(-(2**40)),
        np.uint8(255), np.bool_(True), np.dtype(">f8").type(7), np.str_("cell ü"),
        np.bytes_(b"ab"), np.str_(""),
    ],
)  # fmt: skip
def test_numpy_scalars_become_plain(value: Any, tmp_path: Path) -> None:
    found = load_pickle(saved(tmp_path, {"value": value}))
    assert found == {"value": value.item()}
    assert type(found["value"]) is type(value.item())


def test_the_byte_order_is_kept(tmp_path: Path) -> None:
    big = Reduced(by_name("scalar"), (np.dtype(">i4"), b"\0\0\1\2"))
    assert load_pickle(saved(tmp_path, [big])) == [258]


def test_files_of_older_numpy_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path, [np.float64(2.5)])
    older = tmp_path / "older.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(older, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b"numpy._core.", b"numpy.core."))
    assert load_pickle(older) == [2.5]


def test_the_old_torch_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    content = {"best": np.float32(0.5), "weight": torch.arange(3.0)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    found = load_pickle(path)
    assert isinstance(found, dict)
    assert found["best"] == 0.5
    assert found["weight"].tolist() == [0, 1, 2]


def test_arrays_beside_the_weights_are_left_out(tmp_path: Path) -> None:
    found = load_pickle(saved(tmp_path, {"history": np.arange(3), "epoch": 4}))
    assert isinstance(found, dict)
    assert found["epoch"] == 4
    assert not isinstance(found["history"], (np.ndarray, list))


@pytest.mark.parametrize(
    "content",
    [
        Reduced(os.mkdir, (MARKER,)),
        Reduced(eval, ("1 + 1",)),
        Reduced(functools.partial, (print, "x")),
        Reduced(by_name("scalar"), (np.dtype("O"), b"x")),
        Reduced(by_name("scalar"), (np.dtype([("a", "O")]), b"x" * 8)),
        Reduced(by_name("scalar"), (np.dtype("f8"), b"x")),
        Reduced(by_name("scalar"), ("f8", b"x" * 8)),
        Reduced(by_name("scalar"), (np.dtype("f8"), [1.0])),
        Reduced(by_name("scalar"), ()),
        Reduced(by_name("scalar"), (Reduced(os.mkdir, (MARKER,)), b"x" * 8)),
        Reduced(by_name("scalar"), (np.dtype("f8"), Reduced(os.mkdir, (MARKER,)))),
        Reduced(by_name("scalar"), (np.dtype("M8[s]"), b"x" * 8)),
        Reduced(by_name("frombuffer"), (b"x" * 8,)),
        Reduced(bytes, (2**40,)),
        Reduced(bytearray, (2**30,)),
        Reduced(np.dtype, ("O",)),
        Reduced(np.dtype, ("U999999999",)),
        Reduced(np.dtype, ([("a", "f8")],)),
        Reduced(np.dtype, ()),
        np.array([None, 1], dtype=object),
        np.array([Reduced(os.mkdir, (MARKER,))], dtype=object),
        np.zeros(2, dtype=[("a", "f8")]),
        collections.ChainMap(),
        Path("x"),
    ],
)  # fmt: skip
def test_all_else_is_refused(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, {"weights": torch.ones(2), "more": content})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError):
        load_pickle(path)
    assert not Path(MARKER).exists()


@pytest.mark.parametrize(
    "state",
    [
        (3, "<", None, ("a",), {"a": (np.dtype("f8"), 0)}, 8, 8, 0),
        (3, "<", (np.dtype("f8"), (2,)), None, None, 16, 8, 0),
        (3, "O", None, None, None, -1, -1, 0),
        (3, "<"),
        {"dtype": "O"},
    ],
)
def test_a_type_is_given_no_parts(state: object, tmp_path: Path) -> None:
    plain = Built(np.dtype, ("f8", False, True), state)
    data = pickle.dumps(plain, protocol=2)
    path = tmp_path / "file.pth"
    torch.save({"weights": torch.ones(2)}, path)
    changed = tmp_path / "changed.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            inside = data if name.endswith("data.pkl") else source.read(name)
            target.writestr(name, inside)
    with pytest.raises(pickle.UnpicklingError):
        load_pickle(changed)


def test_what_others_allow_is_not_allowed_here(tmp_path: Path) -> None:
    path = saved(tmp_path, [Reduced(os.mkdir, (str(tmp_path / MARKER),))])
    before = get_safe_globals()  # torch has some of its own
    add_safe_globals([os.mkdir])
    try:
        with pytest.raises(pickle.UnpicklingError):
            load_pickle(path)
        assert set(get_safe_globals()) == {*before, os.mkdir}
    finally:
        clear_safe_globals()
        add_safe_globals(before)
    assert not (tmp_path / MARKER).exists()


def test_memory_is_not_made_by_an_old_file(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    content = {"weight": torch.ones(2), "more": Reduced(bytearray, (2**30,))}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(pickle.UnpicklingError, match="bytearray"):
        load_pickle(path)


def test_nothing_stays_allowed(tmp_path: Path) -> None:
    path = saved(tmp_path, [np.float64(1)])
    before = get_safe_globals()
    load_pickle(path)
    assert set(get_safe_globals()) == set(before)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_what_was_refused_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, [Reduced(os.mkdir, (MARKER,))])
    with pytest.raises(pickle.UnpicklingError) as caught:
        load_pickle(path)
    assert reason(caught.value) == f"the Python object {os.mkdir.__module__}.mkdir"
    assert (
        reason(pickle.UnpicklingError("x")) == "code or Python objects, or is damaged"
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_run_nothing(
    name: str, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_folder / "checkpoints" / "hostile" / name
    monkeypatch.chdir(tmp_path)
    try:
        content = load_pickle(path)
    except (pickle.UnpicklingError, EOFError):
        content = None
    assert not isinstance(content, (dict, torch.nn.Module))
    assert not any(tmp_path.iterdir())
