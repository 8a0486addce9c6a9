"""Models of BioImage.IO; only pooch's downloader is faked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pooch
import pytest
import requests

from napari_unet.engine.config import BytesDone
from napari_unet.errors import CheckpointError
from napari_unet.zoo_download import RECORD, bioimageio_id, fetch_steps

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "https://example.org/affable-shark/files/"
WEIGHTS = b"weights " * 1000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def package(**changes: Any) -> dict[str, bytes]:
    """Return what is at each address: a record, a description and weights."""
    weights = {"source": "weights.pt", "sha256": sha256(WEIGHTS), **changes}
    rdf = json.dumps(
        {"type": "model", "weights": {"pytorch_state_dict": weights, "tfjs": {}}}
    ).encode()
    entry = {"source": f"{BASE}rdf.yaml", "sha256": sha256(rdf)}
    return {
        RECORD: json.dumps({"affable-shark": entry}).encode(),
        f"{BASE}rdf.yaml": rdf,
        f"{BASE}weights.pt": WEIGHTS,
    }


@pytest.fixture
def network() -> Iterator[dict[str, bytes]]:
    """Answer downloads from a dictionary; what is not in it cannot be reached."""
    answers: dict[str, bytes] = {}

    def download(self: Any, url: str, output_file: Any, _: Any, **__: Any) -> None:
        if url not in answers:
            raise requests.ConnectionError(url)
        self.progressbar.total = len(answers[url])
        self.progressbar.update(len(answers[url]))
        Path(output_file).write_bytes(answers[url])

    with mock.patch.object(
        pooch.HTTPDownloader, "__call__", autospec=True, side_effect=download
    ):
        yield answers


def fetch(cache: Path, name: str = "affable-shark") -> Path:
    steps = fetch_steps(name, cache)
    while True:
        try:
            assert isinstance(next(steps), BytesDone)
        except StopIteration as end:
            return Path(end.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("affable-shark", "affable-shark"),
        (" affable-shark/1.1 ", "affable-shark/1.1"),
        ("10.5281/zenodo.5764892", "10.5281/zenodo.5764892"),
        ("https://doi.org/10.5281/zenodo.5764892", "10.5281/zenodo.5764892"),
        ("nuclei-2d", ""),
        ("model.pth", ""),
        ("../../etc/passwd", ""),
        ("affable-shark/../..", ""),
        ("", ""),
    ],
)
def test_ids_are_told_from_paths(text: str, expected: str) -> None:
    assert bioimageio_id(text) == expected


def test_a_model_is_downloaded_once_with_its_weights(
    tmp_path: Path, network: dict[str, bytes]
) -> None:
    network |= package()
    folder = fetch(tmp_path)
    assert (folder / "weights.pt").read_bytes() == WEIGHTS
    assert (folder / "rdf.yaml").exists()
    network.clear()  # from here on without a network
    assert fetch(tmp_path) == folder


def test_without_a_network_a_sentence_says_so(
    tmp_path: Path, network: dict[str, bytes]
) -> None:
    assert not network
    with pytest.raises(CheckpointError, match="needs the network once"):
        fetch(tmp_path)


def test_other_weights_than_the_record_says_are_refused(
    tmp_path: Path, network: dict[str, bytes]
) -> None:
    network |= package() | {f"{BASE}weights.pt": b"something else"}
    with pytest.raises(CheckpointError, match="another file than its record says"):
        fetch(tmp_path)
    assert not list(tmp_path.rglob("weights.pt"))


def test_an_unknown_id_names_those_that_are_near(
    tmp_path: Path, network: dict[str, bytes]
) -> None:
    network |= package()
    with pytest.raises(CheckpointError, match="did you mean affable-shark"):
        fetch(tmp_path, "affable-shork")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": None}, "no SHA-256"),
        ({"source": "http://example.org/weights.pt"}, "https"),
        ({"source": "file:///etc/passwd"}, "https"),
    ],
)
def test_weights_without_hash_or_from_elsewhere_are_refused(
    tmp_path: Path, network: dict[str, bytes], changes: dict[str, Any], words: str
) -> None:
    network |= package(**changes)
    with pytest.raises(CheckpointError, match=words):
        fetch(tmp_path)


def test_what_is_no_description_is_refused(
    tmp_path: Path, network: dict[str, bytes]
) -> None:
    answers = package()
    for text in (b"- a\n- b\n", b"a: [", b"!!python/object:os.system {}", b"\xff\xfe"):
        entry = {"source": f"{BASE}rdf.yaml", "sha256": sha256(text)}
        answers[RECORD] = json.dumps({"affable-shark": entry}).encode()
        network |= answers | {f"{BASE}rdf.yaml": text}
        with pytest.raises(CheckpointError, match="names no weights"):
            fetch(tmp_path)


def test_cancelling_leaves_no_part_of_a_file(
    tmp_path: Path, network: dict[str, bytes]
) -> None:
    network |= package()
    steps = fetch_steps("affable-shark", tmp_path)
    next(steps)
    steps.close()
    assert not list(tmp_path.rglob("weights.pt"))


def test_a_member_cannot_leave_the_folder(
    tmp_path: Path, network: dict[str, bytes]
) -> None:
    network |= package(source="../../../escaped.pt")
    network["https://example.org/escaped.pt"] = WEIGHTS
    folder = fetch(tmp_path)
    assert (folder / "escaped.pt").exists()
    assert not (tmp_path.parent / "escaped.pt").exists()
